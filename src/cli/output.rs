//! What the commands print.

use std::io::{self, Write as _};

use serde_json::Value;
use tracing_subscriber::EnvFilter;

use super::arguments::{LogFormat, SchemaKind};
use crate::names::StoreId;
use crate::plan::{Fate, Step, StorePlan, moment};
use crate::preview::FleetPlan;
use crate::reconcile::RunError;
use crate::store::schema;

/// Sends logs to standard error; `STOREKEEPER_LOG` sets the levels.
pub(super) fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("STOREKEEPER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.init(),
    }
}

/// Prints a plan: a line a store, a line an object that would change, and a summary.
pub(super) fn print_plan(plan: &FleetPlan) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let (mut added, mut changed, mut wrong) = (0, 0, plan.problems.len());
    for problem in &plan.problems {
        writeln!(out, "! {problem}")?;
    }
    for (store, planned) in &plan.stores {
        match planned {
            Ok(StorePlan::Converged) => {}
            Ok(StorePlan::Sync(waves)) if waves.is_empty() => {}
            Ok(StorePlan::AwaitDeletion) => {
                changed += 1;
                writeln!(out, "~ store {store}: is being deleted and would be made anew")?;
            }
            Ok(StorePlan::Sync(waves)) => {
                let new = waves.iter().flatten().any(|step| matches!(step, Step::CreateNamespace(_)));
                added += usize::from(new);
                changed += usize::from(!new);
                writeln!(out, "{} store {store}", if new { '+' } else { '~' })?;
                for step in waves.iter().flatten().filter(|step| !matches!(step, Step::RecordIntent(_))) {
                    writeln!(out, "    {step}")?;
                }
            }
            planned => {
                wrong += 1;
                writeln!(out, "! store {store}: {}", trouble(store, planned))?;
            }
        }
    }
    let mut removed = 0;
    for (store, fate) in &plan.removals.fates {
        let when = match fate {
            Fate::Due { .. } => "at once".to_owned(),
            Fate::Grace { until, .. } => {
                format!("at {}, unless its file comes back before", moment::utc(*until))
            }
            Fate::Going | Fate::Refused { .. } | Fate::Protected => continue,
        };
        removed += 1;
        let namespace = store.namespace();
        writeln!(
            out,
            "- store {store}: namespace {namespace} and everything in it, volumes included; {when}"
        )?;
    }
    if let Some(refusal) = plan.removals.refusal() {
        writeln!(out, "! {refusal}")?;
    }
    if let Some(approvals) = &plan.idle_approvals {
        writeln!(out, "note: {approvals}")?;
    }
    writeln!(
        out,
        "{added} to add, {changed} to change, {removed} to remove, {} removals refused, {wrong} wrong",
        plan.removals.refused().len() + plan.removals.protected().len()
    )
}

/// Says why a store can't be planned.
fn trouble(store: &StoreId, planned: &Result<StorePlan, RunError>) -> String {
    match planned {
        Ok(StorePlan::Held(reason)) => reason.clone(),
        Ok(_) => format!("namespace {} exists and is not ours", store.namespace()),
        Err(error) => format!("failed to {error}"),
    }
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
