//! Floor 1: runs a kernel's process so that it can be watched, signalled and never orphaned.
//!
//! The only module with system calls of its own. The server does not start kernels itself: it runs
//! this same binary again as a small init ([`init`]), which starts the kernel, adopts and reaps all
//! that descends from it, and holds one end of a lifeline. When the server goes, however it goes,
//! the lifeline closes and init kills everything below it. No isolation yet: [`ISOLATION`] says so.

mod file_system;
mod folder;
mod handles;
pub mod init;
mod process;
mod tree;

pub use file_system::network_file_system;
pub use folder::{Folder, Stamp};
pub use process::{Command, Exit, Process, Signal, SpawnError, own_binary};
pub use tree::Usage;

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

/// More open files than a thousand sessions take. Not without end: programs in cells inherit it, and
/// some walk through all numbers.
const ENOUGH_FILES: u64 = 65_536;

/// The isolation in force for every kernel.
pub const ISOLATION: &str = "none";
