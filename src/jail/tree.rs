//! The processes below a process, and what they use, read from `/proc`.
//!
//! Where there is no `/proc` (macOS) nothing is known, and nothing is claimed.

use std::fs;

/// What a kernel and all that it has started use.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Resident memory in bytes (pages shared between the processes count for each).
    pub memory_bytes: u64,
    /// CPU time since the start, in seconds.
    pub cpu_seconds: f64,
    /// How many processes.
    pub processes: usize,
}

/// One line of `/proc/PID/stat`.
struct Stat {
    pid: i32,
    parent: i32,
    ticks: u64,
    /// Those of its children that have ended.
    ended: u64,
    /// When it was started, in ticks since the machine was.
    started: u64,
    /// Whether it has ended, and nobody has asked how yet.
    zombie: bool,
    pages: u64,
}

/// Every process below `root`, parents before children; `root` itself is not in it.
pub(super) fn below(root: i32) -> Vec<i32> {
    stats_below(root).iter().map(|stat| stat.pid).collect()
}

/// What every process below `root` uses.
pub(super) fn usage_below(root: i32) -> Option<Usage> {
    let stats = stats_below(root);
    let page = rustix::param::page_size() as u64;
    let tick = rustix::param::clock_ticks_per_second() as f64;
    (!stats.is_empty()).then(|| Usage {
        memory_bytes: stats.iter().map(|stat| stat.pages * page).sum(),
        cpu_seconds: stats.iter().map(|stat| stat.ticks).sum::<u64>() as f64 / tick,
        processes: stats.len(),
    })
}

/// Seconds of processor time of all below `root`, and of all that have ended there.
pub(super) fn seconds_below(root: i32) -> f64 {
    let stats = stats_below(root);
    let own = read(root).map_or(0, |root| root.ended);
    let ticks: u64 = stats.iter().map(|stat| stat.ticks + stat.ended).sum();
    (own + ticks) as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// When the process that runs was started, in ticks since the machine was: with its number that names
/// it alone.
pub(super) fn started(pid: i32) -> Option<u64> {
    read(pid).filter(|stat| !stat.zombie).map(|stat| stat.started)
}

/// The process below `root` that is number `inside` in its own process namespace.
#[cfg(target_os = "linux")]
pub(super) fn outside(root: i32, inside: u32) -> Option<u32> {
    below(root).into_iter().filter_map(|pid| u32::try_from(pid).ok()).find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let mut numbers = numbers.unwrap_or_default().split_whitespace();
        numbers.next_back() == Some(inside.to_string().as_str()) && numbers.next().is_some()
    })
}

/// How many tasks this user has on the machine, threads too.
#[cfg(target_os = "linux")]
pub(super) fn tasks_of_this_user() -> u64 {
    use std::os::unix::fs::MetadataExt;
    let me = rustix::process::getuid().as_raw();
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        (entry.metadata().ok()?.uid() == me).then(|| entry.path().join("task"))
    });
    processes.map(|tasks| fs::read_dir(tasks).map_or(0, |tasks| tasks.count() as u64)).sum()
}

fn stats_below(root: i32) -> Vec<Stat> {
    let mut others: Vec<Stat> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect();
    let mut family = vec![root];
    let mut found = Vec::new();
    while let Some(parent) = family.pop() {
        let (children, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|stat| stat.parent == parent);
        others = rest;
        family.extend(children.iter().map(|stat| stat.pid));
        found.extend(children);
    }
    found
}

fn read(pid: i32) -> Option<Stat> {
    // A process names itself, with any bytes.
    parse(pid, &String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
}

/// `pid (name) state ppid …`: the name may hold spaces and parentheses, so the fields are counted
/// from its end. Source: proc_pid_stat(5).
fn parse(pid: i32, line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        pid,
        parent: i32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
        ended: number(13)? + number(14)?,
        started: number(19)?,
        zombie: matches!(fields.first(), Some(&("Z" | "X"))),
        pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_and_parentheses_are_passed_over() {
        let line = "7 (a) b) c) S 3 7 7 0 -1 4194560 1 0 0 0 11 22 0 0 20 0 1 0 5 1000 42 18446744073709551615";
        let stat = parse(7, line).unwrap();
        assert_eq!((stat.parent, stat.ticks, stat.pages), (3, 33, 42));
        assert_eq!((stat.ended, stat.started), (0, 5));
        assert!(parse(7, "7 (x) S").is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_child_is_found_with_its_memory() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(below(me).contains(&i32::try_from(child.id()).unwrap()));
        assert!(usage_below(me).unwrap().processes >= 1);
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
