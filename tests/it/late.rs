//! What subprocesses put out after their cell has ended.

use serde_json::{Value, json};

use crate::support::host::Host;

const NOTEBOOK: &str = "husk://sessions/main/notebook";

/// The text that the session's record has of its cell number `at`, stdout before stderr.
fn recorded(host: &mut Host, at: usize) -> String {
    let read = host.call("resources/read", json!({ "uri": NOTEBOOK }));
    let text = read["result"]["contents"][0]["text"].as_str().unwrap();
    let notebook: Value = serde_json::from_str(text).unwrap();
    let outputs = notebook["cells"][at - 1]["outputs"].as_array().unwrap().clone();
    let of = |stream: &str| -> String {
        let outputs = outputs.iter().filter(|output| output["name"] == stream);
        let lines = outputs.flat_map(|output| output["text"].as_array().unwrap());
        lines.filter_map(Value::as_str).collect()
    };
    of("stdout") + &of("stderr")
}

/// Waits until the record has that text of the cell: the host is told of every change of it.
fn must_record(host: &mut Host, at: usize, text: &str) {
    while recorded(host, at) != text {
        host.wait(|message| message["method"] == "notifications/resources/updated");
    }
}

/// Runs `code`, which gets the names of two pipes; opening the first for writing lets it go on.
fn starts(host: &mut Host, code: &str) -> std::path::PathBuf {
    host.call("resources/subscribe", json!({ "uri": NOTEBOOK }));
    let go = host.workspace.path().join("go");
    let made = host.ok("import os, subprocess, sys; os.mkfifo('go')");
    assert_eq!(made, "(no output)");
    assert_eq!(host.ok(code), "(no output)");
    go
}

#[test]
fn output_of_a_subprocess_after_the_end_of_its_cell_is_late_output_of_that_cell() {
    let mut host = Host::start(&["--session", "main"]);
    let script = "read word < go; echo \"says $word\"; echo complains >&2";
    let go = starts(&mut host, &format!("child = subprocess.Popen(['sh', '-c', {script:?}])"));
    std::fs::write(go, "late\n").unwrap();
    must_record(&mut host, 2, "says late\ncomplains\n");
    let seen = host.ok("child.wait()");
    assert!(seen.starts_with("0[late output of c2]"), "{seen}");
    assert_eq!(seen.matches("says late\n").count(), 1, "{seen}");
    assert_eq!(seen.matches("complains\n").count(), 1, "{seen}");
    assert_eq!(host.ok("None"), "(no output)");
    let again = host.tool("notebook_wait_cell", json!({ "cell": "c2", "from": 0 }));
    assert!(again.text().contains("says late\n"), "{again:?}");
}

#[test]
fn a_subprocess_that_nobody_waits_for_is_heard_to_its_end() {
    let mut host = Host::start(&["--session", "main"]);
    // Its parent is gone, and its session is its own.
    let script = "(read word < go; seq 1 20000) &";
    let call = format!("subprocess.run(['sh', '-c', {script:?}], start_new_session=True); None");
    let go = starts(&mut host, &call);
    std::fs::write(go, "late\n").unwrap();
    let all: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    must_record(&mut host, 2, &all);
    let late = host.tool("notebook_wait_cell", json!({ "cell": "c2", "from": 0 }));
    assert_eq!(late.structured()["output"]["text_bytes"], all.len(), "{late:?}");
}
