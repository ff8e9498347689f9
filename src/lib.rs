//! storekeeper: GitOps for Medusa e-commerce stores on Kubernetes.
//!
//! One file in git is one shop. The modules form layers and import only downwards; `tests/tidy.rs` holds the
//! table and `docs/architecture.md` explains it.

// Vocabulary: validated types, object identity, every label and constant. Pure.
pub mod chart;
pub mod manifest;
pub mod names;
