//! Rebuilds the binary when the chart inside it changes.

fn main() {
    println!("cargo::rerun-if-changed=charts/medusa-store");
}
