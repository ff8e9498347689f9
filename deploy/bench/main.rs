//! The benchmark: what storekeeper costs, against the floor under it and against the goals. It prints a table and
//! writes a file; docs/performance.md explains both.
//!
//! Everything is measured from outside the daemon: by a witness that watches the API server, by the server's audit log,
//! and by what the kernel says of each process.

#![allow(clippy::unwrap_used, reason = "what fails here fails the part that is measured")]
#![allow(clippy::cast_precision_loss, reason = "counts and times are far below 2^52")]

#[path = "../../tests/common/browser.rs"]
mod browser;
#[path = "../../tests/common/mod.rs"]
mod common;

#[path = "../../tests/common/git_server.rs"]
mod git_server;
#[path = "../../tests/common/gitea.rs"]
mod gitea;
#[path = "../../tests/common/showroom.rs"]
mod showroom;

mod audit;
mod client;
mod cold;
mod converged;
mod figures;
mod fleet;
mod fleetwide;
mod floor;
mod forge;
mod latency;
mod many;
mod process;
mod render;
mod replicas;
mod server;
mod statistics;
mod web;
mod witness;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use serde_json::{Map, Value, json};

use cold::{Bench, Running};
use server::Server;
use witness::Witness;

/// As the daemon has it: rendering is measured in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the bench's chart makes of a store: a namespace, `ConfigMaps` and Deployments.
const CONFIG_MAPS: usize = 20;
const DEPLOYMENTS: usize = 4;
const OBJECTS: usize = 1 + CONFIG_MAPS + DEPLOYMENTS;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures everything.
    Run(RunArguments),
    /// Writes the floor's objects: what the bench starts itself.
    Floor(floor::Arguments),
}

#[derive(Parser)]
struct RunArguments {
    /// The program that brings clusters up.
    #[arg(long)]
    devcluster: PathBuf,
    #[arg(long)]
    helm: PathBuf,
    /// The folder of the bench's chart.
    #[arg(long, default_value = "deploy/bench/chart")]
    chart: PathBuf,
    /// A folder for clusters, repositories and logs.
    #[arg(long)]
    folder: PathBuf,
    /// Numbers of stores; what is not a cold install is measured at the largest. Without any, nothing that needs a cluster is.
    #[arg(long, value_delimiter = ' ')]
    sizes: Vec<usize>,
    #[arg(long, default_value_t = 10.0)]
    idle_minutes: f64,
    /// Only these parts of idle, edit, drift, removal, converged, restart, forge, `chart_change`, render, charts, web, many and replicas; all without
    /// any.
    #[arg(long, value_delimiter = ' ')]
    parts: Vec<String>,
    /// A folder of charts, each in a folder of its own, that are rendered with their defaults.
    #[arg(long)]
    charts: Option<PathBuf>,
    /// The file for the figures.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Floor(arguments) => {
            floor::main(&arguments);
            ExitCode::SUCCESS
        }
        Command::Run(arguments) => run(&arguments),
    }
}

fn run(arguments: &RunArguments) -> ExitCode {
    let begun = Instant::now();
    let parts = arguments.parts.iter().filter(|part| !part.is_empty());
    let mut report = Report::new(parts.cloned().collect());
    report.part("render", || {
        let (chart, example) = ("charts/medusa-store".as_ref(), "stores.example".as_ref());
        render::measure(&arguments.helm, &arguments.folder, chart, example)
    });
    if let Some(charts) = &arguments.charts {
        report.part("charts", || render::measure_charts(&arguments.helm, charts));
    }
    report.part("web", web::measure);
    let mut sizes = arguments.sizes.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let largest = sizes.last().copied().unwrap_or_default();
    for size in sizes {
        measure_size(arguments, &mut report, size, size == largest);
    }
    report.figures.insert("machine".to_owned(), machine());
    report.finish(arguments, begun)
}

/// Measures one size on a cluster of its own; at the largest everything else too.
fn measure_size(arguments: &RunArguments, report: &mut Report, size: usize, largest: bool) {
    let state = arguments.folder.join(format!("cluster-{size}"));
    say(&format!("{size} stores: starting a cluster"));
    let up = || {
        let server = Server::up(&arguments.devcluster, state);
        let witness = Witness::new(&server.cluster.kubeconfig);
        (server, witness)
    };
    let Some((server, witness)) = report.try_to(&format!("a cluster for {size} stores"), up) else { return };
    let (folder, chart) = (arguments.folder.join(size.to_string()), arguments.chart.as_path());
    let bench = Bench { server: &server, witness: &witness, folder: &folder, chart };
    say(&format!("{size} stores: cold install"));
    let cold = report.try_to(&format!("cold_install of {size}"), || cold::measure(&bench, size));
    let Some((figures, running)) = cold else { return };
    report.add_size(figures);
    if largest {
        measure_more(arguments, report, &bench, running);
        report.many(&server, &folder, chart);
        report.part("replicas", || replicas::measure(&bench, size));
    }
    // A cluster goes before the next one comes.
    drop((witness, server));
}

