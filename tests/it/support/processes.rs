//! Processes that are not ours: whether they live, and waiting for their end without looking again
//! and again.

use std::{os::fd::OwnedFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

/// A process that runs now; a later one with the same number is not taken for it.
pub(crate) struct Watched {
    pid: i32,
    handle: OwnedFd,
}

impl Watched {
    /// Holds on to a running process.
    pub(crate) fn hold(pid: i32) -> Self {
        let handle = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty());
        Self {
            pid,
            handle: handle.unwrap_or_else(|error| panic!("process {pid} does not run: {error}")),
        }
    }

    /// Whether it ends within `limit`.
    pub(crate) fn ends_within(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).unwrap();
        let mut polled = [PollFd::new(&self.handle, PollFlags::IN)];
        poll(&mut polled, Some(&limit)).unwrap() > 0
    }

    /// Fails the test unless it ends within `limit`.
    pub(crate) fn must_end_within(&self, limit: Duration, who: &str) {
        assert!(self.ends_within(limit), "{who} (process {}) still runs after {limit:?}", self.pid);
    }
}
