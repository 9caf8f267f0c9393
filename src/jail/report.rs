//! What holds a kernel, as it is told to people: what the sandbox says of itself, checked against
//! what the operating system says of the process.

use std::{fs, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    cgroup::{Controls, Group},
    plan::Plan,
    process::Process,
    settings::{Isolation, Level, Network},
};

/// Whether a layer is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As meant.
    Enforced,
    /// Less than meant; the detail says what is missing.
    Partial,
    /// Not at all.
    Absent,
}

/// One layer of isolation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Whether it is in force.
    pub state: State,
    /// How that is known, and how far it goes.
    pub detail: String,
}

/// What holds one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// The level that was asked for.
    pub requested: &'static str,
    /// The level in force.
    pub effective: &'static str,
    /// What cells may reach.
    pub network: &'static str,
    /// The hosts that are named for that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Most bytes of memory of all processes together, beyond which the kernel is ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Each layer.
    pub layers: Vec<Layer>,
    /// What is known to be open.
    pub gaps: Vec<&'static str>,
    /// Why stronger levels are not used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<String>,
}

/// Every kind of namespace, as `/proc/PID/ns` names it.
const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

impl Layer {
    pub(super) fn new(name: &str, state: State, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state, detail: detail.into() }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn landlock(in_force: super::files::InForce) -> Self {
        match (in_force.version, in_force.scoped) {
            (0, _) => Self::new("landlock", State::Absent, "this machine's Linux has none"),
            (version, true) => {
                let detail = format!("version {version}: files, signals, abstract sockets");
                Self::new("landlock", State::Enforced, detail)
            }
            (version, false) => {
                let detail = format!(
                    "version {version}: files; signals and abstract sockets are not its (that takes Linux 6.12)"
                );
                Self::new("landlock", State::Partial, detail)
            }
        }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn seccomp(filters: usize, steps: usize) -> Self {
        Self::new("seccomp", State::Enforced, format!("{filters} filters of {steps} steps"))
    }
}

impl Report {
    /// What holds the kernel `pid`, whose sandbox says `told` of itself.
    pub(super) fn of(
        asked: Isolation,
        plan: &Plan,
        passed_over: Vec<String>,
        process: &Process,
    ) -> Self {
        let (pid, group) = (process.pid(), process.group());
        let mut layers = process.layers().to_vec();
        if plan.level == Level::Seatbelt {
            layers.extend(watched(plan, group));
        } else if plan.level != Level::None {
            let process = Outside::look(pid);
            process.confirm_seccomp(&mut layers);
            layers.insert(0, process.privileges());
            layers.insert(1, process.user());
            layers.push(process.limits(plan, group));
            layers.push(grouped(group, pid));
            layers.extend(watched(plan, group));
            if plan.level == Level::Namespaces {
                layers.insert(0, namespaces(pid, plan));
            }
        }
        let gaps = gaps(plan, &layers, group);
        Self {
            requested: asked.word(),
            effective: plan.level.word(),
            network: network(plan.network),
            hosts: plan.hosts.clone(),
            // What processes use is only bounded and seen on Linux.
            memory_bytes: (!matches!(plan.level, Level::None | Level::Seatbelt))
                .then_some(plan.limits.memory_together),
            layers,
            gaps,
            passed_over,
        }
    }

