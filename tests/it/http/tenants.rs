//! Users who are told apart: what one has, no other can see or name.

use serde_json::{Value, json};

use crate::support::{
    husk,
    web::{Client, Served, hello, post, send},
};

/// A server with tokens for alice and bob, and for who may only look.
fn two() -> (Served, [String; 3]) {
    let data = tempfile::tempdir().unwrap();
    let tokens = [
        Served::token(&data, "alice", &[]),
        Served::token(&data, "bob", &[]),
        Served::token(&data, "alice", &["notebook:read"]),
    ];
    (Served::start_in(data, &[]), tokens)
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

#[test]
fn nobody_is_served_without_a_token_that_holds() {
    let (served, [alice, ..]) = two();
    let check = |token: Option<&str>, error: Option<&str>| {
        let Err(answer) = Client::initialize(&served.at, token) else { panic!("{token:?}") };
        assert_eq!(answer.status, 401);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Bearer "), "{challenge}");
        assert_eq!(challenge.contains("invalid_token"), error.is_some(), "{challenge}");
    };
    check(None, None);
    check(Some("nonsense"), Some("invalid_token"));
    check(Some(&alice[..alice.len() - 1]), Some("invalid_token"));
    assert!(Client::initialize(&served.at, Some(&alice)).is_ok());
    // From the next request on.
    let mut revoke = husk();
    revoke.env("HUSK_DATA_DIR", served.data.path()).args(["token", "revoke", "alice"]);
    assert!(revoke.status().unwrap().success());
    check(Some(&alice), Some("invalid_token"));
}

#[test]
fn what_was_opened_with_a_token_ends_when_it_is_revoked() {
    let data = tempfile::tempdir().unwrap();
    let tokens = ["alice", "bob"].map(|user| Served::token(&data, user, &[]));
    let served = Served::start_in(data, &["--sse"]);
    let open = |token: &str, line: &str| {
        let client = served.client(Some(token));
        let headers = client.headers();
        let lines = headers.iter().map(String::as_str).chain(["Accept: text/event-stream"]);
        let stream = send(&served.at, line, &lines.collect::<Vec<_>>(), b"");
        assert_eq!(stream.status, 200, "{line}");
        stream
    };
    let [mut hers, mut older] = ["GET /mcp", "GET /sse"].map(|line| open(&tokens[0], line));
    let mut his = open(&tokens[1], "GET /sse");
    assert_eq!(his.event().unwrap().0, "endpoint");
    let mut revoke = husk();
    revoke.env("HUSK_DATA_DIR", served.data.path()).args(["token", "revoke", "alice"]);
    assert!(revoke.status().unwrap().success());
    // A sign of life comes every 15 s: hers end before there are many.
    for stream in [&mut hers, &mut older] {
        assert!((0..4).any(|_| !stream.goes_on()), "it goes on without its token");
    }
    // Another user's goes on: a sign of life comes after hers have ended.
    his.piece_of_stream();
}

#[test]
fn two_users_who_attack_each_other_reach_nothing() {
    let (served, [alice, bob, _]) = two();
    let (mut a, mut b) = (served.client(Some(&alice)), served.client(Some(&bob)));
    assert_eq!(a.run("main", "secret = 'of alice'; print(1)"), "1\n");
    // The same name is another session.
    assert_eq!(b.run("main", "print('secret' in globals())"), "False\n");
    // Handles of the other's: cells, resources, sessions.
    assert_eq!(a.run("only-a", "open('hers.txt', 'w').write('hers'); print(2)"), "2\n");
    let waited = b.call("notebook_wait_cell", json!({"cell": "c1", "session": "only-a"}));
    assert_eq!(waited["isError"], true, "{waited}");
    assert!(!waited.to_string().contains("hers"), "{waited}");
    for (tool, arguments) in [
        ("notebook_interrupt", json!({"session": "only-a"})),
        ("notebook_inspect", json!({"session": "only-a"})),
        ("sandbox_status", json!({"session": "only-a"})),
    ] {
        let result = b.call(tool, arguments);
        assert_eq!(result["isError"], true, "{tool}: {result}");
        assert!(text(&result).contains("no session named"), "{tool}: {result}");
    }
    for uri in ["husk://sessions/only-a/notebook", "husk://sessions/only-a/cells/c1/output"] {
        let answer = b.ask("resources/read", json!({"uri": uri}));
        assert!(answer["error"].is_object(), "{answer}");
    }
    assert!(!b.ask("resources/list", json!({})).to_string().contains("only-a"));
    assert!(!b.call("sandbox_status", json!({})).to_string().contains("only-a"));
    // The other's MCP session is not there.
    let stolen = format!("Mcp-Session-Id: {}", a.session);
    let auth = format!("Authorization: Bearer {bob}");
    let ping = json!({"jsonrpc": "2.0", "id": 9, "method": "ping"});
    assert_eq!(post(&served.at, &[&stolen, &auth], &ping).status, 404);
    for line in ["GET /mcp", "DELETE /mcp"] {
        let accept = "Accept: text/event-stream";
        send(&served.at, line, &[&stolen, &auth, accept, "MCP-Protocol-Version: 2025-11-25"], b"");
    }
    assert_eq!(a.ask("ping", json!({}))["result"], json!({}));
    // Nor are the other's files.
    let find = "import os; print([f for d, _, fs in os.walk('/') for f in fs if f == 'hers.txt'])";
    assert_eq!(b.run("main", find), "[]\n");
    // What bob uses is not what alice has used.
    let usage = |client: &mut Client| {
        client.call("usage", json!({}))["structuredContent"]["hour"]["calls"].as_u64().unwrap()
    };
    let (of_a, of_b) = (usage(&mut a), usage(&mut b));
    assert!(of_a < of_b, "{of_a} {of_b}");
}

#[test]
fn two_tokens_of_one_user_reach_the_same_and_each_may_do_its_own() {
    let (served, [alice, _, reads]) = two();
    let (mut a, mut reader) = (served.client(Some(&alice)), served.client(Some(&reads)));
    assert_eq!(a.run("main", "x = 42; print(x)"), "42\n");
    assert!(reader.call("sandbox_status", json!({})).to_string().contains("main"));
    let uri = "husk://sessions/main/notebook";
    assert!(reader.ask("resources/read", json!({"uri": uri})).to_string().contains("x = 42"));
    let refused = reader
        .request("tools/call", json!({"name": "notebook_run_cell", "arguments": {"code": "1"}}));
    assert_eq!(refused.status, 403);
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains("insufficient_scope"), "{challenge}");
    assert!(challenge.contains("scope=\"notebook:run\""), "{challenge}");
    // Not by the way around the handshake either.
    let auth = format!("Authorization: Bearer {reads}");
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "notebook_run_cell", "arguments": {"code": "x = 0"}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {}}}});
    let headers = [
        auth.as_str(),
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: tools/call",
        "Mcp-Name: notebook_run_cell",
    ];
    assert_eq!(post(&served.at, &headers, &call).status, 403);
    assert_eq!(post(&served.at, &[&auth], &json!([hello(), call])).status, 403);
    assert_eq!(a.run("main", "print(x)"), "42\n");
}

