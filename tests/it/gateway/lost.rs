//! Kernels at a gateway that end, gateways that go, and husks that are killed.

use serde_json::json;

use super::server::{Gateway, Kind};
use crate::support::host::Host;

#[test]
fn a_kernel_that_dies_at_its_gateway_is_told_and_replaced() {
    for kind in [Kind::JupyterServer, Kind::KernelGateway] {
        let gateway = Gateway::start(kind);
        let mut host = gateway.host();
        host.ok("radius = 2");
        // Once its words have arrived: what it had not sent yet dies with it.
        let folder = tempfile::tempdir().unwrap();
        let heard = folder.path().join("heard");
        let code = format!("import os\nwhile not os.path.exists({heard:?}): pass\nos._exit(7)");
        let running = host.begin_cell(&code);
        std::fs::write(&heard, "").unwrap();
        let died = host.result(running);
        assert_eq!(died.status(), "kernel_died", "{kind:?}: {died:?}");
        assert!(died.text().starts_with("begun\n"), "{kind:?}: {died:?}");
        let told = "the kernel is gone: its gateway says that it died";
        assert!(died.text().contains(told), "{kind:?}: {died:?}");
        assert_eq!(died.structured()["state_lost"], true);
        let next = host.cell("'radius' in globals()");
        assert!(next.text().starts_with("False[this is a fresh kernel"), "{kind:?}: {next:?}");
        // The one that the gateway started in its place is ended.
        drop(host);
        assert_eq!(gateway.kernels(), [""; 0], "{kind:?}");
    }
}

#[test]
fn a_kernel_that_never_answers_at_its_gateway_is_given_up_and_ended_there() {
    for kind in [Kind::JupyterServer, Kind::KernelGateway] {
        let gateway = Gateway::start(kind);
        gateway.break_a_kernelspec("silent", &["sleep", "1000"]);
        let settings = [("HUSK_KERNEL", "silent"), ("HUSK_LAUNCH_TIMEOUT", "3")];
        let mut host = gateway.launch(None, &settings);
        host.initialize("2025-11-25");
        let given_up = host.cell("1");
        let told = given_up.text();
        assert!(
            told.contains("answered within 3 s (setting `launch.timeout`)"),
            "{kind:?}: {told}"
        );
        assert!(told.contains("the code did not run; try again"), "{kind:?}: {told}");
        gateway.says(|line| line.contains("Kernel shutdown: "));
        drop(host);
        assert_eq!(gateway.kernels(), [""; 0], "{kind:?}");
    }
}

#[test]
fn a_kernel_that_its_gateway_has_only_once_nobody_waits_is_ended_there() {
    let mut gateway = Gateway::absent(Kind::JupyterServer, &[]);
    let go_on = gateway.starts_kernels_late();
    gateway.begin();
    let mut host = gateway.launch(None, &[("HUSK_LAUNCH_TIMEOUT", "1")]);
    host.initialize("2025-11-25");
    let given_up = host.cell("1");
    assert!(given_up.text().contains("answered within 1 s"), "{given_up:?}");
    std::fs::write(go_on, "").unwrap();
    let started = gateway.says(|line| line.contains("Kernel started: "));
    let (_, id) = started.split_once("Kernel started: ").unwrap();
    let ended = gateway.says(|line| line.contains("Kernel shutdown: "));
    assert!(ended.ends_with(id), "{started} {ended}");
    drop(host);
    assert_eq!(gateway.kernels(), [""; 0]);
}

#[test]
fn a_kernel_that_somebody_ends_at_the_gateway_is_told_with_the_next_cell() {
    let gateway = Gateway::start(Kind::JupyterServer);
    let mut host = gateway.host();
    host.ok("x = 1");
    let [kernel] = gateway.kernels().try_into().unwrap();
    gateway.ask(&format!("DELETE /api/kernels/{kernel}"));
    // Until husk has heard of it.
    let state = |host: &mut Host| {
        host.tool("sandbox_status", json!({})).structured()["sessions"][0]["state"].clone()
    };
    while state(&mut host) == "idle" {}
    let next = host.cell("'x' in globals()");
    assert!(next.text().starts_with("False["), "{next:?}");
    assert!(next.text().contains("it was ended at its gateway"), "{next:?}");
    // The same while a cell runs.
    let running = host.begin_cell("import time; time.sleep(1000)");
    let [kernel] = gateway.kernels().try_into().unwrap();
    gateway.ask(&format!("DELETE /api/kernels/{kernel}"));
    let ended = host.result(running);
    assert_eq!(ended.status(), "kernel_died", "{ended:?}");
}

