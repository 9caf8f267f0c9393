//! The ladder by which a cell that will not end is stopped, bounded at every step.
//!
//! interrupt on the control channel → SIGINT → SIGKILL. User code can swallow the first two; the
//! third ends the kernel and all that it has started. Each of the first two is waited for by the
//! setting `cells.interrupt_grace`; longer while what the cell had written until then still comes.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::launch::Kernel;
use crate::{
    jail::{self, Exit},
    kernel::{Execution, Finished},
};

/// How long a dead kernel's last words are waited for: a little longer than they are read.
const LAST_WORDS: Duration = Duration::from_millis(1500);
/// How long a cell that has ended may deliver what it had written.
const DELIVERS: Duration = Duration::from_secs(10);
/// How long nothing may come of what was written: ipykernel sends text every 200 ms.
const SILENCE: Duration = Duration::from_millis(250);
/// How long the answer to an interrupt is waited for after its cell has ended.
const ANSWER: Duration = Duration::from_millis(200);

/// What it took to stop a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// An interrupt over the control channel.
    Interrupt,
    /// SIGINT.
    Signal,
    /// SIGKILL: the kernel is gone.
    Kill,
    /// Nothing: the kernel is somebody else's, and may be busy with the cell or run it later.
    LeftBehind,
}

/// How a stopped cell leaves its kernel.
pub(super) struct Leaves {
    /// What it took.
    pub(super) stopped: Stopped,
    /// How the kernel ended, if it did.
    pub(super) exit: Option<Exit>,
    /// What the cell leaves.
    pub(super) finished: Option<Finished>,
}

/// Stops the cell under way.
pub(super) async fn stop(kernel: &Kernel, execution: &mut Execution, grace: Duration) -> Leaves {
    // A kernel that was stopped (SIGSTOP) must run to be interrupted.
    kernel.body.signal(jail::Signal::Continue);
    let at_most = Instant::now() + DELIVERS;
    for stopped in [Stopped::Interrupt, Stopped::Signal] {
        let first = stopped == Stopped::Interrupt || !kernel.body.is_own();
        let by_message = first && kernel.interrupts_by_message;
        kernel.client.interrupt(by_message, !kernel.body.is_own());
        if !by_message {
            kernel.body.signal(jail::Signal::Interrupt);
        }
        tokio::select! {
            ended = ends(kernel, execution, (grace, at_most)) => if let Some(finished) = ended {
                // An interrupt that has not been carried out yet would hit the next cell.
                let _ = timeout(ANSWER, kernel.client.control_answered()).await;
                return Leaves { stopped, exit: None, finished };
            },
            // Some kernels die of an interrupt.
            exit = kernel.body.exited() => {
                let finished = bury(kernel, execution).await;
                return Leaves { stopped, exit: Some(exit), finished };
            }
        }
    }
    if !kernel.body.is_own() {
        kernel.client.conclude(false);
        let finished = timeout(LAST_WORDS, execution.finished()).await.ok().flatten();
        return Leaves { stopped: Stopped::LeftBehind, exit: None, finished };
    }
    let (exit, finished) = kill(kernel, execution).await;
    Leaves { stopped: Stopped::Kill, exit: Some(exit), finished }
}

/// The end of the cell, if it comes within the grace, or while the kernel does nothing but deliver: it
/// would lose its variables for being slower than its reader.
async fn ends(
    kernel: &Kernel,
    execution: &mut Execution,
    (grace, at_most): (Duration, Instant),
) -> Option<Option<Finished>> {
    // Until it heeds the interrupt a cell may write: half of the grace, or all of a short one.
    let mut wait = if grace / 2 < SILENCE { grace } else { grace / 2 };
    let mut before = None;
    loop {
        if let Ok(finished) = timeout(wait, execution.finished()).await {
            return Some(finished);
        }
        let now = kernel.client.delivery();
        let goes_on = before.replace(now).is_none_or(|before| before.goes_on(now));
        if !goes_on || Instant::now() > at_most {
            return None;
        }
        wait = (grace - grace / 2).max(SILENCE);
    }
}

/// Kills the kernel; how it ended, and what the cell leaves.
pub(super) async fn kill(kernel: &Kernel, execution: &mut Execution) -> (Exit, Option<Finished>) {
    let exit = kernel.body.killed().await;
    (exit, bury(kernel, execution).await)
}

/// Takes what the cell of a dead kernel leaves.
pub(super) async fn bury(kernel: &Kernel, execution: &mut Execution) -> Option<Finished> {
    kernel.client.conclude(true);
    timeout(LAST_WORDS, execution.finished()).await.ok().flatten()
}
