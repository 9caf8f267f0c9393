//! Named sessions outlive their server: real servers, killed in every way, and what the next one finds.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    host::{Answer, Host},
    husk,
    processes::Watched,
    python,
};

/// What the servers of one user share.
pub(crate) struct Home {
    folder: TempDir,
    keep_alive: &'static str,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::keeping("600")
    }

    fn keeping(keep_alive: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["run", "work", "data"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder, keep_alive }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// husk, as this user has it.
    pub(crate) fn command(&self) -> std::process::Command {
        let mut command = husk();
        command
            .env("XDG_RUNTIME_DIR", self.at("run"))
            .env("TMPDIR", self.at("run"))
            .env("HUSK_DATA_DIR", self.at("data"))
            .env("HUSK_PYTHON", python())
            .env("HUSK_SESSIONS_KEEP_ALIVE", self.keep_alive)
            .env("HUSK_DEDUP_MODE", "off")
            .current_dir(self.at("work"));
        command
    }

    fn launch(&self, settings: &[(&str, &str)]) -> Host {
        let mut command = self.command();
        command.args(["--session", "kept", "--workspace"]).arg(self.at("work"));
        command.envs(settings.iter().copied());
        let workspace = tempfile::tempdir().unwrap();
        command.current_dir(workspace.path());
        Host::run(command, workspace)
    }

    pub(crate) fn start_with(&self, settings: &[(&str, &str)]) -> Host {
        let mut host = self.launch(settings);
        host.initialize("2025-11-25");
        host
    }

    pub(crate) fn start(&self) -> Host {
        self.start_with(&[])
    }

    /// The run folders that are there.
    pub(crate) fn runs(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.at("run")).unwrap().flatten().map(|entry| entry.path());
        all.filter(|path| path.join("s").is_dir()).collect()
    }
}

/// What a test leaves is ended: the next server finds it, and keeps nothing.
impl Drop for Home {
    fn drop(&mut self) {
        self.keep_alive = "0";
        let mut host = self.launch(&[]);
        host.initialize("2025-11-25");
        host.tool("sandbox_status", json!({}));
        host.cell("1");
    }
}

pub(crate) fn kill(mut host: Host) {
    host.child.kill().unwrap();
    host.child.wait().unwrap();
}

pub(crate) fn status(host: &mut Host) -> Value {
    host.tool("sandbox_status", json!({})).structured()["sessions"][0].clone()
}

