//! storekeeper: GitOps for Medusa e-commerce stores on Kubernetes.
//!
//! One file in git is one shop. The modules form layers and import only downwards; `tests/tidy.rs` holds the
//! table and `docs/architecture.md` explains it.

// Vocabulary: validated types, object identity, every label and constant. Pure.
pub mod manifest;
pub mod names;

// Decisions and conclusions. Pure.
pub mod plan;
pub mod report;

// Edges: one outside system each, blind to each other.
pub mod metrics;
pub mod web;
