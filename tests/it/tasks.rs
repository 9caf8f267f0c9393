//! Cells as tasks (`io.modelcontextprotocol/tasks`), for hosts of the stateless era that know them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    asked::{HANDSHAKE, STATELESS, accept, asks},
    host::Host,
};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// A host that knows tasks and can ask its user.
fn host() -> Host {
    Host::start_as(STATELESS, &capabilities(), &[])
}

fn capabilities() -> Value {
    json!({ "elicitation": {}, "extensions": { EXTENSION: {} } })
}

/// Runs a cell that goes on longer than its call; what the call says.
fn begin(host: &mut Host, code: &str) -> Value {
    let arguments = json!({ "code": code, "wait": 0.2 });
    let id = host.begin("notebook_run_cell", arguments);
    host.answer(id)["result"].clone()
}

/// The id of a task that was begun.
fn task(begun: &Value) -> String {
    assert_eq!(begun["resultType"], "task", "{begun}");
    assert_eq!(begun["status"], "working", "{begun}");
    assert!(begun["pollIntervalMs"].is_u64(), "{begun}");
    begun["taskId"].as_str().unwrap().to_owned()
}

fn get(host: &mut Host, task: &str) -> Value {
    let answer = host.call("tasks/get", json!({ "taskId": task }));
    assert!(answer["result"].is_object(), "{answer}");
    answer["result"].clone()
}

