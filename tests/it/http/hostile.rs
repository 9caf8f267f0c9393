//! Clients that read slowly, vanish, send garbage, or never come back: memory stays bounded, and others
//! are served.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::json;

use crate::support::web::{Client, PATIENCE, Served, hello, post, send};

#[test]
fn ten_thousand_abandoned_sessions_cost_what_the_bound_allows() {
    let served = Served::start(&["--set", "http.max_sessions=50"]);
    // As many as there may be, some times over: what these cost is what more may not exceed.
    for _ in 0..200 {
        assert_eq!(post(&served.at, &[], &hello()).status, 200);
    }
    let before = served.memory();
    for _ in 0..9_800 {
        assert_eq!(post(&served.at, &[], &hello()).status, 200);
    }
    let grown = served.memory().saturating_sub(before);
    assert!(grown < 20 << 20, "{grown} bytes");
    assert_eq!(served.client(None).run("main", "print(6 * 7)"), "42\n");
}

#[test]
fn a_session_with_an_open_stream_is_not_ended_for_those_that_nobody_uses() {
    let served = Served::start(&["--set", "http.max_sessions=5"]);
    let mut client = served.client(None);
    let headers = client.headers();
    let mut lines: Vec<&str> = headers.iter().map(String::as_str).collect();
    lines.push("Accept: text/event-stream");
    let stream = send(&served.at, "GET /mcp", &lines, b"");
    assert_eq!(stream.status, 200);
    for _ in 0..20 {
        assert_eq!(post(&served.at, &[], &hello()).status, 200);
    }
    assert_eq!(client.ask("ping", json!({}))["result"], json!({}));
    stream.vanish();
}

#[test]
fn garbage_and_clients_that_vanish_harm_no_other() {
    let served = Served::start(&[]);
    let mut client = served.client(None);
    assert_eq!(client.run("main", "x = 1; print(x)"), "1\n");
    for garbage in [
        b"\x00\xff\x16\x03\x01".as_slice(),
        b"GET / HTTP/1.1\r\nHost: a\r\nHost",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        &[b'A'; 100_000],
    ] {
        let mut stream = TcpStream::connect(&served.at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // Whatever it answers, it is not silence for ever.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // Gone with a call under way, which goes on.
    let code = "open('begun', 'w').close(); import time; time.sleep(0.5); x = 2";
    let answer = client.request(
        "tools/call",
        json!({"name": "notebook_run_cell", "arguments": {
        "code": code, "session": "main"}}),
    );
    while !served.workspace.path().join("begun").exists() {
        std::thread::yield_now();
    }
    answer.vanish();
    assert_eq!(Client::initialize(&served.at, None).ok().unwrap().run("main", "print(x)"), "2\n");
}

#[test]
fn a_stream_that_was_cut_is_taken_up_again_with_the_answer() {
    let served = Served::start(&[]);
    let mut client = served.client(None);
    let code = "import time, os\nopen('begun', 'w').close()\n\
        while not os.path.exists('go'): time.sleep(0.01)\nprint('here')";
    let params = json!({"name": "notebook_run_cell", "arguments": {"code": code},
        "_meta": {"progressToken": 1}});
    let mut cut = client.request("tools/call", params);
    while !served.workspace.path().join("begun").exists() {
        std::thread::yield_now();
    }
    // Whatever came first names the stream.
    while cut.last_id.is_none() {
        cut.piece_of_stream();
    }
    let last = format!("Last-Event-ID: {}", cut.last_id.clone().unwrap());
    cut.vanish();
    std::fs::write(served.workspace.path().join("go"), "").unwrap();
    let headers = client.headers();
    let mut lines: Vec<&str> = headers.iter().map(String::as_str).collect();
    lines.extend(["Accept: text/event-stream", &last]);
    let mut again = send(&served.at, "GET /mcp", &lines, b"");
    let answer = loop {
        let message = again.message().unwrap();
        if message["id"] == 1 {
            break message;
        }
    };
    assert_eq!(answer["result"]["content"][0]["text"], "here\n", "{answer}");
}

#[test]
fn a_client_that_sends_or_reads_nothing_is_given_up() {
    let served = Served::start(&["--set", "http.patience_seconds=1"]);
    let mut slow = TcpStream::connect(&served.at).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).unwrap();
    let mut said = [0; 12];
    slow.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"HTTP/1.1 408");
    // One that asks and does not read: its connection is cut, so its answer never comes to an end.
    let mut client = served.client(None);
    let code = "print('x' * 30_000_000)";
    client.run("main", code);
    let uri = "husk://sessions/main/cells/c1/output?from=0&to=16777216";
    let mut deaf = client.request("resources/read", json!({"uri": uri}));
    let mut other = served.client(None);
    assert_eq!(other.run("other", "import time; time.sleep(3); print(6 * 7)"), "42\n");
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || deaf.message()));
    assert!(read.is_err(), "all of it came to a client that did not read");
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_it_and_holds_nobody_up() {
    let served = Served::start(&[]);
    let mut client = served.client(None);
    client.run("main", "print('x' * 12_000_000)");
    let uri = "husk://sessions/main/cells/c1/output?from=0&to=12000000";
    let read = json!({"jsonrpc": "2.0", "id": 9, "method": "resources/read",
        "params": {"uri": uri}});
    let body = read.to_string();
    let mut head = format!("POST /mcp HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", served.at);
    for line in client.headers() {
        head.push_str(&format!("{line}\r\n"));
    }
    head.push_str("Content-Type: application/json\r\n");
    head.push_str("Accept: application/json, text/event-stream\r\n");
    let mut slow = TcpStream::connect(&served.at).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(slow, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut other = served.client(None);
    let (mut piece, mut count) = (vec![0; 64 << 10], 0);
    for n in 0..20 {
        count += slow.read(&mut piece).unwrap();
        assert_eq!(other.run("other", &format!("print({n})")), format!("{n}\n"));
    }
    assert!(count < 12_000_000, "it was no slow reader: {count}");
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert!(count + rest.len() > 12_000_000, "{count} and {}", rest.len());
    assert!(rest.ends_with(b"0\r\n\r\n"), "the answer has no end");
}
