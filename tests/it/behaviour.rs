//! The README's table of what happens when something goes wrong: every row is run against a real
//! kernel, with the outcome and the times that the row promises.
//!
//! The times are upper bounds and part of the promise; `cargo test behaviour -- --nocapture` shows
//! what was measured.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    lifecycle::{family, must_all_end, server},
    support::{
        host::{Answer, Host},
        repository,
    },
};

/// The head of the table.
const HEAD: &str =
    "| when | status | variables | seconds until the answer | seconds until the next cell works |";

/// What a row promises.
#[derive(Debug)]
struct Row {
    when: String,
    status: String,
    variables: String,
    answer: Option<f64>,
    next: f64,
}

/// What came of it.
struct Course {
    status: String,
    /// From the event until the answer; a cancelled call has none. Of a server: until all is gone.
    answer: Option<Duration>,
    /// From the event until a further cell has answered.
    next: Duration,
    kept: bool,
}

type Scenario = fn(Host) -> Course;

/// By the row's first column. Every host has a kernel with the variable `kept`.
const SCENARIOS: &[(&str, Scenario)] = &[
    ("a loop never ends (`timeout: 1`)", endless_loop),
    ("it swallows `KeyboardInterrupt` as well", swallowed_interrupt),
    ("the kernel exits, crashes or is killed", death),
    ("the kernel was stopped (SIGSTOP), and is interrupted", stopped_kernel),
    ("50 MB are printed: the answer shows the beginning and the end", fifty_megabytes),
    ("it prints without end, and is interrupted", endless_print),
    ("it calls `input()`, and the host cannot ask its user", asks_for_input),
    ("two calls come at once: they run in that order", two_calls),
    ("the call is cancelled", cancellation),
    ("the host closes the pipe", host_gone),
    ("the server is killed with SIGKILL", server_killed),
];

/// The rows of the README's table.
fn rows() -> Vec<Row> {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let table = readme.lines().skip_while(|line| *line != HEAD).skip(2);
    table.take_while(|line| line.starts_with('|')).map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [when, status, variables, answer, next] = cells.as_slice() else {
        panic!("not five columns: {line}")
    };
    let bound = |text: &str| -> f64 { text.strip_prefix("< ").unwrap().parse().unwrap() };
    Row {
        when: (*when).to_owned(),
        status: status.trim_matches('`').to_owned(),
        variables: (*variables).to_owned(),
        answer: (*answer != "–").then(|| bound(answer)),
        next: bound(next),
    }
}

#[test]
fn every_row_is_a_scenario_and_every_scenario_a_row() {
    let rows: Vec<String> = rows().into_iter().map(|row| row.when).collect();
    let scenarios: Vec<&str> = SCENARIOS.iter().map(|(when, _)| *when).collect();
    assert_eq!(rows, scenarios);
}

