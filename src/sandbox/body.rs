//! What runs a session's kernel: a process of husk's own, a kernel of its own at a gateway, or somebody
//! else's that husk only talks to.
//!
//! Nothing is done to a kernel that a human started: it is neither signalled nor killed, and its end
//! is known from its channels alone.

#[cfg(feature = "gateway")]
use super::remote::Remote;
use crate::jail::{Exit, Process, Signal};

/// See the module's documentation.
pub(super) enum Body {
    Own(Process),
    #[cfg(feature = "gateway")]
    Remote(Remote),
    Foreign,
}

impl Body {
    pub(super) fn is_own(&self) -> bool {
        !matches!(self, Self::Foreign)
    }

    /// Whether a gateway has it.
    pub(super) fn is_remote(&self) -> bool {
        !matches!(self, Self::Own(_) | Self::Foreign)
    }

    pub(super) fn signal(&self, signal: Signal) {
        match self {
            Self::Own(process) => process.signal(signal),
            #[cfg(feature = "gateway")]
            Self::Remote(remote) if signal == Signal::Interrupt => remote.interrupt(),
            #[cfg(feature = "gateway")]
            Self::Remote(_) => {}
            Self::Foreign => {}
        }
    }

    /// Resolves when husk's own process has ended; that of a gateway is told by its channels.
    pub(super) async fn exited(&self) -> Exit {
        match self {
            Self::Own(process) => process.exited().await,
            #[cfg(feature = "gateway")]
            Self::Remote(_) => std::future::pending().await,
            Self::Foreign => std::future::pending().await,
        }
    }

    /// Ends husk's own process or kernel; how it ended. Of another's nothing is known.
    pub(super) async fn killed(&self) -> Exit {
        match self {
            Self::Own(process) => process.killed().await,
            #[cfg(feature = "gateway")]
            Self::Remote(remote) => remote.killed().await,
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
