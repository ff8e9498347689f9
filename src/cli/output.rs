//! What the commands print.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::arguments::{LogFormat, PlanOutput, SchemaKind};
use super::lines::Lines;
use super::traces::Traces;
use crate::report::PlanReport;
use crate::store::schema;

/// Sends logs to standard error, and spans to a collector where there is one; `STOREKEEPER_LOG` sets the levels of logs. What the library says of the OpenPGP packets that it
/// does not understand is left out: strangers write them, and what follows from it is said elsewhere.
pub(super) fn log_to_stderr(format: LogFormat, traces: Option<&Traces>) {
    let filter =
        EnvFilter::try_from_env("STOREKEEPER_LOG").unwrap_or_else(|_| EnvFilter::new("info,pgp=off"));
    let filter = filter.and(filter_fn(is_safe));
    let in_colour = matches!(format, LogFormat::Text) && io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_ansi(in_colour).with_writer(Lines { in_colour });
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        LogFormat::Text => lines.with_filter(filter).boxed(),
    };
    tracing_subscriber::registry().with(lines).with(traces.map(Traces::layer)).init();
}

/// Whether a line can be logged at all: at `debug` the client of the API server repeats its answers, which may repeat a
/// Secret that was sent, and what libraries trace, nobody has read.
fn is_safe(metadata: &Metadata<'_>) -> bool {
    match metadata.target().split("::").next() {
        Some(env!("CARGO_PKG_NAME")) => true,
        Some("kube_client") => *metadata.level() <= Level::INFO,
        _ => *metadata.level() <= Level::DEBUG,
    }
}

/// Prints a plan; in colour on a terminal that wants it.
pub(super) fn print_plan(plan: &PlanReport, output: PlanOutput) -> anyhow::Result<()> {
    // It takes the colours out again where nobody wants them.
    let mut out = anstream::stdout().lock();
    match output {
        PlanOutput::Text => out.write_all(plan.text(true).as_bytes())?,
        PlanOutput::Json => writeln!(out, "{}", serde_json::to_string_pretty(plan)?)?,
        PlanOutput::Markdown => out.write_all(plan.markdown(None).as_bytes())?,
    }
    Ok(())
}

/// Prints objects as a YAML stream with the template of each, as `helm template` does.
pub(super) fn print_objects(objects: &[(String, Value)]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for (template, object) in objects {
        write!(out, "---\n# Source: {template}\n{}", crate::chart::to_yaml(object))?;
    }
    Ok(())
}

/// Prints a JSON Schema.
pub(super) fn print_schema(kind: Option<SchemaKind>) -> io::Result<()> {
    let schema = match kind {
        Some(SchemaKind::Store) => schema::store(),
        Some(SchemaKind::Fleet) => schema::fleet(),
        None => schema::any(),
    };
    io::stdout().lock().write_all(schema::print(&schema).as_bytes())
}
