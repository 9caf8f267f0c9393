//! Floor 1: runs a kernel's process so that it can be watched, signalled and never orphaned.
//!
//! The only module with system calls of its own. The server does not start kernels itself: it runs
//! this same binary again as a small init ([`init`]), which starts the kernel, adopts and reaps all
//! that descends from it, and holds one end of a lifeline ([`lifeline`]). When the server goes,
//! however it goes, the lifeline closes and init kills everything below it; at once, or when nobody
//! has taken the kernel over for as long as it was to be kept.
//!
//! How strongly a kernel is isolated is decided in [`choose`], what it may touch in [`plan`]; init
//! carries it out: [`cgroup`] bounds all that it will start, [`root`] and [`spaces`] make a sandbox,
//! [`confine`] with [`files`] and [`calls`] takes the rest from the kernel itself. [`report`] tells what
//! came of it.

mod adopt;
#[cfg(target_os = "linux")]
mod bridge;
#[cfg(target_os = "linux")]
mod calls;
mod cgroup;
pub mod choose;
#[cfg(target_os = "linux")]
mod confine;
mod exit;
mod file_system;
#[cfg(target_os = "linux")]
mod files;
mod first;
mod folder;
mod follow;
pub mod grants;
mod handles;
mod identity;
pub mod init;
mod lifeline;
pub mod network;
pub mod plan;
mod process;
#[cfg(target_os = "linux")]
mod proof;
pub mod report;
#[cfg(target_os = "linux")]
mod root;
mod seatbelt;
pub mod settings;
#[cfg(target_os = "linux")]
mod spaces;
#[cfg(target_os = "linux")]
mod stand_in;
mod start;
mod tree;
mod watch;
mod word;

pub use adopt::{AdoptError, dismiss};
pub use choose::Unavailable;
pub use exit::Exit;
pub use file_system::network_file_system;
pub use folder::{Folder, Stamp};
pub use grants::Ground;
pub use identity::Identity;
pub use plan::{Bridge, Plan};
pub use process::{Command, Process, Signal, SpawnError, own_binary};
pub use report::Report;
pub use settings::{Isolation, Level, Network, Settings};
pub use tree::Usage;
pub use watch::Bound;

/// Raises this process's limit of open files to what it may be: a kernel takes about twenty of the
/// server's. Where that is refused, the limit stays, and a session too many is told as such.
pub fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.map_or(ENOUGH_FILES, |most| most.min(ENOUGH_FILES));
    if limit.current.is_some_and(|current| current >= enough) {
        return;
    }
    limit.current = Some(enough);
    let _ = setrlimit(Resource::Nofile, limit);
}

/// The user as which this process acts.
#[must_use]
pub fn user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// This machine's name.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A place at which a test has this process killed as by SIGKILL: the one that `TEST_HUSK_FAULT` names.
/// Nothing in release builds.
pub fn fault_point(name: &str) {
    if cfg!(debug_assertions)
        && std::env::var_os("TEST_HUSK_FAULT").is_some_and(|asked| asked == name)
    {
        let me = rustix::process::getpid();
        let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
    }
}

/// More open files than a thousand sessions take. Not without end: programs in cells inherit it, and
/// some walk through all numbers.
const ENOUGH_FILES: u64 = 65_536;

/// Bytes of memory that this machine has; where that cannot be told, no bound is drawn from it.
#[must_use]
pub fn machine_memory() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = told.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok()
    });
    kilobytes.map_or(u64::MAX, |kilobytes| kilobytes.saturating_mul(1024))
}

/// Keeps other processes of this user from reading this one's memory and environment.
pub fn hide_from_others() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            tracing::warn!(%error, "other processes of this user can read husk's memory");
        }
    }
}
