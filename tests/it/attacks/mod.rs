//! The attack table: what cells cannot do, at each level, for a server that is root and for one that is
//! an ordinary user.

use std::{collections::BTreeSet, fs, os::unix::fs::symlink, process::Stdio};

use serde_json::{Value, json};

use crate::support::{HUSK, host::Host, husk, python, without_settings};
use stage::Prey;

pub(crate) use stage::As;

mod groups;
mod limits;
mod planted;
mod stage;
mod told;
mod trusted;
mod users;
mod work;

/// The table that is in the binary.
const TABLE: &str = include_str!("../../../src/cli/doctor/attacks.py");

/// What a machine may lack.
const OPTIONAL: [&str; 5] =
    ["the memory of the machine", "the disk", "TCP by IPv6", "multipath TCP", "vsock"];

/// Bounds that bombs meet soon.
const MEMORY: u64 = 512 << 20;
const FILE: u64 = 64 << 20;
const TEMPORARY: u64 = 32 << 20;
const WORKSPACE: u64 = 64 << 20;
const TASKS: u64 = 100;

/// A server with tight bounds whose kernels run the attacks, one a cell.
struct Attacker {
    // Goes first: it may hold on to what it has attacked.
    host: Host,
    prey: Prey,
    code: String,
    attacks: Vec<String>,
    bombs: Vec<String>,
}

impl Attacker {
    fn start(user: As, level: &str, network: &str) -> Self {
        let prey = Prey::lay_out(user);
        // All names are named, also with the port that the attacks go for.
        let hosts = format!("*,*:{}", prey.tcp.local_addr().unwrap().port());
        let number = |number: u64| number.to_string();
        let (memory, file, tasks) = (number(MEMORY), number(FILE), number(TASKS));
        let (tmp, workspace) = (number(TEMPORARY), number(WORKSPACE));
        let settings: [(&str, &str); 11] = [
            ("HUSK_SANDBOX_ISOLATION", level),
            ("HUSK_SANDBOX_NETWORK", network),
            ("HUSK_SANDBOX_NETWORK_HOSTS", &hosts),
            ("HUSK_SANDBOX_PIDS", &tasks),
            ("HUSK_SANDBOX_MEMORY_BYTES", &memory),
            ("HUSK_SANDBOX_FILE_SIZE_BYTES", &file),
            ("HUSK_SANDBOX_TMP_BYTES", &tmp),
            ("HUSK_SANDBOX_WORKSPACE_BYTES", &workspace),
            ("HUSK_OUTPUT_MAX_TEXT_BYTES", "65536"),
            ("HUSK_LIMITS_REQUESTS_PER_MINUTE", "0"),
            ("HUSK_DEDUP_MODE", "off"),
        ];
        let host = user.host(prey.home.path(), &settings);
        symlink(prey.outside.path().join("file"), host.workspace.path().join("planted")).unwrap();
        let mut told = prey.described(&host, user);
        let facts = json!({
            "level": level, "network": network, "memory": MEMORY, "tasks": TASKS, "file": FILE,
            "tmp": TEMPORARY, "workspace": WORKSPACE,
        });
        told.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
        let code = format!("import json\nt = json.loads({})\n{TABLE}", json!(told.to_string()));
        let mut attacker = Self { prey, host, code, attacks: Vec::new(), bombs: Vec::new() };
        attacker.prepare();
        attacker
    }

    /// Tells the kernel the table.
    fn prepare(&mut self) {
        let said = self.host.ok(&self.code);
        let names: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        let list = |kind: &str| serde_json::from_value(names[kind].clone()).unwrap();
        (self.attacks, self.bombs) = (list("attacks"), list("bombs"));
    }

    /// How an attack ends: its line, or that the kernel was ended for it.
    fn attack(&mut self, name: &str) -> Value {
        let code = format!("attack({})", json!(name));
        let id = self.host.begin("notebook_run_cell", json!({ "code": code, "wait": 300 }));
        // The server answers throughout.
        let status = self.host.tool("sandbox_status", json!({}));
        assert_eq!(status.structured()["sessions"].as_array().unwrap().len(), 1, "{name}");
        let answer = self.host.result(id);
        let text = answer.text();
        if answer.status() != "kernel_died" {
            assert_eq!(answer.status(), "ok", "{name}: {answer:?}");
            return serde_json::from_str(text.lines().next().unwrap()).unwrap();
        }
        assert!(text.contains(", the limit of "), "{name}: {text}");
        for left in ["many", "empty"] {
            let _ = fs::remove_dir_all(self.host.workspace.path().join(left));
        }
        self.prepare();
        json!({ "attack": name, "outcome": "refused", "why": text })
    }

