//! The storekeeper binary: see `storekeeper --help` and the README.

use std::process::ExitCode;

/// Rendering and reading JSON make many small values.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match storekeeper::cli::main() {
        Ok(code) => code,
        // Whoever reads our output has seen enough, as with `storekeeper render acme | head`.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("storekeeper: failed to {error:#}");
            ExitCode::from(2)
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
