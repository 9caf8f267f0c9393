//! The server as it is seen from outside: metrics, and the audit log.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    python, repository,
    web::{Served, send},
};

/// A page of metrics, as Prometheus' own parser reads it.
struct Page {
    text: String,
    samples: Vec<Value>,
}

impl Page {
    fn of(served: &Served, token: Option<&str>) -> Self {
        let auth = token.map(|token| format!("Authorization: Bearer {token}"));
        let headers: Vec<&str> = auth.iter().map(String::as_str).collect();
        let mut answer = send(&served.at, "GET /metrics", &headers, b"");
        assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
        let text = answer.text();
        let mut command = Command::new(python());
        command.arg(repository().join("tests/clients/metrics_page.py"));
        let mut judge = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        judge.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let judged = judge.wait_with_output().unwrap();
        assert!(judged.status.success(), "{text}");
        Self { text, samples: serde_json::from_slice(&judged.stdout).unwrap() }
    }

    /// The value of a sample; its labels as they are written.
    fn value(&self, name: &str, labels: Value) -> f64 {
        let found = self.samples.iter().find(|it| it[2] == name && it[3] == labels);
        found.unwrap_or_else(|| panic!("no {name} {labels} in\n{}", self.text))[4].as_f64().unwrap()
    }

    fn kind(&self, family: &str) -> &str {
        let found = self.samples.iter().find(|it| it[0] == family);
        found.unwrap_or_else(|| panic!("no {family} in\n{}", self.text))[1].as_str().unwrap()
    }
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
    // What no guard sees is counted as well, and nothing of it is a label.
    client.call("notebook_run_cell", json!({"code": "3", "session": "../evil"}));
    client.ask("tools/call", json!({"name": "evil\"} 1\nevil 2", "arguments": {}}));
    let auth = format!("Authorization: Bearer {alice}");
    assert_eq!(send(&served.at, "GET /metrics", &[&auth], b"").status, 403);
    let page = Page::of(&served, Some(&admin));
    let run = "notebook_run_cell";
    let call =
        |outcome: &str| page.value("husk_calls_total", json!({"tool": run, "outcome": outcome}));
    assert_eq!((call("done"), call("denied")), (1.0, 2.0));
    assert_eq!(page.value("husk_denials_total", json!({"by": "limiter"})), 1.0);
    assert_eq!(page.value("husk_denials_total", json!({"by": "arguments"})), 1.0);
    let all = page.value("husk_call_seconds_bucket", json!({"tool": run, "le": "+Inf"}));
    assert_eq!((all, page.value("husk_call_seconds_count", json!({"tool": run}))), (3.0, 3.0));
    assert_eq!(page.value("husk_sessions", json!({"state": "idle"})), 1.0);
    assert!(page.value("husk_kernel_memory_bytes", json!({})) > 1e6, "{}", page.text);
    assert_eq!(page.value("husk_queued_cells", json!({})), 0.0);
    for (family, kind) in [
        ("husk_calls", "counter"),
        ("husk_denials", "counter"),
        ("husk_kernel_starts", "counter"),
        ("husk_kernel_deaths", "counter"),
        ("husk_cells", "counter"),
        ("husk_call_seconds", "histogram"),
        ("husk_sessions", "gauge"),
        ("husk_kernel_memory_bytes", "gauge"),
        ("husk_queued_cells", "gauge"),
    ] {
        assert_eq!(page.kind(family), kind, "{family}");
    }
    for user in ["alice", "hers", "evil"] {
        assert!(!page.text.contains(user), "{user}: {}", page.text);
    }
    let known = ["tool", "outcome", "by", "le", "state", "cause", "status"];
    let labels = page.samples.iter().flat_map(|it| it[3].as_object().unwrap().keys());
    assert!(labels.clone().all(|label| known.contains(&label.as_str())), "{}", page.text);
}