#[test]
#[expect(clippy::print_stdout, reason = "what was measured is for who reads the test's output")]
fn every_row_comes_out_as_promised() {
    let mut faults = Vec::new();
    for row in rows() {
        let (_, scenario) = SCENARIOS.iter().find(|(when, _)| *when == row.when).unwrap();
        let mut host = Host::start(&[]);
        host.ok("kept = 1");
        let course = scenario(host);
        let answer = course.answer.map(|took| took.as_secs_f64());
        let next = course.next.as_secs_f64();
        let variables = if course.kept { "kept" } else { "lost" };
        let shown = answer.map_or_else(|| "–".to_owned(), |took| format!("{took:.2}"));
        let came = format!("{} | {} | {variables} | {shown} | {next:.2}", row.when, course.status);
        println!("{came}");
        let in_time = match (answer, row.answer) {
            (Some(took), Some(bound)) => took < bound,
            (took, bound) => took.is_none() && bound.is_none(),
        };
        if !(in_time && next < row.next && course.status == row.status)
            || variables != row.variables
        {
            faults.push(format!("{came}: promised is {row:?}"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The course of a call that was answered just now.
fn answered(mut host: Host, begun: Instant, answer: &Answer) -> Course {
    let took = begun.elapsed();
    let (kept, next) = next_cell(&mut host, begun);
    Course { status: answer.status().to_owned(), answer: Some(took), next, kept }
}

/// Whether the variables are kept, and when that was known.
fn next_cell(host: &mut Host, begun: Instant) -> (bool, Duration) {
    let answer = host.cell("'kept' in globals()");
    let next = begun.elapsed();
    assert_eq!(answer.status(), "ok", "{answer:?}");
    let kept = answer.blocks("text")[0]["text"] == "True";
    // Lost variables are told, by this answer at the latest.
    assert_eq!(answer.structured()["state_lost"], !kept, "{answer:?}");
    (kept, next)
}

/// Calls, and counts from there.
fn called(mut host: Host, arguments: Value) -> (Course, Answer) {
    let begun = Instant::now();
    let answer = host.tool("notebook_run_cell", arguments);
    (answered(host, begun, &answer), answer)
}

/// Interrupts the call, and counts from there.
fn interrupted(mut host: Host, call: u64) -> Course {
    let begun = Instant::now();
    host.tool("notebook_interrupt", json!({}));
    let answer = host.result(call);
    answered(host, begun, &answer)
}

fn endless_loop(host: Host) -> Course {
    let code = "print('before', flush=True)\nwhile True: pass";
    let (course, answer) = called(host, json!({ "code": code, "timeout": 1 }));
    assert!(answer.text().starts_with("before\n"), "{answer:?}");
    course
}

fn swallowed_interrupt(host: Host) -> Course {
    let code = "
print('before')
import time
while True:
    try:
        while True: time.sleep(0.05)
    except KeyboardInterrupt: pass";
    let (course, answer) = called(host, json!({ "code": code, "timeout": 1 }));
    assert!(answer.text().starts_with("before\n"), "{answer:?}");
    course
}

fn death(host: Host) -> Course {
    let code = "print('last words')\nimport os; os.kill(os.getpid(), 9)";
    let (course, answer) = called(host, json!({ "code": code }));
    assert!(answer.text().starts_with("last words\n"), "{answer:?}");
    assert!(answer.text().contains("signal 9 (SIGKILL)"), "{answer:?}");
    course
}

fn stopped_kernel(mut host: Host) -> Course {
    let pid = host.ok("import os; os.getpid()");
    let pid = host.outside(&pid);
    let call = host.begin_cell("while True: pass");
    kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    interrupted(host, call)
}

fn fifty_megabytes(host: Host) -> Course {
    let code =
        "print('first line')\nfor n in range(1_000_000): print('x' * 49)\nprint('last line')";
    let (course, answer) = called(host, json!({ "code": code }));
    assert_eq!(answer.structured()["output"]["text_bytes"], 50_000_021);
    let text = answer.text();
    assert!(text.starts_with("first line\n") && text.contains("\nlast line\n"), "{text}");
    assert!(text.contains(" bytes of output left out …]"), "{text}");
    assert!(text.len() < 10_000, "{}", text.len());
    course
}

fn endless_print(mut host: Host) -> Course {
    // Far enough for every queue and buffer on the way to be full.
    let call = host.begin_cell(
        "
n = 0
while True:
    n += 1
    print(('far' if n > 100_000 else 'x') * 300)",
    );
    host.wait(|message| {
        message["params"]["message"].as_str().is_some_and(|text| text.contains("far"))
    });
    interrupted(host, call)
}

fn asks_for_input(host: Host) -> Course {
    let (course, answer) = called(host, json!({ "code": "input('name? ')" }));
    assert_eq!(answer.structured()["error"]["name"], "StdinNotImplementedError");
    course
}

fn two_calls(mut host: Host) -> Course {
    let begun = Instant::now();
    let calls = ["order = ['first']", "assert order == ['first']"]
        .map(|code| host.begin("notebook_run_cell", json!({ "code": code })));
    let [first, second] = calls.map(|call| host.result(call));
    assert_eq!(first.status(), "ok", "{first:?}");
    answered(host, begun, &second)
}

fn cancellation(mut host: Host) -> Course {
    let call = host.begin_cell("while True: pass");
    let begun = Instant::now();
    host.notify("notifications/cancelled", json!({ "requestId": call }));
    let (kept, next) = next_cell(&mut host, begun);
    let answered = host.messages_so_far().iter().any(|message| message["id"] == call);
    assert!(!answered, "a cancelled call was answered");
    let cell = host.tool("notebook_wait_cell", json!({ "cell": "c2" }));
    Course { status: cell.status().to_owned(), answer: None, next, kept }
}

fn host_gone(mut host: Host) -> Course {
    let family = family(&mut host);
    host.begin_cell("while True: pass");
    let begun = Instant::now();
    host.close_stdin();
    assert!(host.child.wait().unwrap().success());
    must_all_end(&family);
    another_server(begun)
}

fn server_killed(mut host: Host) -> Course {
    let family = family(&mut host);
    host.begin_cell("while True: pass");
    let begun = Instant::now();
    kill_process(server(&host), Signal::KILL).unwrap();
    host.child.wait().unwrap();
    must_all_end(&family);
    another_server(begun)
}

/// Everything has ended just now; the next cell is that of another server.
fn another_server(begun: Instant) -> Course {
    let gone = begun.elapsed();
    let mut host = Host::start(&[]);
    assert_eq!(host.ok("'kept' in globals()"), "False");
    Course { status: "gone".to_owned(), answer: Some(gone), next: begun.elapsed(), kept: false }
}
