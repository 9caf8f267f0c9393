//! The local socket: other processes of the same user find a serving husk and work in its sessions.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::symlink, net::UnixStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::{host::Host, husk, processes::Watched, python};

/// A user's runtime folder, so that no other husk on this machine is found.
struct Home(TempDir);

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// husk, in this home.
    fn husk(&self) -> Command {
        let mut command = husk();
        command.env("XDG_RUNTIME_DIR", self.0.path()).env("TMPDIR", self.0.path());
        command
    }

    /// A host and its server, which has run `code` in the session `name`.
    fn host(&self, name: &str, code: &str) -> Host {
        self.host_with(&[], name, code)
    }

    /// The same with these settings.
    fn host_with(&self, settings: &[(&str, &str)], name: &str, code: &str) -> Host {
        let workspace = tempfile::tempdir().unwrap();
        let mut command = self.husk();
        command.envs(settings.iter().copied());
        command.arg("--python").arg(python()).args(["--session", name]);
        command.current_dir(workspace.path());
        let mut host = Host::run(command, workspace);
        host.initialize("2025-11-25");
        host.ok(code);
        host
    }

    fn socket(&self, host: &Host) -> PathBuf {
        self.0.path().join(format!("husk/{}.sock", host.child.id()))
    }

    /// A second process; its files are those in the home.
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.husk();
        // Sessions that wait for a server are told, too: none of the user who runs the tests.
        command.env("HUSK_DATA_DIR", self.0.path().join("data"));
        let output = command.args(args).current_dir(self.0.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    fn sessions(&self) -> Vec<Value> {
        let ran = self.run(&["sessions", "--json"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

#[test]
fn sessions_of_all_servers_are_listed_by_another_process() {
    let home = Home::new();
    let ran = home.run(&["sessions"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "no husk is serving\n"));
    assert_eq!(home.sessions(), Vec::<Value>::new());

    let mut one = home.host("one", "1");
    one.tool("notebook_run_cell", json!({ "code": "2", "session": "more" }));
    let two = home.host("one", "1");
    let mut listed: Vec<(u64, String)> = home
        .sessions()
        .iter()
        .map(|told| (told["server"].as_u64().unwrap(), told["session"].as_str().unwrap().into()))
        .collect();
    listed.sort();
    let (first, second) = (u64::from(one.child.id()), u64::from(two.child.id()));
    let mut expected =
        [(first, "more"), (first, "one"), (second, "one")].map(|(n, s)| (n, s.to_owned()));
    expected.sort();
    assert_eq!(listed, expected);

    let table = home.run(&["sessions"]).stdout;
    assert!(table.starts_with("SESSION  STATE"), "{table}");
    let line = table.lines().find(|line| line.starts_with("more")).unwrap();
    for part in ["idle", "(python 3", " MB ", &first.to_string()] {
        assert!(line.contains(part), "{part}: {table}");
    }
}

#[test]
fn attached_cells_share_the_variables_of_the_host() {
    let home = Home::new();
    let mut host = home.host("shared", "x = 40");
    let ran = home.run(&["run", "--attach", "shared", "-c", "x += 2; print('x is', x)"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "x is 42\n"), "{}", ran.stderr);
    assert_eq!(host.ok("x"), "42");

    let script = "# %%\ny = x + 1\nprint(y)\n# %%\ny + 1\n";
    fs::write(home.0.path().join("s.py"), script).unwrap();
    let ran = home.run(&["run", "--attach", "shared", "s.py"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "43\n44\n"), "{}", ran.stderr);
    assert_eq!(host.ok("y"), "43");

    // All of them are in the session's notebook.
    let ran = home.run(&["export", "shared", "--to", "py"]);
    let cells =
        "# %%\nx = 40\n\n# %%\nx += 2; print('x is', x)\n\n# %%\nx\n\n# %%\ny = x + 1\nprint(y)\n";
    assert!(ran.code == Some(0) && ran.stdout.starts_with(cells), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn attached_output_comes_as_it_is_printed_and_plots_are_saved() {
    let home = Home::new();
    let _host = home.host("live", "import matplotlib.pyplot as plt");
    let code = "for n in range(50_000): print(n)\nplt.plot([1, 2]); plt.show()";
    fs::write(home.0.path().join("plot.py"), code).unwrap();
    let ran = home.run(&["run", "--attach", "live", "plot.py"]);
    let whole: String = (0..50_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with(&whole),
        "{}…",
        ran.stdout.chars().take(200).collect::<String>()
    );
    let plot = home.0.path().join("plot-1-1.png");
    assert!(fs::read(plot).unwrap().starts_with(b"\x89PNG"), "{}", &ran.stdout[whole.len()..]);
}

#[test]
fn a_failing_attached_cell_ends_the_run_and_not_the_kernel() {
    let home = Home::new();
    let mut host = home.host("s", "kept = 'kept'");
    fs::write(home.0.path().join("s.py"), "print('before')\n1/0\n# %%\nprint('never')\n").unwrap();
    let ran = home.run(&["run", "--attach", "s", "s.py"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("before\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("ZeroDivisionError: division by zero"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("never"), "{}", ran.stdout);
    assert_eq!(host.ok("kept"), "'kept'");
}

#[test]
fn a_session_that_is_not_there_or_there_twice_is_told_with_what_there_is() {
    let home = Home::new();
    let attach = |args: &[&str]| {
        let ran = home.run(&[&["run", "-c", "print(who)", "--attach"], args].concat());
        (ran.code, ran.stdout, ran.stderr)
    };
    let (code, _, told) = attach(&["twin"]);
    assert!(code == Some(1) && told.contains("no husk is serving"), "{told}");

    let (one, two) = (home.host("twin", "who = 1"), home.host("twin", "who = 2"));
    let (code, _, told) = attach(&["nobody"]);
    assert!(code == Some(1) && told.contains("no session named `nobody`; live: twin"), "{told}");
    let (code, _, told) = attach(&["twin"]);
    assert!(code == Some(1) && told.contains("choose one with --server"), "{told}");
    for (host, who) in [(&one, "1\n"), (&two, "2\n")] {
        let pid = host.child.id().to_string();
        assert!(told.contains(&pid), "{told}");
        let (code, printed, told) = attach(&["twin", "--server", &pid]);
        assert_eq!((code, printed.as_str()), (Some(0), who), "{told}");
    }
    let (code, _, told) = attach(&["twin", "--server", "1"]);
    assert!(code == Some(1) && told.contains("no husk serves as process 1"), "{told}");
}

/// An attached cell that never ends, and has begun.
fn endless(home: &Home) -> Child {
    let mut command = home.husk();
    command.args(["run", "--attach", "s", "-c", "print('begun', flush=True)\nwhile True: pass"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");
    child
}

/// Looks until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
    }
}

#[test]
fn the_end_of_an_attached_run_stops_its_cell_and_nothing_else() {
    let home = Home::new();
    let mut host = home.host("s", "kept = 'kept'");
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::KILL, None)] {
        let mut attached = endless(&home);
        kill_process(pid(&attached), signal).unwrap();
        assert_eq!(attached.wait().unwrap().code(), code);
        // This cell would wait behind the other for an hour.
        let begun = Instant::now();
        assert_eq!(host.ok("kept"), "'kept'");
        assert!(begun.elapsed() < Duration::from_secs(5), "{signal:?}: {:?}", begun.elapsed());
    }
}

#[test]
fn an_attached_cell_that_waits_is_withdrawn_and_the_one_under_way_goes_on() {
    let home = Home::new();
    let mut host = home.host("s", "ran = []");
    let gate = host.workspace.path().join("gate");
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    let id = host.begin_cell(&format!("open({gate:?}).read(); ran.append('host')"));
    let mut command = home.husk();
    let mut waiting = command
        .args(["run", "--attach", "s", "-c", "ran.append('attached')"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the attached cell waits", || home.sessions()[0]["queued"] == 1);
    kill_process(pid(&waiting), Signal::INT).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(130));
    fs::write(&gate, "").unwrap();
    assert_eq!(host.result(id).status(), "ok");
    assert_eq!(host.ok("ran"), "['host']");
}

#[test]
fn a_server_takes_its_socket_with_it_also_while_somebody_is_attached() {
    let home = Home::new();
    let mut host = home.host("s", "1");
    let socket = home.socket(&host);
    let _silent = UnixStream::connect(&socket).unwrap();
    let mut attached = endless(&home);
    let begun = Instant::now();
    host.close_stdin();
    assert!(host.child.wait().unwrap().success());
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert!(!socket.exists());
    assert_eq!(attached.wait().unwrap().code(), Some(1));
}

#[test]
fn what_a_killed_server_leaves_is_removed_by_whoever_finds_it() {
    let home = Home::new();
    let mut host = home.host("s", "1");
    let socket = home.socket(&host);
    kill_process(pid(&host.child), Signal::KILL).unwrap();
    host.child.wait().unwrap();
    assert!(socket.exists());
    assert_eq!(home.sessions(), Vec::<Value>::new());
    assert!(!socket.exists());
}

#[test]
fn a_server_that_stands_still_does_not_hide_the_others() {
    let home = Home::new();
    let (still, _lively) = (home.host("still", "1"), home.host("lively", "1"));
    kill_process(pid(&still.child), Signal::STOP).unwrap();
    let ran = home.run(&["sessions"]);
    kill_process(pid(&still.child), Signal::CONT).unwrap();
    assert!(ran.stdout.contains("lively") && !ran.stdout.contains("still"), "{}", ran.stdout);
    let told = format!("the server {} says nothing", still.child.id());
    assert!(ran.stderr.contains(&told), "{}", ran.stderr);
}

#[test]
fn a_server_takes_sixteen_connections_and_closes_one_more() {
    let home = Home::new();
    let host = home.host("s", "1");
    let connections: Vec<UnixStream> =
        (0..16).map(|_| UnixStream::connect(home.socket(&host)).unwrap()).collect();
    let ran = home.run(&["sessions"]);
    assert_eq!(ran.stdout, "no husk is serving\n");
    assert!(ran.stderr.contains("does not tell its sessions"), "{}", ran.stderr);
    drop(connections);
    until("there is room again", || !home.sessions().is_empty());
}

#[test]
fn a_folder_that_is_not_private_is_not_used_and_the_server_serves_on() {
    let home = Home::new();
    let (elsewhere, workspace) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(elsewhere.path(), home.0.path().join("husk")).unwrap();
    let mut command = home.husk();
    command.arg("--python").arg(python()).current_dir(workspace.path()).stderr(Stdio::piped());
    let mut host = Host::run(command, workspace);
    host.initialize("2025-11-25");
    host.ok("1");
    let server = Watched::hold(i32::try_from(host.child.id()).unwrap());
    host.close_stdin();
    server.must_end_within(Duration::from_secs(2), "the server");
    let mut told = String::new();
    std::io::Read::read_to_string(&mut host.child.stderr.take().unwrap(), &mut told).unwrap();
    assert!(told.contains("it is a symbolic link") && told.contains("will not find"), "{told}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_user_lets_refused_calls_through_and_a_host_cannot() {
    let home = Home::new();
    let mut host = home.host("g", "0");
    for _ in 0..3 {
        assert_eq!(host.cell("nonsense").status(), "error");
    }
    assert_eq!(host.cell("nonsense").structured()["denied"]["code"], "same_error");
    let refused = host.call("husk/guard_reset", json!({}));
    assert_eq!(refused["error"]["code"], -32601, "{refused}");
    let ran = home.run(&["guard", "reset", "--of", "other"]);
    assert!(
        ran.stdout.contains("0 breakers closed, repeated calls of 0 sessions"),
        "{}",
        ran.stdout
    );
    let ran = home.run(&["guard", "reset"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("repeated calls of 1 sessions forgotten"), "{}", ran.stdout);
    assert_eq!(host.cell("nonsense").status(), "error");
    drop(host);
    let ran = home.run(&["guard", "reset"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("husk sessions"), "{}", ran.stderr);
}

#[test]
fn an_attached_cell_that_a_limit_refuses_is_tried_again_when_the_limit_says() {
    let home = Home::new();
    // One more every three seconds, after twenty at once.
    let settings = [("HUSK_LIMITS_REQUESTS_PER_MINUTE", "20"), ("HUSK_DEDUP_MODE", "off")];
    let mut host = home.host_with(&settings, "g", "n = 0");
    while host.cell("n += 1").structured()["denied"].is_null() {}
    let ran = home.run(&["run", "--attach", "g", "-c", "print('through')"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "through\n"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("limit reached") && ran.stderr.contains("again in"),
        "{}",
        ran.stderr
    );
}
