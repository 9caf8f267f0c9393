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
