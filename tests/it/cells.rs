//! What a cell does and how it ends, on real kernels.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{host::Host, processes::Watched};

#[test]
fn state_persists_over_300_cells() {
    let mut host = Host::start(&[]);
    host.ok("n = 0");
    for _ in 0..300 {
        host.ok("n += 1");
    }
    assert_eq!(host.ok("n"), "300");
}

#[test]
fn values_prints_awaits_magics_and_shells_come_back() {
    let mut host = Host::start(&[]);
    let mut check = |code: &str, expected: &str| assert_eq!(host.ok(code), expected, "{code}");
    check("40 + 2", "42");
    check("print('a'); print('b'); 'c'", "a\nb\n'c'");
    check("import sys; print('err', file=sys.stderr)", "err\n");
    check("import asyncio\nawait asyncio.sleep(0.01)\n7", "7");
    check("%env HUSK_X=1", "env: HUSK_X=1\n");
    check("!echo from the shell", "from the shell\n");
    check("'ünïcödé 日本 😀'", "'ünïcödé 日本 😀'");
    check("", "(no output)");
    check("# only a comment", "(no output)");
    check("x = 1", "(no output)");
    check("print('\\x1b[31mred\\x1b[0m')", "red\n");
}

#[test]
fn errors_are_errors_with_what_was_printed_before() {
    let mut host = Host::start(&[]);
    let answer = host.cell("print('before')\n1/0");
    assert!(answer.is_error());
    assert_eq!(answer.status(), "error");
    assert_eq!(answer.structured()["error"]["name"], "ZeroDivisionError");
    assert_eq!(answer.structured()["error"]["value"], "division by zero");
    let text = answer.text();
    assert!(text.starts_with("before\n"), "{text}");
    assert!(text.contains("Traceback") && text.contains("----> 2 1/0"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let syntax = host.cell("def (");
    assert_eq!(syntax.structured()["error"]["name"], "SyntaxError");
    assert_eq!(host.cell("raise KeyboardInterrupt").status(), "interrupted");
}

#[test]
fn an_endless_loop_is_stopped_at_its_timeout_and_the_next_cell_works() {
    let mut host = Host::start(&[]);
    host.ok("kept = 5");
    let code = "print('before', flush=True)\nwhile True: pass";
    let answer = host.tool("notebook_run_cell", json!({ "code": code, "timeout": 2 }));
    assert!(answer.is_error());
    assert_eq!(answer.status(), "timeout");
    assert!(answer.text().starts_with("before\n"), "{}", answer.text());
    assert!(answer.text().contains("by an interrupt; variables are kept]"), "{}", answer.text());
    assert_eq!(answer.structured()["state_lost"], false);
    assert_eq!(host.ok("kept"), "5");
}

/// What it had written comes more slowly than it was written; the grace is for cells that go on.
#[test]
fn an_endless_print_keeps_its_variables_however_short_the_grace_is() {
    let mut host = Host::start(&["--set", "cells.interrupt_grace=0.1"]);
    host.ok("kept = 5");
    let code = "while True: print('x' * 5000)";
    let answer = host.tool("notebook_run_cell", json!({ "code": code, "timeout": 2 }));
    assert_eq!(answer.status(), "timeout");
    assert_eq!(answer.structured()["state_lost"], false, "{:?}", answer.structured());
    assert_eq!(host.ok("kept"), "5");
}

#[test]
fn code_that_swallows_interrupts_is_killed_and_the_answer_says_so() {
    let mut host = Host::start(&[]);
    host.ok("lost = 5");
    let code = "
print('before')
import time
while True:
    try:
        while True: time.sleep(0.05)
    except KeyboardInterrupt:
        pass";
    let begun = Instant::now();
    let answer = host.tool("notebook_run_cell", json!({ "code": code, "timeout": 1 }));
    let took = begun.elapsed();
    assert_eq!(answer.status(), "timeout");
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(answer.text().starts_with("before\n"), "{}", answer.text());
    assert!(answer.text().contains("by killing the kernel"), "{}", answer.text());
    assert_eq!(answer.structured()["state_lost"], true);
    let next = host.cell("'lost' in globals()");
    assert_eq!(next.blocks("text")[0]["text"], "False");
    assert_eq!(next.structured()["generation"], 2);
}

#[test]
fn a_kernel_that_dies_is_told_at_once_with_its_last_words() {
    let mut host = Host::start(&[]);
    host.ok("x = 1");
    let check = |host: &mut Host, code: &str, end: &str| {
        let answer = host.cell(code);
        assert!(answer.is_error());
        assert_eq!(answer.status(), "kernel_died", "{answer:?}");
        assert!(answer.text().starts_with("last words\n"), "{}", answer.text());
        assert!(answer.text().contains(end), "{}", answer.text());
        assert_eq!(answer.structured()["state_lost"], true);
        let generation = answer.structured()["generation"].as_u64().unwrap();
        let next = host.cell("'x' in globals()");
        assert_eq!(next.status(), "ok");
        assert_eq!(next.structured()["state_lost"], true);
        assert_eq!(next.structured()["generation"], generation + 1);
        assert!(
            next.text().contains("variables and imports of earlier cells are gone"),
            "{}",
            next.text()
        );
        assert_eq!(host.cell("1").structured()["state_lost"], false);
    };
    let print = "print('last words')\nimport os, signal, ctypes";
    check(&mut host, &format!("{print}\nos._exit(7)"), "exit code 7");
    check(
        &mut host,
        &format!("{print}\nos.kill(os.getpid(), signal.SIGKILL)"),
        "signal 9 (SIGKILL), most likely",
    );
    check(
        &mut host,
        &format!("{print}\nctypes.string_at(0)"),
        "signal 11 (SIGSEGV), a crash in native code",
    );
}

#[test]
fn a_kernel_that_dies_while_idle_costs_the_next_call_only_its_variables() {
    let mut host = Host::start(&[]);
    let pids = host.ok("x = 1; import os; print(os.getpid(), os.getppid())");
    let (kernel, init) = pids.trim().split_once(' ').unwrap();
    let (kernel, init) = (host.outside(kernel), Watched::hold(host.outside(init)));
    kill_process(Pid::from_raw(kernel).unwrap(), Signal::KILL).unwrap();
    // Its init tells the server before it ends itself.
    init.must_end_within(Duration::from_secs(10), "the init");
    let next = host.cell("'x' in globals()");
    assert_eq!(next.status(), "ok");
    assert_eq!(next.structured()["state_lost"], true);
    assert_eq!(next.structured()["generation"], 2);
}

#[test]
fn a_loss_that_nobody_read_of_is_told_again() {
    let mut host = Host::start(&[]);
    host.ok("x = 1");
    let code = "import os, time; time.sleep(0.3); os._exit(1)";
    let dying = host.begin_cell(code);
    let unread = host.begin("notebook_run_cell", json!({ "code": "1" }));
    for call in [dying, unread] {
        host.notify("notifications/cancelled", json!({ "requestId": call }));
    }
    // Whether the cell died or was interrupted first: if the state is lost, this answer says so.
    let next = host.cell("'x' in globals()");
    let lost = next.blocks("text")[0]["text"] == "False";
    assert_eq!(next.structured()["state_lost"], lost, "{next:?}");
}

#[test]
fn ten_megabytes_of_text_neither_block_nor_bloat() {
    let mut host = Host::start(&[]);
    let answer = host
        .cell("print('first line')\nfor n in range(200_000): print('x' * 49)\nprint('last line')");
    assert_eq!(answer.status(), "ok");
    assert_eq!(answer.structured()["output"]["text_bytes"], 10_000_021);
    assert_eq!(answer.structured()["output"]["truncated"], true);
    let text = answer.text();
    assert!(text.len() < 10_000, "{}", text.len());
    assert!(text.starts_with("first line\n") && text.contains("\nlast line\n"), "{text}");
    assert!(text.contains(" bytes of output left out …]"));
    assert_eq!(host.ok("1"), "1");
}

#[test]
fn ten_of_twenty_plots_are_in_the_answer_and_the_others_are_linked() {
    let mut host = Host::start(&[]);
    let code = "
import matplotlib.pyplot as plt
for n in range(20):
    print('plot', n)
    plt.figure(figsize=(2, 1)); plt.plot([1, n]); plt.show()";
    let answer = host.cell(code);
    assert_eq!(answer.status(), "ok", "{answer:?}");
    let images = answer.blocks("image");
    assert_eq!(images.len(), 10);
    assert_eq!(answer.structured()["output"]["images"], 20);
    assert_eq!(answer.structured()["output"]["truncated"], true);
    for image in images {
        assert_eq!(image["mimeType"], "image/png");
        assert!(image["data"].as_str().unwrap().starts_with("iVBORw0KGgo"), "no PNG");
    }
    // In order, and without the `<Figure …>` that stands for each elsewhere.
    let kinds: Vec<&str> = answer.0["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["type"].as_str().unwrap())
        .collect();
    let (texts, hint) = (["text"].as_slice(), ["text"].as_slice());
    assert_eq!(kinds, [&["text", "image"].repeat(10), texts, hint].concat());
    assert!(answer.text().contains("\nplot 19\n[output 20: image/png, "), "{}", answer.text());
    assert!(answer.text().contains("/outputs/11 to husk://sessions/"), "{}", answer.text());
    assert!(!answer.text().contains("Figure"));
}

#[test]
fn a_code_string_of_five_megabytes_runs() {
    let mut host = Host::start(&[]);
    let code = format!("s = '{}'\nlen(s)", "x".repeat(5_000_000));
    assert_eq!(host.ok(&code), "5000000");
}

#[test]
fn two_calls_run_one_after_the_other_while_status_answers() {
    let mut host = Host::start(&[]);
    let first = host.begin_cell("import time; time.sleep(1); order = ['first']; order");
    let second =
        host.begin("notebook_run_cell", json!({ "code": "order.append('second'); order" }));
    let status = host.tool("sandbox_status", json!({}));
    let session = &status.structured()["sessions"][0];
    assert_eq!(session["state"], "busy", "{session}");
    assert_eq!(host.result(first).text(), "begun\n['first']");
    assert_eq!(host.result(second).text(), "['first', 'second']");
}

#[test]
fn calls_sent_at_once_run_in_the_order_in_which_they_came() {
    let mut host = Host::start(&[]);
    host.ok("order = []");
    let calls: Vec<u64> = (0..40)
        .map(|n| host.begin("notebook_run_cell", json!({ "code": format!("order.append({n})") })))
        .collect();
    for call in calls {
        assert_eq!(host.result(call).status(), "ok");
    }
    assert_eq!(host.ok("order == list(range(40))"), "True");
}

#[test]
fn exit_ends_the_kernel_and_the_answer_says_so() {
    let mut host = Host::start(&[]);
    host.ok("print('of an earlier cell')");
    let answer = host.cell("print('bye'); exit()");
    assert_eq!(answer.status(), "ok");
    assert_eq!(answer.structured()["state_lost"], true, "{answer:?}");
    assert!(
        answer
            .text()
            .starts_with("bye\n[the kernel was ended: the cell called exit(); all variables"),
        "{answer:?}"
    );
    let next = host.cell("1");
    assert_eq!(next.structured()["generation"], 2);
    assert_eq!(next.blocks("text")[0]["text"], "1");
}

#[test]
fn sessions_have_kernels_of_their_own_up_to_the_limit() {
    let mut host = Host::launch(&["--session", "main"]);
    host.initialize("2025-11-25");
    host.ok("x = 'main'");
    let mut run = |session: &str, code: &str| {
        host.tool("notebook_run_cell", json!({ "code": code, "session": session }))
    };
    assert_eq!(run("other", "'x' in globals()").text(), "False");
    assert_eq!(run("main", "x").text(), "'main'");
    let status = host.tool("sandbox_status", json!({ "session": "other" }));
    let session = &status.structured()["sessions"][0];
    let is = |member: &str, test: fn(&Value) -> bool| {
        assert!(test(&session[member]), "{member}: {session}")
    };
    is("state", |v| v == "idle");
    is("kernel", |v| v.as_str().is_some_and(|text| text.starts_with("ipython ")));
    is("language", |v| v.as_str().is_some_and(|text| text.starts_with("python 3.")));
    is("generation", |v| v == 1);
    is("pid", Value::is_u64);
    is("uptime_s", Value::is_u64);
    is("idle_s", Value::is_u64);
    is("memory_bytes", |v| v.as_u64().is_some_and(|bytes| bytes > 10_000_000));
    is("cpu_s", Value::is_f64);
    is("workspace", Value::is_string);
    is("isolation", |v| v == "namespaces" || v == "landlock");
}
