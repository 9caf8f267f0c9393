//! What one kernel may touch, as a value: which paths, how, which network, which limits.
//!
//! A pure function of the settings and of where things are; it does nothing itself. The init of the
//! kernel gets the plan over its lifeline and carries it out.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    grants::{Ground, grants},
    network,
    settings::{Level, Network, Settings},
};

/// Where a kernel finds its run folder at level `namespaces`: outside of all that it may write
/// freely, so that it cannot put anything in the place of its sockets.
pub const RUN_INSIDE: &str = "/run/husk";

/// Devices without state.
pub(super) const DEVICES: &[&str] =
    &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// How a path may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Read and executed.
    Read,
    /// Everything but devices.
    Write,
    /// The run folder: what is there is read and written, and sockets come and go; nothing else is
    /// made, so that no socket can be replaced by a link.
    Run,
    /// A device, read and written.
    Device,
}

/// A path and how it may be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where it is on this machine.
    #[serde(with = "raw")]
    pub path: PathBuf,
    /// Where the kernel sees it.
    #[serde(with = "raw")]
    pub seen: PathBuf,
    /// How it may be used.
    pub access: Access,
    /// Whether it belongs to the server's user, in whose name the kernel uses it.
    pub lent: bool,
    /// Whether the kernel can do without it.
    pub optional: bool,
    /// Where it lies in the workspace and is kept from cells: what is done where nothing is there. No
    /// link is followed to it: a cell may have made it.
    pub kept: Option<Missing>,
}

/// What is done for a path that is kept from cells and that is not there: cells could make it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// Nothing.
    Left,
    /// An empty folder stands for it as long as the kernel lives.
    Folder,
    /// So does a file with this text.
    File(String),
}

/// Bounds, most of them kept by the operating system for each process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of private memory of one process.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Open files.
    pub open_files: u64,
    /// Bytes of one file; without, no limit.
    pub file_size: Option<u64>,
    /// Bytes of `/tmp`, and again of `/dev/shm`.
    pub tmp: u64,
    /// Bytes of memory of all processes together.
    pub memory_together: u64,
    /// Bytes of the workspace; without, no limit.
    pub workspace: Option<u64>,
    /// Thousandths of a processor that are used at the same time; without, no limit.
    pub processors: Option<u64>,
    /// Seconds of processor time; without, no limit.
    pub processor_seconds: Option<u64>,
}

/// A port inside the sandbox that is reached by a socket in the run folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// The socket, as the kernel's init sees it.
    #[serde(with = "raw")]
    pub socket: PathBuf,
    /// The port on 127.0.0.1.
    pub port: u16,
}

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How strongly the kernel is isolated.
    pub level: Level,
    /// What it may reach.
    pub network: Network,
    /// The hosts that are named for that.
    pub hosts: Vec<String>,
    /// What it may touch.
    pub grants: Vec<Grant>,
    /// Its bounds.
    pub limits: Limits,
    /// The folder in which it starts.
    #[serde(with = "raw")]
    pub folder: PathBuf,
    /// Where it may leave what nobody keeps.
    #[serde(with = "raw")]
    pub scratch: PathBuf,
    /// The user's home, in which nothing can be written: for the self-test. Empty where there is none.
    #[serde(with = "raw")]
    pub home: PathBuf,
    /// Ports of its own that the server must reach.
    pub bridges: Vec<Bridge>,
    /// Whether all is done but the last step, to see whether it can be.
    pub rehearsal: bool,
}

/// Why there can be no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too much would be open.
    #[error("`{}` may not be opened to cells ({what}): it {why}; name folders below it", .path.display())]
    Root {
        /// The path.
        path: PathBuf,
        /// What asks for it.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The level cannot keep that promise.
    #[error(
        "level `{level}` cannot give `sandbox.network = \"{network}\"`, because it has no network \
         of its own; use level `namespaces`, or `none` or `full`"
    )]
    Network {
        /// The level.
        level: Level,
        /// The word of the setting.
        network: &'static str,
    },
}