    /// The first layer that its level promises and that is not in force.
    pub(super) fn broken(&self) -> Option<&Layer> {
        let promised: &[&str] = match self.effective {
            "namespaces" => &["namespaces", "privileges", "seccomp"],
            "seatbelt" => &["seatbelt"],
            "landlock" => &["privileges", "landlock", "seccomp"],
            _ => &[],
        };
        let of = |name: &&str| self.layers.iter().find(|layer| layer.name == **name);
        promised.iter().filter_map(of).find(|layer| layer.state == State::Absent)
    }
}

/// What a control group bounds for all processes together.
fn grouped(group: &Group, pid: u32) -> Layer {
    let missing = group.missing.join("; ");
    if group.parts.is_empty() {
        return Layer::new("cgroup", State::Absent, missing);
    }
    match group.seen(pid) {
        Err(why) => Layer::new("cgroup", State::Absent, why),
        Ok(seen) if missing.is_empty() => Layer::new("cgroup", State::Enforced, seen.join("; ")),
        Ok(seen) => {
            Layer::new("cgroup", State::Partial, format!("{}; not: {missing}", seen.join("; ")))
        }
    }
}

/// What husk watches itself, because no group bounds it.
fn watched(plan: &Plan, group: &Group) -> Option<Layer> {
    let limits = &plan.limits;
    let mut watched = Vec::new();
    // What processes use is only seen on Linux.
    if plan.level != Level::Seatbelt {
        if group.part(Controls::Memory).is_none() {
            watched.push(format!("memory together: {}", limits.memory_together));
        }
        watched.extend(limits.processor_seconds.map(|most| format!("processor seconds: {most}")));
    }
    watched.extend(limits.workspace.map(|bytes| format!("workspace: {bytes}")));
    let detail = format!("{}; beyond, the kernel is ended", watched.join("; "));
    (!watched.is_empty()).then(|| Layer::new("watch", State::Partial, detail))
}

/// The word of the setting.
#[must_use]
pub fn network(network: Network) -> &'static str {
    match network {
        Network::None => "none",
        Network::Loopback => "loopback",
        Network::Allowlist => "allowlist",
        Network::Full => "full",
    }
}

/// Which namespaces are not the server's.
fn namespaces(pid: u32, plan: &Plan) -> Layer {
    let of = |who: &str, kind: &str| fs::read_link(format!("/proc/{who}/ns/{kind}")).ok();
    let own = |kind: &str| -> Option<bool> {
        let (theirs, ours): (PathBuf, PathBuf) = (of(&pid.to_string(), kind)?, of("self", kind)?);
        Some(theirs != ours)
    };
    let meant = NAMESPACES.iter().filter(|kind| **kind != "net" || plan.own_network());
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for kind in meant {
        if own(kind) == Some(true) { good.push(*kind) } else { bad.push(*kind) }
    }
    let good = good.join(", ");
    match bad.is_empty() {
        true => Layer::new("namespaces", State::Enforced, format!("its own: {good}")),
        false => {
            let detail = format!("its own: {good}; not: {}", bad.join(", "));
            Layer::new("namespaces", State::Absent, detail)
        }
    }
}

/// A process as `/proc` shows it to others.
struct Outside {
    status: String,
    limits: String,
}

impl Outside {
    fn look(pid: u32) -> Self {
        let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        Self { status: read("status"), limits: read("limits") }
    }

    fn line(&self, name: &str) -> Option<&str> {
        let lines = self.status.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(known, _)| *known == name).map(|(_, value)| value.trim()).next()
    }

    fn confirm_seccomp(&self, layers: &mut [Layer]) {
        for layer in layers.iter_mut().filter(|layer| layer.name == "seccomp") {
            let seen = self.line("Seccomp").unwrap_or("unknown");
            layer.detail = format!("{}; Seccomp: {seen}", layer.detail);
            if seen != "2" {
                layer.state = State::Absent;
            }
        }
    }

    fn privileges(&self) -> Layer {
        let seen = |name| self.line(name).unwrap_or("unknown");
        let (new, effective) = (seen("NoNewPrivs"), seen("CapEff"));
        let none = effective.chars().all(|digit| digit == '0');
        let state = if new == "1" && none { State::Enforced } else { State::Absent };
        Layer::new("privileges", state, format!("NoNewPrivs: {new}; CapEff: {effective}"))
    }

    fn user(&self) -> Layer {
        let uid = self.line("Uid").and_then(|line| line.split_whitespace().next());
        let ours = super::user_id().to_string();
        match uid {
            Some("0") => {
                Layer::new("user", State::Partial, "root of this machine, without its privileges")
            }
            Some(uid) if uid == ours => {
                Layer::new("user", State::Partial, format!("Uid: {uid}, as the server"))
            }
            Some(uid) => {
                Layer::new("user", State::Enforced, format!("Uid: {uid}, the kernel's own"))
            }
            None => Layer::new("user", State::Partial, "cannot be seen"),
        }
    }

    fn limits(&self, plan: &Plan, group: &Group) -> Layer {
        let shown = ["Max data size", "Max processes", "Max open files", "Max file size"];
        let of = |name: &&str| {
            let line = self.limits.lines().find_map(|line| line.strip_prefix(*name))?;
            Some(format!("{name}: {}", line.split_whitespace().next()?))
        };
        let mut seen: Vec<String> = shown.iter().filter_map(of).collect();
        if plan.limits.processors.is_some() && group.part(Controls::Processors).is_none() {
            let on = self.line("Cpus_allowed_list").unwrap_or("unknown");
            seen.push(format!("Processors: {on}"));
        }
        let state = if seen.is_empty() { State::Absent } else { State::Partial };
        Layer::new("limits", state, format!("{}; each process by itself", seen.join("; ")))
    }
}

