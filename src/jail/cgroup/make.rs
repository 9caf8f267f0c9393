//! Makes the folders of a group and writes its bounds into them, as far as the machine allows.

use std::{fs, io, path::Path};

use super::{Controls, Part, controller, left, place::Hierarchy};
use crate::jail::plan::Limits;

/// Microseconds over which the time of processors is shared out.
const PERIOD: u64 = 100_000;

pub(super) fn wanted(limits: &Limits) -> Vec<Controls> {
    let mut wanted = vec![Controls::Memory, Controls::Tasks];
    wanted.extend(limits.processors.map(|_| Controls::Processors));
    wanted.extend(limits.processor_seconds.map(|_| Controls::Time));
    wanted
}

/// Makes the folder that does `what`, or lets one that was made do it as well.
pub(super) fn part(
    all: &[Hierarchy],
    what: Controls,
    limits: &Limits,
    name: &str,
    parts: &mut Vec<Part>,
) -> Result<(), String> {
    let old = all.iter().find(|place| place.controls(controller(what)));
    let place = old.or_else(|| all.iter().find(|place| place.is_unified()));
    let place = place.ok_or("this machine shows no control groups")?;
    let mut last = "nowhere to make a group".to_owned();
    // A process can be in one group of the newer kind only.
    let one = parts.iter().find(|part| part.unified && place.is_unified());
    let one = one.and_then(|part| part.folder.parent()).map(|parent| vec![parent.to_owned()]);
    for parent in one.unwrap_or_else(|| place.parents()) {
        let folder = parent.join(name);
        match within(&parent, &folder, place.is_unified(), what, limits) {
            Ok(()) => {
                let known = parts.iter_mut().find(|part| part.folder == folder);
                match known {
                    Some(part) => part.controls.push(what),
                    None => {
                        let unified = place.is_unified();
                        parts.push(Part { folder, unified, controls: vec![what] });
                    }
                }
                return Ok(());
            }
            Err(error) => {
                if !parts.iter().any(|part| part.folder == folder) {
                    let _ = fs::remove_dir(&folder);
                }
                last = format!("in `{}`: {error}", parent.display());
            }
        }
    }
    Err(last)
}

fn within(
    parent: &Path,
    folder: &Path,
    unified: bool,
    what: Controls,
    limits: &Limits,
) -> io::Result<()> {
    // On the newer kind time is counted in every group; the rest only where the one around it says so.
    if unified && what != Controls::Time {
        let given = fs::read_to_string(parent.join("cgroup.subtree_control"))?;
        if !given.split_whitespace().any(|name| name == controller(what)) {
            return Err(io::Error::other(format!("`{}` is not handed on", controller(what))));
        }
    }
    match fs::create_dir(folder) {
        Ok(()) => left::sweep(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    bound(folder, unified, what, limits)
}

fn bound(folder: &Path, unified: bool, what: Controls, limits: &Limits) -> io::Result<()> {
    let set = |file: &str, value: String| fs::write(folder.join(file), value);
    match (what, unified) {
        (Controls::Memory, true) => {
            set("memory.max", limits.memory_together.to_string())?;
            // Neither is there on every machine.
            let _ = set("memory.swap.max", "0".to_owned());
            let _ = set("memory.oom.group", "1".to_owned());
            Ok(())
        }
        (Controls::Memory, false) => {
            set("memory.limit_in_bytes", limits.memory_together.to_string())?;
            // With swap; there only where the machine counts it.
            let _ = set("memory.memsw.limit_in_bytes", limits.memory_together.to_string());
            Ok(())
        }
        (Controls::Tasks, _) => set("pids.max", limits.pids.to_string()),
        (Controls::Processors, true) => set("cpu.max", format!("{} {PERIOD}", quota(limits))),
        (Controls::Processors, false) => {
            set("cpu.cfs_period_us", PERIOD.to_string())?;
            set("cpu.cfs_quota_us", quota(limits).to_string())
        }
        (Controls::Time, true) => fs::metadata(folder.join("cpu.stat")).map(drop),
        (Controls::Time, false) => fs::metadata(folder.join("cpuacct.usage")).map(drop),
    }
}

fn quota(limits: &Limits) -> u64 {
    limits.processors.unwrap_or(0).saturating_mul(PERIOD) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jail::cgroup::Group;

    fn limits() -> Limits {
        Limits {
            memory: 1,
            pids: 100,
            open_files: 1,
            file_size: None,
            tmp: 1,
            memory_together: 500_000_000,
            workspace: None,
            processors: Some(1500),
            processor_seconds: Some(60),
        }
    }

    /// Groups as files, which take every value.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let top = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = top.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        top
    }

    fn made(all: &[Hierarchy]) -> (Vec<Part>, Vec<String>) {
        let (mut parts, mut missing) = (Vec::new(), Vec::new());
        for what in wanted(&limits()) {
            missing.extend(part(all, what, &limits(), "husk-0-1-2", &mut parts).err());
        }
        (parts, missing)
    }

    #[test]
    fn the_newer_kind_has_one_group_where_limits_are_handed_on() {
        // The own group has processes, so that it hands nothing on.
        let top = tree(&[
            ("cgroup.subtree_control", "cpu memory pids\n"),
            ("slice/cgroup.subtree_control", "memory pids\n"),
            ("slice/scope/cgroup.subtree_control", "\n"),
            ("slice/husk-0-1-2/cpu.stat", "usage_usec 2500000\nuser_usec 1\n"),
        ]);
        let at = |name: &str| top.path().join(name);
        let place = Hierarchy {
            controllers: Vec::new(),
            own: at("slice/scope"),
            top: top.path().to_owned(),
        };
        let (parts, missing) = made(&[place]);
        let folder = at("slice/husk-0-1-2");
        let controls = vec![Controls::Memory, Controls::Tasks, Controls::Time];
        assert_eq!(parts, [Part { folder: folder.clone(), unified: true, controls }]);
        assert!(missing.concat().contains("`cpu` is not handed on"), "{missing:?}");
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
        assert_eq!((read("memory.max"), read("pids.max")), ("500000000".into(), "100".into()));
        let group = Group { parts, missing };
        assert_eq!(group.seconds(), Some(2.5));
        fs::write(folder.join("memory.events"), "low 0\noom 3\noom_kill 2\n").unwrap();
        assert_eq!(group.killed_for_memory(), 2);
    }

    #[test]
    fn the_older_kind_has_a_group_for_each_bound() {
        let top = tree(&[("memory/x", ""), ("cpu/husk-0-1-2/cpuacct.usage", "1500000000\n")]);
        let place = |controllers: &[&str], own: &str| Hierarchy {
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            own: top.path().join(own),
            top: top.path().to_owned(),
        };
        let all = [place(&["memory"], "memory"), place(&["cpu", "cpuacct"], "cpu")];
        let (parts, missing) = made(&all);
        let controls: Vec<_> = parts.iter().map(|part| part.controls.clone()).collect();
        let both = vec![Controls::Processors, Controls::Time];
        assert_eq!(controls, [vec![Controls::Memory], both]);
        assert_eq!(missing, ["this machine shows no control groups"]);
        let quota = top.path().join("cpu/husk-0-1-2/cpu.cfs_quota_us");
        assert_eq!(fs::read_to_string(quota).unwrap(), "150000");
        assert_eq!(Group { parts, missing }.seconds(), Some(1.5));
    }
}
