//! Cells that ask the user (`input()`, `getpass`), through hosts that can ask and hosts that cannot.

use std::{fs, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    asked::{
        Asked, ERAS, HANDSHAKE, STATELESS, accept, asked, asking_host, asks, cell_asks,
        must_be_taken_back, question_or_answer,
    },
    host::Host,
    husk, python,
};

/// Everything in the files under a folder.
fn all_files(folder: &std::path::Path) -> Vec<u8> {
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => all_files(&entry.path()),
            kind if kind.is_file() => fs::read(entry.path()).unwrap(),
            _ => Vec::new(),
        }
    };
    fs::read_dir(folder).unwrap().flat_map(read).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn the_user_is_asked_in_a_form_and_the_cell_goes_on_with_the_answer() {
    for version in ERAS {
        let mut host = asking_host(version);
        let name = cell_asks(
            &mut host,
            "name = input('Your name? ')\nempty = input()\nprint('hello', name); (name, empty)",
        );
        assert!(name.text().contains("Your name?"), "{version}: {}", name.text());
        let form = name.form();
        assert_eq!(form["mode"], "form", "{version}: {form}");
        assert_eq!(form["requestedSchema"]["required"], json!(["value"]));
        assert_eq!(form["requestedSchema"]["properties"]["value"]["type"], "string");
        let empty = name.asks_again(&mut host, "Zoë 'n' 子");
        assert!(empty.text().contains("asks for a line of text"), "{version}: {}", empty.text());
        let answer = empty.ends_with(&mut host, "");
        assert_eq!(answer.status(), "ok", "{version}: {answer:?}");
        let text = answer.text();
        assert!(text.ends_with("hello Zoë 'n' 子\n(\"Zoë 'n' 子\", '')"), "{version}: {text}");
        assert_eq!(host.ok("6 * 7"), "42");
    }
}

#[test]
fn a_user_who_does_not_answer_stops_the_cell_and_keeps_the_variables() {
    for version in ERAS {
        let mut host = asking_host(version);
        host.ok("kept, went_on = 1, False");
        for said in [
            json!({ "action": "decline" }),
            json!({ "action": "cancel" }),
            json!({ "action": "accept" }),
            json!({ "action": "accept", "content": {} }),
            json!({ "action": "accept", "content": { "other": "x" } }),
            json!({ "action": "accept", "content": { "value": 5 } }),
            json!({ "action": "decline", "content": { "value": "x" } }),
            json!({}),
            json!("no"),
        ] {
            let question = cell_asks(&mut host, "print('asks')\ninput('? ')\nwent_on = True");
            let call = question.answered(&mut host, said.clone());
            let answer = host.result(call);
            assert_eq!(answer.status(), "interrupted", "{version}: {said}: {answer:?}");
            assert!(answer.is_error());
            let hint = answer.structured()["hint"].as_str().unwrap();
            assert!(hint.contains("asked with input() got no answer"), "{version}: {hint}");
            assert!(hint.contains("variables are kept"), "{version}: {hint}");
            assert!(answer.text().starts_with("asks\n"), "{version}: {}", answer.text());
        }
        assert_eq!(host.ok("kept, went_on"), "(1, False)");
    }
}

#[test]
fn a_host_that_refuses_the_question_stops_the_cell() {
    let mut host = asking_host(HANDSHAKE);
    let question = cell_asks(&mut host, "input('? ')");
    host.refuse(&question.message, -32601);
    let ended = host.wait(|message| message["result"]["structuredContent"].is_object());
    assert_eq!(ended["result"]["structuredContent"]["status"], "interrupted", "{ended}");
}

#[test]
fn a_cell_may_ask_more_often_than_a_client_comes_back_in_one_call() {
    for version in ERAS {
        let mut host = asking_host(version);
        let code = "print(''.join(input(f'number {n}?') for n in range(13)))";
        let mut question = cell_asks(&mut host, code);
        let mut calls = 1;
        for n in 0..13_u8 {
            assert!(question.text().contains(&format!("number {n}?")), "{}", question.text());
            let letter = char::from(b'a' + n).to_string();
            if n == 12 {
                let answer = question.ends_with(&mut host, &letter);
                assert!(answer.text().ends_with("abcdefghijklm\n"), "{version}: {answer:?}");
                break;
            }
            question = next(&mut host, &question, &letter, &mut calls);
        }
        // Clients of the stateless era give up after ten rounds.
        assert_eq!(calls, if version == STATELESS { 2 } else { 1 });
    }
}

