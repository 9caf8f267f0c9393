//! Cells that outlive their calls: waiting, interrupting, the queue.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    asked::{HANDSHAKE, asking_host, cell_asks},
    host::{Answer, Host},
};

/// Begins the cell `c2`, which prints `begun`, waits for the file `go` and goes on; its first answer
/// that shows `begun`.
fn waits_for_go(host: &mut Host, rest: &str) -> (PathBuf, Answer) {
    host.ok("0");
    let go = host.workspace.path().join("go");
    let code = format!(
        "
import os, time
print('begun', flush=True)
while not os.path.exists({go:?}): time.sleep(0.01)
{rest}"
    );
    let mut answer = host.tool("notebook_run_cell", json!({ "code": code, "wait": 0.1 }));
    while !answer.text().contains("begun") {
        answer = wait(host, json!({ "cell": "c2", "wait": 0.1 }));
    }
    (go, answer)
}

fn go(file: &Path) {
    std::fs::write(file, "").unwrap();
}

fn wait(host: &mut Host, arguments: Value) -> Answer {
    host.tool("notebook_wait_cell", arguments)
}

#[test]
fn a_cell_goes_on_when_its_call_has_waited_long_enough() {
    let mut host = Host::start(&[]);
    let (folder, answer) = waits_for_go(&mut host, "print('end'); 7 * 6");
    assert_eq!(answer.status(), "running");
    assert!(!answer.is_error());
    assert_eq!(answer.structured()["cell"], "c2");
    assert!(answer.text().starts_with("begun\n"), "{}", answer.text());
    assert!(answer.text().contains("notebook_wait_cell with cell \"c2\""), "{}", answer.text());
    // Nothing new: only that it still runs.
    let looked = wait(&mut host, json!({ "cell": "c2", "wait": 0 }));
    assert_eq!(looked.status(), "running");
    assert!(!looked.text().contains("begun"), "{}", looked.text());
    go(&folder);
    let ended = wait(&mut host, json!({ "cell": "c2" }));
    assert_eq!((ended.status(), ended.text().as_str()), ("ok", "end\n42"));
    assert_eq!(ended.structured()["execution_count"], 2);
    // After its end: nothing twice, and everything again when it is asked for.
    assert_eq!(wait(&mut host, json!({ "cell": "c2" })).text(), "(no output)");
    let again = wait(&mut host, json!({ "cell": "c2", "from": 0 }));
    assert_eq!(again.text(), "begun\nend\n42");
    let next = &again.structured()["output"]["next"];
    assert_eq!(wait(&mut host, json!({ "cell": "c2", "from": next })).text(), "(no output)");
    assert_eq!(wait(&mut host, json!({ "cell": "c2", "from": 6 })).text(), "end\n42");
}

#[test]
fn what_comes_between_answers_is_shown_once_and_whole() {
    let mut host = Host::start(&[]);
    let code = "
import time
for n in range(300): print(n, flush=True); time.sleep(0.002)";
    let mut answer = host.tool("notebook_run_cell", json!({ "code": code, "wait": 0 }));
    let mut seen = String::new();
    loop {
        let part: String = answer
            .blocks("text")
            .iter()
            .filter_map(|b| b["text"].as_str())
            .filter(|text| !text.starts_with('['))
            .collect();
        if part != "(no output)" {
            seen.push_str(&part);
        }
        if answer.status() == "ok" {
            break;
        }
        answer = wait(&mut host, json!({ "cell": "c1", "wait": 0.02 }));
    }
    let whole: String = (0..300).map(|n| format!("{n}\n")).collect();
    assert_eq!(seen, whole);
}

#[test]
fn the_default_wait_follows_the_host_and_the_setting() {
    let mut host = Host::start_with(&[("HUSK_CELLS_WAIT", "0.2")]);
    let begun = Instant::now();
    let mut answer = host.cell("import time; time.sleep(1000)");
    // Each of these waits as long as the setting says, and not for ever.
    while answer.status() == "queued" {
        answer = wait(&mut host, json!({ "cell": "c1" }));
    }
    assert_eq!(answer.status(), "running");
    assert!(begun.elapsed() < Duration::from_secs(45), "the default of 50 s was waited for");
}

#[test]
fn an_interrupt_stops_the_cell_and_keeps_the_variables() {
    let mut host = Host::start(&[]);
    host.ok("kept = 1");
    let nothing = host.tool("notebook_interrupt", json!({}));
    assert_eq!(nothing.text(), "nothing was running");
    let running = host.begin_cell("import time; time.sleep(1000)");
    let stopped = host.tool("notebook_interrupt", json!({}));
    assert_eq!(stopped.structured()["cell"], "c2", "{stopped:?}");
    assert_eq!(stopped.structured()["by"], "interrupt");
    assert_eq!(stopped.structured()["state_lost"], false);
    let answer = host.result(running);
    assert_eq!(answer.status(), "interrupted", "{answer:?}");
    assert!(answer.is_error());
    assert_eq!(host.ok("kept"), "1");
}

