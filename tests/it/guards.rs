//! What the guards do to real calls: duplicates, loops, faults, limits.

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::host::Host;

/// A host whose server guards as it does by default.
fn guarded() -> Host {
    Host::start_with(&[])
}

/// Sends a cell with this `_meta`; the call's id.
fn send(host: &mut Host, arguments: Value, meta: Value) -> u64 {
    let call = json!({ "name": "notebook_run_cell", "arguments": arguments, "_meta": meta });
    host.send("tools/call", call)
}

/// A cell that counts its runs in a file and waits for the file `go`.
const COUNTS: &str = "import os, time
open('runs', 'a').write('x')
while not os.path.exists('go'): time.sleep(0.01)
print('done')";

/// Waits until that cell has begun once.
fn has_begun(host: &mut Host) {
    while !host.workspace.path().join("runs").exists() {
        host.tool("sandbox_status", json!({}));
    }
}

fn let_go(host: &Host) {
    std::fs::write(host.workspace.path().join("go"), "").unwrap();
}

fn runs(host: &Host) -> usize {
    std::fs::read_to_string(host.workspace.path().join("runs")).unwrap().len()
}

#[test]
fn two_identical_calls_at_once_run_once_and_both_get_the_result() {
    let mut host = guarded();
    let first = send(&mut host, json!({ "code": COUNTS, "description": "one" }), json!({}));
    let second = send(&mut host, json!({ "description": "other", "code": COUNTS }), json!({}));
    has_begun(&mut host);
    let_go(&host);
    let (first, second) = (host.result(first), host.result(second));
    assert_eq!((first.status(), second.status()), ("ok", "ok"));
    assert!(first.text().starts_with("done\n") && second.text().starts_with("done\n"));
    assert_eq!(first.structured()["cell"], second.structured()["cell"]);
    assert_eq!(first.structured()["deduplicated"], Value::Null);
    assert_eq!(second.structured()["deduplicated"], true);
    assert_eq!(runs(&host), 1);
    // Once it is over, the same code is a new cell.
    assert_eq!(host.cell(COUNTS).structured()["deduplicated"], Value::Null);
    assert_eq!(runs(&host), 2);
    let usage = host.tool("usage", json!({}));
    assert_eq!(usage.structured()["total"]["joined"], 1, "{usage:?}");
}

#[test]
fn a_leader_that_is_cancelled_does_not_stop_the_cell_for_the_other() {
    let mut host = guarded();
    let leader = send(&mut host, json!({ "code": COUNTS }), json!({}));
    has_begun(&mut host);
    let other = send(&mut host, json!({ "code": COUNTS }), json!({}));
    // Both are at the cell when the status that was asked for after them is there.
    host.tool("sandbox_status", json!({}));
    host.notify("notifications/cancelled", json!({ "requestId": leader }));
    host.tool("sandbox_status", json!({}));
    let_go(&host);
    let answer = host.result(other);
    assert_eq!(answer.status(), "ok", "{answer:?}");
    assert_eq!(runs(&host), 1);
}

#[test]
fn a_repeated_key_is_answered_from_the_first_call() {
    let mut host = guarded();
    host.ok("n = 0");
    let key = json!({ "idempotencyKey": "k1" });
    let code = json!({ "code": "n += 1; n" });
    for deduplicated in [Value::Null, json!(true), json!(true)] {
        let call = send(&mut host, code.clone(), key.clone());
        let answer = host.result(call);
        assert!(answer.text().starts_with('1'), "{answer:?}");
        assert_eq!(answer.structured()["deduplicated"], deduplicated);
    }
    let call = send(&mut host, json!({ "code": "n += 100" }), key);
    assert_eq!(host.result(call).structured()["denied"]["code"], "idempotency_key_reused");
    let call = send(&mut host, code, json!({ "idempotencyKey": "k2" }));
    assert!(host.result(call).text().starts_with('2'));
    assert_eq!(host.ok("n"), "2");
}

