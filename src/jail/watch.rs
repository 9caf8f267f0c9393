//! Watches what all processes of a kernel use together, as far as no control group bounds it, and says
//! when it is too much.
//!
//! The more room is left, the more seldom it looks: as often as memory could be filled, and never
//! more often than every 50 ms.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    cgroup::{Controls, Group},
    plan::Plan,
    settings::Level,
    tree,
};

/// Bytes that one processor fills in a second, at most.
const FILLS: u64 = 2 << 30;
/// The shortest and the longest pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Files are looked at more seldom: a look may take long itself.
const FILES_EVERY: Duration = Duration::from_secs(2);
/// Bytes that a file counts for at least: one without content takes a place on the disk too.
pub(super) const LEAST_FILE: u64 = 4096;
/// How much longer than a look at files the pause after it is.
const RESTS: u32 = 20;

/// What has a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// Memory of all processes, in bytes.
    Memory,
    /// Processes and threads.
    Tasks,
    /// Files in the workspace, in bytes.
    Workspace,
    /// Files in the folder for temporary ones, in bytes.
    Scratch,
    /// Time of processors, in seconds.
    Time,
}

impl Bound {
    /// What it is, and the setting that moves it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Memory => "the limit of memory (setting `sandbox.memory_bytes`)",
            Self::Tasks => "the limit of processes and threads (setting `sandbox.pids`)",
            Self::Time => "the limit of processor time (setting `sandbox.cpu_seconds`)",
            Self::Scratch => "the limit of temporary files (setting `sandbox.tmp_bytes`)",
            Self::Workspace => "the limit of the workspace (setting `sandbox.workspace_bytes`)",
        }
    }
}

/// A bound that is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub bound: Bound,
    /// What was used.
    pub used: u64,
    /// What may be.
    pub most: u64,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        match self.bound {
            Bound::Tasks => write!(f, "{} of {}", self.used, self.most),
            Bound::Time => write!(f, "{} s of {} s", self.used, self.most),
            _ => write!(f, "{:.2} GB of {:.2} GB", gigabytes(self.used), gigabytes(self.most)),
        }
    }
}

/// Looks again and again; returns the bound that is passed. What `group` bounds needs no watching, but
/// it does not end a kernel that goes on when another process was killed for it.
pub(super) async fn until_over(init: i32, plan: &Plan, group: &Group) -> Over {
    let most = plan.limits.memory_together;
    let memory = async {
        match group.part(Controls::Memory) {
            Some(_) => killed_in(group, most).await,
            None => memory_over(init, most).await,
        }
    };
    // In a root of its own that folder is a file system with a size.
    let scratch = (plan.level == Level::Landlock).then_some(plan.limits.tmp);
    tokio::select! {
        over = memory => over,
        over = tasks_over(init, plan, group) => over,
        over = time_over(init, plan.limits.processor_seconds, group) => over,
        over = files_over(&plan.folder, plan.limits.workspace, Bound::Workspace) => over,
        over = files_over(&plan.scratch, scratch, Bound::Scratch) => over,
    }
}

/// Whether a bound is passed now: for an init that watches while no server does. Sandboxes have
/// processes of their own, so it looks with the eyes of whoever calls it.
pub(super) fn is_over(init: i32, plan: &Plan) -> bool {
    if plan.level == Level::None {
        return false;
    }
    let (family, limits) = (Family::below(init), &plan.limits);
    let memory = limits.memory_together;
    (family.most() > memory && family.exactly() > memory)
        || (super::user_id() == 0 && family.tasks > limits.pids)
        || limits.processor_seconds.is_some_and(|most| tree::seconds_below(init) > most as f64)
        || limits.workspace.is_some_and(|most| bytes_below(&plan.folder) > most)
}

/// Where the group says that it has killed a process.
async fn killed_in(group: &Group, most: u64) -> Over {
    loop {
        if group.killed_for_memory() > 0 {
            let used = group.memory(true).unwrap_or(most);
            return Over { bound: Bound::Memory, used, most };
        }
        let used = group.memory(false).unwrap_or(most);
        tokio::time::sleep(pause(most.saturating_sub(used))).await;
    }
}

async fn memory_over(init: i32, most: u64) -> Over {
    loop {
        let family = Family::below(init);
        if family.most() > most {
            let used = family.exactly();
            if used > most {
                return Over { bound: Bound::Memory, used, most };
            }
        }
        tokio::time::sleep(pause(most.saturating_sub(family.most()))).await;
    }
}

/// Where neither a group nor the operating system bounds the number of processes: of root's.
async fn tasks_over(init: i32, plan: &Plan, group: &Group) -> Over {
    let bound = plan.level != Level::Landlock || super::user_id() != 0;
    if bound || group.part(Controls::Tasks).is_some() {
        return std::future::pending().await;
    }
    let most = plan.limits.pids;
    loop {
        let used = Family::below(init).tasks;
        if used > most {
            return Over { bound: Bound::Tasks, used, most };
        }
        tokio::time::sleep(PAUSES.0).await;
    }
}