/// Cells that do not want to end, and what it takes to stop them. One that catches the interrupt says
/// `inside` when it is where it does.
const RESIST: [(&str, &str); 7] = [
    ("time.sleep(1000)", "interrupt"),
    ("while True: pass", "interrupt"),
    ("import asyncio; await asyncio.Event().wait()", "interrupt"),
    ("import subprocess; subprocess.run(['sleep', '1000'])", "interrupt"),
    (
        "import threading; threading.Thread(target=lambda: time.sleep(5)).start(); time.sleep(1000)",
        "interrupt",
    ),
    (
        "
while True:
    try: print('inside', flush=True); time.sleep(1000)
    except KeyboardInterrupt: pass",
        "kill",
    ),
    // A loop in C that holds the interpreter and never looks at signals.
    (
        "
import itertools
while True:
    try: print('inside', flush=True); time.sleep(0.2); sum(itertools.repeat(0))
    except KeyboardInterrupt: pass",
        "kill",
    ),
];

/// Stops each of these cells; the kernel must be free within three seconds.
fn must_free_the_kernel(stop: impl Fn(&mut Host, u64, [&str; 2])) {
    for (code, by) in RESIST {
        let mut host = Host::start(&[]);
        host.ok("import time; kept = 1");
        let call = host.begin_cell(code);
        let inside = json!({ "cell": "c2", "wait": 0, "from": 0 });
        while by == "kill" && !wait(&mut host, inside.clone()).text().contains("inside") {}
        let begun = Instant::now();
        stop(&mut host, call, [code, by]);
        let next = host.cell("kept");
        let took = begun.elapsed();
        match by {
            "kill" => {
                assert_eq!(next.structured()["error"]["name"], "NameError", "{next:?}");
                assert_eq!(next.structured()["state_lost"], true);
            }
            _ => assert_eq!(next.text(), "1", "{code}"),
        }
        // A fresh kernel's start comes on top.
        let bound = if by == "kill" { 6 } else { 3 };
        assert!(took < Duration::from_secs(bound), "{code}: {took:?}");
    }
}

#[test]
fn an_interrupt_frees_the_kernel_whatever_the_cell_does() {
    must_free_the_kernel(|host, _, [code, by]| {
        let stopped = host.tool("notebook_interrupt", json!({}));
        assert_eq!(stopped.structured()["by"], by, "{code}: {stopped:?}");
    });
}

#[test]
fn a_cancelled_call_frees_the_kernel_whatever_its_cell_does() {
    must_free_the_kernel(|host, call, _| {
        host.notify("notifications/cancelled", json!({ "requestId": call }));
    });
}

/// ipykernel does not see a signal while such a cell waits for its answer.
#[test]
fn an_interrupt_frees_a_cell_that_asks_beside_an_await() {
    let mut host = asking_host(HANDSHAKE);
    host.ok("import asyncio; kept = 1");
    for code in [
        "await asyncio.sleep(0)\nkept = input('? ')",
        "await asyncio.sleep(0)\nwhile True:\n  try: kept = input('? ')\n  except EOFError: await asyncio.sleep(0)",
    ] {
        let question = cell_asks(&mut host, code);
        let stopped = host.tool("notebook_interrupt", json!({}));
        assert_eq!(stopped.structured()["state_lost"], false, "{code}: {stopped:?}");
        let answer = question.ends_with(&mut host, "late");
        assert_eq!(answer.status(), "interrupted", "{code}: {answer:?}");
        // No answer to an old question is taken for one to the next.
        let next = cell_asks(&mut host, "input('? ')");
        assert_eq!(next.ends_with(&mut host, "mine").text(), "'mine'", "{code}");
        assert_eq!(host.ok("kept"), "1", "{code}");
    }
}

#[test]
fn a_stopped_kernel_is_continued_and_interrupted() {
    let mut host = Host::start(&[]);
    let pid = host.ok("import os; kept = 1; os.getpid()");
    let pid = host.outside(&pid);
    let running = host.begin_cell("import time; time.sleep(1000)");
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    let stopped = host.tool("notebook_interrupt", json!({}));
    assert_eq!(stopped.structured()["state_lost"], false, "{stopped:?}");
    assert_eq!(host.result(running).status(), "interrupted");
    assert_eq!(host.ok("kept"), "1");
}

