//! Where this process may make control groups: in the one that it is in, and, where the machine has
//! only the newer kind, beside it as well.
//!
//! Reads the text of `/proc/self/cgroup` and `/proc/self/mountinfo`; whether a group can really be
//! made there is seen by making it. Source: cgroups(7), proc_pid_mountinfo(5).

use std::path::{Component, Path, PathBuf};

/// A tree of control groups, and where in it this process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// What it controls; nothing is said of the newer kind, which controls all that its groups allow.
    pub(super) controllers: Vec<String>,
    /// The folder of this process's group.
    pub(super) own: PathBuf,
    /// The folder of the topmost group.
    pub(super) top: PathBuf,
}

impl Hierarchy {
    pub(super) fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    pub(super) fn controls(&self, controller: &str) -> bool {
        self.controllers.iter().any(|known| known == controller)
    }

    /// The groups in which one for a kernel may be made, the nearest first. A group of the newer kind
    /// that has processes can have no groups with limits, so that those around it count too.
    pub(super) fn parents(&self) -> Vec<PathBuf> {
        if !self.is_unified() {
            return vec![self.own.clone()];
        }
        let within = |folder: &&Path| folder.starts_with(&self.top);
        self.own.ancestors().take_while(within).map(Path::to_owned).collect()
    }
}

/// The trees that are mounted where this process can see its own group in them.
pub(super) fn hierarchies(cgroup: &str, mountinfo: &str) -> Vec<Hierarchy> {
    cgroup.lines().filter_map(|line| hierarchy(line, mountinfo)).collect()
}

/// A line `NUMBER:CONTROLLERS:PATH`.
fn hierarchy(line: &str, mountinfo: &str) -> Option<Hierarchy> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let unified = controllers.is_empty();
    let controllers: Vec<String> =
        controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let mut mounts = mountinfo.lines().filter_map(mount);
    let mount = mounts.find(|mount| match unified {
        true => mount.kind == "cgroup2",
        false => {
            mount.kind == "cgroup"
                && controllers.iter().all(|name| mount.options.split(',').any(|it| it == name))
        }
    })?;
    // A group outside of what is mounted is shown with `..`.
    let inside = Path::new(path).strip_prefix(&mount.root).ok()?;
    let plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| Hierarchy { controllers, own: mount.point.join(inside), top: mount.point })
}

struct Mount<'a> {
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

fn mount(line: &str) -> Option<Mount<'_>> {
    let (place, what) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let mut path = || Some(PathBuf::from(place.next()?.replace("\\040", " ")));
    let (root, point) = (path()?, path()?);
    let mut what = what.split(' ');
    Some(Mount { root, point, kind: what.next()?, options: what.nth(1)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cgroup: &str, mountinfo: &str) -> Vec<(String, String)> {
        let shown = |it: Hierarchy| (it.controllers.join(","), it.own.display().to_string());
        hierarchies(cgroup, mountinfo).into_iter().map(shown).collect()
    }

    #[test]
    fn the_own_group_is_found_on_machines_of_each_kind() {
        let check = |cgroup: &str, mountinfo: &str, expected: &[(&str, &str)]| {
            let expected: Vec<_> =
                expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(found(cgroup, mountinfo), expected, "{cgroup}");
        };
        let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let own = "/sys/fs/cgroup/user.slice/user@1000.service/app.slice/a.scope";
        let of = "0::/user.slice/user@1000.service/app.slice/a.scope\n";
        check(of, unified, &[("", own)]);
        let old = "40 31 0:35 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            41 31 0:36 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            42 31 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        check(
            "9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n0::/\n",
            old,
            &[
                ("memory", "/sys/fs/cgroup/memory/a/b"),
                ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/"),
                ("", "/sys/fs/cgroup/unified/"),
            ],
        );
        // A container sees its own part mounted, under the name that it has outside.
        let part = "40 31 0:35 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        check("4:memory:/docker/x\n", part, &[("memory", "/sys/fs/cgroup/memory/")]);
        check("4:memory:/elsewhere\n", part, &[]);
        check("0::/../a\n", unified, &[]);
        check("", "", &[]);
    }

    #[test]
    fn a_group_of_the_newer_kind_may_be_made_beside_the_own_one() {
        let place = |controllers: &[&str]| Hierarchy {
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            own: "/c/a/b".into(),
            top: "/c".into(),
        };
        assert_eq!(place(&[]).parents(), ["/c/a/b", "/c/a", "/c"].map(PathBuf::from));
        assert_eq!(place(&["memory"]).parents(), [PathBuf::from("/c/a/b")]);
    }
}
