//! The attack table and the workload table: what cells cannot do, and what they still can, at each
//! level, for a server that is root and for one that is an ordinary user.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{PermissionsExt, chown, symlink},
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    HUSK,
    host::{Answer, Host},
    husk, python,
};

mod groups;
mod limits;
mod planted;

const TABLE: &str = include_str!("table.py");

/// An ordinary user that nobody else is.
const USER: u32 = 4321;

/// As whom the server runs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum As {
    Root,
    User,
}

impl As {
    /// Those that this test can be; who is no root can only be itself.
    pub(crate) fn all() -> &'static [Self] {
        if rustix::process::geteuid().is_root() { &[Self::Root, Self::User] } else { &[Self::User] }
    }

    fn uid(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::User if rustix::process::geteuid().is_root() => USER,
            Self::User => rustix::process::geteuid().as_raw(),
        }
    }

    /// A command that runs as that user.
    fn command(self, program: &str) -> Command {
        if self.uid() == rustix::process::geteuid().as_raw() {
            return Command::new(program);
        }
        let id = self.uid();
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={id}"), &format!("--regid={id}"), "--clear-groups"]);
        command.args(["--inh-caps=-all", program]);
        command
    }

    /// A folder of that user, which others may look into.
    pub(crate) fn folder(self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        self.own(folder.path());
        folder
    }

    fn own(self, path: &Path) {
        chown(path, Some(self.uid()), Some(self.uid())).unwrap();
    }

    /// A server with these settings.
    pub(crate) fn host(self, home: &Path, settings: &[(&str, &str)]) -> Host {
        let workspace = self.folder();
        let mut command = self.command(HUSK);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HUSK_") {
                command.env_remove(name);
            }
        }
        command.env_remove("XDG_RUNTIME_DIR").env("HOME", home).env("HUSK_PYTHON", python());
        command.env("HUSK_DATA_DIR", home.join(".local/share/husk"));
        command.env("SECRET", "of the server").current_dir(workspace.path());
        command.envs(settings.iter().copied());
        let mut host = Host::run(command, workspace);
        host.initialize("2025-11-25");
        host
    }
}

/// What an attack may go for, outside of the sandbox.
struct Prey {
    home: TempDir,
    other: TempDir,
    outside: TempDir,
    tcp: TcpListener,
    udp: UdpSocket,
    unix: UnixListener,
    datagrams: UnixDatagram,
    named: UnixListener,
    victim: Child,
}

impl Prey {
    fn lay_out(user: As) -> Self {
        let (home, other, outside) = (user.folder(), user.folder(), user.folder());
        fs::create_dir(home.path().join(".ssh")).unwrap();
        let open =
            [home.path().join(".ssh/key"), other.path().join("notes"), outside.path().join("file")];
        for path in &open {
            fs::write(path, "secret").unwrap();
            user.own(path);
        }
        let everybody = |path: &Path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        };
        let unix = UnixListener::bind(outside.path().join("docker.sock")).unwrap();
        everybody(&outside.path().join("docker.sock"));
        let datagrams = UnixDatagram::bind(outside.path().join("datagrams")).unwrap();
        everybody(&outside.path().join("datagrams"));
        // As unlike any other as the folder's name.
        let address = format!("husk-test{}", outside.path().display());
        let named = SocketAddr::from_abstract_name(address).unwrap();
        let mut victim = user.command("sleep");
        let victim = victim.arg("1000").env("SECRET", "x").stdout(Stdio::null()).spawn().unwrap();
        Self {
            home,
            other,
            outside,
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            udp: UdpSocket::bind("127.0.0.1:0").unwrap(),
            unix,
            datagrams,
            named: UnixListener::bind_addr(&named).unwrap(),
            victim,
        }
    }

    fn described(&self, host: &Host, user: As) -> Value {
        let named = self.named.local_addr().unwrap();
        let named = String::from_utf8(named.as_abstract_name().unwrap().to_vec()).unwrap();
        json!({
            "home": self.home.path(), "other": self.other.path().join("notes"),
            "outside": self.outside.path().join("file"), "abstract": named,
            "socket": self.outside.path().join("docker.sock"),
            "datagrams": self.outside.path().join("datagrams"),
            "port": self.tcp.local_addr().unwrap().port(),
            "udp": self.udp.local_addr().unwrap().port(),
            "server": host.child.id(), "victim": self.victim.id(), "uid": user.uid(),
        })
    }

    /// Nothing has been reached, whatever the cells say.
    fn must_be_untouched(&mut self) {
        assert!(self.victim.try_wait().unwrap().is_none(), "the victim has ended");
        self.tcp.set_nonblocking(true).unwrap();
        self.unix.set_nonblocking(true).unwrap();
        self.named.set_nonblocking(true).unwrap();
        self.udp.set_nonblocking(true).unwrap();
        self.datagrams.set_nonblocking(true).unwrap();
        let nothing = |what: &str, came: Option<ErrorKind>| {
            assert_eq!(came, Some(ErrorKind::WouldBlock), "{what} was reached");
        };
        nothing("tcp", self.tcp.accept().err().map(|error| error.kind()));
        nothing("unix", self.unix.accept().err().map(|error| error.kind()));
        nothing("abstract", self.named.accept().err().map(|error| error.kind()));
        nothing("udp", self.udp.recv(&mut [0; 8]).err().map(|error| error.kind()));
        nothing("datagrams", self.datagrams.recv(&mut [0; 8]).err().map(|error| error.kind()));
        assert_eq!(fs::read_to_string(self.outside.path().join("file")).unwrap(), "secret");
        assert!(!self.outside.path().join("file.new").exists());
        assert!(!self.home.path().join(".bashrc").exists());
    }
}

