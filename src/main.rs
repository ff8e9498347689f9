//! The storekeeper binary: see `storekeeper --help` and the README.

use std::process::ExitCode;

fn main() -> ExitCode {
    match storekeeper::cli::main() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("storekeeper: failed to {error:#}");
            ExitCode::from(2)
        }
    }
}
