//! YAML as Helm reads and writes it: YAML 1.1 scalars in, the layout of go-yaml out.
//!
//! Helm turns YAML into JSON before anything else sees it, so both directions speak `serde_json::Value`.

mod quick;
mod read;
mod scalar;
mod write;

pub(crate) use read::{Reader, parse_document};
pub(crate) use scalar::number_from_float;
pub(crate) use write::{to_pretty_text, to_text};

/// Says where a text stops being YAML; fits "failed to {error}".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parse YAML at line {line}, column {column}: {message}")]
pub struct YamlError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}