#[test]
fn honest_repetition_works() {
    let mut host = guarded();
    host.ok("x = 0");
    for _ in 0..8 {
        host.ok("x += 1");
    }
    assert_eq!(host.ok("x"), "8");
    for n in 1..=12 {
        let answer = host.cell("x += 1; x");
        assert!(answer.text().starts_with(&(8 + n).to_string()), "{answer:?}");
    }
}

#[test]
fn a_call_that_gets_nowhere_is_hinted_at_and_refused() {
    let mut host = guarded();
    for hint in [false, false, true, true, true] {
        let answer = host.cell("print('same', flush=True)");
        assert_eq!((answer.status(), answer.text().contains("the same call")), ("ok", hint));
    }
    let answer = host.cell("print('same', flush=True)");
    let denied = &answer.structured()["denied"];
    assert!(answer.is_error());
    assert_eq!((&denied["by"], &denied["code"]), (&json!("dedup"), &json!("no_progress")));
    assert!(denied["hint"].as_str().unwrap().contains("use it"), "{denied}");
    let may = send(
        &mut host,
        json!({ "code": "print('same', flush=True)" }),
        json!({ "allow_repeat": true }),
    );
    assert_eq!(host.result(may).status(), "ok");
    host.ok("1");
    assert_eq!(host.cell("print('same', flush=True)").status(), "ok");
}

#[test]
fn the_same_failing_cell_is_refused_the_fourth_time() {
    let mut host = guarded();
    for _ in 0..3 {
        assert_eq!(host.cell("nonsense").status(), "error");
    }
    let answer = host.cell("nonsense");
    assert_eq!(answer.structured()["denied"]["code"], "same_error");
    assert!(answer.text().contains("change the code"), "{}", answer.text());
    host.ok("nonsense = 5");
    assert_eq!(host.ok("nonsense"), "5");
}

#[test]
fn three_deaths_open_the_breaker_and_the_probe_closes_it() {
    let mut host = Host::start_with(&[
        ("HUSK_BREAKER_OPEN_SECONDS", "1.5"),
        ("HUSK_BREAKER_MAX_OPEN_SECONDS", "1.5"),
    ]);
    for n in 0..3 {
        assert_eq!(host.cell(&format!("import os; os._exit({n})")).status(), "kernel_died");
    }
    let answer = host.cell("1");
    let denied = answer.structured()["denied"].clone();
    assert_eq!((&denied["by"], &denied["code"]), (&json!("breaker"), &json!("breaker_open")));
    assert!(denied["retry_after_s"].as_f64().unwrap() <= 1.5, "{denied}");
    assert!(answer.text().contains("exit code 2"), "{}", answer.text());
    let usage = host.tool("usage", json!({}));
    let breaker = &usage.structured()["breakers"][0];
    assert_eq!((&breaker["state"], &breaker["faults"]), (&json!("open"), &json!(0)), "{usage:?}");
    // Another session is not affected.
    let other = json!({ "code": "2", "session": "other" });
    assert_eq!(host.tool("notebook_run_cell", other).status(), "ok");
    let mut answer = host.cell("1");
    while answer.structured()["denied"]["code"] == "breaker_open" {
        answer = host.cell("1");
    }
    assert_eq!(answer.status(), "ok", "{answer:?}");
    assert_eq!(host.tool("usage", json!({})).structured()["breakers"], json!([]));
}

#[test]
fn a_limit_is_told_and_status_and_usage_go_on() {
    let mut host = Host::start_with(&[("HUSK_LIMITS_REQUESTS_PER_MINUTE", "3")]);
    for n in 0..3 {
        host.ok(&n.to_string());
    }
    let denied = host.cell("4").structured()["denied"].clone();
    assert_eq!(denied["code"], "requests_per_minute");
    assert!(denied["retry_after_s"].as_f64().unwrap() <= 20.0, "{denied}");
    assert!(!host.tool("sandbox_status", json!({})).is_error());
    let usage = host.tool("usage", json!({}));
    assert_eq!(usage.structured()["total"]["denied"], 1, "{usage:?}");
}