    /// Runs all of them; the names of those that succeed.
    fn open(&mut self, bombs: bool) -> BTreeSet<String> {
        let names =
            if bombs { [&self.attacks[..], &self.bombs].concat() } else { self.attacks.clone() };
        assert!(names.len() > 60, "{names:?}");
        let told: Vec<Value> = names.iter().map(|name| self.attack(name)).collect();
        for attack in told.iter().filter(|attack| attack["outcome"] == "inapplicable") {
            assert!(OPTIONAL.contains(&attack["attack"].as_str().unwrap()), "{attack}");
        }
        let open = told.iter().filter(|attack| attack["outcome"] == "open");
        // What `husk doctor --attack` takes for known, too.
        assert!(open.clone().all(|attack| attack["known"] == true), "{told:?}");
        open.map(|attack| attack["attack"].as_str().unwrap().to_owned()).collect()
    }
}

fn expect(user: As, level: &str, network: &str, known: &[&str]) {
    let known: BTreeSet<String> = known.iter().map(|name| (*name).to_owned()).collect();
    let mut attacker = Attacker::start(user, level, network);
    assert_eq!(attacker.open(true), known, "{user:?} at {level}, {network}");
    attacker.prey.must_be_untouched();
}

#[test]
fn no_attack_succeeds_in_namespaces() {
    for user in As::all() {
        expect(*user, "namespaces", "none", &[]);
    }
}

#[test]
fn no_attack_succeeds_where_hosts_are_open() {
    for user in As::all() {
        expect(*user, "namespaces", "allowlist", &[]);
    }
}

/// The list of processes is open.
const SEEN: [&str; 2] = ["the command line of the server", "the list of processes"];

#[test]
fn behind_landlock_only_what_is_told_as_a_gap_succeeds() {
    for user in As::all() {
        expect(*user, "landlock", "none", &SEEN);
    }
}

#[test]
fn with_the_machines_network_only_what_is_told_succeeds() {
    for user in As::all() {
        for level in ["namespaces", "landlock"] {
            let mut attacker = Attacker::start(*user, level, "full");
            let open = attacker.open(false);
            assert!(open.contains("TCP to a listener here"), "{user:?} {level}: {open:?}");
            let unix = open.contains("a unix socket like Docker's");
            assert_eq!(unix, level == "landlock", "{user:?}: {open:?}");
        }
    }
}

/// Otherwise the table would pass for attacks that cannot work.
#[test]
fn without_isolation_the_attacks_work() {
    let open = Attacker::start(*As::all().last().unwrap(), "none", "none").open(false);
    for known in [
        "a key in the home",
        "a world-readable file of another home",
        "a planted link",
        "a new link",
        "a hard link",
        "writing outside",
        "moving a file outside",
        "a file that lends its owner's rights",
        "such a file, made at once",
        "such a file by openat2",
        "the environment of a process",
        "the memory of a process",
        "process_vm_readv",
        "TCP to a listener here",
        "TCP fast open",
        "the machine's links by netlink",
        "a unix socket like Docker's",
        "a datagram to a unix socket",
        "an abstract unix socket",
        "a nested user namespace",
        "a signal by a pidfd",
        "the server's own sockets",
    ] {
        assert!(open.contains(known), "{known}: {open:?}");
    }
}

