//! Kernels that are ready before anybody asks for one.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::{
    kept::{Home, kill},
    support::{
        host::{Answer, Host},
        processes::Watched,
    },
};

const SOON: Duration = Duration::from_secs(20);

/// A server that keeps one kernel ready, and the process id of that one.
fn start(home: &Home) -> (Host, u64) {
    let mut host = home.start_with(&[("HUSK_LAUNCH_POOL", "1")]);
    host.ok("x = 1");
    let waits = ready(&mut host, 0);
    (host, waits)
}

/// The kernel that waits, once there is another one than `old`: nothing tells of it but the status.
fn ready(host: &mut Host, old: u64) -> u64 {
    loop {
        let status = host.tool("sandbox_status", json!({}));
        match status.structured()["ready"][0].as_u64() {
            Some(pid) if pid != old => return pid,
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn held(pid: u64) -> Watched {
    Watched::hold(i32::try_from(pid).unwrap())
}

fn cell(host: &mut Host, session: &str, code: &str) -> Answer {
    host.tool("notebook_run_cell", json!({ "code": code, "session": session }))
}

fn status(host: &mut Host, session: &str) -> Value {
    let status = host.tool("sandbox_status", json!({ "session": session }));
    status.structured()["sessions"][0].clone()
}

#[test]
fn a_new_session_a_reset_and_a_restart_take_the_kernel_that_is_ready() {
    let home = Home::new();
    let (mut host, waits) = start(&home);
    let answer = cell(&mut host, "second", "'x' in globals()");
    assert!(answer.text().starts_with("False"), "{answer:?}");
    assert_eq!(answer.structured()["generation"], 1, "{answer:?}");
    let second = status(&mut host, "second");
    assert_eq!(second["pid"], waits);
    // It is held as the first one is.
    let first = status(&mut host, "kept");
    assert_eq!(second["sandbox"]["effective"], first["sandbox"]["effective"]);
    assert_eq!(second["kept_s"], first["kept_s"]);
    let waits = ready(&mut host, waits);
    let answer = host.tool("sandbox_reset", json!({}));
    assert_eq!(answer.structured()["generation"], 2, "{answer:?}");
    assert_eq!(status(&mut host, "kept")["pid"], waits);
    assert!(host.cell("'x' in globals()").text().starts_with("False"));
    let waits = ready(&mut host, waits);
    let died = host.cell("import os; os._exit(1)");
    assert_eq!(died.status(), "kernel_died", "{died:?}");
    host.ok("1");
    assert_eq!(status(&mut host, "kept")["pid"], waits);
}

#[test]
fn a_kernel_that_was_ready_outlives_its_server_like_any_other() {
    let home = Home::new();
    let (mut host, waits) = start(&home);
    assert_eq!(cell(&mut host, "second", "y = 2").status(), "ok");
    let unused = held(ready(&mut host, waits));
    kill(host);
    unused.must_end_within(SOON, "the kernel that had no session");
    let mut next = home.start();
    assert!(cell(&mut next, "second", "y").text().starts_with('2'));
    assert_eq!(status(&mut next, "second")["pid"], waits);
}

#[test]
fn one_that_has_died_is_not_handed_over() {
    let home = Home::new();
    let (mut host, waits) = start(&home);
    let watched = held(waits);
    let pid = rustix::process::Pid::from_raw(i32::try_from(waits).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    watched.must_end_within(SOON, "the kernel that is killed");
    assert_eq!(cell(&mut host, "second", "1").text(), "1");
    assert_ne!(status(&mut host, "second")["pid"], waits);
    ready(&mut host, waits);
}

/// The new file is another one than the sandbox was made with, and so would be open to its cells.
#[test]
fn one_that_was_made_before_a_trusted_file_was_replaced_is_not_handed_over() {
    let home = Home::new();
    let work = home.at("work");
    fs::write(work.join("husk.toml"), "").unwrap();
    let (mut host, waits) = start(&home);
    if status(&mut host, "kept")["isolation"] != "namespaces" {
        return;
    }
    fs::write(work.join("new"), "# the user's\n").unwrap();
    fs::rename(work.join("new"), work.join("husk.toml")).unwrap();
    let unfit = held(waits);
    // The one that has a session says so, once.
    let told = host.cell("1");
    assert!(told.text().contains("husk.toml` was replaced meanwhile"), "{told:?}");
    assert_eq!(host.ok("1"), "1");
    let answer = cell(&mut host, "second", "open('husk.toml', 'a')");
    assert_eq!(answer.structured()["error"]["name"], "OSError", "{answer:?}");
    unfit.must_end_within(SOON, "the kernel that is unfit");
}

#[test]
fn they_end_with_their_server_and_none_is_made_where_none_is_wanted() {
    let home = Home::new();
    let (host, waits) = start(&home);
    let watched = held(waits);
    drop(host);
    watched.must_end_within(SOON, "the kernel that waited");
    let mut host = home.start_with(&[("HUSK_LAUNCH_POOL", "0")]);
    host.ok("1");
    assert_eq!(home.runs().len(), 1);
}
