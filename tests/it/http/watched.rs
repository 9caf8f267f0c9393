//! The server as it is seen from outside: metrics, and the audit log.

use serde_json::{Value, json};

use crate::support::web::{Served, send};

/// The value of a metric's line.
fn value(page: &str, line: &str) -> f64 {
    let found = page.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no `{line}` in\n{page}")).parse().unwrap()
}

#[test]
fn metrics_tell_of_calls_and_kernels_and_name_no_user() {
    let data = tempfile::tempdir().unwrap();
    let alice = Served::token(&data, "alice", &[]);
    let admin = Served::token(&data, "watch", &["admin"]);
    let served = Served::start_in(data, &["--set", "limits.session.max_cells=1"]);
    let mut client = served.client(Some(&alice));
    client.run("hers", "print(1)");
    let refused = client.call("notebook_run_cell", json!({"code": "2", "session": "hers"}));
    assert_eq!(refused["isError"], true, "{refused}");
    let page = |token: &str| {
        send(&served.at, "GET /metrics", &[&format!("Authorization: Bearer {token}")], b"")
    };
    assert_eq!(page(&alice).status, 403);
    let mut answer = page(&admin);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let page = answer.text();
    let call = |outcome: &str| {
        format!("husk_calls_total{{tool=\"notebook_run_cell\",outcome=\"{outcome}\"}}")
    };
    assert_eq!((value(&page, &call("done")), value(&page, &call("denied"))), (1.0, 1.0));
    assert_eq!(value(&page, "husk_denials_total{by=\"limiter\"}"), 1.0);
    assert_eq!(value(&page, "husk_call_seconds_count{tool=\"notebook_run_cell\"}"), 2.0);
    let all = "husk_call_seconds_bucket{tool=\"notebook_run_cell\",le=\"+Inf\"}";
    assert_eq!(value(&page, all), 2.0);
    assert_eq!(value(&page, "husk_sessions{state=\"idle\"}"), 1.0);
    assert!(value(&page, "husk_kernel_memory_bytes") > 1e6, "{page}");
    assert!(!page.contains("alice") && !page.contains("hers"), "{page}");
}

#[test]
fn each_call_is_written_down_and_no_secret_is() {
    let data = tempfile::tempdir().unwrap();
    let token = Served::token(&data, "alice", &[]);
    let file = data.path().join("audit.jsonl");
    let setting = format!("audit.file={}", file.display());
    let mut served = Served::start_in(data, &["--set", &setting, "--log", "debug"]);
    let mut client = served.client(Some(&token));
    client.run("main", "secret = 'hunter2'; print('out' + 'put')");
    client.call("notebook_run_cell", json!({"code": "1/0"}));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let meta = json!({"traceparent": format!("00-{trace}-00f067aa0b1902b7-01")});
    client.ask("tools/call", json!({"name": "usage", "arguments": {}, "_meta": meta}));
    assert!(served.terminate().success());
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["tool"].as_str().unwrap(), line["outcome"].as_str().unwrap()))
        .collect();
    let run = "notebook_run_cell";
    assert_eq!(told, [(run, "done"), (run, "raised"), ("usage", "done")]);
    assert!(lines.iter().all(|line| line["principal"] == "token:alice"), "{text}");
    assert_eq!(lines[0]["code_sha256"].as_str().unwrap().len(), 64);
    assert_eq!((&lines[1]["trace_id"], &lines[2]["trace_id"]), (&Value::Null, &json!(trace)));
    let log = served.said();
    assert!(log.contains("usage") && !log.contains(&token) && !log.contains(&token[14..]), "{log}");
    for kept in ["hunter2", "output", &token, &token[14..]] {
        assert!(!text.contains(kept), "{kept}: {text}");
    }
}
