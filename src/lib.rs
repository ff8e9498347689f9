//! storekeeper: GitOps for Medusa e-commerce stores on Kubernetes.
//!
//! One file in git is one shop. The modules form layers and import only downwards; `tests/tidy.rs` holds the
//! table and `docs/architecture.md` explains it.

// Vocabulary: validated types, object identity, every label and constant. Pure.
pub mod manifest;
pub mod names;
pub mod store;

// The Helm chart: load, merge values, render. Pure.
pub mod chart;

// Decisions and conclusions. Pure.
pub mod plan;
pub mod report;
pub mod trust;

// Edges: one outside system each, blind to each other.
pub mod chart_source;
pub mod cluster;
pub mod forge;
pub mod git;
pub mod helm;
pub mod hooks;
pub mod journal;
pub mod ledger;
pub mod metrics;
pub mod probe;
pub mod web;

// One store's run.
pub mod reconcile;

// Triggers, queue and retries; and the same plan without acting.
pub mod daemon;
pub mod preview;

// Arguments to settings to edges to daemon.
pub mod cli;
