//! A gateway and hosts for its kernels, set up by the files of `examples/enterprise-gateway`, and husk that uses it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::Receiver,
};

use tempfile::TempDir;

use super::machine::{Machine, Parts, lines, port, said};
use crate::support::{HUSK, host::Host, python, repository};

/// The hosts of the example's files.
pub(super) const HOSTS: [(&str, &str); 2] =
    [("kernels-1", "192.0.2.11"), ("kernels-2", "192.0.2.12")];

/// All of it; it ends with this.
pub(super) struct Site {
    pub(super) machine: Machine,
    hosts: Vec<(&'static str, Machine)>,
    gateway: Option<Child>,
    log: Receiver<String>,
    /// A copy of the example's files, as both see them.
    example: TempDir,
}

impl Site {
    /// A gateway with these hosts; nothing where it cannot be, which is said.
    pub(super) fn start() -> Option<Self> {
        Self::start_changed(|_| ())
    }

    /// The same, after something was changed in the copy of the example's files.
    pub(super) fn start_changed(change: impl FnOnce(&Path)) -> Option<Self> {
        let parts = Parts::found()?;
        let example = copied();
        change(example.path());
        let (machine, key) = Machine::gateway(&parts, example.path());
        let host = |it| Machine::host(&parts, example.path(), it, (&machine, &key));
        let hosts = HOSTS.map(|it| (it.0, host(it))).into();
        let (_, log) = std::sync::mpsc::channel();
        let mut site = Self { machine, hosts, gateway: None, log, example };
        site.machine.run(&["sh", "-c", &site.line("su gateway -c 'ssh-keyscan")]);
        site.begin();
        Some(site)
    }

    /// The line of the example's README that begins so.
    fn line(&self, begin: &str) -> String {
        let text = fs::read_to_string(self.file("README.md")).unwrap();
        text.lines().find(|line| line.starts_with(begin)).unwrap().to_owned()
    }

    /// Starts the gateway, and waits until it listens.
    pub(super) fn begin(&mut self) {
        let line = self.line("su gateway -c /");
        let mut command = self.machine.command(&["sh", "-c", &line]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        self.log = lines(child.stderr.take().unwrap());
        self.gateway = Some(child);
        self.says(|line| line.contains("is available at"));
    }

    /// Waits until the gateway says that.
    pub(super) fn says(&self, fits: impl Fn(&str) -> bool) -> String {
        said(&self.log, fits)
    }

    /// Kills the gateway, and nothing else.
    pub(super) fn kill_gateway(&mut self) {
        self.machine.run(&["pkill", "-KILL", "-u", "gateway"]);
        self.gateway.take().unwrap().wait().unwrap();
    }

    /// Asks the gateway for a kernel, as somebody else who has its token.
    pub(super) fn ask_for_a_kernel(&self, body: &serde_json::Value) {
        let script = "
import sys, urllib.request as web
head = {'Authorization': 'token ' + sys.argv[1]}
web.urlopen(web.Request('http://127.0.0.1:8888/api/kernels', sys.argv[2].encode(), head)).read()";
        let python = "/srv/kernels/bin/python";
        self.machine.run(&[python, "-c", script, &self.token(), &body.to_string()]);
    }

    fn token(&self) -> String {
        self.machine.run(&["sh", "-c", "cat ~gateway/gateway-token"])
    }

    /// The host of that name.
    pub(super) fn host(&self, name: &str) -> &Machine {
        &self.hosts.iter().find(|(known, _)| *known == name).unwrap().1
    }

    /// Pulls a host's plugs.
    pub(super) fn kill_host(&mut self, name: &str) {
        let at = self.hosts.iter().position(|(known, _)| *known == name).unwrap();
        let address = address(name);
        self.machine.run(&["ip", "link", "delete", &port(address)]);
        drop(self.hosts.remove(at));
    }

    /// The gateway's machine looks for a host anew, as it does when it has not heard of it for a while.
    pub(super) fn forget(&self, name: &str) {
        self.machine.run(&["ip", "neighbour", "flush", "to", address(name)]);
    }

    /// From now on nothing comes through to a host, and nobody says so.
    pub(super) fn cut_off(&self, name: &str) {
        let address = address(name);
        let nobody = ["lladdr", "02:00:00:00:00:01", "dev", "bridge", "nud", "permanent"];
        self.machine.run(&[&["ip", "neighbour", "replace", address], nobody.as_slice()].concat());
        self.machine.run(&["ip", "link", "set", &port(address), "down"]);
    }

    /// Ends that.
    pub(super) fn mend(&self, name: &str) {
        let address = address(name);
        self.machine.run(&["ip", "link", "set", &port(address), "up"]);
        self.machine.run(&["ip", "neighbour", "delete", address, "dev", "bridge"]);
    }

    /// A file of the example's as the gateway has it.
    pub(super) fn file(&self, name: &str) -> std::path::PathBuf {
        self.example.path().join(name)
    }

    /// A host whose husk runs beside the gateway, with the example's settings and these variables.
    pub(super) fn husk(&self, variables: &[(&str, &str)]) -> Host {
        let mut host = self.launch(variables);
        host.initialize("2025-11-25");
        host
    }

    /// The same without a word said.
    pub(super) fn launch(&self, variables: &[(&str, &str)]) -> Host {
        let workspace = tempfile::tempdir().unwrap();
        let mut command = self.command(workspace.path());
        command
            .envs([
                ("HUSK_DEDUP_MODE", "off"),
                ("HUSK_BREAKER_CONSECUTIVE_FAULTS", "0"),
                ("HUSK_LIMITS_REQUESTS_PER_MINUTE", "0"),
                ("HUSK_LIMITS_TOKENS_PER_HOUR", "0"),
            ])
            .envs(variables.iter().copied());
        Host::run(command, workspace)
    }

    /// husk beside the gateway, in that folder, with the example's settings.
    pub(super) fn command(&self, folder: &Path) -> Command {
        let home = folder.join("settings");
        fs::create_dir_all(home.join("husk")).unwrap();
        fs::copy(self.file("husk.toml"), home.join("husk/husk.toml")).unwrap();
        let mut command = self.machine.beside(Path::new(HUSK));
        command.env("XDG_CONFIG_HOME", home).env("HUSK_GATEWAY_TOKEN", self.token());
        command.env("HUSK_PYTHON", python()).current_dir(folder);
        command
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It ends with its machine.
        if let Some(mut gateway) = self.gateway.take() {
            let _ = self.machine.command(&["pkill", "-KILL", "-u", "gateway"]).status();
            let _ = gateway.wait();
        }
    }
}

fn address(name: &str) -> &'static str {
    HOSTS.iter().find(|(known, _)| *known == name).unwrap().1
}

/// A copy of the example's files that all may read.
fn copied() -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let from = repository().join("examples/enterprise-gateway/.");
    let made = Command::new("cp").arg("-r").arg(from).arg(folder.path()).status();
    assert!(made.unwrap().success());
    folder
}
