//! What ends kernels beside their servers: resets, the user, time, and the next server's look around.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::kept::{Home, kernel, kill, status};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_reset_gives_a_new_kernel_on_the_same_workspace() {
    let home = Home::new();
    let mut host = home.start();
    host.ok("x = 1; open('file', 'w').close(); import pathlib; pathlib.Path('/tmp/t').touch()");
    let old = kernel(&mut host);
    let answer = host.tool("sandbox_reset", json!({}));
    let expected = json!({ "session": "kept", "state_lost": true, "generation": 2 });
    assert_eq!(answer.structured(), &expected, "{answer:?}");
    old.must_end_within(SOON, "the old kernel");
    let code = "import os; 'x' in globals(), os.path.exists('file'), os.path.exists('/tmp/t')";
    let answer = host.cell(code);
    assert!(answer.text().starts_with("(False, True, False)"), "{answer:?}");
    assert_eq!(answer.structured()["generation"], 2, "{answer:?}");
    // Also while a cell runs.
    let running = host.begin_cell("import time; time.sleep(1000)");
    let answer = host.tool("sandbox_reset", json!({}));
    assert_eq!(answer.structured()["generation"], 3, "{answer:?}");
    assert_eq!(host.result(running).status(), "interrupted");
    let unknown = host.tool("sandbox_reset", json!({ "kernel": "cobol" }));
    assert!(unknown.text().contains("no kernel named `cobol`"), "{unknown:?}");
}

#[test]
fn a_reset_ends_what_an_earlier_server_has_left() {
    let home = Home::new();
    let mut host = home.start();
    host.ok("x = 1");
    let more = host.tool("notebook_run_cell", json!({ "code": "y = 1", "session": "more" }));
    assert_eq!(more.status(), "ok");
    kill(host);
    let mut next = home.start();
    let answer = next.tool("sandbox_reset", json!({ "session": "more" }));
    assert_eq!(answer.structured()["generation"], 2, "{answer:?}");
    let gone = next.tool("notebook_run_cell", json!({ "code": "y", "session": "more" }));
    assert_eq!(gone.structured()["error"]["name"], "NameError", "{gone:?}");
    assert!(next.cell("x").text().starts_with('1'));
}

#[test]
fn sessions_that_wait_for_a_server_are_listed_and_can_be_stopped() {
    let home = Home::new();
    let mut host = home.start();
    host.ok("x = 1");
    let kernel = kernel(&mut host);
    kill(host);
    let listed = || -> Vec<Value> {
        let output = home.command().args(["sessions", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let waiting = listed();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!((&waiting[0]["session"], &waiting[0]["state"]), (&json!("kept"), &json!("waiting")));
    let stop = |name: &str| home.command().args(["sessions", "stop", name]).output().unwrap();
    assert!(!stop("other").status.success());
    assert!(stop("kept").status.success());
    kernel.must_end_within(SOON, "the kernel");
    assert_eq!(listed(), Vec::<Value>::new());
    // A server that has it ends its kernel, and starts another for the next cell.
    let mut next = home.start();
    next.ok("y = 1");
    assert!(stop("kept").status.success());
    assert_eq!(status(&mut next)["state"], "off");
    let answer = next.cell("'y' in globals()");
    assert!(answer.text().starts_with("False"), "{answer:?}");
}

#[test]
fn a_kernel_that_nobody_uses_is_ended_and_the_next_cell_is_told_why() {
    let home = Home::new();
    for (setting, why) in
        [("HUSK_SESSIONS_IDLE_TIMEOUT", "idle_timeout"), ("HUSK_SESSIONS_MAX_AGE", "max_age")]
    {
        let mut host = home.start_with(&[(setting, "1")]);
        host.tool("notebook_run_cell", json!({ "code": "x = 1", "session": why }));
        while host.tool("sandbox_status", json!({ "session": why })).structured()["sessions"][0]["state"]
            != "off"
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        let answer =
            host.tool("notebook_run_cell", json!({ "code": "'x' in globals()", "session": why }));
        assert!(answer.text().starts_with("False"), "{answer:?}");
        assert!(answer.text().contains(&format!("sessions.{why}")), "{answer:?}");
        assert_eq!(answer.structured()["state_lost"], true, "{answer:?}");
    }
}

#[test]
fn a_cell_is_stopped_when_the_life_time_of_its_kernel_is_over() {
    let home = Home::new();
    let mut host = home.start_with(&[("HUSK_SESSIONS_MAX_AGE", "3")]);
    let answer = host.cell("import time; time.sleep(1000)");
    assert_eq!(answer.status(), "kernel_died", "{answer:?}");
    assert!(answer.text().contains("sessions.max_age"), "{answer:?}");
}

#[test]
fn what_a_killed_server_has_left_and_nobody_knows_is_ended_by_the_next() {
    let home = Home::new();
    let mut host = home.start();
    host.ok("1");
    let orphan = kernel(&mut host);
    kill(host);
    for name in ["husk.sqlite", "husk.sqlite-wal", "husk.sqlite-shm"] {
        let _ = fs::remove_file(home.at("data").join(name));
    }
    let mut next = home.start();
    orphan.must_end_within(SOON, "the kernel that no store knows");
    next.ok("1");
    drop(next);
    assert_eq!(home.runs().len(), 1);
}

#[test]
fn a_kernel_that_is_kept_ends_when_it_uses_too_much() {
    let home = Home::new();
    let mut host = home.start_with(&[("HUSK_SANDBOX_MEMORY_BYTES", "300000000")]);
    if status(&mut host)["isolation"] == "none" {
        return;
    }
    host.ok("import os, time");
    let go = home.at("work").join("go");
    // Six processes, each below what one may have.
    host.begin_cell(&format!(
        "while not os.path.exists({go:?}): time.sleep(0.02)\nfor _ in range(6):\n    if os.fork() == 0:\n        b = bytearray(90_000_000); b[:] = b'x' * len(b); time.sleep(1000)\ntime.sleep(1000)"
    ));
    let kernel = kernel(&mut host);
    kill(host);
    fs::write(&go, "").unwrap();
    kernel.must_end_within(SOON, "the kernel that uses too much");
}
