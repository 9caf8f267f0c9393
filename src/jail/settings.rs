//! The settings of isolation, and what in them is out of range.
//!
//! What they come to for one kernel is made in [`super::plan`].

use std::{fmt, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::hosts::Entry;

/// How strongly a kernel is kept from the rest of the machine. A later one is the stronger one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not at all: cells can do what the server's user can.
    None,
    /// Landlock, seccomp and limits; works inside containers.
    Landlock,
    /// A profile of macOS's own sandbox. Not verified.
    Seatbelt,
    /// All of that, in namespaces and a file system of the kernel's own.
    Namespaces,
}

impl Level {
    /// The word of the settings.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Landlock => "landlock",
            Self::Seatbelt => "seatbelt",
            Self::Namespaces => "namespaces",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Which level is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// The strongest that works here.
    Auto,
    /// That one or no kernel.
    Namespaces,
    /// That one or no kernel.
    Landlock,
    /// That one or no kernel: macOS's own sandbox, not verified.
    Seatbelt,
    /// Given up, by name.
    None,
}

impl Isolation {
    /// The word of the settings.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::Seatbelt => "seatbelt",
            Self::None => "none",
        }
    }

    /// The levels to try on this operating system, the strongest first.
    #[must_use]
    pub fn levels(self, least: Level) -> Vec<Level> {
        self.levels_on(cfg!(target_os = "macos"), least)
    }

    fn levels_on(self, macos: bool, least: Level) -> Vec<Level> {
        let here: &[Level] = match macos {
            true => &[Level::Seatbelt, Level::None],
            false => &[Level::Namespaces, Level::Landlock, Level::None],
        };
        match self {
            Self::Auto => here.iter().copied().filter(|level| *level >= least).collect(),
            Self::Namespaces => vec![Level::Namespaces],
            Self::Landlock => vec![Level::Landlock],
            Self::Seatbelt => vec![Level::Seatbelt],
            Self::None => vec![Level::None],
        }
    }
}

/// What a kernel may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Nothing outside its sandbox.
    None,
    /// Nothing outside its sandbox, inside which servers and clients find each other.
    Loopback,
    /// The hosts that are named, through the server.
    Allowlist,
    /// What the server's user can reach.
    Full,
}

/// How kernels are kept from the rest of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How strongly kernels are isolated; `auto` is the strongest level that works on this machine,
    /// `none` must be asked for by this name.
    pub isolation: Isolation,
    /// The weakest level that `auto` may come down to; where not even that works, no kernel starts.
    pub min_isolation: Level,
    /// What cells may reach: `none` and `loopback` are the sandbox itself (`loopback` insists on
    /// local servers, which level `landlock` cannot give), `allowlist` is `network_hosts` (level
    /// `namespaces`), `full` is this machine's network.
    pub network: Network,
    /// Hosts that `allowlist` opens: `example.com` (ports 80 and 443), `example.com:8443`,
    /// `*.example.com` (all below it), `*` (all names). Names lead to public addresses only; any other
    /// address must be named itself, such as `10.1.2.3` or `localhost:8080`.
    pub network_hosts: Vec<String>,
    /// Files and folders beyond system, Python and workspace that cells may read, paths as for
    /// `workspace`.
    pub fs_read: Vec<PathBuf>,
    /// Folders beyond the workspace that cells may write, paths as for `workspace`.
    pub fs_write: Vec<PathBuf>,
    /// Names of the server's environment variables that kernels get too; a closing `*` stands for
    /// any ending.
    pub env_allow: Vec<String>,
    /// Environment variables of kernels, each as `NAME=value`.
    pub env_set: Vec<String>,
    /// Most bytes of memory of all processes of a kernel together; beyond, the kernel is ended. Unset
    /// means half of this machine's.
    pub memory_bytes: Option<u64>,
    /// Most bytes of private memory of one process, which then gets an error; unset means
    /// `memory_bytes`.
    pub memory_per_process_bytes: Option<u64>,
    /// Most processors that all processes of a kernel use at the same time, such as 1.5; unset means
    /// all.
    pub cpus: Option<f64>,
    /// Most seconds of processor time of all processes of a kernel, as long as it lives; beyond, the
    /// kernel is ended. Unset means no limit.
    pub cpu_seconds: Option<u64>,
    /// Most processes and threads of a kernel.
    pub pids: u64,
    /// Most open files of one process.
    pub open_files: u64,
    /// Most bytes of one file that cells write; unset means no limit.
    pub file_size_bytes: Option<u64>,
    /// Most bytes of all files in the workspace, each counted as 4 KiB at least, looked at every few
    /// seconds; beyond, the kernel is ended. Unset means no limit.
    pub workspace_bytes: Option<u64>,
    /// Bytes of a sandbox's own `/tmp`, and again of its shared memory; at level `landlock` of its folder
    /// for temporary files, which is looked at every few seconds.
    pub tmp_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let allowed = ["LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "COLORTERM", "NO_COLOR"];
        Self {
            isolation: Isolation::Auto,
            min_isolation: Level::Landlock,
            network: Network::None,
            network_hosts: Vec::new(),
            fs_read: Vec::new(),
            fs_write: Vec::new(),
            env_allow: allowed.map(str::to_owned).to_vec(),
            env_set: Vec::new(),
            memory_bytes: None,
            memory_per_process_bytes: None,
            workspace_bytes: None,
            cpus: None,
            cpu_seconds: None,
            pids: 1024,
            open_files: 4096,
            file_size_bytes: None,
            tmp_bytes: 1 << 30,
        }
    }
}