#[test]
fn a_session_has_a_budget_of_cells_and_seconds() {
    let mut host = Host::start_with(&[("HUSK_LIMITS_SESSION_MAX_CELLS", "2")]);
    host.ok("1");
    host.ok("2");
    assert_eq!(host.cell("3").structured()["denied"]["code"], "session_cells");
    let mut host = Host::start_with(&[("HUSK_LIMITS_SESSION_MAX_SECONDS", "1")]);
    let answer = host.cell("import time; time.sleep(1000)");
    assert_eq!(answer.status(), "timeout");
    assert!(answer.text().contains("limits.session.max_seconds"), "{}", answer.text());
    assert_eq!(host.cell("2").structured()["denied"]["code"], "session_seconds");
}

#[test]
fn what_was_used_survives_the_server() {
    let data = tempfile::tempdir().unwrap();
    let settings =
        [("HUSK_DATA_DIR", data.path().to_str().unwrap()), ("HUSK_LIMITS_TOKENS_PER_HOUR", "2000")];
    let hour = |host: &mut Host| host.tool("usage", json!({})).structured()["hour"].clone();
    let mut host = Host::start_with(&settings);
    host.ok("print('word ' * 500)");
    let used = hour(&mut host);
    assert_eq!(used["calls"], 1);
    host.close_stdin();
    assert!(host.child.wait().unwrap().success());
    let mut host = Host::start_with(&settings);
    // It is loaded in the background.
    let mut again = hour(&mut host);
    while again["calls"] == 0 {
        again = hour(&mut host);
    }
    assert_eq!(again, used);
    let denied =
        host.cell(&format!("'{}'", "other words ".repeat(800))).structured()["denied"].clone();
    assert_eq!(denied["code"], "tokens_per_hour", "{denied}");
    assert!(denied["retry_after_s"].as_f64().unwrap() > 60.0, "{denied}");
}

/// A thousand calls at once, each of another cell; their ids.
fn thousand(host: &mut Host, code: &str) -> Vec<u64> {
    (0..1000).map(|n| send(host, json!({ "code": format!("{n}; {code}") }), json!({}))).collect()
}

/// How many of them were let through, and the code by which the others were refused.
fn admitted(host: &mut Host, calls: &[u64], code: &str) -> usize {
    let let_through = |call: &&u64| {
        let answer = host.result(**call);
        let denied = &answer.structured()["denied"];
        assert!(denied.is_null() || denied["code"] == code, "{answer:?}");
        denied.is_null()
    };
    calls.iter().filter(let_through).count()
}

#[test]
fn limits_hold_for_a_thousand_calls_at_once() {
    let queue = ("HUSK_CELLS_MAX_QUEUED", "1000");
    let mut host = Host::start_with(&[
        queue,
        ("HUSK_LIMITS_REQUESTS_PER_MINUTE", "100"),
        ("HUSK_LIMITS_CONCURRENT_PER_SESSION", "0"),
    ]);
    let begun = Instant::now();
    let calls = thousand(&mut host, "'rate'");
    let through = admitted(&mut host, &calls, "requests_per_minute");
    let since = begun.elapsed().as_secs_f64().ceil() as usize;
    assert!((100..=100 + since * 100 / 60).contains(&through), "{through} in {since} s");

    let mut host = Host::start_with(&[
        queue,
        ("HUSK_LIMITS_REQUESTS_PER_MINUTE", "0"),
        ("HUSK_LIMITS_CONCURRENT_PER_SESSION", "7"),
    ]);
    let calls = thousand(&mut host, COUNTS);
    // What is refused is answered at once, so the rest is under way once the last is refused.
    assert_eq!(host.result(calls[999]).structured()["denied"]["code"], "concurrent_calls");
    let_go(&host);
    assert_eq!(admitted(&mut host, &calls[..999], "concurrent_calls"), 7);
    assert_eq!(runs(&host), 7);
}
