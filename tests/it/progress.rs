//! What hosts hear of a cell while it runs.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::host::Host;

/// The progress of the call with this token, so far.
fn progress(host: &mut Host, token: u64) -> Vec<Value> {
    let said = host.messages_so_far();
    let all = said.iter().filter(|message| message["method"] == "notifications/progress");
    all.map(|message| message["params"].clone())
        .filter(|params| params["progressToken"] == token)
        .collect()
}

/// Calls a tool and asks for progress; the answer, the progress, and the seconds that it took.
fn follow(host: &mut Host, tool: &str, arguments: Value) -> (Value, Vec<Value>, f64) {
    let begun = Instant::now();
    let token = host.send(
        "tools/call",
        json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": 7 } }),
    );
    let answer = host.answer(token)["result"]["structuredContent"].clone();
    (answer, progress(host, 7), begun.elapsed().as_secs_f64())
}

fn must_grow(all: &[Value]) {
    let counts: Vec<f64> = all.iter().map(|one| one["progress"].as_f64().unwrap()).collect();
    assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
}

fn messages(all: &[Value]) -> String {
    all.iter().map(|one| format!("{}\n", one["message"].as_str().unwrap())).collect()
}

/// Prints for a second, in small steps.
const PRINTS: &str = "
import time
end, n = time.monotonic() + 1, 0
while time.monotonic() < end:
    print('line', n, flush=True)
    n += 1
    time.sleep(0.002)
print('lines:', n)";

#[test]
fn progress_tells_the_newest_lines_at_most_ten_times_a_second() {
    let mut host = Host::start(&[]);
    host.ok("0");
    let (answer, told, took) = follow(&mut host, "notebook_run_cell", json!({ "code": PRINTS }));
    assert_eq!(answer["status"], "ok");
    must_grow(&told);
    let most = took * 10.0 + 1.0;
    assert!(told.len() as f64 <= most, "{} in {took:.2} s", told.len());
    assert!(told.len() >= 3, "{told:?}");
    // Newer lines each time, never one twice.
    let lines: Vec<u64> = messages(&told)
        .lines()
        .filter_map(|line| line.strip_prefix("line ")?.parse().ok())
        .collect();
    assert!(lines.is_sorted_by(|a, b| a < b), "{lines:?}");
    assert!(lines.len() > told.len(), "{lines:?}");
}

#[test]
fn whoever_waits_for_a_cell_hears_of_it_too() {
    let mut host = Host::start(&[]);
    host.ok("0");
    host.tool("notebook_run_cell", json!({ "code": PRINTS, "wait": 0 }));
    let (answer, told, took) = follow(&mut host, "notebook_wait_cell", json!({ "cell": "c2" }));
    assert_eq!(answer["status"], "ok");
    must_grow(&told);
    assert!(told.len() >= 3 && told.len() as f64 <= took * 10.0 + 1.0, "{} in {took}", told.len());
    assert!(messages(&told).contains("line "), "{told:?}");
}

#[test]
fn whoever_waits_in_the_queue_is_told_the_place() {
    let mut host = Host::start(&[]);
    host.begin_cell("import time; time.sleep(1000)");
    let calls = ["second", "third"].map(|token| {
        let (arguments, meta) =
            (json!({ "code": format!("{token:?}") }), json!({ "progressToken": token }));
        let call = json!({ "name": "notebook_run_cell", "arguments": arguments, "_meta": meta });
        (token, host.send("tools/call", call))
    });
    for ((token, _), place) in calls.iter().zip(["queued: 1 before it", "queued: 2 before it"]) {
        host.wait(|message| {
            message["params"]["progressToken"] == *token && message["params"]["message"] == place
        });
    }
    host.tool("notebook_interrupt", json!({}));
    for (_, call) in calls {
        assert_eq!(host.result(call).status(), "ok");
    }
}

#[test]
fn nobody_who_did_not_ask_hears_of_a_cell() {
    let mut host = Host::start(&[]);
    host.ok(PRINTS);
    let said = host.messages_so_far();
    assert!(!said.iter().any(|message| message["method"] == "notifications/progress"), "{said:?}");
}

#[test]
fn lines_that_overwrite_themselves_are_told_as_they_stand() {
    let mut host = Host::start(&[]);
    host.ok("0");
    let code = "
import sys, time
for n in range(30):
    sys.stdout.write(f'\\r{n}%'); sys.stdout.flush(); time.sleep(0.02)";
    let (_, told, _) = follow(&mut host, "notebook_run_cell", json!({ "code": code }));
    assert!(!told.is_empty());
    for one in &told {
        let message = one["message"].as_str().unwrap();
        assert!(!message.contains('\r') && message.matches('%').count() <= 1, "{message:?}");
    }
}
