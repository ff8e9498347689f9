//! `make chaos`: kills, faults and commits in rounds, on a cluster of its own, and 0 violations at the end.

#![allow(clippy::unwrap_used, reason = "what fails here fails the run")]

#[path = "mod.rs"]
mod chaos;
#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/common/git_server.rs"]
mod git_server;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use chaos::harness::{Chaos, Place};

#[derive(Parser)]
struct Arguments {
    /// A kubeconfig of the cluster.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// How often the daemon is killed, at least.
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// Decides commits, faults and kill points.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the plan of the seed and end.
    #[arg(long)]
    plan: bool,
    /// The folder for repository, state and logs, which stays when there are violations.
    #[arg(long)]
    folder: PathBuf,
    /// The file that the line of figures goes to.
    #[arg(long)]
    figures: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (seed, kills) = (arguments.seed, arguments.kills);
    let rounds = chaos::plan::rounds(seed, kills, chaos::plan::KILLS_A_ROUND);
    if arguments.plan {
        println!("{rounds:#?}");
        return ExitCode::SUCCESS;
    }
    fs::create_dir_all(&arguments.folder).unwrap();
    let folder = arguments.folder.canonicalize().unwrap();
    let prefix = format!("c{:x}", std::process::id());
    let place = Place { kubeconfig: arguments.kubeconfig, folder: folder.clone(), prefix, seed };
    let figures = Chaos::start(place).run(&rounds);
    fs::write(&arguments.figures, format!("{}\n", figures.line(seed))).unwrap();
    if figures.violations.is_empty() {
        return ExitCode::SUCCESS;
    }
    for violation in &figures.violations {
        eprintln!("violated: {violation}");
    }
    eprintln!(
        "repeat it: make chaos KILLS={kills} SEED={seed}; logs and repository are in {}",
        folder.display()
    );
    ExitCode::FAILURE
}