#[test]
fn how_kernels_began_and_ended_is_counted_by_cause() {
    let served = Served::start(&["--set", "cells.interrupt_grace=0.2"]);
    let mut client = served.client(None);
    let code = |code: &str, timeout: f64| json!({"code": code, "session": "s", "timeout": timeout});
    client.run("s", "print(1)");
    let before = Page::of(&served, None);
    let deaths =
        |page: &Page, cause: &str| page.value("husk_kernel_deaths_total", json!({"cause": cause}));
    for cause in ["exit", "signal", "asked", "unstoppable", "memory", "unused", "lost"] {
        assert_eq!(deaths(&before, cause), 0.0, "{cause}");
    }
    client.call("notebook_run_cell", code("import os; os._exit(3)", 60.0));
    client.call("notebook_run_cell", code("import os; os.kill(os.getpid(), 11)", 60.0));
    let deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass";
    client.call("notebook_run_cell", code(deaf, 0.5));
    client.call("sandbox_reset", json!({"session": "s"}));
    client.call("notebook_run_cell", code("1/0", 60.0));
    let no_such = json!({"code": "1", "session": "t", "kernel": "no-such-kernel"});
    client.call("notebook_run_cell", no_such);
    let after = Page::of(&served, None);
    for cause in ["exit", "signal", "asked", "unstoppable"] {
        assert_eq!(deaths(&after, cause), 1.0, "{cause}: {}", after.text);
    }
    let starts = |page: &Page, outcome: &str| {
        page.value("husk_kernel_starts_total", json!({"outcome": outcome}))
    };
    assert_eq!((starts(&before, "ready"), starts(&before, "failed")), (1.0, 0.0));
    assert_eq!((starts(&after, "ready"), starts(&after, "failed")), (5.0, 1.0), "{}", after.text);
    let cells = |status: &str| after.value("husk_cells_total", json!({"status": status}));
    assert_eq!(
        ["ok", "error", "timeout", "kernel_died"].map(cells),
        [1.0, 1.0, 1.0, 2.0],
        "{}",
        after.text
    );
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
    client.call("notebook_run_cell", json!({"code": "2", "session": "../other"}));
    assert!(served.terminate().success());
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| (line["tool"].as_str().unwrap(), line["outcome"].as_str().unwrap()))
        .collect();
    let run = "notebook_run_cell";
    assert_eq!(told, [(run, "done"), (run, "raised"), ("usage", "done"), (run, "denied")]);
    assert_eq!((&lines[0]["session"], lines[3].get("session")), (&json!("main"), None));
    assert_eq!(lines[3]["denied_by"], "arguments");
    assert!(lines.iter().all(|line| line["time"].as_str().unwrap().ends_with('Z')), "{text}");
    assert!(lines.iter().all(|line| line["ms"].is_u64()), "{text}");
    assert!(lines.iter().all(|line| line["principal"] == "token:alice"), "{text}");
    assert_eq!(lines[0]["code_sha256"].as_str().unwrap().len(), 64);
    assert_eq!((&lines[1]["trace_id"], &lines[2]["trace_id"]), (&Value::Null, &json!(trace)));
    let log = served.said();
    assert!(log.contains("usage") && !log.contains(&token) && !log.contains(&token[14..]), "{log}");
    for kept in ["hunter2", "output", &token, &token[14..]] {
        assert!(!text.contains(kept), "{kept}: {text}");
    }
}

#[cfg(feature = "redis")]
#[test]
fn metrics_tell_whether_somebody_counts_for_all_servers() {
    let redis = crate::support::redis::Redis::start();
    let shared = [("HUSK_SHARED_REDIS_URL", redis.url())];
    let shared = shared.each_ref().map(|(name, value)| (*name, value.as_str()));
    let served = Served::start_with(tempfile::tempdir().unwrap(), &[], &shared);
    let mut client = served.client(None);
    client.run("s", "1");
    assert_eq!(Page::of(&served, None).value("husk_shared_up", json!({})), 1.0);
    redis.kill();
    client.run("s", "1");
    assert_eq!(Page::of(&served, None).value("husk_shared_up", json!({})), 0.0);
}
