//! The edge to git: a bare mirror for each source, files read from its object database at a commit, and a
//! watch on a local repository's refs. Nothing is ever checked out.
//!
//! Everything here blocks; the daemon calls it on a thread for blocking work. What is deliberately absent:
//! no working tree, no hook, no submodule, no filter, no git configuration but the mirror's own, and no
//! connection to any host but the one in the source's URL (`relay.rs` holds that line).

mod ancestry;
mod claim;
mod error;
mod fetch;
mod heads;
mod known_hosts;
mod local;
mod merge;
mod mirror;
mod place;
mod pulls;
mod read;
mod relay;
mod session;
mod settings;
mod single;
mod url;
mod watch;

pub use error::{ErrorKind, GitError, ShownHostKey};
pub use fetch::Head;
pub use merge::Merge;
pub use mirror::{CommitInfo, Mirror};
pub use pulls::{DEFAULT_MAX_PULL_BYTES, PullRef, Pulls};
pub use read::{Blobs, ReadLimits};
pub use settings::{
    Auth, DEFAULT_MAX_FETCH_BYTES, DEFAULT_TIMEOUT, DEFAULT_TOKEN_USERNAME, PullNames, Secret, SourceSettings,
};
pub use single::read_commit;
pub use url::{RemoteUrl, UrlError};
pub use watch::{LocalWatch, watch_local};