/// Nothing tells that the kernel is found but the status.
fn follows_the_earlier_cell(host: &mut Host) {
    while status(host)["running"] != "c0" {
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn kernel(host: &mut Host) -> Watched {
    Watched::hold(i32::try_from(status(host)["pid"].as_i64().unwrap()).unwrap())
}

const HAS: &str = "this is the kernel that an earlier server has left";

fn assert_kept(answer: &Answer, value: &str) {
    assert_eq!(answer.status(), "ok", "{answer:?}");
    assert!(answer.text().starts_with(value), "{answer:?}");
    assert!(answer.text().contains(HAS), "{answer:?}");
    assert_eq!(answer.structured()["generation"], 1, "{answer:?}");
    assert_eq!(answer.structured()["state_lost"], false, "{answer:?}");
}

#[test]
fn the_server_is_killed_and_the_next_one_has_its_variables() {
    let home = Home::new();
    let mut host = home.start();
    host.ok("x = 41");
    let pid = status(&mut host)["pid"].clone();
    kill(host);
    let mut next = home.start();
    assert_kept(&next.cell("x + 1"), "42");
    assert_eq!(status(&mut next)["pid"], pid);
    // It is told once, and the isolation is looked at again.
    assert_eq!(next.ok("x"), "41");
    let session = status(&mut next);
    assert_eq!(session["state"], "idle", "{session}");
    assert!(session["isolation"].is_string(), "{session}");
    // What was a fresh kernel's is one of this session, too: interrupts, deaths, restarts.
    let died = next.cell("import os; os._exit(3)");
    assert_eq!(died.status(), "kernel_died", "{died:?}");
    let fresh = next.cell("'x' in globals()");
    assert!(fresh.text().starts_with("False"), "{fresh:?}");
    assert_eq!(fresh.structured()["generation"], 2, "{fresh:?}");
}

#[test]
fn the_host_goes_and_comes_again_as_often_as_it_likes() {
    let home = Home::new();
    for round in 0..3 {
        let mut host = home.start();
        let answer = host.cell("n = globals().get('n', 0) + 1; n");
        assert!(answer.text().starts_with(&(round + 1).to_string()), "{answer:?}");
        host.close_stdin();
        assert!(host.child.wait().unwrap().success());
    }
    assert_eq!(home.runs().len(), 1);
}

#[test]
fn a_cell_that_runs_while_its_server_dies_goes_on_and_is_followed() {
    let home = Home::new();
    let mut host = home.start();
    host.ok("import time, os");
    let go = home.at("work").join("go");
    let code = format!(
        "print('before', flush=True)\nwhile not os.path.exists({go:?}): time.sleep(0.02)\nprint('after'); done = 1"
    );
    host.begin_cell(&code);
    kill(host);
    let mut next = home.start();
    let queued = next.tool("notebook_run_cell", json!({ "code": "done", "wait": 0 }));
    assert_eq!(queued.status(), "queued", "{queued:?}");
    follows_the_earlier_cell(&mut next);
    let running = next.tool("notebook_wait_cell", json!({ "cell": "c0", "wait": 0 }));
    assert_eq!(running.status(), "running", "{running:?}");
    assert!(running.text().starts_with("begun\nbefore"), "{running:?}");
    fs::write(&go, "").unwrap();
    let earlier = next.tool("notebook_wait_cell", json!({ "cell": "c0", "from": 0 }));
    assert_eq!(earlier.status(), "ok", "{earlier:?}");
    assert!(earlier.text().starts_with("begun\nbefore\nafter\n"), "{earlier:?}");
    assert!(earlier.text().contains("an earlier server had begun this cell"), "{earlier:?}");
    let done = next.tool("notebook_wait_cell", json!({ "cell": "c1" }));
    assert!(done.text().starts_with('1'), "{done:?}");
}

#[test]
fn a_cell_that_ended_while_nobody_listened_is_told_as_that() {
    let home = Home::new();
    let mut host = home.start();
    host.ok("import time, os");
    let (go, over) = (home.at("work").join("go"), home.at("work").join("over"));
    host.begin_cell(&format!(
        "while not os.path.exists({go:?}): time.sleep(0.02)\nprint('unheard', flush=True); v = 7; open({over:?}, 'w').close()"
    ));
    kill(host);
    fs::write(&go, "").unwrap();
    while !over.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut next = home.start();
    assert_kept(&next.cell("v"), "7");
    let earlier = next.tool("notebook_wait_cell", json!({ "cell": "c0", "from": 0 }));
    // It may have had its last words still to say when the server came.
    if earlier.status() != "ok" {
        assert_eq!(earlier.status(), "unseen", "{earlier:?}");
        assert!(earlier.text().contains("whether it succeeded is not known"), "{earlier:?}");
    }
    assert!(earlier.text().starts_with("begun\nunheard"), "{earlier:?}");
}

#[test]
fn a_cell_of_an_earlier_server_can_be_interrupted() {
    let home = Home::new();
    let mut host = home.start();
    host.begin_cell("import time\nwhile True: time.sleep(0.1)");
    kill(host);
    let mut next = home.start();
    let queued = next.tool("notebook_run_cell", json!({ "code": "2 + 2", "wait": 0 }));
    assert_eq!(queued.status(), "queued", "{queued:?}");
    follows_the_earlier_cell(&mut next);
    let stopped = next.tool("notebook_interrupt", json!({}));
    assert_eq!(stopped.structured()["cell"], "c0", "{stopped:?}");
    let next_cell = next.tool("notebook_wait_cell", json!({ "cell": "c1" }));
    assert!(next_cell.text().starts_with('4'), "{next_cell:?}");
}

#[test]
fn nothing_is_left_when_its_time_is_over() {
    let home = Home::keeping("1");
    let mut host = home.start();
    let daemon = host.ok("import subprocess; subprocess.Popen(['sleep', '1000']).pid");
    let daemon = Watched::hold(host.outside(&daemon));
    let kernel = kernel(&mut host);
    kill(host);
    kernel.must_end_within(Duration::from_secs(20), "the kernel");
    daemon.must_end_within(Duration::from_secs(5), "what it had started");
    while !home.runs().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut next = home.start();
    let answer = next.cell("'subprocess' in globals()");
    assert!(answer.text().starts_with("False"), "{answer:?}");
    assert!(answer.text().contains("the kernel that an earlier server had is gone"), "{answer:?}");
    assert_eq!(answer.structured()["generation"], 2, "{answer:?}");
    assert_eq!(answer.structured()["state_lost"], true, "{answer:?}");
}

#[test]
fn a_session_without_a_name_ends_with_its_server() {
    let home = Home::new();
    let mut host = home.start();
    let name = status(&mut host)["session"].clone();
    assert_eq!(name, "kept");
    drop(host);
    let mut command = husk();
    command
        .arg("--python")
        .arg(python())
        .env("XDG_RUNTIME_DIR", home.at("run"))
        .env("HUSK_DATA_DIR", home.at("data"))
        .env("HUSK_SESSIONS_KEEP_ALIVE", "600");
    let workspace = tempfile::tempdir().unwrap();
    command.current_dir(workspace.path());
    let mut host = Host::run(command, workspace);
    host.initialize("2025-11-25");
    host.ok("1");
    let kernel = kernel(&mut host);
    kill(host);
    kernel.must_end_within(Duration::from_secs(5), "the kernel");
}

#[test]
fn two_servers_never_share_a_session_and_the_second_is_told_who_has_it() {
    let home = Home::new();
    let mut first = home.start();
    first.ok("secret = 1");
    let mut second = home.start();
    let answer = second.cell("'secret' in globals()");
    assert!(answer.text().starts_with("False"), "{answer:?}");
    let expected = format!("another husk (server {})", first.child.id());
    assert!(answer.text().contains(&expected), "{answer:?}");
    assert_eq!(first.ok("secret"), "1");
    let own = kernel(&mut second);
    kill(second);
    own.must_end_within(Duration::from_secs(5), "the second's own kernel");
    // When the first has gone, another finds its kernel.
    first.close_stdin();
    first.child.wait().unwrap();
    assert_kept(&home.start().cell("secret"), "1");
}

#[test]
fn a_server_that_is_killed_at_any_step_of_a_start_leaves_what_the_next_call_repairs() {
    for step in ["claimed", "placed", "spawned", "ready", "kept"] {
        let home = Home::new();
        let mut host = home.launch(&[("TEST_HUSK_FAULT", step)]);
        let status = host.child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{step}");
        let mut next = home.start();
        let answer = next.cell("6 * 7");
        assert!(answer.text().starts_with("42"), "{step}: {answer:?}");
        drop(next);
        // One kernel is kept; what the dead server had begun is gone.
        assert_eq!(home.runs().len(), 1, "{step}");
    }
}

#[test]
fn a_kernel_is_not_gone_on_with_when_the_settings_have_changed() {
    let home = Home::new();
    let mut host = home.start();
    host.ok("x = 1");
    let kernel = kernel(&mut host);
    kill(host);
    let mut next = home.start_with(&[("HUSK_SANDBOX_NETWORK", "full")]);
    let answer = next.cell("'x' in globals()");
    assert!(answer.text().starts_with("False"), "{answer:?}");
    assert!(answer.text().contains("the settings have changed since"), "{answer:?}");
    kernel.must_end_within(Duration::from_secs(5), "the kernel of other settings");
}

#[test]
fn a_store_that_cannot_be_used_is_told_and_the_session_works_without() {
    let home = Home::new();
    fs::write(home.at("data").join("husk.sqlite"), "no database".repeat(999)).unwrap();
    let mut host = home.start();
    let answer = host.cell("1");
    assert!(answer.text().starts_with('1'), "{answer:?}");
    assert!(
        answer.text().contains("it is not kept") && answer.text().contains("is damaged"),
        "{answer:?}"
    );
    let kernel = kernel(&mut host);
    kill(host);
    kernel.must_end_within(Duration::from_secs(5), "the kernel");
    fs::remove_file(home.at("data").join("husk.sqlite")).unwrap();
}
