//! The end of the server: calls under way are answered, sessions with a name are left to the next one.

use serde_json::json;

use crate::support::web::{Served, send};

#[test]
fn a_call_under_way_is_answered_and_the_next_server_finds_the_session() {
    let mut served = Served::start(&["--set", "sessions.keep_alive=600"]);
    let mut client = served.client(None);
    assert_eq!(client.run("kept", "x = 42; print(x)"), "42\n");
    let code = "open('begun', 'w').close(); import time; time.sleep(1); print('slept', x)";
    let mut answer = client.request(
        "tools/call",
        json!({"name": "notebook_run_cell", "arguments": {
            "code": code, "session": "kept"}}),
    );
    let begun = served.workspace.path().join("begun");
    while !begun.exists() {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&served.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let result = loop {
        let message = answer.message().unwrap();
        if message["id"] == 2 {
            break message;
        }
    };
    assert_eq!(result["result"]["content"][0]["text"], "slept 42\n");
    assert!(served.child.wait().unwrap().success());
    assert!(std::net::TcpStream::connect(&served.at).is_err());
    let data = std::mem::replace(&mut served.data, tempfile::tempdir().unwrap());
    let workspace = served.workspace.path().to_str().unwrap().to_owned();
    let next = Served::start_in(data, &["--workspace", &workspace]);
    let mut client = next.client(None);
    let told = client.call("notebook_run_cell", json!({"code": "print(x)", "session": "kept"}));
    assert!(told.to_string().contains("42\\n"), "{told}");
    client.call("sandbox_reset", json!({"session": "kept"}));
}

#[test]
fn streams_that_wait_for_news_do_not_hold_the_server() {
    let mut served = Served::start(&["--sse"]);
    let client = served.client(None);
    let headers = client.headers();
    let mut lines: Vec<&str> = headers.iter().map(String::as_str).collect();
    lines.push("Accept: text/event-stream");
    let mut stream = send(&served.at, "GET /mcp", &lines, b"");
    assert_eq!(stream.status, 200);
    let mut old = send(&served.at, "GET /sse", &[], b"");
    assert_eq!(old.event().unwrap().0, "endpoint");
    assert!(served.terminate().success());
    while stream.event().is_some() {}
    while old.event().is_some() {}
}