/// What is open on macOS, as far as that is known without one.
const GAPS_OF_SEATBELT: &[&str] = &[
    "not verified: no Mac has shown that the profile holds",
    "memory, processes and processor time are neither bounded nor watched",
    "cells see the names of folders that lead to what they may use, and of users",
    "all kernels share this machine's macOS, whose faults no level closes",
];

/// What cells can do in the workspace.
fn in_the_workspace(plan: &Plan) -> [&'static str; 2] {
    let bytes = match plan.limits.workspace {
        Some(_) => {
            "bytes of the workspace are watched, not bounded: for a moment they can be passed"
        }
        None => {
            "the workspace may grow until the disk is full (`sandbox.workspace_bytes` is unset)"
        }
    };
    let trusted = match plan.level {
        Level::Namespaces => {
            "what other programs run or trust is kept from cells at the top of the workspace only, start \
             files of shells only if they were there when the kernel started, and a file that is replaced \
             by another only from the next kernel on (the next cell says so)"
        }
        _ => {
            "cells may change files of the workspace that other programs run or trust (hooks, \
             editor and agent settings, start files)"
        }
    };
    [bytes, trusted]
}

/// What is open though the layers are in force.
fn gaps(plan: &Plan, layers: &[Layer], group: &Group) -> Vec<&'static str> {
    match plan.level {
        Level::None => return vec!["cells can do what this user can"],
        Level::Seatbelt => return GAPS_OF_SEATBELT.to_vec(),
        Level::Landlock | Level::Namespaces => {}
    }
    let mut gaps = vec!["all kernels share this machine's Linux, whose faults no level closes"];
    if group.part(Controls::Memory).is_none() {
        gaps.push(
            "memory of several processes together is watched, not bounded: for a moment it can be \
             passed; memory of System V that nobody has mapped is not seen",
        );
    }
    gaps.extend(in_the_workspace(plan));
    if plan.limits.processors.is_some() && group.part(Controls::Processors).is_none() {
        gaps.push("of `sandbox.cpus` only whole processors are kept");
    }
    if plan.level == Level::Landlock {
        gaps.extend([
            "cells see the list and the command lines of all processes",
            "multiprocessing pools and managers and local servers do not work",
        ]);
    }
    let is = |name: &str, state| layers.iter().any(|each| each.name == name && each.state == state);
    if plan.level == Level::Landlock && is("landlock", State::Partial) {
        gaps.push("cells can signal this user's other processes");
    }
    let root = layers.iter().any(|layer| layer.name == "user" && layer.detail.starts_with("root"));
    if root && group.part(Controls::Tasks).is_none() {
        gaps.push("the number of processes is watched, not bounded, since the kernel runs as root");
    }
    if plan.network == Network::Allowlist {
        gaps.push(
            "what goes to a host that is named is not looked at: one that passes requests on, or \
             that many share, leads to more than its name says",
        );
    }
    if plan.network == Network::Full {
        gaps.push("cells reach all that this machine reaches");
        if plan.level == Level::Landlock {
            gaps.push("cells reach unix sockets of other programs that this user may use");
        }
    }
    gaps
}

#[cfg(test)]
mod tests;
