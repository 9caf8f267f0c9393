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

/// The process below `server` that a cell knows by the number `inside`: in a sandbox that is its
/// number there.
pub(crate) fn outside(server: u32, inside: &str) -> i32 {
    let mut found: Vec<(u32, u32, String)> = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A name may hold any bytes.
        let status = std::fs::read(entry.path().join("status")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status).into_owned();
        let line = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let (Some(parent), Some(numbers)) = (line("PPid:"), line("NSpid:")) {
            let seen = numbers.split_whitespace().next_back().unwrap_or_default();
            found.push((pid, parent.parse().unwrap(), seen.to_owned()));
        }
    }
    let mut family = vec![server];
    while let Some(parent) = family.pop() {
        for (pid, _, seen) in found.iter().filter(|(_, of, _)| *of == parent) {
            if seen == inside.trim() {
                return i32::try_from(*pid).unwrap();
            }
            family.push(*pid);
        }
    }
    panic!("no process below {server} is number {inside} of a sandbox");
}
