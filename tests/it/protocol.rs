//! The server as a host meets it: handshakes, lists, and calls that are wrong.

use serde_json::{Value, json};

use crate::support::{
    asked::{ERAS, HANDSHAKE, STATELESS},
    host::Host,
    repository,
};

#[test]
fn every_revision_with_a_handshake_is_served() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut host = Host::launch(&[]);
        let result = host.initialize(version);
        assert_eq!(result["protocolVersion"], version);
        assert_eq!(result["serverInfo"]["name"], "husk");
    }
}

#[test]
fn the_stateless_revision_is_served_on_the_same_pipe() {
    let mut host = Host::launch(&[]);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
    });
    let discovered = host.call("server/discover", json!({ "_meta": meta }));
    let versions = discovered["result"]["supportedVersions"].as_array().unwrap();
    assert!(versions.contains(&json!("2026-07-28")), "{discovered}");
    let call =
        json!({ "name": "notebook_run_cell", "arguments": { "code": "6 * 7" }, "_meta": meta });
    let answer = host.call("tools/call", call);
    assert_eq!(answer["result"]["content"][0]["text"], "42", "{answer}");
}

#[test]
fn a_host_that_only_looks_and_leaves_is_no_error() {
    let mut host = Host::launch(&[]);
    host.close_stdin();
    assert!(host.child.wait().unwrap().success());
}

#[test]
fn the_tool_list_is_short_and_whole() {
    let mut host = Host::start(&[]);
    let answer = host.call("tools/list", json!({}));
    let bytes = answer.to_string().len();
    assert!(bytes < 9000, "tools/list takes {bytes} bytes");
    let tools = answer["result"]["tools"].as_array().unwrap();
    let names: Vec<&Value> = tools.iter().map(|tool| &tool["name"]).collect();
    let all = [
        "notebook_run_cell",
        "notebook_wait_cell",
        "notebook_interrupt",
        "notebook_inspect",
        "sandbox_status",
        "sandbox_reset",
        "usage",
    ];
    assert_eq!(names, all);
    for tool in tools {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        // They answer as notebook_run_cell and notebook_interrupt do.
        if tool["name"] != "notebook_wait_cell" && tool["name"] != "sandbox_reset" {
            assert_eq!(tool["outputSchema"]["type"], "object", "{tool}");
        }
        for hint in ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] {
            assert!(tool["annotations"][hint].is_boolean(), "{hint}: {tool}");
        }
    }
}

#[test]
fn calls_that_are_wrong_are_answered_with_the_way_out() {
    let mut host = Host::start(&[]);
    let mut check = |arguments: Value, expected: &str| {
        let answer = host.tool("notebook_run_cell", arguments);
        assert!(answer.is_error());
        assert!(answer.text().contains(expected), "{}", answer.text());
        let denied = &answer.structured()["denied"];
        assert_eq!(denied["code"], "bad_arguments", "{denied}");
    };
    check(json!({}), "missing field `code`");
    check(json!({ "code": 5 }), "expected a string");
    check(
        json!({ "code": "1", "time_out": 5 }),
        "unknown field `time_out`, expected one of `code`",
    );
    check(
        json!({ "code": "1", "timeout": 0 }),
        "timeout 0 is out of range: more than 0, at most 86400",
    );
    check(json!({ "code": "1", "timeout": -1e300 }), "out of range");
    check(json!({ "code": "1", "timeout": 1e300 }), "out of range");
    check(json!({ "code": "1", "session": "../../etc" }), "cannot name a session");
    check(json!({ "code": "1", "session": "" }), "cannot name a session");
    check(json!({ "code": "1", "session": "x".repeat(20_000_000) }), "cannot name a session");
    let unknown = host.tool("sandbox_status", json!({ "session": "nobody" }));
    assert!(unknown.text().contains("no session named `nobody`"), "{}", unknown.text());
    let error = host.call("tools/call", json!({ "name": "rm", "arguments": {} }));
    assert_eq!(error["error"]["code"], -32602, "{error}");
    assert!(
        error.to_string().contains("there are notebook_run_cell, notebook_wait_cell,"),
        "{error}"
    );
    assert_eq!(host.ok("'still here'"), "'still here'");
}

#[test]
fn every_answer_fits_the_published_schema() {
    let mut host = Host::start(&[]);
    let listed = host.call("tools/list", json!({}));
    let schema = |name: &str| {
        let tools = listed["result"]["tools"].as_array().unwrap();
        let tool = tools.iter().find(|tool| tool["name"] == name).unwrap();
        jsonschema::validator_for(&tool["outputSchema"]).unwrap()
    };
    let cells = schema("notebook_run_cell");
    for arguments in [
        json!({ "code": "1" }),
        json!({ "code": "1/0" }),
        json!({ "code": "while True: pass", "timeout": 0.2 }),
        json!({ "code": "import os; os._exit(1)" }),
        json!({ "code": 1 }),
    ] {
        let answer = host.tool("notebook_run_cell", arguments.clone());
        let faults: Vec<String> =
            cells.iter_errors(answer.structured()).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{arguments}: {faults:?} in {}", answer.structured());
    }
    for (name, arguments) in [("sandbox_status", json!({})), ("usage", json!({}))] {
        let answer = host.tool(name, arguments);
        assert!(schema(name).is_valid(answer.structured()), "{name}: {}", answer.structured());
    }
}