/// Less than this starts no kernel.
const LEAST_MEMORY: u64 = 256 << 20;

impl Settings {
    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let mut within = |field, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                faults.push((field, format!("must be {least} to {most}, not {value}")));
            }
        };
        within("pids", self.pids, 16, 1 << 20);
        within("open_files", self.open_files, 64, 1 << 20);
        within("tmp_bytes", self.tmp_bytes, 1 << 20, 1 << 50);
        for (field, value, least) in [
            ("memory_bytes", self.memory_bytes, LEAST_MEMORY),
            ("workspace_bytes", self.workspace_bytes, 1 << 20),
            ("memory_per_process_bytes", self.memory_per_process_bytes, LEAST_MEMORY),
            ("file_size_bytes", self.file_size_bytes, 1 << 20),
        ] {
            if let Some(value) = value {
                within(field, value, least, 1 << 50);
            }
        }
        if let Some(cpus) = self.cpus.filter(|cpus| !(0.05..=4096.0).contains(cpus)) {
            faults.push(("cpus", format!("must be 0.05 to 4096, not {cpus}")));
        }
        if let Some(seconds) = self.cpu_seconds.filter(|seconds| !(1..=1 << 40).contains(seconds)) {
            faults.push(("cpu_seconds", format!("must be 1 to {}, not {seconds}", 1u64 << 40)));
        }
        faults.extend(self.variable_faults());
        let hosts = self.network_hosts.iter().filter_map(|host| Entry::parse(host).err());
        faults.extend(hosts.map(|wrong| ("network_hosts", wrong.to_string())));
        faults
    }

    /// Whether the server's environment variable of that name is one that kernels get too.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.env_allow.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        })
    }

    fn variable_faults(&self) -> Vec<(&'static str, String)> {
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.contains(['=', '\0'])
                && !name.starts_with(char::is_whitespace)
        };
        let set = self.env_set.iter().filter(|pair| {
            pair.split_once('=').is_none_or(|(name, value)| !is_name(name) || value.contains('\0'))
        });
        let allowed = self.env_allow.iter().filter(|name| !is_name(name));
        // What is wrong with it may be a password.
        let shown =
            |pair: &String| pair.split_once('=').map(|(name, _)| format!(", not {name:?}=…"));
        let wrong = |pair| shown(pair).unwrap_or_default();
        set.map(|pair| {
            ("env_set", format!("must hold texts such as \"NAME=value\"{}", wrong(pair)))
        })
        .chain(allowed.map(|name| ("env_allow", format!("must hold names, not {name:?}"))))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_never_comes_below_the_minimum() {
        let check = |isolation: Isolation, least, expected: &[Level]| {
            assert_eq!(isolation.levels(least), expected, "{isolation:?} {least}");
        };
        check(Isolation::Auto, Level::Landlock, &[Level::Namespaces, Level::Landlock]);
        check(Isolation::Auto, Level::Namespaces, &[Level::Namespaces]);
        check(Isolation::Auto, Level::None, &[Level::Namespaces, Level::Landlock, Level::None]);
        check(Isolation::Landlock, Level::Namespaces, &[Level::Landlock]);
        check(Isolation::None, Level::Landlock, &[Level::None]);
        check(Isolation::Seatbelt, Level::Landlock, &[Level::Seatbelt]);
        let on_a_mac = |least| Isolation::Auto.levels_on(true, least);
        assert_eq!(on_a_mac(Level::Landlock), [Level::Seatbelt]);
        assert_eq!(on_a_mac(Level::None), [Level::Seatbelt, Level::None]);
        assert_eq!(on_a_mac(Level::Namespaces), []);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let settings = Settings {
            pids: 1,
            env_set: vec!["NOVALUE".into(), "=x".into(), "A=b=c".into()],
            env_allow: vec!["A=".into(), "LC_*".into()],
            network_hosts: vec!["https://a.test".into(), "*.a.test:8080".into()],
            ..Settings::default()
        };
        let fields: Vec<&str> = settings.faults().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["pids", "env_set", "env_set", "env_allow", "network_hosts"]);
        assert_eq!(Settings::default().faults(), []);
    }
}
