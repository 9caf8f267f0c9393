//! What runs a session's kernel: a process of husk's own, or somebody else's that husk only talks to.
//!
//! Nothing is done to a kernel that a human started: it is neither signalled nor killed, and its end
//! is known from its channels alone.

use crate::jail::{Exit, Process, Signal};

/// See the module's documentation.
pub(super) enum Body {
    Own(Process),
    Foreign,
}

impl Body {
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Self::Own(process) = self {
            process.signal(signal);
        }
    }

    /// Resolves when husk's own process has ended.
    pub(super) async fn exited(&self) -> Exit {
        match self {
            Self::Own(process) => process.exited().await,
            Self::Foreign => std::future::pending().await,
        }
    }

    /// Ends husk's own process; how it ended. Of another's nothing is known.
    pub(super) async fn killed(&self) -> Exit {
        match self {
            Self::Own(process) => process.killed().await,
            Self::Foreign => Exit::Unknown,
        }
    }

    /// Resolves when nothing that husk's own process started is left.
    pub(super) async fn all_ended(self) {
        if let Self::Own(process) = self {
            process.all_ended().await;
        }
    }
}