/// A call of the stateless era.
fn stateless(served: &Served, token: &str, method: &str, name: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {
            "elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}}});
    let call = json!({"jsonrpc": "2.0", "id": 5, "method": method, "params": params});
    let (auth, method) =
        (format!("Authorization: Bearer {token}"), format!("Mcp-Method: {method}"));
    let mut headers = vec![auth, method, "MCP-Protocol-Version: 2026-07-28".to_owned()];
    if !name.is_empty() {
        headers.push(format!("Mcp-Name: {name}"));
    }
    let lines: Vec<&str> = headers.iter().map(String::as_str).collect();
    let mut answer = post(&served.at, &lines, &call);
    loop {
        let message = answer.message().unwrap();
        if message["id"] == 5 {
            return message;
        }
    }
}

#[test]
fn tasks_questions_completions_and_news_are_each_users_own() {
    let (served, [alice, bob, _]) = two();
    let run = |token: &str, code: &str, wait: f64| {
        let arguments = json!({"code": code, "wait": wait, "session": "only-a"});
        let params = json!({"name": "notebook_run_cell", "arguments": arguments});
        stateless(&served, token, "tools/call", "notebook_run_cell", params)["result"].take()
    };
    // A task's id holds a secret; and even who knows it has to be its user.
    let task = run(&alice, "import time\nwhile True: time.sleep(0.05)", 0.0);
    let id = task["taskId"].as_str().unwrap_or_else(|| panic!("{task}")).to_owned();
    for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
        let params = json!({"taskId": id, "inputResponses": {}});
        let told = stateless(&served, &bob, method, &id, params);
        assert_eq!(told["error"]["message"], "no such task", "{method}: {told}");
    }
    let told = stateless(&served, &alice, "tasks/get", &id, json!({"taskId": id}));
    assert_eq!(told["result"]["status"], "working", "{told}");
    assert!(
        stateless(&served, &alice, "tasks/cancel", &id, json!({"taskId": id}))["error"].is_null()
    );
    // What a cell of hers asks, he does not answer.
    let asks = run(&alice, "print('got', input('who? '))", 60.0);
    assert_eq!(asks["resultType"], "input_required", "{asks}");
    let name = asks["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let again = json!({"name": "notebook_run_cell",
        "arguments": {"code": "print('got', input('who? '))", "wait": 60.0, "session": "only-a"},
        "inputResponses": {name: {"action": "accept", "content": {"value": "x"}}},
        "requestState": asks["requestState"]});
    let stolen = stateless(&served, &bob, "tools/call", "notebook_run_cell", again.clone());
    assert_eq!(stolen["result"]["isError"], true, "{stolen}");
    assert!(!stolen.to_string().contains("got"), "{stolen}");
    let hers = stateless(&served, &alice, "tools/call", "notebook_run_cell", again);
    assert!(hers.to_string().contains("got x"), "{hers}");
    // Names of hers are not completed for him.
    let complete = |token: &str| {
        let asked = json!({"ref": {"type": "ref/resource",
            "uri": "husk://sessions/{session}/notebook"},
            "argument": {"name": "session", "value": "only"}});
        stateless(&served, token, "completion/complete", "", asked)
    };
    assert!(complete(&alice).to_string().contains("only-a"));
    assert!(!complete(&bob).to_string().contains("only-a"));
    let prompts = |token: &str| {
        let asked = json!({"name": "explain_error", "arguments": {"session": "only-a"}});
        stateless(&served, token, "prompts/get", "explain_error", asked).to_string()
    };
    assert!(!prompts(&bob).contains("input("), "{}", prompts(&bob));
}

