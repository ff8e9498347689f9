//! The harness behind `make chaos`: random commits, faults and kills that a seed decides, and oracles that find what must
//! never happen. `docs/chaos.md` says what it proves.

#![allow(dead_code, missing_docs, reason = "the short round in the tests uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the run")]

pub mod acts;
pub mod deletions;
pub mod dice;
pub mod faults;
pub mod harness;
pub mod judge;
pub mod live;
pub mod plan;
pub mod tree;
pub mod witness;
