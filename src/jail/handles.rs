//! The last resort against an init that a cell has stopped or killed: the server's own handles.
//!
//! A pidfd names one process for ever, so that no stranger who gets its number later is hit. Where
//! there are none (macOS) nothing is destroyed this way, and init has the only word.

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

#[cfg(target_os = "linux")]
use rustix::process::{self, Pid, PidfdFlags, Signal};

use super::cgroup::Group;
#[cfg(target_os = "linux")]
use super::tree;

/// Holds on to a kernel and its init.
pub(super) struct Handles {
    /// The init's process id.
    pub(super) init: Option<i32>,
    /// The kernel's control group.
    pub(super) group: Group,
    #[cfg(target_os = "linux")]
    init_handle: Option<OwnedFd>,
    #[cfg(target_os = "linux")]
    kernel_handle: Option<OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Handles {
    pub(super) fn hold(init: Option<i32>, kernel: u32, group: Group) -> Self {
        let open = |pid| process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok();
        let kernel_handle = i32::try_from(kernel).ok().and_then(open);
        Self { init, group, init_handle: init.and_then(open), kernel_handle }
    }

    /// Kills the kernel alone.
    pub(super) fn kill_kernel(&self) {
        let kernel = self.kernel_handle.as_ref();
        // One that has ended already is as wanted.
        kernel.map(|handle| process::pidfd_send_signal(handle, Signal::KILL));
    }

    /// Kills the kernel, everything below init, and init: a stopped process dies of it too.
    pub(super) fn destroy(&self) {
        let kill = |handle: &Option<OwnedFd>| {
            // A process that has ended already is as wanted.
            handle.as_ref().map(|handle| process::pidfd_send_signal(handle, Signal::KILL))
        };
        kill(&self.kernel_handle);
        // Init's number is its own as long as the server has not reaped it.
        for pid in self.init.map(tree::below).unwrap_or_default() {
            let _ = Pid::from_raw(pid).map(|pid| process::kill_process(pid, Signal::KILL));
        }
        // Also what has left the tree, where there is a group that nothing leaves.
        self.group.kill();
        kill(&self.init_handle);
    }
}

#[cfg(not(target_os = "linux"))]
impl Handles {
    pub(super) fn hold(init: Option<i32>, _kernel: u32, group: Group) -> Self {
        Self { init, group }
    }

    pub(super) fn kill_kernel(&self) {}

    pub(super) fn destroy(&self) {}
}
