//! The course of one cell: whatever ends it first, and what it then was.
//!
//! The kernel's word, its death, a broken channel, the timeout, the caller who gives up, the server
//! that ends: each has its own [`Status`], and none is waited for without the others.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    cell::CellRun,
    census::Death,
    clock,
    launch::Kernel,
    lodging::Lodging,
    reaper,
    stop::{self, Stopped},
};
use crate::{
    base,
    jail::Exit,
    kernel::{Execution, Finished, Seen},
};

/// How a cell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It ran to its end.
    Ok,
    /// It raised an exception.
    Error,
    /// It was stopped at its timeout.
    Timeout,
    /// Something else interrupted it.
    Interrupted,
    /// Its caller gave up.
    Cancelled,
    /// The kernel died under it.
    KernelDied,
    /// It ended, or goes on, without a server that saw it.
    Unseen,
}

impl Status {
    /// All of them.
    pub(super) const ALL: [Self; 7] = [
        Self::Ok,
        Self::Error,
        Self::Timeout,
        Self::Interrupted,
        Self::Cancelled,
        Self::KernelDied,
        Self::Unseen,
    ];

    /// As a word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::Cancelled => "cancelled",
            Self::KernelDied => "kernel_died",
            Self::Unseen => "unseen",
        }
    }
}

/// Why a cell is stopped from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its caller gave up.
    Cancelled,
    /// Somebody asked for an interrupt.
    Interrupted,
    /// The user did not answer what it asked.
    Declined,
    /// Somebody asked for a fresh kernel.
    Restarted,
}

/// What may end a cell from outside.
pub(super) struct Bounds<'a> {
    /// How long it may run.
    pub(super) timeout: Duration,
    /// How long each step of stopping it is waited for.
    pub(super) grace: Duration,
    /// The cell, which may be stopped.
    pub(super) run: &'a CellRun,
    /// The server ends.
    pub(super) closing: &'a CancellationToken,
    /// Whether the kernel then goes on without it.
    pub(super) leaves: bool,
    /// Another server takes the session over.
    pub(super) lodging: &'a Lodging,
    /// When the kernel's life-time is over.
    pub(super) expires: Option<Instant>,
}

/// The end of a cell as the session's task saw it.
pub(super) struct End {
    pub(super) status: Status,
    pub(super) finished: Option<Finished>,
    pub(super) stopped: Option<Stopped>,
    pub(super) exit: Option<Exit>,
    pub(super) cause: Option<String>,
    /// What husk ended the kernel for.
    pub(super) by_husk: Option<Death>,
}

/// What is told of a cell whose end a connection that broke has swallowed.
const SWALLOWED: &str = "the connection to the gateway broke while the cell ran, and its end did not come: \
    whether it ran, and succeeded, is not known; variables are kept";

/// Why a kernel is ended whose session another server has.
pub(super) const TAKEN_OVER: &str =
    "another server has taken the session over, because this one did not answer for a while";

impl End {
    fn of(
        status: Status,
        finished: Option<Finished>,
        exit: Option<Exit>,
        cause: Option<String>,
    ) -> Self {
        Self { status, finished, stopped: None, exit, cause, by_husk: None }
    }

    /// Why the kernel is gone, if it is.
    pub(super) fn death(&self) -> Option<Death> {
        self.exit.map(|exit| self.by_husk.unwrap_or_else(|| Death::of(exit)))
    }

    /// The cell's end was not seen; the kernel lives.
    pub(super) fn unseen(why: &str) -> Self {
        Self::of(Status::Unseen, None, None, Some(why.to_owned()))
    }
}

