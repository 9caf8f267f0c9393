//! Why a call to the sandbox was not carried out.

use super::{Source, session::Failed};
use crate::{base::ids::SessionName, notebook::record::RecordError};

/// Why a call got no session.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The limit of sessions is reached.
    #[error(
        "no room for the session `{name}`: {count} sessions are open, which is the limit; use one of {open}"
    )]
    Full {
        /// The session asked for.
        name: SessionName,
        /// How many are open.
        count: usize,
        /// Their names.
        open: String,
    },
    /// The session runs another kernel than the call asks for.
    #[error("session `{name}` runs {has}, not {asked}; give a session name of your own")]
    OtherKernel {
        /// The session.
        name: SessionName,
        /// What it runs.
        has: Source,
        /// What was asked for.
        asked: Source,
    },
    /// The kernel is somebody else's.
    #[error("the kernel of session `{name}` is not husk's to restart: do it where it was started")]
    Foreign {
        /// The session.
        name: SessionName,
    },
    /// The limit of waiting cells is reached.
    #[error(
        "the queue of session `{session}` is full: {waiting} cells wait behind the one under way \
         (setting `cells.max_queued`)"
    )]
    QueueFull {
        /// The session.
        session: SessionName,
        /// How many wait.
        waiting: usize,
    },
    /// The idempotency key belongs to another call.
    #[error(
        "session `{session}` has seen this idempotency key with other code or arguments; give each \
         call a key of its own"
    )]
    KeyReused {
        /// The session.
        session: SessionName,
    },
    /// No session of that name is open.
    #[error("no session named `{name}`; open: {open}")]
    NoSession {
        /// The session asked for.
        name: String,
        /// The names of those that are open.
        open: String,
    },
    /// The session remembers no cell of that name.
    #[error("session `{session}` knows no cell `{cell}`; it has run {has}")]
    NoCell {
        /// The session.
        session: SessionName,
        /// The cell asked for.
        cell: String,
        /// What there is.
        has: String,
    },
    /// The notebook cannot be read.
    #[error("the session's notebook cannot be read")]
    Notebook(#[source] RecordError),
    /// The cell was withdrawn.
    #[error("the cell did not begin: it was withdrawn while it waited")]
    Dropped,
    /// The server is ending.
    #[error("husk is shutting down")]
    Closing,
    /// The kernel of the session could not be started.
    #[error("{0}")]
    Failed(#[from] Failed),
}