#[test]
fn doctor_runs_the_same_attacks() {
    let run = |user: As, level: &str| {
        let (home, workspace) = (user.folder(), user.folder());
        let mut command = user.command(HUSK);
        command.args(["doctor", "--attack", "--json"]).env_clear().env("PATH", "/usr/bin:/bin");
        command.env("HOME", home.path()).env("HUSK_PYTHON", python());
        command.env("HUSK_SANDBOX_ISOLATION", level);
        let output =
            command.current_dir(workspace.path()).stderr(Stdio::inherit()).output().unwrap();
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), told)
    };
    let users = As::all();
    for (user, level) in [(users[0], "landlock"), (users[users.len() - 1], "namespaces")] {
        let (code, told) = run(user, level);
        assert_eq!(code, Some(0), "{user:?} {level}: {told}");
        assert_eq!(told["isolation"]["effective"], level);
        let attacks = told["attacks"].as_array().unwrap();
        let open: BTreeSet<&str> = attacks
            .iter()
            .filter(|attack| attack["outcome"] == "open")
            .map(|attack| attack["attack"].as_str().unwrap())
            .collect();
        let known = if level == "landlock" { BTreeSet::from(SEEN) } else { BTreeSet::new() };
        assert_eq!(open, known, "{user:?} {level}");
        let last = attacks.last().unwrap();
        assert_eq!(last["attack"], "a process that outlives its kernel", "{told}");
    }
    assert_eq!(run(users[0], "none").0, Some(1));
}

#[test]
fn what_a_server_holds_is_hidden_from_other_processes_of_its_user() {
    let user = *As::all().last().unwrap();
    let home = user.folder();
    let mut host = user.host(home.path(), &[("HUSK_SANDBOX_ISOLATION", "none")]);
    let file = format!("/proc/{}/environ", host.child.id());
    let answer = host.cell(&format!("open({file:?}, 'rb').read()"));
    assert_eq!(answer.structured()["error"]["name"], "PermissionError", "{answer:?}");
}

#[test]
fn the_status_tells_each_layer_as_it_is_seen_from_outside() {
    let mut host = Host::start_with(&[("HUSK_SANDBOX_ISOLATION", "namespaces")]);
    host.ok("1");
    let status = host.tool("sandbox_status", json!({}));
    let session = &status.structured()["sessions"][0];
    let report = &session["sandbox"];
    assert_eq!(
        (&report["requested"], &report["effective"]),
        (&json!("namespaces"), &json!("namespaces"))
    );
    let layers = report["layers"].as_array().unwrap();
    let layer = |name: &str| layers.iter().find(|layer| layer["name"] == name).unwrap();
    for name in ["namespaces", "privileges", "landlock", "seccomp", "self-test"] {
        assert_eq!(layer(name)["state"], "enforced", "{report}");
    }
    assert_eq!(layer("namespaces")["detail"], "its own: user, mnt, pid, net, ipc, uts, cgroup");
    assert!(!report["gaps"].as_array().unwrap().is_empty());
    // The same, seen by this test.
    let proc = format!("/proc/{}/status", session["pid"]);
    let seen = fs::read_to_string(proc).unwrap();
    assert!(seen.contains("NoNewPrivs:\t1\n") && seen.contains("Seccomp:\t2\n"), "{seen}");
    assert!(seen.contains("CapEff:\t0000000000000000\n"), "{seen}");
}

#[test]
fn a_level_that_cannot_be_had_is_an_error_with_the_way_out() {
    // Here no user namespace can be made: their limit is 0 in the one that this server is in.
    let workspace = As::User.folder();
    let mut command = As::User.command("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c"]);
    command.arg(format!("echo 0 >/proc/sys/user/max_user_namespaces; exec {HUSK}"));
    without_settings(&mut command);
    command.env("HUSK_PYTHON", python()).env("HUSK_SANDBOX_MIN_ISOLATION", "namespaces");
    command
        .env("HUSK_DATA_DIR", "/nonexistent/data")
        .env("HOME", "/nonexistent")
        .env_remove("XDG_RUNTIME_DIR");
    command.current_dir(workspace.path()).stderr(Stdio::null());
    let mut host = Host::run(command, workspace);
    host.initialize("2025-11-25");
    let answer = host.cell("print('ran')");
    assert!(answer.is_error(), "{answer:?}");
    let text = answer.text();
    for part in [
        "no isolation that the settings allow works here",
        "sandbox.min_isolation = \"namespaces\"",
        "`namespaces`: cannot make a user namespace",
        "max_user_namespaces",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("ran\n"), "{text}");
}

#[test]
fn a_workspace_that_is_the_home_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut command = husk();
    command.env("HOME", home.path()).env("HUSK_PYTHON", python());
    command.env("HUSK_WORKSPACE", home.path()).current_dir(home.path());
    let mut host = Host::run(command, home);
    host.initialize("2025-11-25");
    let text = host.cell("1").text();
    assert!(text.contains("the workspace") && text.contains("holds your home"), "{text}");
}
