//! Control groups: bounds that hold for all processes of a kernel together, where the machine lets
//! husk make one.
//!
//! Whether it does is tried by doing it, never inferred. The kernel's init makes the group, and
//! removes it when all in it have ended; what an init that was killed has left is removed by the next
//! one ([`left`]). Init itself stays outside, so that a full group never costs it its life.

mod left;
mod make;
mod place;

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::plan::Limits;

/// What a group bounds or counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Controls {
    /// Bytes of memory.
    Memory,
    /// Processes and threads.
    Tasks,
    /// Processors.
    Processors,
    /// Time of processors is counted.
    Time,
}

/// A folder of the tree of groups: one for all, or, on machines of the older kind, one for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Where it is.
    pub(super) folder: PathBuf,
    /// Whether it is of the newer kind.
    pub(super) unified: bool,
    /// What it does.
    pub(super) controls: Vec<Controls>,
}

/// The group of one kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Group {
    /// Its folders.
    pub(super) parts: Vec<Part>,
    /// What could not be had, and why.
    pub(super) missing: Vec<String>,
}

/// A group with what is open of it since before privileges were given up: where a kernel is, no group
/// can be seen.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The group.
    pub(super) group: Group,
    /// The way into it.
    pub(super) door: Door,
    /// What tells that its memory was full.
    pub(super) gauge: Gauge,
}

/// The way into a group.
#[derive(Debug, Default)]
pub(super) struct Door {
    files: Vec<fs::File>,
    /// Whether the group bounds processors.
    pub(super) processors: bool,
}

/// Tells whether processes were killed because a group's memory was full.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    events: Option<fs::File>,
    peak: Option<fs::File>,
}

impl Gauge {
    fn open(group: &Group) -> Self {
        let open =
            |file: &str| fs::File::open(group.part(Controls::Memory)?.folder.join(file)).ok();
        Self {
            events: open("memory.events").or_else(|| open("memory.oom_control")),
            peak: open("memory.peak").or_else(|| open("memory.max_usage_in_bytes")),
        }
    }

    /// The most bytes that were used, if a process was killed for it.
    pub(super) fn full(&self) -> Option<u64> {
        let read = |file: &fs::File| {
            let mut text = [0; 4096];
            let length = file.read_at(&mut text, 0).ok()?;
            Some(String::from_utf8_lossy(text.get(..length)?).into_owned())
        };
        if kills(&self.events.as_ref().and_then(read)?) == 0 {
            return None;
        }
        Some(
            self.peak
                .as_ref()
                .and_then(read)
                .and_then(|told| told.trim().parse().ok())
                .unwrap_or(0),
        )
    }
}

fn kills(events: &str) -> u64 {
    let line = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

impl Door {
    /// Takes this process, and all that it will start, into the group.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        self.files.iter_mut().try_for_each(|file| file.write_all(b"0"))
    }
}

impl Group {
    /// Makes the group that keeps `limits`, as far as this machine allows.
    pub(super) fn make(limits: &Limits) -> Held {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let all = place::hierarchies(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"));
        let name = left::own_name();
        let mut group = Self::default();
        for wanted in make::wanted(limits) {
            match make::part(&all, wanted, limits, &name, &mut group.parts) {
                Ok(()) => {}
                Err(why) => group.missing.push(format!("{}: {why}", word(wanted))),
            }
        }
        group.parts.retain(|part| !part.controls.is_empty());
        let open =
            |part: &Part| fs::File::options().write(true).open(part.folder.join("cgroup.procs"));
        match group.parts.iter().map(open).collect() {
            Ok(files) => {
                let gauge = Gauge::open(&group);
                let processors = group.part(Controls::Processors).is_some();
                Held { group, door: Door { files, processors }, gauge }
            }
            Err(error) => {
                group.remove();
                Held { group: Self::closed(&error.to_string()), ..Held::default() }
            }
        }
    }

    /// None, because the kernel cannot be in it.
    pub(super) fn closed(why: &str) -> Self {
        Self { parts: Vec::new(), missing: vec![format!("a group cannot be entered: {why}")] }
    }

    /// The part that does this.
    pub(super) fn part(&self, what: Controls) -> Option<&Part> {
        self.parts.iter().find(|part| part.controls.contains(&what))
    }

    /// How many processes have been killed because memory was full.
    pub(super) fn killed_for_memory(&self) -> u64 {
        let Some(part) = self.part(Controls::Memory) else { return 0 };
        let file = if part.unified { "memory.events" } else { "memory.oom_control" };
        kills(&fs::read_to_string(part.folder.join(file)).unwrap_or_default())
    }

    /// Bytes of memory in use, now or at most so far.
    pub(super) fn memory(&self, at_most: bool) -> Option<u64> {
        let part = self.part(Controls::Memory)?;
        let file = match (part.unified, at_most) {
            (true, false) => "memory.current",
            (true, true) => "memory.peak",
            (false, false) => "memory.usage_in_bytes",
            (false, true) => "memory.max_usage_in_bytes",
        };
        number(&part.folder.join(file))
    }

    /// Seconds of processor time that were used, by those too that have ended.
    pub(super) fn seconds(&self) -> Option<f64> {
        let part = self.part(Controls::Time)?;
        if !part.unified {
            return number(&part.folder.join("cpuacct.usage")).map(|nanos| nanos as f64 / 1e9);
        }
        let told = fs::read_to_string(part.folder.join("cpu.stat")).ok()?;
        let micros = told.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        micros.trim().parse::<f64>().ok().map(|micros| micros / 1e6)
    }

    /// Whether the process is in all parts, seen from outside, and what each of them says its bounds
    /// are.
    pub(super) fn seen(&self, pid: u32) -> Result<Vec<String>, String> {
        let told = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let mut seen = Vec::new();
        for part in &self.parts {
            let name = part.folder.file_name().unwrap_or_default().to_string_lossy();
            if !told.lines().any(|line| line.ends_with(&format!("/{name}"))) {
                return Err(format!("the kernel is not in `{}`", part.folder.display()));
            }
            seen.extend(part.bounds());
        }
        Ok(seen)
    }

    /// Kills all that is in it, also what has left the tree of processes.
    pub(super) fn kill(&self) {
        for part in &self.parts {
            left::kill_all(&part.folder);
        }
    }

    /// Removes the folders; waits a moment for what is still ending in them.
    pub(super) fn remove(&self) {
        for part in &self.parts {
            left::remove(&part.folder);
        }
    }
}

impl Part {
    /// The bounds in force, as they are read back.
    fn bounds(&self) -> Vec<String> {
        let files: &[&str] = match self.unified {
            true => &["memory.max", "pids.max", "cpu.max"],
            false => &["memory.limit_in_bytes", "pids.max", "cpu.cfs_quota_us"],
        };
        let kept =
            |file: &&str| self.controls.iter().any(|what| file.starts_with(controller(*what)));
        let line = |file: &str| {
            let told = fs::read_to_string(self.folder.join(file)).ok()?;
            Some(format!("{file} {}", told.trim()))
        };
        files.iter().copied().filter(kept).filter_map(line).collect()
    }
}

fn word(what: Controls) -> &'static str {
    match what {
        Controls::Memory => "memory",
        Controls::Tasks => "processes",
        Controls::Processors => "processors",
        Controls::Time => "time of processors",
    }
}

/// The name of what does it: a controller, and the beginning of its files' names.
fn controller(what: Controls) -> &'static str {
    match what {
        Controls::Memory => "memory",
        Controls::Tasks => "pids",
        Controls::Processors => "cpu",
        Controls::Time => "cpuacct",
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
