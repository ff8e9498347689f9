//! Why Helm did not render a chart. Messages fit "failed to {error}".

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::chart::RenderError;

/// Why Helm did not render a chart.
#[derive(Debug, thiserror::Error)]
pub enum HelmError {
    /// The binary can't be started.
    #[error("start helm at {}: {source}; is it there, and may it be run?", .path.display())]
    Start {
        /// The binary.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The run's folder can't be written or read.
    #[error("use a folder in {} for a run of helm: {source}", .folder.display())]
    Folder {
        /// The folder in which it lies.
        folder: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A path in the chart leads out of it.
    #[error("give helm the chart: `{path}` is no path of a file in a chart")]
    Path {
        /// The path, made printable.
        path: String,
    },
    /// The server that answers look-ups can't be started.
    #[error("answer helm's look-ups: {0}")]
    Server(
        /// Why not.
        io::Error,
    ),
    /// How the run ended is not known.
    #[error("wait for helm: {0}")]
    Lost(
        /// Why not.
        io::Error,
    ),
    /// Helm refused the chart or its values, or a template failed.
    #[error("render with helm: {reason}")]
    Refused {
        /// What helm says, in one line. A template may have put anything there that it looked up.
        reason: String,
    },
    /// The run took too long.
    #[error("render with helm in time: it was not done within {} s, and was ended", .limit.as_secs_f32())]
    TimedOut {
        /// How long it may take.
        limit: Duration,
    },
    /// The run held too much memory.
    #[error("render with helm: it held more than {} MiB of memory, and was ended", .limit >> 20)]
    TooMuchMemory {
        /// The limit in bytes.
        limit: u64,
    },
    /// The templates wrote too much.
    #[error("render with helm: the chart's output exceeds {limit} bytes")]
    OutputTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A template's output holds no objects.
    #[error(transparent)]
    Output(#[from] RenderError),
}