/// Follows a cell until it ends or has to be stopped.
pub(super) async fn until_the_end(
    kernel: &Kernel,
    mut execution: Execution,
    bounds: Bounds<'_>,
) -> End {
    let Bounds { timeout, grace, run, closing, leaves, lodging, expires } = bounds;
    let mut declined = false;
    let stopping = tokio::select! {
        finished = execution.finished() => return ended(kernel, finished).await,
        exit = kernel.body.exited() => {
            let finished = stop::bury(kernel, &mut execution).await;
            return End::of(Status::KernelDied, finished, Some(exit), None);
        }
        gone = kernel.client.gone() => return lost(kernel, execution, gone.0).await,
        () = clock::has_run_for(run.phases(), timeout) => Status::Timeout,
        stop = run.stopped() => match stop {
            Stop::Cancelled => Status::Cancelled,
            Stop::Interrupted => Status::Interrupted,
            Stop::Declined => {
                declined = true;
                Status::Interrupted
            }
            Stop::Restarted => return restarted(kernel, execution).await,
        },
        () = lodging.lost() => {
            return broken(kernel, execution, TAKEN_OVER.to_owned(), Death::TakenOver).await;
        }
        () = base::clock::at(expires) => {
            return broken(kernel, execution, reaper::EXPIRED.to_owned(), Death::Expired).await;
        }
        () = closing.cancelled(), if leaves => return End::unseen("husk is shutting down; the cell goes on"),
        () = closing.cancelled() => {
            return broken(kernel, execution, "husk is shutting down".to_owned(), Death::Server).await;
        }
    };
    let stop::Leaves { stopped, exit, finished } = stop::stop(kernel, &mut execution, grace).await;
    let cause = declined.then(|| "what it asked with input() got no answer".to_owned());
    // One that died of an interrupt has ended itself.
    let by_husk = (stopped == Stopped::Kill).then_some(Death::Unstoppable);
    End { stopped: Some(stopped), by_husk, ..End::of(stopping, finished, exit, cause) }
}

/// The cell ended by the kernel's word.
async fn ended(kernel: &Kernel, finished: Option<Finished>) -> End {
    let mut end = End::of(Status::Ok, finished, None, None);
    match &end.finished {
        None => {
            end.status = Status::KernelDied;
            end.cause = Some("husk lost the kernel's channels".to_owned());
            end.by_husk = Some(Death::Lost);
        }
        Some(Finished { seen: Seen::NoEnd, .. }) => {
            end.status = Status::Unseen;
            end.cause = Some(SWALLOWED.to_owned());
            return end;
        }
        Some(Finished { failure: Some(failure), .. }) => {
            let interrupted = failure.name == "KeyboardInterrupt";
            end.status = if interrupted { Status::Interrupted } else { Status::Error };
        }
        // A kernel that is not husk's does as it likes.
        Some(Finished { asks_exit: true, .. }) if kernel.body.is_own() => {
            end.cause = Some("the cell called exit()".to_owned());
            end.by_husk = Some(Death::Itself);
        }
        Some(_) => {}
    }
    if end.cause.is_some() {
        end.exit = Some(kernel.left().await);
    }
    end
}

/// A fresh kernel was asked for: nothing of this one is spared.
async fn restarted(kernel: &Kernel, execution: Execution) -> End {
    let cause = "a restart was asked for".to_owned();
    let end = broken(kernel, execution, cause, Death::Asked).await;
    End { status: Status::Interrupted, stopped: Some(Stopped::Kill), ..end }
}

/// The kernel cannot be talked to any more; what is left of it is ended.
async fn lost(kernel: &Kernel, execution: Execution, why: String) -> End {
    let end = broken(kernel, execution, why, Death::Lost).await;
    let exit = if kernel.body.is_remote() { Some(Exit::Elsewhere) } else { end.exit };
    End { exit, ..end }
}

/// husk itself ends the kernel, and says why.
async fn broken(kernel: &Kernel, mut execution: Execution, cause: String, death: Death) -> End {
    let (exit, finished) = stop::kill(kernel, &mut execution).await;
    let end = End::of(Status::KernelDied, finished, Some(exit), Some(cause));
    End { by_husk: Some(death), ..end }
}