/// Answers, and waits for the cell when the call does not ask any more.
fn next(host: &mut Host, question: &Asked, text: &str, calls: &mut u32) -> Asked {
    let call = question.answered(host, accept(text));
    let message = question_or_answer(host, call);
    let facts = &message["result"]["structuredContent"];
    if facts["status"] != "running" {
        return question.with(call, message);
    }
    let hint = facts["hint"].as_str().unwrap();
    assert!(hint.contains("the cell waits for input"), "{hint}");
    *calls += 1;
    asks(host, "notebook_wait_cell", json!({ "cell": "c1" }))
}

#[test]
fn the_time_of_the_user_is_neither_the_calls_nor_the_cells() {
    for version in ERAS {
        let mut host = asking_host(version);
        host.ok("import time");
        let question = asks(
            &mut host,
            "notebook_run_cell",
            json!({ "code": "text = input('? '); text", "wait": 1, "timeout": 1 }),
        );
        // Meanwhile another session works for longer than the call waits and the cell may run.
        let busy = json!({ "code": "import time; time.sleep(1.2); 'slept'", "session": "other" });
        assert_eq!(host.tool("notebook_run_cell", busy).text(), "'slept'");
        let answer = question.ends_with(&mut host, "late");
        assert_eq!(answer.status(), "ok", "{version}: {answer:?}");
        assert!(answer.text().ends_with("'late'"), "{version}: {answer:?}");
    }
}

#[test]
fn a_cell_that_goes_on_after_an_answer_has_its_timeout() {
    let mut host = asking_host(HANDSHAKE);
    let code = "input('? ')\nimport time; time.sleep(1000)";
    let call = json!({ "code": code, "timeout": 1 });
    let question = asks(&mut host, "notebook_run_cell", call);
    assert_eq!(question.ends_with(&mut host, "x").status(), "timeout");
}

#[test]
fn a_cancelled_call_takes_its_question_back_and_stops_the_cell() {
    let mut host = asking_host(HANDSHAKE);
    host.ok("kept = 1");
    let call = host.begin("notebook_run_cell", json!({ "code": "kept = input('? ')" }));
    let question = asked(&mut host, call, "notebook_run_cell", json!({}));
    host.notify("notifications/cancelled", json!({ "requestId": call }));
    must_be_taken_back(&mut host, &question);
    // An answer that comes too late is nobody's.
    host.reply(&question.message, &accept("late"));
    assert_eq!(host.ok("kept"), "1");
    let answered = host.messages_so_far().iter().any(|message| message["id"] == call);
    assert!(!answered, "a cancelled call was answered");
    let status = host.tool("notebook_wait_cell", json!({ "cell": "c2", "wait": 0 }));
    assert_eq!(status.status(), "cancelled", "{status:?}");
}

#[test]
fn giving_up_a_wait_takes_the_question_back_and_the_next_wait_asks_again() {
    let mut host = asking_host(HANDSHAKE);
    let begun = host.tool("notebook_run_cell", json!({ "code": "input('? ')", "wait": 0 }));
    assert!(["queued", "running"].contains(&begun.status()), "{begun:?}");
    let call = host.begin("notebook_wait_cell", json!({ "cell": "c1" }));
    let question = asked(&mut host, call, "notebook_wait_cell", json!({}));
    host.notify("notifications/cancelled", json!({ "requestId": call }));
    must_be_taken_back(&mut host, &question);
    let again = asks(&mut host, "notebook_wait_cell", json!({ "cell": "c1" }));
    assert_eq!(again.ends_with(&mut host, "x").text(), "'x'");
}

#[test]
fn a_host_that_goes_while_its_user_thinks_ends_the_server() {
    for version in ERAS {
        let mut host = asking_host(version);
        cell_asks(&mut host, "input('? ')");
        let begun = Instant::now();
        host.close_stdin();
        assert!(host.child.wait().unwrap().success());
        let took = begun.elapsed();
        // By itself rmcp waits five seconds for calls under way, and these end only with an answer.
        assert!(took < Duration::from_secs(4), "{version}: {took:?}");
    }
}

