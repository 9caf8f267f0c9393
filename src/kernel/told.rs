//! What the task that owns a kernel's sockets tells beside the ends of cells: both sides of it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::watch;

use super::{client::Gone, journal::Journal};

/// What the task tells to whoever asks.
pub(super) struct Told {
    /// Requests on the control channel that have no answer yet.
    pub(super) unanswered: watch::Sender<u32>,
    /// Why the kernel is lost.
    pub(super) gone: watch::Sender<Option<Gone>>,
    /// Counts messages about cells that had ended.
    pub(super) late: watch::Sender<u64>,
    /// Counts messages of text.
    pub(super) heard: Arc<AtomicU64>,
}

/// The other side of [`Told`].
pub(super) struct Says {
    pub(super) unanswered: watch::Receiver<u32>,
    pub(super) gone: watch::Receiver<Option<Gone>>,
    pub(super) late: watch::Receiver<u64>,
    pub(super) heard: Arc<AtomicU64>,
}

impl Says {
    pub(super) fn delivery(&self, journal: Option<&Journal>) -> Delivery {
        let written = journal.and_then(Journal::written);
        Delivery { written, heard: self.heard.load(Ordering::Relaxed) }
    }
}

/// How much a kernel had written at a moment, and how many messages of text had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Unknown of a kernel that is not on husk's launcher.
    written: Option<u64>,
    heard: u64,
}

impl Delivery {
    /// Whether until `later` nothing was written and something came: what was written before is on
    /// its way.
    #[must_use]
    pub fn goes_on(self, later: Self) -> bool {
        self.written.is_some() && self.written == later.written && later.heard > self.heard
    }
}

/// Both sides.
pub(super) fn words() -> (Told, Says) {
    let (unanswered, hears_unanswered) = watch::channel(0);
    let (gone, hears_gone) = watch::channel(None);
    let (late, hears_late) = watch::channel(0);
    let heard = Arc::<AtomicU64>::default();
    let says = Says {
        unanswered: hears_unanswered,
        gone: hears_gone,
        late: hears_late,
        heard: Arc::clone(&heard),
    };
    (Told { unanswered, gone, late, heard }, says)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_writes_on_or_is_silent_delivers_nothing() {
        let at = |written, heard| Delivery { written, heard };
        assert!(at(Some(5), 1).goes_on(at(Some(5), 2)));
        assert!(!at(Some(5), 1).goes_on(at(Some(6), 2)), "its cell goes on");
        assert!(!at(Some(5), 1).goes_on(at(Some(5), 1)), "it hangs");
        assert!(!at(None, 1).goes_on(at(None, 2)), "nobody knows");
    }
}