impl Drop for Prey {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// Runs the whole table; the names of the attacks that succeed.
fn leaks(user: As, level: &str, network: &str) -> BTreeSet<String> {
    let mut prey = Prey::lay_out(user);
    // All names are named, also with the port that the attacks go for.
    let hosts = format!("*,*:{}", prey.tcp.local_addr().unwrap().port());
    let settings = [
        ("HUSK_SANDBOX_ISOLATION", level),
        ("HUSK_SANDBOX_NETWORK", network),
        ("HUSK_SANDBOX_NETWORK_HOSTS", &hosts),
        ("HUSK_SANDBOX_PIDS", "100"),
        ("HUSK_SANDBOX_MEMORY_PER_PROCESS_BYTES", "1073741824"),
        ("HUSK_SANDBOX_FILE_SIZE_BYTES", "67108864"),
        ("HUSK_SANDBOX_TMP_BYTES", "33554432"),
        ("HUSK_OUTPUT_MAX_TEXT_BYTES", "65536"),
    ];
    let mut host = user.host(prey.home.path(), &settings);
    symlink(prey.outside.path().join("file"), host.workspace.path().join("planted")).unwrap();
    let told = prey.described(&host, user).to_string();
    let table = host.ok(&format!("import json\nt = json.loads({told:?})\n{TABLE}"));
    let bomb = host.cell("print('a bomb of forks |', attempt(forks))");
    let told = bomb.text();
    let table = match bomb.status() {
        // Where the operating system does not bound root's processes, husk does.
        "kernel_died" if told.contains("the limit of processes and threads") => table,
        _ => table + &told,
    };
    assert!(host.ok("6 * 7").starts_with("42"), "the server answers throughout");
    let rows: Vec<(&str, &str)> = table.lines().filter_map(|line| line.split_once(" | ")).collect();
    assert!(rows.len() >= TABLE.matches("\": ").count(), "{table}");
    if level != "none" {
        prey.must_be_untouched();
    }
    let leaks = rows.iter().filter(|(_, outcome)| outcome.starts_with("LEAK"));
    leaks.map(|(name, _)| (*name).to_owned()).collect()
}

fn expect(user: As, level: &str, network: &str, known: &[&str]) {
    let known: BTreeSet<String> = known.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(leaks(user, level, network), known, "{user:?} at {level}, {network}");
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

#[test]
fn behind_landlock_only_what_is_told_as_a_gap_succeeds() {
    for user in As::all() {
        // The list of processes is open.
        expect(*user, "landlock", "none", &["the command line of the server"]);
    }
}

/// Otherwise the table would pass for attacks that cannot work.
#[test]
fn without_isolation_the_attacks_work() {
    let user = *As::all().last().unwrap();
    let leaks = leaks(user, "none", "none");
    for known in [
        "a key in the home",
        "a planted link",
        "writing outside",
        "the environment of a process",
        "TCP to a listener here",
        "a unix socket like Docker's",
        "an abstract unix socket",
        "a nested user namespace",
        "a signal by a pidfd",
        "the server's own sockets",
    ] {
        assert!(leaks.contains(known), "{known}: {leaks:?}");
    }
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
fn usual_work_goes_on_in_namespaces() {
    for user in As::all() {
        let home = user.folder();
        let mut host = user.host(home.path(), &[("HUSK_SANDBOX_ISOLATION", "namespaces")]);
        for (code, expected) in WORK {
            let answer = host.cell(code);
            assert_eq!(answer.status(), "ok", "{user:?}: {code}: {answer:?}");
            assert!(answer.text().contains(expected), "{user:?}: {code}: {}", answer.text());
        }
        // What cells write is the user's afterwards.
        let made = fs::metadata(host.workspace.path().join("made")).unwrap();
        let owner = std::os::unix::fs::MetadataExt::uid(&made);
        assert_eq!(owner, user.uid());
        let image: Answer =
            host.cell("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()");
        assert_eq!(image.blocks("image").len(), 1, "{image:?}");
    }
}

const WORK: &[(&str, &str)] = &[
    ("import numpy; print((numpy.ones((300, 300)) @ numpy.ones((300, 300)))[0, 0])", "300.0"),
    ("import pandas; print(pandas.DataFrame({'a': [1, 2]}).sum()['a'])", "3"),
    (
        "from multiprocessing import Pool, Manager
with Pool(2) as pool: print(pool.map(abs, [-1, -2]))
with Manager() as manager:
    shared = manager.dict(); shared['a'] = 1; print(shared)",
        "[1, 2]\n{'a': 1}",
    ),
    (
        "import asyncio
async def both():
    return await asyncio.gather(asyncio.to_thread(pow, 2, 10), asyncio.sleep(0, 5))
print(await both())",
        "[1024, 5]",
    ),
    ("import sqlite3; print(sqlite3.connect('db').execute('select 40 + 2').fetchone())", "(42,)"),
    (
        "import subprocess; print(subprocess.check_output(['sh', '-c', 'echo of $((40+2))']))",
        "of 42",
    ),
    ("!echo shell of $((40 + 2))", "shell of 42"),
    ("!python -c 'import sys; print(sys.prefix)'", "env"),
    (
        "import http.server, threading, urllib.request
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(urllib.request.urlopen(f'http://127.0.0.1:{server.server_port}/').status)",
        "200",
    ),
    ("import tempfile; print(len(tempfile.mkdtemp()) > 3)", "True"),
    (
        "import os, pathlib; open('made', 'w').close(); pathlib.Path.home().joinpath('x').touch(); print(os.getpid())",
        "2",
    ),
];

#[test]
fn what_other_programs_trust_in_the_workspace_is_only_read() {
    for user in As::all() {
        let (home, outside) = (user.folder(), user.folder());
        let mut host = user.host(home.path(), &[("HUSK_SANDBOX_ISOLATION", "namespaces")]);
        let workspace = host.workspace.path().to_owned();
        let files = [
            ".git/hooks/pre-commit",
            ".git/config",
            ".git/index",
            ".mcp.json",
            ".vscode/tasks.json",
            "husk.toml",
        ];
        for file in files {
            let path = workspace.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            for part in path.ancestors().take_while(|part| *part != workspace) {
                user.own(part);
            }
        }
        // A link that an earlier cell has left is not followed.
        fs::write(outside.path().join("secret"), "").unwrap();
        symlink(outside.path(), workspace.join(".cursor")).unwrap();
        host.tool("notebook_interrupt", json!({ "restart": true }));
        host.ok("import os");
        for attack in [
            "open('.git/hooks/pre-commit', 'w')",
            "open('.git/hooks/new', 'w')",
            "open('.git/config', 'w')",
            "os.unlink('.git/config')",
            "open('.git/commondir', 'w')",
            "open('.git/index', 'w')",
            "os.rename('.git', 'moved')",
            "os.rename('.git/hooks', 'hooks')",
            "open('.mcp.json', 'a')",
            "os.unlink('.mcp.json')",
            "os.replace('new', '.mcp.json')",
            "open('.vscode/new', 'w')",
            "os.rename('.vscode', 'moved')",
            "open('husk.toml', 'w')",
            "open('.husk/forged', 'w')",
            "os.rename('.husk', 'moved')",
            "os.listdir('.cursor')",
        ] {
            let answer = host.cell(&format!("open('new', 'w').close(); {attack}"));
            assert_eq!(answer.status(), "error", "{user:?}: {attack}: {answer:?}");
        }
        assert_eq!(host.ok("open('.git/index').read() + open('.mcp.json').read()"), "''");
        // The record goes on meanwhile.
        assert!(
            !host.tool("sandbox_status", json!({})).structured()["sessions"][0]["notebook"]
                .is_null()
        );
        for file in files {
            assert_eq!(fs::read_to_string(workspace.join(file)).unwrap(), "", "{file}");
        }
    }
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
    for name in ["namespaces", "privileges", "landlock", "seccomp"] {
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
    command.env("HUSK_PYTHON", python()).env("HUSK_SANDBOX_MIN_ISOLATION", "namespaces");
    for name in ["HUSK_TEST_PYTHON", "HUSK_TEST_KERNELS", "HUSK_TEST_INSPECTOR", "HUSK_TEST_NODE"] {
        command.env_remove(name);
    }
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