/// Polls as hosts do, though more often, until the task is in another state than `working`.
fn turns(host: &mut Host, task: &str) -> Value {
    loop {
        let state = get(host, task);
        if state["status"] != "working" {
            return state;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_cell_that_outlives_its_call_is_a_task_that_asks_and_completes() {
    let mut host = host();
    let go = host.workspace.path().join("go");
    let code = format!(
        "
import os, time
print('begun', flush=True)
while not os.path.exists({go:?}): time.sleep(0.01)
print(input('first? ') + input('second? '))
'all of it'"
    );
    let task = task(&begin(&mut host, &code));
    let state = get(&mut host, &task);
    assert_eq!(state["status"], "working", "{state}");
    assert_eq!(state["taskId"], task.as_str());
    std::fs::write(&go, "").unwrap();
    let mut names = Vec::new();
    for prompt in ["first?", "second?"] {
        let state = turns(&mut host, &task);
        assert_eq!(state["status"], "input_required", "{state}");
        let (name, request) = state["inputRequests"].as_object().unwrap().iter().next().unwrap();
        assert!(request["params"]["message"].as_str().unwrap().contains(prompt), "{request}");
        // What answers another question, or nothing, changes nothing.
        for responses in [json!({}), json!({ "input-99": accept("wrong") })] {
            let update = json!({ "taskId": task, "inputResponses": responses });
            assert!(host.call("tasks/update", update)["result"].is_object());
        }
        assert_eq!(get(&mut host, &task)["status"], "input_required");
        let update = json!({ "taskId": task, "inputResponses": { name: accept(prompt) } });
        let updated = host.call("tasks/update", update);
        assert!(updated["result"].is_object(), "{updated}");
        names.push(name.clone());
    }
    assert_ne!(names.first(), names.last(), "each question has a name of its own");
    for _ in 0..2 {
        let state = turns(&mut host, &task);
        assert_eq!(state["status"], "completed", "{state}");
        let result = &state["result"];
        assert_eq!(result["isError"], false, "{result}");
        assert_eq!(result["structuredContent"]["status"], "ok", "{result}");
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.starts_with("begun\n"), "{text}");
        assert!(text.ends_with("first?second?\n'all of it'"), "{text}");
    }
}

#[test]
fn a_task_that_fails_completes_with_the_error() {
    let mut host = host();
    let begun = begin(&mut host, "import time; time.sleep(0.5); 1/0");
    let state = turns(&mut host, &task(&begun));
    assert_eq!(state["status"], "completed", "{state}");
    assert_eq!(state["result"]["isError"], true);
    assert_eq!(state["result"]["structuredContent"]["error"]["name"], "ZeroDivisionError");
}

#[test]
fn declining_what_a_task_asks_stops_its_cell() {
    let mut host = host();
    let begun = begin(&mut host, "import time; time.sleep(0.5); input('? ')");
    let task = task(&begun);
    let state = turns(&mut host, &task);
    let name = state["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let responses = json!({ name: { "action": "decline" } });
    host.call("tasks/update", json!({ "taskId": task, "inputResponses": responses }));
    let state = turns(&mut host, &task);
    let facts = &state["result"]["structuredContent"];
    assert_eq!(facts["status"], "interrupted", "{state}");
    assert!(facts["hint"].as_str().unwrap().contains("got no answer"), "{state}");
}

#[test]
fn cancelling_a_task_stops_its_cell_and_keeps_the_variables() {
    let mut host = host();
    host.ok("kept = 1");
    for code in ["import time; time.sleep(1000)", "import time; time.sleep(0.5); input('? ')"] {
        let task = task(&begin(&mut host, code));
        if code.contains("input") {
            assert_eq!(turns(&mut host, &task)["status"], "input_required");
        }
        let cancelled = host.call("tasks/cancel", json!({ "taskId": task }));
        assert!(cancelled["result"].is_object(), "{cancelled}");
        let mut state = turns(&mut host, &task);
        while state["status"] == "input_required" {
            state = turns(&mut host, &task);
        }
        assert_eq!(state["status"], "cancelled", "{code}: {state}");
        // Again, and after its end: no fault, and no change.
        host.call("tasks/cancel", json!({ "taskId": task }));
        assert_eq!(get(&mut host, &task)["status"], "cancelled");
        let cell = task.split(':').nth(1).unwrap();
        let ended = host.tool("notebook_wait_cell", json!({ "cell": cell }));
        assert_eq!(ended.status(), "cancelled", "{ended:?}");
        assert!(ended.text().contains("variables are kept"), "{}", ended.text());
        assert_eq!(host.ok("kept"), "1");
    }
    let begun = begin(&mut host, "import time; time.sleep(0.3); 'done'");
    let task = task(&begun);
    assert_eq!(turns(&mut host, &task)["status"], "completed");
    host.call("tasks/cancel", json!({ "taskId": task }));
    assert_eq!(get(&mut host, &task)["status"], "completed", "an end is an end");
}

#[test]
fn the_cancelled_notification_does_not_cancel_a_task() {
    let mut host = host();
    let id = host.begin(
        "notebook_run_cell",
        json!({ "code": "import time; time.sleep(1); 'done'", "wait": 0.2 }),
    );
    let begun = host.answer(id)["result"].clone();
    host.notify("notifications/cancelled", json!({ "requestId": id }));
    assert_eq!(turns(&mut host, &task(&begun))["status"], "completed");
}

#[test]
fn a_wrong_or_guessed_task_is_refused() {
    let mut host = host();
    let begun = begin(&mut host, "import time; time.sleep(1000)");
    let real = task(&begun);
    let mut parts = real.rsplitn(2, ':');
    let secret = parts.next().unwrap().to_owned();
    let name = parts.next().unwrap().to_owned();
    assert!(secret.len() >= 32, "{real} can be guessed");
    let wrong = [
        String::new(),
        "c1".to_owned(),
        name.clone(),
        format!("{name}:"),
        format!("{name}:{}", "0".repeat(32)),
        format!("{name}:{}", secret.to_uppercase().replace(char::is_numeric, "A")),
        format!("{real}:"),
        format!("{real} "),
        format!("other:c1:{secret}"),
        format!("../..:c1:{secret}"),
        "x".repeat(1_000_000),
    ];
    for id in &wrong {
        for (method, params) in [
            ("tasks/get", json!({ "taskId": id })),
            ("tasks/cancel", json!({ "taskId": id })),
            ("tasks/update", json!({ "taskId": id, "inputResponses": {} })),
        ] {
            let answer = host.call(method, params);
            assert_eq!(answer["error"]["code"], -32602, "{method}: {answer}");
            assert!(answer.to_string().len() < 1000, "{method}: the answer repeats the id");
        }
    }
    assert_eq!(get(&mut host, &real)["status"], "working", "one of them was taken");
    host.call("tasks/cancel", json!({ "taskId": real }));
}

#[test]
fn a_quick_call_stays_a_plain_result() {
    let mut host = host();
    let answer = host.cell("6 * 7");
    assert_eq!(answer.0["resultType"], "complete", "{answer:?}");
    assert_eq!((answer.status(), answer.text().as_str()), ("ok", "42"));
    // So does one that asks in time, and one that only looks.
    let question = asks(&mut host, "notebook_run_cell", json!({ "code": "input('? ')" }));
    assert_eq!(question.ends_with(&mut host, "x").text(), "'x'");
    for tool in ["sandbox_status", "usage", "notebook_interrupt"] {
        assert!(host.tool(tool, json!({})).structured().is_object());
    }
}

#[test]
fn hosts_that_do_not_know_tasks_are_told_that_the_cell_runs() {
    for (version, capabilities) in [
        (STATELESS, json!({})),
        (STATELESS, json!({ "elicitation": {}, "extensions": { "other": {} } })),
        (HANDSHAKE, capabilities()),
        (HANDSHAKE, json!({ "tasks": { "list": {} } })),
    ] {
        let mut host = Host::start_as(version, &capabilities, &[]);
        let begun = begin(&mut host, "import time; time.sleep(1000)");
        let status = &begun["structuredContent"]["status"];
        assert!(["running", "queued"].map(Value::from).contains(status), "{version}: {begun}");
        assert!(begun["taskId"].is_null(), "{version}: {begun}");
        let refused = host.call("tasks/get", json!({ "taskId": "c1" }));
        assert!(refused["error"]["code"].is_i64(), "{version}: {refused}");
        host.tool("notebook_interrupt", json!({}));
    }
}

#[test]
fn a_call_that_came_back_with_an_answer_and_goes_on_becomes_a_task() {
    let mut host = host();
    let arguments =
        json!({ "code": "input('? ')\nimport time; time.sleep(1); 'done'", "wait": 0.5 });
    host.ok("0");
    let question = asks(&mut host, "notebook_run_cell", arguments);
    let call = question.answered(&mut host, accept("x"));
    let begun = host.answer(call)["result"].clone();
    assert_eq!(turns(&mut host, &task(&begun))["status"], "completed");
}