#[test]
fn a_restart_gives_a_fresh_kernel_also_under_a_cell() {
    let mut host = Host::start(&[]);
    host.ok("kept = 1");
    let restarted = host.tool("notebook_interrupt", json!({ "restart": true }));
    assert_eq!(restarted.structured()["generation"], 2, "{restarted:?}");
    let answer = host.cell("kept");
    assert_eq!(answer.structured()["error"]["name"], "NameError");
    assert_eq!(answer.structured()["state_lost"], true);
    let running =
        host.begin_cell("while True:\n  try:\n    while True: pass\n  except BaseException: pass");
    let restarted = host.tool("notebook_interrupt", json!({ "restart": true }));
    assert_eq!(restarted.structured()["generation"], 3, "{restarted:?}");
    let ended = host.result(running);
    assert_eq!(ended.status(), "interrupted", "{ended:?}");
    assert_eq!(ended.structured()["state_lost"], true);
    assert!(ended.text().contains("a restart was asked for"), "{}", ended.text());
    assert_eq!(host.cell("'fresh'").structured()["generation"], 3);
}

#[test]
fn a_restart_while_the_kernel_starts_does_not_wait_for_the_cell() {
    let mut host = Host::start(&[]);
    let code = "import time; time.sleep(1000)";
    let call = json!({ "code": code, "session": "other", "wait": 0 });
    assert_eq!(host.tool("notebook_run_cell", call).status(), "queued");
    let restart = json!({ "session": "other", "restart": true });
    let restarted = host.tool("notebook_interrupt", restart);
    assert!(restarted.text().contains("a fresh kernel runs"), "{restarted:?}");
}

#[test]
fn late_output_of_many_cells_comes_in_answers_of_the_usual_size() {
    let mut host = Host::start(&[]);
    host.ok("import asyncio; late = asyncio.Event()");
    for _ in 0..5 {
        host.ok("
async def prints(): await late.wait(); print('L' * 4000)
task = asyncio.create_task(prints())");
    }
    let mut seen = host.ok("late.set()").matches('L').count();
    for _ in 0..100 {
        let text = host.ok("await asyncio.sleep(0.05)");
        assert!(text.len() < 9000, "{} bytes", text.len());
        seen += text.matches('L').count();
        if seen == 5 * 4000 {
            return;
        }
    }
    panic!("{seen} bytes of late output came");
}

#[test]
fn the_queue_tells_each_its_place_and_has_a_bound() {
    let mut host = Host::start_with(&[("HUSK_CELLS_MAX_QUEUED", "2")]);
    let (folder, first) = waits_for_go(&mut host, "order = ['first']");
    assert_eq!(first.status(), "running");
    let mut queued = Vec::new();
    for (name, ahead) in [("second", 1), ("third", 2)] {
        let answer = host.tool(
            "notebook_run_cell",
            json!({ "code": format!("order.append('{name}')"), "wait": 0 }),
        );
        assert_eq!(answer.status(), "queued", "{answer:?}");
        assert_eq!(answer.structured()["ahead"], ahead);
        assert!(!answer.is_error());
        queued.push(answer.structured()["cell"].clone());
    }
    let full = host.tool("notebook_run_cell", json!({ "code": "order.append('fourth')" }));
    assert_eq!(full.structured()["denied"]["code"], "queue_full", "{full:?}");
    assert!(full.text().contains("2 cells wait behind the one under way"), "{}", full.text());
    go(&folder);
    for cell in queued {
        assert_eq!(wait(&mut host, json!({ "cell": cell })).status(), "ok");
    }
    assert_eq!(host.ok("order"), "['first', 'second', 'third']");
}

#[test]
fn a_cell_that_nobody_knows_is_named() {
    let mut host = Host::start(&[]);
    let answer = wait(&mut host, json!({ "cell": "c1", "session": "nobody" }));
    assert_eq!(answer.structured()["denied"]["code"], "no_such_session", "{answer:?}");
    host.ok("1");
    let answer = wait(&mut host, json!({ "cell": "c9" }));
    assert_eq!(answer.structured()["denied"]["code"], "no_such_cell", "{answer:?}");
    assert!(answer.text().contains("knows no cell `c9`; it has run c1 to c1"), "{}", answer.text());
}

#[test]
fn giving_up_a_wait_does_not_stop_the_cell() {
    let mut host = Host::start(&[]);
    let (folder, _) = waits_for_go(&mut host, "print('end')");
    let waiting = host.begin("notebook_wait_cell", json!({ "cell": "c2" }));
    host.notify("notifications/cancelled", json!({ "requestId": waiting }));
    go(&folder);
    assert_eq!(wait(&mut host, json!({ "cell": "c2" })).text(), "end\n");
}
