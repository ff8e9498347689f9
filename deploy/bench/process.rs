//! What a process has cost so far, from /proc.

use std::fs;
use std::sync::LazyLock;

/// The kernel's clock ticks a second.
static TICKS: LazyLock<f64> = LazyLock::new(|| {
    let output = std::process::Command::new("getconf").arg("CLK_TCK").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().and_then(|text| text.parse().ok()).unwrap_or(100.0)
});

/// Returns the seconds of processor time that a process has used, user and system together.
pub fn cpu_seconds(pid: u32) -> f64 {
    cpu_seconds_in(&format!("/proc/{pid}/stat"))
}

/// Returns the same of one thread of this process.
pub fn thread_cpu_seconds(thread: u32) -> f64 {
    cpu_seconds_in(&format!("/proc/self/task/{thread}/stat"))
}

/// Returns the kernel's number of the thread that asks.
pub fn this_thread() -> u32 {
    let link = fs::read_link("/proc/thread-self").expect("/proc/thread-self is a link");
    let name = link.file_name().and_then(|name| name.to_str()).expect("it ends with a number");
    name.parse().expect("it ends with a number")
}

fn cpu_seconds_in(path: &str) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The second field is the name in parentheses, which may hold anything.
    let Some((_, rest)) = text.rsplit_once(')') else { panic!("nothing is in {path} any more") };
    let fields: Vec<f64> = rest.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // utime and stime are the fields 14 and 15 of the whole line.
    (fields[10] + fields[11]) / *TICKS
}

/// Returns the most memory that a process has had resident, in MiB.
pub fn peak_rss_mib(pid: u32) -> f64 {
    status_mib(pid, "VmHWM:")
}

/// Returns the memory that a process has resident now, in MiB.
pub fn rss_mib(pid: u32) -> f64 {
    status_mib(pid, "VmRSS:")
}

fn status_mib(pid: u32, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .and_then(|text| text.trim().parse::<f64>().ok());
    kib.unwrap_or_else(|| panic!("/proc/{pid}/status has no {field}")) / 1024.0
}