/// What is measured of a fleet that is up.
fn measure_more(arguments: &RunArguments, report: &mut Report, bench: &Bench<'_>, running: Running) {
    let mut running = Some(running);
    report.part("idle", || fleetwide::idle(bench, running.as_ref().unwrap(), arguments.idle_minutes));
    // Before any drift: a Deployment that is made anew under its old name waits for its controller, for minutes at times.
    report.part("restart", || {
        let (figures, again) = fleetwide::restart(bench, running.take().unwrap());
        running = Some(again);
        figures
    });
    report.part("edit", || latency::edit(bench, running.as_ref().unwrap()));
    report.part("drift", || latency::drift(bench, running.as_ref().unwrap()));
    report.part("removal", || latency::removal(bench, running.as_mut().unwrap()));
    report.part("converged", || converged::measure(bench, running.as_ref().unwrap()));
    report.part("forge", || {
        let (figures, again) =
            forge::measure(bench, running.take().expect("the part before has left a daemon"));
        running = Some(again);
        figures
    });
    report.part("chart_change", || {
        let daemon = running.take().expect("the part before has left a daemon");
        fleetwide::chart_change(bench, daemon).0
    });
}

/// The figures, and what could not be measured.
struct Report {
    wanted: Vec<String>,
    figures: Map<String, Value>,
    failures: Vec<String>,
}

impl Report {
    fn new(wanted: Vec<String>) -> Self {
        Self { wanted, figures: Map::new(), failures: Vec::new() }
    }

    /// Measures a part, if it is wanted. One that fails costs its figures and nothing else.
    fn part(&mut self, name: &str, measure: impl FnOnce() -> Value) {
        if !self.wanted.is_empty() && !self.wanted.iter().any(|part| part == name) {
            return;
        }
        say(name);
        if let Some(figures) = self.try_to(name, measure) {
            eprintln!("  {figures}");
            self.figures.insert(name.to_owned(), figures);
        }
    }

    fn try_to<T>(&mut self, name: &str, measure: impl FnOnce() -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(measure));
        if result.is_err() {
            self.failures.push(name.to_owned());
        }
        result.ok()
    }

    fn add_size(&mut self, figures: Value) {
        let sizes = self.figures.entry("cold_install").or_insert_with(|| json!([]));
        sizes.as_array_mut().unwrap().push(figures);
    }

    fn many(&mut self, server: &Server, folder: &std::path::Path, chart: &std::path::Path) {
        self.part("many", || many::measure(server, folder, chart));
        if let Some(many) = self.figures.get("many") {
            let median = many["p50_ms"].clone();
            self.figures.insert("diff_10000_ms".to_owned(), median);
        }
    }

    fn finish(mut self, arguments: &RunArguments, begun: Instant) -> ExitCode {
        let figures = Value::Object(self.figures.clone());
        self.figures.insert("goals".to_owned(), figures::goals(&figures).into());
        self.figures.insert("failed".to_owned(), json!(self.failures));
        let figures = Value::Object(self.figures);
        std::fs::write(&arguments.out, format!("{figures:#}\n")).unwrap();
        println!("{}", figures::table(&figures));
        let all = figures["goals"].as_array().map(Vec::as_slice).unwrap_or_default();
        let met = all.iter().filter(|goal| goal["met"] == true).count();
        let minutes = begun.elapsed().as_secs_f64() / 60.0;
        let failed = match self.failures.as_slice() {
            [] => String::new(),
            failures => format!("; FAILED, the lines above say why: {}", failures.join(", ")),
        };
        println!(
            "bench: {met} of {} goals met, {minutes:.1} minutes, figures in {}{failed}",
            all.len(),
            arguments.out.display()
        );
        if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// What the figures were measured on.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|line| line.trim_start_matches([':', ' ', '\t']).trim().to_owned()).unwrap_or_default()
    };
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "memory": field(&read("/proc/meminfo"), "MemTotal:"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "load_at_end": read("/proc/loadavg").trim(),
        "storekeeper": env!("CARGO_PKG_VERSION"),
    })
}

fn say(text: &str) {
    eprintln!("\x1b[1m==> {text}\x1b[0m");
}
