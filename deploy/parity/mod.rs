//! Compares what charts render to here with what real Helm renders them to. `docs/parity.md` says what is compared.

#![allow(dead_code, missing_docs, reason = "the tests use a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the run")]

pub mod case;
pub mod compare;
pub mod fuzz;
pub mod helm;
pub mod ours;