#[test]
fn a_state_that_husk_did_not_give_or_has_taken_back_runs_nothing() {
    let mut host = asking_host(STATELESS);
    host.ok("ran = []");
    let question = cell_asks(&mut host, "ran.append(input('? ')); len(ran)");
    let state = question.state().as_str().unwrap().to_owned();
    assert!(state.len() >= 32, "{state} can be guessed");
    let responses = json!({ "input-1": accept("x") });
    let refused = |host: &mut Host, state: &Value| {
        let call = question.again(host, responses.clone(), state);
        let answer = host.result(call);
        assert_eq!(answer.structured()["denied"]["code"], "unknown_request_state", "{answer:?}");
        assert!(answer.text().contains("the code was not run again"), "{}", answer.text());
    };
    refused(&mut host, &json!("0".repeat(32)));
    refused(&mut host, &json!(""));
    refused(&mut host, &json!("x".repeat(1_000_000)));
    refused(&mut host, &json!(state.to_uppercase()));
    assert!(question.ends_with(&mut host, "x").text().ends_with('1'));
    refused(&mut host, &json!(state));
    assert_eq!(host.ok("ran"), "['x']");
}

#[test]
fn a_call_that_comes_back_without_the_answer_is_asked_again() {
    let mut host = asking_host(STATELESS);
    let mut question = cell_asks(&mut host, "input('? ')");
    for responses in [json!({}), json!({ "input-2": accept("x") }), json!({ "": accept("x") })] {
        let call = question.again(&mut host, responses, question.state());
        let again = question.followed(&mut host, call);
        assert_eq!(again.text(), question.text());
        assert_ne!(again.state(), question.state(), "a state is good for one call");
        question = again;
    }
    assert_eq!(question.ends_with(&mut host, "x").text(), "'x'");
}

#[test]
fn two_sessions_ask_at_once_and_each_gets_its_own_answer() {
    for version in ERAS {
        let mut host = asking_host(version);
        let questions = ["one", "two"].map(|session| {
            let code = format!("input('{session}? ')");
            asks(&mut host, "notebook_run_cell", json!({ "code": code, "session": session }))
        });
        for (question, session) in questions.iter().zip(["one", "two"]).rev() {
            assert!(question.text().contains(&format!("{session}?")), "{}", question.text());
            let answer = question.ends_with(&mut host, &format!("for {session}"));
            assert!(answer.text().ends_with(&format!("'for {session}'")), "{version}: {answer:?}");
            assert_eq!(answer.structured()["session"], session);
        }
    }
}

#[test]
fn an_interrupt_frees_a_cell_that_asks() {
    for version in ERAS {
        let mut host = asking_host(version);
        host.ok("kept = 1");
        let question = cell_asks(&mut host, "kept = input('? ')");
        let stopped = host.tool("notebook_interrupt", json!({}));
        assert_eq!(stopped.structured()["by"], "interrupt", "{version}: {stopped:?}");
        if version == HANDSHAKE {
            must_be_taken_back(&mut host, &question);
        }
        // The answer of a user who does not know it yet; in the stateless era the call comes back.
        let answer = question.ends_with(&mut host, "late");
        assert_eq!(answer.status(), "interrupted", "{version}: {answer:?}");
        assert_eq!(host.ok("kept"), "1");
    }
}

#[test]
fn a_question_can_be_left_and_asked_for_very_often() {
    let mut host = asking_host(STATELESS);
    let mut question = cell_asks(&mut host, "input('? ')");
    for _ in 0..110 {
        question = asks(&mut host, "notebook_wait_cell", json!({ "cell": "c1" }));
    }
    assert_eq!(question.ends_with(&mut host, "x").text(), "'x'");
}

#[test]
fn where_nobody_can_be_asked_the_cell_is_told_at_once() {
    for version in ERAS {
        for capabilities in [json!({}), json!({ "elicitation": { "url": {} } })] {
            let mut host = Host::start_as(version, &capabilities, &[]);
            for code in ["input('? ')", "import getpass; getpass.getpass()"] {
                let answer = host.cell(code);
                let error = &answer.structured()["error"]["name"];
                assert_eq!(error, "StdinNotImplementedError", "{version}: {answer:?}");
                let hint = answer.structured()["hint"].as_str().unwrap_or_default();
                assert!(hint.contains("put the values into the code instead"), "{version}: {hint}");
            }
            let asked = host.messages_so_far();
            assert!(!format!("{asked:?}").contains("elicitation/create"), "{version}: {asked:?}");
        }
    }
}