impl Plan {
    /// What `settings` come to on this `ground`, at this `level`.
    ///
    /// # Errors
    /// [`Refused`] when a path or a promise cannot be allowed.
    pub fn make(settings: &Settings, level: Level, ground: &Ground) -> Result<Self, Refused> {
        network::can_be_given(level, settings.network)?;
        let own_root = level == Level::Namespaces;
        let seen_run = if own_root { RUN_INSIDE.into() } else { ground.run.clone() };
        let scratch = if own_root { "/tmp".into() } else { ground.run.join("t") };
        let grants = match level {
            Level::None => Vec::new(),
            _ => {
                let scratch = (!own_root).then_some(&scratch);
                // Landlock alone cannot take away what is given for the whole workspace.
                grants(settings, ground, &seen_run, scratch, level != Level::Landlock)?
            }
        };
        let together = settings.memory_bytes.unwrap_or(ground.memory / 2);
        let memory = settings.memory_per_process_bytes.unwrap_or(together).min(together);
        Ok(Self {
            level,
            network: settings.network,
            hosts: match settings.network {
                Network::Allowlist => settings.network_hosts.clone(),
                _ => Vec::new(),
            },
            grants,
            limits: Limits {
                memory,
                pids: settings.pids,
                open_files: settings.open_files,
                file_size: settings.file_size_bytes,
                tmp: settings.tmp_bytes,
                memory_together: together,
                workspace: settings.workspace_bytes,
                processors: settings.cpus.map(|cpus| (cpus * 1000.0).ceil() as u64),
                processor_seconds: settings.cpu_seconds,
            },
            folder: ground.workspace.clone(),
            scratch,
            home: ground
                .home
                .clone()
                // What is made in a `/tmp` of its own goes with it.
                .filter(|home| !own_root || !home.starts_with("/tmp"))
                .unwrap_or_default(),
            bridges: Vec::new(),
            rehearsal: false,
        })
    }

    /// How the kernel sees its run folder, which is `run` on this machine.
    #[must_use]
    pub fn seen_run(&self, run: &Path) -> PathBuf {
        if self.level == Level::Namespaces { RUN_INSIDE.into() } else { run.to_owned() }
    }

    /// Whether it can have no internet socket at all.
    #[must_use]
    pub fn offline(&self) -> bool {
        matches!(self.level, Level::Landlock | Level::Seatbelt) && self.network != Network::Full
    }

    /// Whether the kernel has a network of its own, in which only it is.
    #[must_use]
    pub fn own_network(&self) -> bool {
        self.level == Level::Namespaces && self.network != Network::Full
    }
}

/// The variables of a kernel, from those of the server: only what is allowed, then husk's own, then
/// what is set.
#[must_use]
pub fn environment(
    settings: &Settings,
    own: Vec<(OsString, OsString)>,
    server: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let proxies = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"];
    let proxy = |name: &str| {
        settings.network == Network::Full && proxies.contains(&name.to_lowercase().as_str())
    };
    let mut kept: Vec<(OsString, OsString)> = server
        .into_iter()
        .filter(|(name, _)| name.to_str().is_some_and(|name| settings.allows(name) || proxy(name)))
        .collect();
    let set = settings.env_set.iter().filter_map(|pair| pair.split_once('='));
    let set = set.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    for (name, value) in own.into_iter().chain(set) {
        kept.retain(|(known, _)| *known != name);
        kept.push((name, value));
    }
    kept
}