#[test]
fn what_happens_to_one_user_is_no_news_to_another() {
    let (served, [alice, bob, _]) = two();
    let [mut a, b] = [&alice, &bob].map(|token| served.client(Some(token)));
    assert_eq!(a.run("only-a", "print(1)"), "1\n");
    // He may ask to be told of a resource of hers; there is nothing to tell.
    let subscribe = json!({"jsonrpc": "2.0", "id": 8, "method": "resources/subscribe",
        "params": {"uri": "husk://sessions/only-a/notebook"}});
    b.post(&subscribe);
    let headers = b.headers();
    let lines = headers.iter().map(String::as_str).chain(["Accept: text/event-stream"]);
    let mut news = send(&served.at, "GET /mcp", &lines.collect::<Vec<_>>(), b"");
    assert_eq!(a.run("only-a", "print(2)"), "2\n");
    assert_eq!(a.run("another-a", "print(3)"), "3\n");
    // News of his own comes, and it is the first.
    let mut other = served.client(Some(&bob));
    assert_eq!(other.run("only-b", "print(4)"), "4\n");
    let first = news.message().unwrap();
    assert_eq!(first["method"], "notifications/resources/list_changed", "{first}");
    let listed = other.ask("resources/list", json!({})).to_string();
    assert!(listed.contains("only-b") && !listed.contains("only-a"), "{listed}");
}

#[test]
fn a_breaker_that_one_user_has_opened_stands_in_no_other_users_way() {
    let data = tempfile::tempdir().unwrap();
    let tokens = ["alice", "bob"].map(|user| Served::token(&data, user, &[]));
    let served = Served::start_in(data, &["--set", "breaker.consecutive_faults=2"]);
    let [mut a, mut b] = tokens.each_ref().map(|token| served.client(Some(token)));
    let dies = json!({"code": "import os; os._exit(1)"});
    let mut denied = || a.call("notebook_run_cell", dies.clone())["structuredContent"].take();
    assert!(denied()["denied"].is_null() && denied()["denied"].is_null());
    assert_eq!(denied()["denied"]["code"], "breaker_open");
    assert_eq!(b.run("main", "print(6 * 7)"), "42\n");
    let usage = b.call("usage", json!({}))["structuredContent"].take();
    assert!(!usage.to_string().contains("open"), "{usage}");
}