#[test]
fn resources_fit_their_published_schemas() {
    let mut host = Host::start(&["--session", "mine", "--set", "limits.session.max_cells=9"]);
    host.cell("print(1)");
    host.cell("1/0");
    let listed = host.call("resources/list", json!({}));
    for (uri, schema) in [
        ("husk://sessions/mine/cells", "resources/cells.json"),
        ("husk://usage", "resources/usage.json"),
        ("husk://sessions", "tools/sandbox_status.output.json"),
    ] {
        assert!(uri.ends_with("cells") || listed.to_string().contains(uri), "{uri}");
        let schema = std::fs::read(repository().join("schemas").join(schema)).unwrap();
        let schema = serde_json::from_slice(&schema).unwrap();
        let answer = host.call("resources/read", json!({ "uri": uri }));
        let text = answer["result"]["contents"][0]["text"].as_str().unwrap();
        let told: Value = serde_json::from_str(text).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<String> = validator.iter_errors(&told).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{uri}: {faults:?} in {told}");
        if uri == "husk://usage" {
            let of_session = &told["sessions"][0];
            assert_eq!(of_session["cells"], json!({ "used": 2, "limit": 9 }), "{told}");
            // To read is no call.
            assert_eq!(told["total"]["calls"], 2, "{told}");
            assert!(of_session["memory_bytes"]["used"].as_u64().unwrap() > 1_000_000, "{told}");
        }
    }
}

#[test]
fn the_server_has_an_icon() {
    let mut host = Host::launch(&[]);
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": { "name": "test", "version": "0" } });
    let answer = host.call("initialize", hello);
    let icon = &answer["result"]["serverInfo"]["icons"][0];
    assert_eq!((&icon["mimeType"], &icon["sizes"]), (&json!("image/svg+xml"), &json!(["any"])));
    assert!(icon["src"].as_str().unwrap().starts_with("data:image/svg+xml;base64,"), "{icon}");
}

#[test]
fn usage_counts_calls_by_tool() {
    let mut host = Host::start(&[]);
    host.ok("1");
    host.ok("2");
    host.cell("import os; os._exit(1)");
    let usage = host.tool("usage", json!({}));
    let usage = usage.structured();
    assert_eq!(usage["minute"]["calls"], 3, "{usage}");
    assert_eq!(usage["by_tool"][0]["tool"], "notebook_run_cell");
    assert_eq!(usage["by_tool"][0]["faults"], 1);
    assert!(usage["total"]["tokens"].as_u64().unwrap() > 0);
}

#[test]
fn logging_is_not_offered_and_nothing_is_logged_to_hosts() {
    for era in ERAS {
        let mut host = Host::launch(&["--log", "trace"]);
        let offered = if era == HANDSHAKE {
            host.initialize(era)["capabilities"].take()
        } else {
            host.introduce(era, &json!({}));
            host.call("server/discover", json!({}))["result"]["capabilities"].take()
        };
        assert!(offered["tools"].is_object() && offered["logging"].is_null(), "{offered}");
        let refused = host.call("logging/setLevel", json!({ "level": "debug" }));
        assert_eq!(refused["error"]["code"], -32601, "{era}: {refused}");
        // Nor where a request asks for it, as the stateless revision has it.
        let call = json!({ "name": "notebook_run_cell", "arguments": { "code": "1/0" },
            "_meta": { "io.modelcontextprotocol/logLevel": "debug" } });
        assert_eq!(host.call("tools/call", call)["result"]["isError"], true);
        let messages = host.messages_so_far();
        let logs = |message: &Value| message["method"] == "notifications/message";
        assert!(!messages.iter().any(logs), "{messages:?}");
    }
}

#[test]
fn lists_that_never_change_may_be_kept_and_those_of_a_user_may_not() {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
    });
    let mut host = Host::launch(&[]);
    let mut hints = |method: &str| {
        let result = host.call(method, json!({ "_meta": meta }))["result"].take();
        (result["ttlMs"].as_u64(), result["cacheScope"].as_str().map(str::to_owned))
    };
    for method in ["tools/list", "prompts/list", "resources/templates/list"] {
        assert_eq!(hints(method), (Some(300_000), Some("public".to_owned())), "{method}");
    }
    assert_eq!(hints("resources/list"), (Some(0), Some("private".to_owned())));
    // Elder hosts know nothing of it.
    let mut elder = Host::start(&[]);
    assert!(elder.call("tools/list", json!({}))["result"]["ttlMs"].is_null());
}

#[test]
fn the_server_teaches_how_a_notebook_is_used() {
    let mut host = Host::launch(&[]);
    let told = host.initialize(HANDSHAKE)["instructions"].as_str().unwrap().to_owned();
    for rule in ["small cells", "Read an error", "notebook_wait_cell"] {
        assert!(told.contains(rule), "{told}");
    }
    // Each conversation pays for it.
    assert!(told.len() < 600, "{} bytes", told.len());
}