/// Paths as they are, also those that are not Unicode.
mod raw {
    use std::{
        ffi::OsString,
        path::{Path, PathBuf},
    };

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Path, out: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        OsString::deserialize(from).map(PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> Ground {
        Ground {
            workspace: "/work/project".into(),
            run: "/tmp/husk-1/k".into(),
            programs: vec!["/root/.venv".into(), "/usr".into()],
            home: Some("/root".into()),
            state: "/root/.local/share/husk".into(),
            memory: 1000,
            settings: None,
            record: Some(".husk".into()),
        }
    }

    fn make(settings: &Settings, level: Level) -> Result<Plan, Refused> {
        Plan::make(settings, level, &ground())
    }

    fn access(plan: &Plan, path: &str) -> Option<Access> {
        plan.grants.iter().find(|grant| grant.path == Path::new(path)).map(|grant| grant.access)
    }

    #[test]
    fn a_plan_opens_system_python_and_workspace_and_no_home() {
        let plan = make(&Settings::default(), Level::Namespaces).unwrap();
        assert_eq!(access(&plan, "/work/project"), Some(Access::Write));
        assert_eq!(access(&plan, "/root/.venv"), Some(Access::Read));
        assert_eq!(access(&plan, "/usr"), Some(Access::Read));
        assert_eq!(plan.grants.iter().filter(|grant| grant.path == Path::new("/usr")).count(), 1);
        for closed in ["/", "/root", "/etc", "/home", "/var", "/run", "/proc"] {
            assert_eq!(access(&plan, closed), None, "{closed}");
        }
        assert_eq!(plan.limits.memory, 500);
    }

    #[test]
    fn the_run_folder_lies_outside_of_all_that_may_be_written_freely() {
        let plan = make(&Settings::default(), Level::Namespaces).unwrap();
        let run = plan.grants.iter().find(|grant| grant.access == Access::Run).unwrap();
        assert_eq!(run.seen, Path::new(RUN_INSIDE));
        let writable = plan.grants.iter().filter(|grant| grant.access == Access::Write);
        assert!(writable.chain([]).all(|grant| !run.seen.starts_with(&grant.seen)));
        assert!(!run.seen.starts_with(&plan.scratch));
    }

    #[test]
    fn what_others_trust_is_kept_from_cells_unless_it_is_opened_by_name() {
        let mut settings = Settings::default();
        let plan = make(&settings, Level::Namespaces).unwrap();
        for name in [".git", ".mcp.json", ".husk", "husk.toml"] {
            let path = format!("/work/project/{name}");
            assert_eq!(access(&plan, &path), Some(Access::Read), "{name}");
        }
        settings.fs_write = vec!["/work/project/.vscode".into()];
        let plan = make(&settings, Level::Namespaces).unwrap();
        assert_eq!(access(&plan, "/work/project/.vscode"), None);
        let plan = make(&settings, Level::Landlock).unwrap();
        assert!(plan.grants.iter().all(|grant| grant.kept.is_none()));
    }

    #[test]
    fn roots_that_hold_too_much_are_refused() {
        let check = |path: &str, why: Option<&str>| {
            let settings = Settings { fs_read: vec![path.into()], ..Settings::default() };
            let refused = make(&settings, Level::Landlock).err().map(|refused| match refused {
                Refused::Root { why, .. } => why,
                Refused::Network { .. } => "network",
            });
            assert_eq!(refused, why, "{path}");
        };
        check("/", Some("is the whole machine"));
        check("/root", Some("holds your home"));
        check("/root/.local", Some("holds what husk keeps"));
        check("/root/.local/share/husk", Some("holds what husk keeps"));
        check("/root/.local/share/husk/outputs", Some("is part of what husk keeps"));
        check("/root/.local/share/husk/envs", Some("is part of what husk keeps"));
        check("/root/.local/share/husk/envs/a", None);
        check("/proc", Some("belongs to the operating system"));
        check("/root/data", None);
        check("/data", None);
        let homeless = Ground { workspace: "/root".into(), ..ground() };
        assert!(Plan::make(&Settings::default(), Level::Namespaces, &homeless).is_err());
        // Who gave isolation up has given up this too.
        assert!(Plan::make(&Settings::default(), Level::None, &homeless).is_ok());
        let own = Ground { settings: Some("/work/project/x".into()), ..ground() };
        let error = Plan::make(&Settings::default(), Level::Landlock, &own).unwrap_err();
        assert!(error.to_string().contains("holds your own settings of husk"), "{error}");
    }

    #[test]
    fn the_environment_starts_empty() {
        let mut settings =
            Settings { env_set: vec!["A=1=2".into(), "LANG=C".into()], ..Settings::default() };
        let server = ["LANG", "LC_ALL", "ANTHROPIC_API_KEY", "LD_PRELOAD", "https_proxy"];
        let server = server.map(|name| (OsString::from(name), OsString::from("of the server")));
        let own = vec![("A".into(), "husk's".into()), ("B".into(), "husk's".into())];
        let got = environment(&settings, own, server.clone());
        let expected = [("LC_ALL", "of the server"), ("B", "husk's"), ("A", "1=2"), ("LANG", "C")];
        assert_eq!(got, expected.map(|(name, value)| (name.into(), value.into())));
        settings.network = Network::Full;
        let got = environment(&settings, Vec::new(), server);
        assert!(got.iter().any(|(name, _)| name == "https_proxy"));
    }

    #[test]
    fn a_plan_arrives_as_it_was_sent() {
        use std::os::unix::ffi::OsStringExt;
        let mut plan = make(&Settings::default(), Level::Landlock).unwrap();
        plan.folder = OsString::from_vec(b"/w\xff".to_vec()).into();
        let sent = serde_json::to_vec(&plan).unwrap();
        assert_eq!(serde_json::from_slice::<Plan>(&sent).unwrap(), plan);
    }
}
