//! `make parity`: renders charts by ours and by real Helm, and prints what differs.

#![allow(clippy::unwrap_used, reason = "what fails here fails the run")]

#[path = "mod.rs"]
mod parity;

use std::collections::VecDeque;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use clap::Parser;

use parity::case::Case;
use parity::compare::compare;
use parity::helm::{self, Helm};
use parity::ours;

#[derive(Parser)]
struct Arguments {
    /// Folders: charts themselves, or folders with charts, unpacked or as `.tgz`.
    #[arg(required_unless_present = "fuzz")]
    charts: Vec<PathBuf>,
    /// What `helm template --kube-version` takes.
    #[arg(long)]
    kube_version: Option<String>,
    /// What `helm template --api-versions` takes.
    #[arg(long, value_delimiter = ',')]
    api_versions: Vec<String>,
    /// Show every difference instead of the first of each values set.
    #[arg(long)]
    all: bool,
    /// Have YAML written and read of what these seeds make up, instead of rendering charts.
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    fuzz: Option<Vec<u64>>,
}

/// One line of the table.
#[derive(Default)]
struct Row {
    chart: String,
    version: String,
    sets: usize,
    objects: usize,
    identical_objects: usize,
    identical: usize,
    different: usize,
    refused_by_both: usize,
    refused_by_one: usize,
    random: usize,
    /// What to say below the table.
    remarks: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seeds) = &arguments.fuzz {
        return fuzz(seeds[0]..seeds[1]);
    }
    let charts: Vec<PathBuf> = arguments.charts.iter().flat_map(|folder| charts_in(folder)).collect();
    let queue = Mutex::new(charts.iter().enumerate().collect::<VecDeque<_>>());
    let rows = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from).min(4);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let folder = tempfile::tempdir().unwrap();
                let helm = Helm::new(helm::binary(), folder.path().to_owned());
                loop {
                    let Some((index, chart)) = queue.lock().unwrap().pop_front() else { return };
                    let row = row(&helm, chart, &arguments);
                    rows.lock().unwrap().push((index, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|(index, _)| *index);
    report(&rows.into_iter().map(|(_, row)| row).collect::<Vec<_>>())
}

fn fuzz(seeds: Range<u64>) -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let helm = Helm::new(helm::binary(), folder.path().to_owned());
    let found = seeds
        .clone()
        .flat_map(|seed| parity::fuzz::differences(&helm, &parity::fuzz::chart(), folder.path(), seed));
    let found: Vec<String> = found.collect();
    for difference in &found {
        println!("{difference}");
    }
    println!("parity: {} seeds, {} differences", seeds.end - seeds.start, found.len());
    if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Finds the charts of a folder: itself, its subfolders, its packed charts.
fn charts_in(folder: &Path) -> Vec<PathBuf> {
    let is_chart =
        |path: &Path| path.join("Chart.yaml").is_file() || path.extension().is_some_and(|end| end == "tgz");
    if is_chart(folder) {
        return vec![folder.to_owned()];
    }
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut charts: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| is_chart(path)).collect();
    charts.sort();
    charts
}

/// The values sets of a chart: none, each `ci/*-values.yaml`, and each `values-*.yaml` beside its own.
fn values_sets(chart: &Path) -> Vec<Option<PathBuf>> {
    let named = |folder: &Path, is_wanted: &dyn Fn(&str) -> bool| -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.file_name().is_some_and(|name| is_wanted(&name.to_string_lossy()))).collect()
    };
    let mut files = named(&chart.join("ci"), &|name| name.ends_with("-values.yaml"));
    files.extend(named(chart, &|name| name.starts_with("values-") && is_yaml(name)));
    files.sort();
    std::iter::once(None).chain(files.into_iter().map(Some)).collect()
}

fn is_yaml(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|end| end == "yaml")
}

fn row(helm: &Helm, chart: &Path, arguments: &Arguments) -> Row {
    let loaded = ours::load(chart);
    let name = chart.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut row = Row { chart: name, ..Row::default() };
    if let Ok(chart) = &loaded {
        chart.version().clone_into(&mut row.version);
    }
    for values in values_sets(chart) {
        let case = Case {
            chart: chart.to_owned(),
            values: values.into_iter().collect(),
            kube_version: arguments.kube_version.clone(),
            api_versions: arguments.api_versions.clone(),
            ..Case::default()
        };
        row.sets += 1;
        let ours = loaded.as_ref().map_err(Clone::clone).and_then(|chart| ours::render(chart, &case));
        match (ours, helm.render_twice(&case)) {
            (Ok(ours), Ok((first, again))) => {
                let comparison = compare(&ours, &first, &again);
                row.objects += comparison.objects;
                row.identical_objects += comparison.identical;
                row.random += comparison.random;
                if comparison.differences.is_empty() {
                    row.identical += 1;
                } else {
                    row.different += 1;
                    let shown = if arguments.all { comparison.differences.len() } else { 1 };
                    let first = comparison.differences[..shown].join("\n");
                    row.remarks.push(format!(
                        "{}: {} differ\n{first}",
                        case.name(),
                        comparison.differences.len()
                    ));
                }
            }
            (Err(_), Err(_)) => row.refused_by_both += 1,
            (Err(ours), Ok(_)) => {
                row.refused_by_one += 1;
                row.remarks.push(format!("{}: only we refuse: {ours}", case.name()));
            }
            (Ok(_), Err(helms)) => {
                row.refused_by_one += 1;
                row.remarks.push(format!("{}: only helm refuses: {helms}", case.name()));
            }
        }
    }
    eprintln!("{}: {} of {} values sets identical", row.chart, row.identical, row.sets);
    row
}

fn report(rows: &[Row]) -> ExitCode {
    println!(
        "| chart | version | values sets | identical | different | refused by both | refused by one | objects | identical | random fields |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut sum = Row::default();
    for row in rows {
        let Row {
            chart,
            version,
            sets,
            objects,
            identical_objects,
            identical,
            different,
            refused_by_both,
            refused_by_one,
            random,
            remarks: _,
        } = row;
        println!(
            "| {chart} | {version} | {sets} | {identical} | {different} | {refused_by_both} | {refused_by_one} | {objects} | {identical_objects} | {random} |"
        );
        sum.sets += sets;
        sum.objects += objects;
        sum.identical_objects += identical_objects;
        sum.identical += identical;
        sum.different += different;
        sum.refused_by_both += refused_by_both;
        sum.refused_by_one += refused_by_one;
        sum.random += random;
    }
    println!();
    for remark in rows.iter().flat_map(|row| &row.remarks) {
        println!("{remark}");
    }
    let compared = sum.sets - sum.refused_by_both;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let percent = if compared == 0 { 0.0 } else { 100.0 * sum.identical as f64 / compared as f64 };
    println!(
        "parity: {percent:.1} % of {compared} values sets identical, {} of {} objects, {} charts; {} differ, {} refused by one, \
         {} refused by both; {} random fields left out",
        sum.identical_objects,
        sum.objects,
        rows.len(),
        sum.different,
        sum.refused_by_one,
        sum.refused_by_both,
        sum.random
    );
    if compared > 0 && sum.different + sum.refused_by_one == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
