//! What the task that owns a kernel's sockets tells beside the ends of cells: both sides of it.

use tokio::sync::watch;

use super::client::Gone;

/// What the task tells to whoever asks.
pub(super) struct Told {
    /// Requests on the control channel that have no answer yet.
    pub(super) unanswered: watch::Sender<u32>,
    /// Why the kernel is lost.
    pub(super) gone: watch::Sender<Option<Gone>>,
    /// Counts messages about cells that had ended.
    pub(super) late: watch::Sender<u64>,
}

/// The other side of [`Told`].
pub(super) struct Says {
    pub(super) unanswered: watch::Receiver<u32>,
    pub(super) gone: watch::Receiver<Option<Gone>>,
    pub(super) late: watch::Receiver<u64>,
}

/// Both sides.
pub(super) fn words() -> (Told, Says) {
    let (unanswered, hears_unanswered) = watch::channel(0);
    let (gone, hears_gone) = watch::channel(None);
    let (late, hears_late) = watch::channel(0);
    let says = Says { unanswered: hears_unanswered, gone: hears_gone, late: hears_late };
    (Told { unanswered, gone, late }, says)
}