#[test]
fn kernels_that_their_gateway_culls_are_told_with_the_next_cell_of_each_session() {
    // By default a Jupyter Server spares kernels to which somebody is connected.
    let options = ["cull_idle_timeout=10", "cull_interval=1", "cull_connected=True"];
    let options = options.map(|option| format!("--MappingKernelManager.{option}"));
    let gateway = Gateway::start_with(Kind::JupyterServer, &options.each_ref().map(String::as_str));
    let mut host = gateway.launch(None, &[("HUSK_SESSIONS_KEEP_ALIVE", "600")]);
    host.initialize("2025-11-25");
    let cell = |host: &mut Host, session: &str, code: &str| {
        host.tool("notebook_run_cell", json!({ "code": code, "session": session }))
    };
    let sessions = ["main", "kept"];
    for session in sessions {
        assert_eq!(cell(&mut host, session, "x = 1; x").text(), "1");
    }
    for _ in sessions {
        gateway.says(|line| line.contains("Culling"));
    }
    // Until husk has heard of it.
    let idle = |host: &mut Host| {
        let status = host.tool("sandbox_status", json!({}));
        let all = status.structured()["sessions"].as_array().unwrap().clone();
        all.iter().any(|session| session["state"] == "idle")
    };
    while idle(&mut host) {}
    for session in sessions {
        let next = cell(&mut host, session, "'x' in globals()");
        assert_eq!(next.status(), "ok", "{session}: {next:?}");
        let text = next.text();
        assert!(text.starts_with("False["), "{session}: {text}");
        assert!(
            text.contains("ended at its gateway (culled, or by somebody)"),
            "{session}: {text}"
        );
        assert_eq!(next.structured()["generation"], 2, "{session}: {next:?}");
        assert_eq!(next.structured()["state_lost"], true, "{session}: {next:?}");
    }
    drop(host);
    assert_eq!(gateway.kernels(), [""; 0]);
}

#[test]
fn a_gateway_that_is_started_anew_has_lost_its_kernels_and_that_is_told() {
    let mut gateway = Gateway::start(Kind::JupyterServer);
    let mut host = gateway.host();
    host.ok("x = 1");
    let running = host.begin_cell("import time; time.sleep(1000)");
    gateway.kill();
    gateway.begin();
    let ended = host.result(running);
    assert_eq!(ended.status(), "kernel_died", "{ended:?}");
    assert!(ended.text().contains("knows the kernel no more"), "{ended:?}");
    let next = host.cell("'x' in globals()");
    assert!(next.text().starts_with("False[this is a fresh kernel"), "{next:?}");
}

#[test]
fn a_gateway_that_is_away_is_told_and_used_once_it_is_there() {
    let mut gateway = Gateway::absent(Kind::JupyterServer, &[]);
    let mut host = gateway.host();
    let away = host.cell("1");
    assert_eq!(away.structured()["denied"]["code"], "kernel_start_failed", "{away:?}");
    assert!(away.text().contains("cannot reach the gateway at `http://127.0.0.1:"), "{away:?}");
    gateway.begin();
    assert_eq!(host.ok("6 * 7"), "42");
    // It goes in the middle of a cell, and does not come back.
    let mut hasty = gateway.launch(None, &[("HUSK_GATEWAY_PATIENCE", "1")]);
    hasty.initialize("2025-11-25");
    let running = hasty.begin_cell("import time; time.sleep(1000)");
    gateway.kill();
    let ended = hasty.result(running);
    assert_eq!(ended.status(), "kernel_died", "{ended:?}");
    assert!(ended.text().contains("cannot reach the gateway"), "{ended:?}");
}

#[test]
fn what_a_killed_husk_has_left_at_the_gateway_is_ended_by_the_next() {
    let gateway = Gateway::start(Kind::JupyterServer);
    let data = tempfile::tempdir().unwrap();
    let start = || {
        let mut host: Host = gateway.launch(Some(data.path()), &[]);
        host.initialize("2025-11-25");
        host
    };
    let mut first = start();
    first.ok("x = 1");
    first.tool("notebook_run_cell", json!({ "code": "1", "session": "named" }));
    let left = gateway.kernels();
    assert_eq!(left.len(), 2);
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let mut second = start();
    second.ok("1");
    for _ in &left {
        gateway.says(|line| {
            line.contains("Kernel shutdown") && left.iter().any(|id| line.contains(id.as_str()))
        });
    }
    assert_eq!(gateway.kernels().len(), 1);
}
