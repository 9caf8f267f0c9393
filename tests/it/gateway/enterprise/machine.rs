//! Machines that are none: namespaces of this one, with a network, a file system and processes of their
//! own. They leave nothing behind, however the test ends.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use tokio::time::Instant;

use crate::support::{
    processes::{Watched, outside},
    repository,
    web::PATIENCE,
    without_settings,
};

/// The gateway's address in the example's files.
pub(super) const GATEWAY: &str = "192.0.2.1";

/// What the machines are made of: an environment with Enterprise Gateway, and an SSH server.
pub(super) struct Parts {
    environment: PathBuf,
    sshd: PathBuf,
}

impl Parts {
    /// As `tests/run` has made them; nothing where there can be no such machine, which is said.
    #[expect(
        clippy::print_stderr,
        reason = "who reads of a test that passed shall know that it was skipped"
    )]
    pub(super) fn found() -> Option<Self> {
        let told = |name: &str, usual: &str| {
            std::env::var_os(name).map_or_else(|| repository().join(usual), PathBuf::from)
        };
        let environment = told("HUSK_TEST_ENTERPRISE", "target/test-enterprise");
        let sshd = told("HUSK_TEST_SSHD", "target/test-sshd/usr/sbin/sshd");
        let none = Path::new("none");
        if environment == none || sshd == none {
            eprintln!(
                "skipped: Enterprise Gateway or sshd is not here, and tests/run may not get it"
            );
            return None;
        }
        let mut tried = Command::new("unshare");
        let tried = tried.args(NAMESPACES).arg("true").output().unwrap();
        if !tried.status.success() {
            let why = String::from_utf8_lossy(&tried.stderr);
            eprintln!("skipped: no machines of namespaces here (they take root): {}", why.trim());
            return None;
        }
        for part in [&environment, &sshd] {
            assert!(part.exists(), "{} is not here: run tests/run --setup", part.display());
        }
        Some(Self { environment, sshd })
    }
}

/// What a machine has of its own.
const NAMESPACES: [&str; 6] = ["--net", "--mount", "--pid", "--uts", "--fork", "--kill-child"];

/// One of them. Dropping it ends all that runs in it, as a power cut does.
pub(super) struct Machine {
    /// Holds its first process: ends with it, and it with this.
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// Its first process: the number here, and the process.
    pid: i32,
    first: Watched,
}

impl Machine {
    /// The gateway's, with a switch for hosts; and the gateway's public key.
    pub(super) fn gateway(parts: &Parts, example: &Path) -> (Self, String) {
        let machine = Self::start(parts, example, &["gateway", GATEWAY], None);
        let key = machine.says(|line| line.starts_with("ssh-ed25519 "));
        (machine, key)
    }

    /// A host at the switch of the gateway, which comes with that key.
    pub(super) fn host(
        parts: &Parts,
        example: &Path,
        (name, address): (&str, &str),
        (gateway, key): (&Self, &str),
    ) -> Self {
        let mut host = Self::start(parts, example, &[name, address], Some(&parts.sshd));
        let (port, pid) = (port(address), host.pid.to_string());
        let ends = ["name", &port, "type", "veth", "peer", "name", "eth0", "netns", &pid];
        succeeds(gateway.beside(Path::new("ip")).args(["link", "add"]).args(ends));
        gateway.run(&["ip", "link", "set", &port, "master", "bridge", "up"]);
        writeln!(host.stdin, "{GATEWAY} {key}").unwrap();
        host.says(|line| line.contains("Server listening"));
        host
    }

    fn start(parts: &Parts, example: &Path, who: &[&str], sshd: Option<&Path>) -> Self {
        let mut command = Command::new("unshare");
        command.args(NAMESPACES).args(["sh", "-c", include_str!("machine.sh"), "machine"]);
        command.args(who).arg(&parts.environment).arg(example).args(sshd);
        without_settings(&mut command);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = lines(child.stdout.take().unwrap());
        let pid = said(&lines, |_| true).parse().unwrap();
        Self { child, stdin, lines, pid, first: Watched::hold(pid) }
    }

    /// Waits until its first process says that.
    fn says(&self, fits: impl Fn(&str) -> bool) -> String {
        said(&self.lines, fits)
    }

    /// A command with its network, and else with all that is this machine's.
    pub(super) fn beside(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.pid)).args(["--net", "--"]).arg(program);
        without_settings(&mut command);
        command
    }

    /// A command that runs there.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.pid));
        command.args(["--net", "--mount", "--pid", "--uts", "--"]).args(words);
        without_settings(&mut command);
        command
    }

    /// The process that it knows by that number.
    pub(super) fn process(&self, inside: &str) -> Watched {
        Watched::hold(outside(self.child.id(), inside))
    }

    /// Runs a command there, which must succeed; what it prints.
    pub(super) fn run(&self, words: &[&str]) -> String {
        succeeds(&mut self.command(words))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The last to go is the first process.
        let ended = self.first.ends_within(PATIENCE);
        assert!(ended || std::thread::panicking(), "machine {} still runs", self.pid);
    }
}

/// Runs a command that must succeed; what it prints.
fn succeeds(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The name of the switch's end of a host's cable.
pub(super) fn port(address: &str) -> String {
    format!("port{}", address.rsplit('.').next().unwrap())
}

/// What something says, line by line.
pub(super) fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Waits for a line that fits.
pub(super) fn said(lines: &Receiver<String>, fits: impl Fn(&str) -> bool) -> String {
    let (mut others, end) = (Vec::new(), Instant::now() + PATIENCE);
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) if fits(&line) => return line,
            Ok(line) => others.push(line),
            Err(error) => panic!("{error}; it said {others:#?}"),
        }
    }
}
