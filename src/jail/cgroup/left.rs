//! What is left of groups whose kernel has ended: removed by the init that has made them, or, where
//! that was killed, by the next one. Their names tell who has made them.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, time::Duration};

use rustix::process::{self, Pid, Signal};

use crate::jail::tree;

/// What the names of husk's groups begin with.
const PREFIX: &str = "husk-";
/// How often, a millisecond apart, the removal of a group is tried: its last process may still be
/// going.
const TRIES: u32 = 200;

/// The name of the group that this process makes: it tells who that is, also when the number of the
/// process has been given to another.
pub(super) fn own_name() -> String {
    let me = process::getpid().as_raw_nonzero().get();
    format!("{PREFIX}{}-{me}-{}", numbering(), tree::started(me).unwrap_or(0))
}

/// The namespace in which this process has its number.
fn numbering() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

/// Ends and removes what inits that are no more have left in a group.
pub(super) fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_left) {
            kill_all(&entry.path());
            remove(&entry.path());
        }
    }
}

/// Whether a group has that name whose maker has ended. Of one that has its number in another
/// namespace that cannot be told.
fn is_left(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let numbers: Vec<u64> = rest.split('-').filter_map(|number| number.parse().ok()).collect();
    let &[namespace, pid, since] = numbers.as_slice() else { return false };
    let ended = |pid| tree::started(pid) != Some(since);
    namespace == numbering() && i32::try_from(pid).is_ok_and(ended)
}

/// Kills all in a group that this process can see.
pub(super) fn kill_all(folder: &Path) {
    for _ in 0..TRIES {
        let told = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        // Processes of another namespace, which this one cannot see, are number 0.
        let pids = told.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0);
        let alive: Vec<Pid> = pids.filter_map(Pid::from_raw).collect();
        if alive.is_empty() {
            return;
        }
        for pid in alive {
            let _ = process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Removes a group, when what is ending in it has ended.
pub(super) fn remove(folder: &Path) {
    for _ in 0..TRIES {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(1));
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_maker_that_has_ended_left_is_swept() {
        let me = std::process::id();
        let since = tree::started(i32::try_from(me).unwrap()).unwrap();
        let space = numbering();
        let check = |name: &str, left: bool| assert_eq!(is_left(name), left, "{name}");
        check(&own_name(), false);
        check(&format!("husk-{space}-{me}-{since}"), false);
        // Another process has got the number since.
        check(&format!("husk-{space}-{me}-{}", since + 1), true);
        check(&format!("husk-{}-{me}-{}", space + 1, since + 1), false);
        for other in ["husk", "husk-1-2", "husk-a-b-c", "user.slice", "husk-1-2-3-4"] {
            check(other, false);
        }
    }
}