#[test]
fn a_secret_is_in_no_output_no_log_and_no_file() {
    let secret = "hunter2-7f3a";
    for version in ERAS {
        let workspace = tempfile::tempdir().unwrap();
        let [data, log, work] = ["data", "log", "work"].map(|name| workspace.path().join(name));
        fs::create_dir(&work).unwrap();
        let mut command = husk();
        command
            .arg("--python")
            .arg(python())
            .args(["--log", "trace"])
            .env("HUSK_DATA_DIR", &data)
            .current_dir(work)
            .stderr(Stdio::from(fs::File::create(&log).unwrap()));
        let mut host = Host::run(command, workspace);
        host.introduce(version, &json!({ "elicitation": { "form": {} } }));
        let code = "import getpass; key = getpass.getpass('API key: '); print('got', len(key))";
        let question = cell_asks(&mut host, code);
        assert!(question.text().contains("API key:"), "{version}: {}", question.text());
        assert!(question.text().contains("not recorded"), "{version}: {}", question.text());
        let answer = question.ends_with(&mut host, secret);
        assert!(answer.text().contains("got 12\n"), "{version}: {answer:?}");
        let reversed: String = secret.chars().rev().collect();
        assert_eq!(host.ok(&format!("key == '{reversed}'[::-1]")), "True");
        host.close_stdin();
        assert!(host.child.wait().unwrap().success());
        let kept = all_files(host.workspace.path());
        assert!(holds(&kept, "getpass.getpass"), "{version}: there is no notebook to look into");
        let log = fs::read(&log).unwrap();
        assert!(holds(&log, "DEBUG"), "{}", String::from_utf8_lossy(&log));
        assert!(!holds(&kept, secret), "{version}: it was kept");
        let said = host.messages_so_far();
        assert!(!holds(format!("{said:?}").as_bytes(), secret), "{version}: it was said");
    }
}

#[test]
fn two_calls_that_wait_for_one_cell_both_ask_and_one_answer_is_enough() {
    let mut host = asking_host(HANDSHAKE);
    let first = cell_asks(&mut host, "input('? ')\nimport time; time.sleep(1000)");
    let second = asks(&mut host, "notebook_wait_cell", json!({ "cell": "c1" }));
    assert_ne!(first.message["id"], second.message["id"]);
    first.answered(&mut host, accept("x"));
    must_be_taken_back(&mut host, &second);
    host.tool("notebook_interrupt", json!({}));
}

#[test]
fn looking_at_a_cell_that_asks_does_not_ask() {
    for version in ERAS {
        let mut host = asking_host(version);
        host.tool("notebook_run_cell", json!({ "code": "input('? ')", "wait": 0 }));
        let asks_now = |host: &mut Host| {
            let looked = host.tool("notebook_wait_cell", json!({ "cell": "c1", "wait": 0 }));
            looked.text().contains("the cell waits for input")
        };
        while !asks_now(&mut host) {}
        // By luck it may not ask once, or twice.
        assert!((0..20).all(|_| asks_now(&mut host)), "{version}");
        let question = asks(&mut host, "notebook_wait_cell", json!({ "cell": "c1" }));
        assert_eq!(question.ends_with(&mut host, "x").status(), "ok", "{version}");
    }
}

#[test]
fn a_call_that_came_back_with_an_answer_and_is_cancelled_stops_its_cell() {
    let mut host = asking_host(STATELESS);
    host.ok("kept, begun = 1, False");
    let code = "input('? ')\nprint('begun', flush=True)\nimport time; time.sleep(1000)";
    let question = cell_asks(&mut host, code);
    let call = question.answered(&mut host, accept("go"));
    let looks = json!({ "cell": "c2", "wait": 0, "from": 0 });
    while !host.tool("notebook_wait_cell", looks.clone()).text().contains("begun") {}
    host.notify("notifications/cancelled", json!({ "requestId": call }));
    assert_eq!(host.ok("kept"), "1");
    let status = host.tool("notebook_wait_cell", json!({ "cell": "c2", "wait": 0 }));
    assert_eq!(status.status(), "cancelled", "{status:?}");
}