async fn time_over(init: i32, most: Option<u64>, group: &Group) -> Over {
    let Some(most) = most else { return std::future::pending().await };
    loop {
        let used = group.seconds().unwrap_or_else(|| tree::seconds_below(init));
        if used > most as f64 {
            return Over { bound: Bound::Time, used: used as u64, most };
        }
        let left = (most as f64 - used) / processors() as f64;
        let pause = Duration::from_secs_f64(left).clamp(PAUSES.0, PAUSES.1);
        tokio::time::sleep(pause).await;
    }
}

fn processors() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

/// How long it takes at least until so many bytes are filled.
fn pause(room: u64) -> Duration {
    let millis = room.saturating_mul(1000) / (FILLS.saturating_mul(processors()));
    Duration::from_millis(millis).clamp(PAUSES.0, PAUSES.1)
}

/// The processes below an init.
#[derive(Debug, Default)]
struct Family {
    pids: Vec<u32>,
    tasks: u64,
    /// Resident memory; what is shared counts for each.
    resident: u64,
    /// Memory that is a file without a name, also what nobody has mapped.
    nameless: u64,
}

impl Family {
    fn below(init: i32) -> Self {
        let mut family = Self::default();
        let mut files = BTreeMap::new();
        let mut left = children(init.unsigned_abs()).0;
        while let Some(pid) = left.pop() {
            let (below, tasks) = children(pid);
            left.extend(below);
            family.pids.push(pid);
            family.tasks += tasks;
            family.resident += resident(pid);
            nameless(pid, &mut files);
        }
        family.nameless = files.values().sum();
        family
    }

    /// What it uses at most.
    fn most(&self) -> u64 {
        self.resident + self.nameless
    }

    /// What it uses, with what is shared counted once. Files that are only read do not count: the
    /// machine can drop them.
    fn exactly(&self) -> u64 {
        let (mut private, mut shared) = (0, 0);
        for pid in &self.pids {
            let Ok(told) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
                // Nobody tells: then all of it counts.
                private += resident(*pid);
                continue;
            };
            private += kilobytes(&told, "Pss_Anon:");
            shared += kilobytes(&told, "Pss_Shmem:");
        }
        private + shared.max(self.nameless)
    }
}

fn kilobytes(told: &str, name: &str) -> u64 {
    let line = told.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// The children of a process, and how many tasks it has.
fn children(pid: u32) -> (Vec<u32>, u64) {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return (Vec::new(), 0) };
    let (mut found, mut count) = (Vec::new(), 0);
    for task in tasks.flatten() {
        count += 1;
        let told = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(told.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    (found, count)
}

fn resident(pid: u32) -> u64 {
    let told = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = told.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Adds the nameless files in memory that a process holds, each once.
fn nameless(pid: u32, files: &mut BTreeMap<u64, u64>) {
    use std::os::unix::fs::MetadataExt;
    let held = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    for file in held.map(|entry| entry.path()) {
        let in_memory =
            |target: PathBuf| target.as_os_str().as_encoded_bytes().starts_with(b"/memfd:");
        if fs::read_link(&file).is_ok_and(in_memory)
            && let Ok(about) = fs::metadata(&file)
        {
            files.insert(about.ino(), about.blocks() * 512);
        }
    }
}

async fn files_over(folder: &Path, most: Option<u64>, bound: Bound) -> Over {
    let Some(most) = most else { return std::future::pending().await };
    loop {
        let begun = tokio::time::Instant::now();
        let looked_at = folder.to_owned();
        let used = tokio::task::spawn_blocking(move || bytes_below(&looked_at)).await.unwrap_or(0);
        if used > most {
            return Over { bound, used, most };
        }
        tokio::time::sleep(FILES_EVERY.max(begun.elapsed() * RESTS)).await;
    }
}

/// Bytes on disk below a folder, by links to no other place.
fn bytes_below(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut left = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(folder) = left.pop() {
        let entries = fs::read_dir(folder).into_iter().flatten();
        for entry in entries.filter_map(io::Result::ok) {
            let Ok(about) = entry.metadata() else { continue };
            bytes += (about.blocks() * 512).max(LEAST_FILE);
            if about.is_dir() {
                left.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_room_the_more_often_it_looks() {
        assert_eq!(pause(0), PAUSES.0);
        assert_eq!(pause(u64::MAX), PAUSES.1);
        assert!(pause(FILLS) >= pause(FILLS / 2));
    }

    #[test]
    fn a_bound_is_told_with_what_was_used() {
        let over = Over { bound: Bound::Memory, used: 2_100_000_000, most: 2_000_000_000 };
        assert_eq!(over.to_string(), "2.10 GB of 2.00 GB");
        assert_eq!(Over { bound: Bound::Tasks, used: 120, most: 100 }.to_string(), "120 of 100");
        assert_eq!(Over { bound: Bound::Time, used: 61, most: 60 }.to_string(), "61 s of 60 s");
    }

    #[test]
    fn files_below_a_folder_count_and_those_behind_a_link_do_not() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/file"), vec![1; 100_000]).unwrap();
        fs::write(other.path().join("file"), vec![1; 1_000_000]).unwrap();
        std::os::unix::fs::symlink(other.path(), folder.path().join("link")).unwrap();
        let bytes = bytes_below(folder.path());
        assert!((100_000..500_000).contains(&bytes), "{bytes}");
        for name in 0..100 {
            fs::write(folder.path().join(name.to_string()), "").unwrap();
        }
        assert!(bytes_below(folder.path()) >= bytes + 100 * LEAST_FILE);
    }
}
