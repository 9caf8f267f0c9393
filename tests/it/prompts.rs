//! Prompts that a user finds in a host's menu, and what completes while they type.

use serde_json::{Value, json};

use crate::support::host::Host;

fn complete(host: &mut Host, reference: Value, name: &str, value: &str) -> Value {
    let params = json!({"ref": reference, "argument": {"name": name, "value": value}});
    host.call("completion/complete", params)["result"]["completion"].take()
}

#[test]
fn the_last_error_and_the_notebook_go_into_prompts() {
    let mut host = Host::start(&["--session", "mine"]);
    let listed = host.call("prompts/list", json!({}));
    let names: Vec<&str> = listed["result"]["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|prompt| prompt["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["analyse_file", "explain_error", "make_report"]);
    let mut get = |name: &str, arguments: Value| {
        host.call("prompts/get", json!({"name": name, "arguments": arguments}))
    };
    // Nothing has happened yet.
    assert!(get("explain_error", json!({}))["error"].is_object());
    assert!(get("make_report", json!({}))["error"].is_object());
    assert!(get("analyse_file", json!({}))["error"]["message"].as_str().unwrap().contains("file"));
    assert!(get("nothing", json!({}))["error"].is_object());
    let asked = get("analyse_file", json!({"file": "a \"b\".csv"}));
    let text = asked["result"]["messages"][0]["content"]["text"].as_str().unwrap();
    assert!(text.contains(r#""a \"b\".csv""#), "{text}");

    host.cell("1/0");
    host.cell("print('fine')");
    let mut get = |name: &str, arguments: Value| {
        host.call("prompts/get", json!({"name": name, "arguments": arguments}))
    };
    let explained = get("explain_error", json!({"session": "mine"}));
    let text = explained["result"]["messages"][0]["content"]["text"].as_str().unwrap();
    assert!(text.contains("ZeroDivisionError") && text.contains("Cell c1"), "{text}");
    let report = get("make_report", json!({}));
    let resource = &report["result"]["messages"][1]["content"]["resource"];
    assert_eq!(resource["uri"], "husk://sessions/mine/notebook");
    assert!(resource["text"].as_str().unwrap().contains("print('fine')"), "{resource}");
    assert!(get("explain_error", json!({"session": "../x"}))["error"].is_object());
}

#[test]
fn sessions_and_their_cells_are_completed() {
    let mut host = Host::start(&["--session", "mine"]);
    host.cell("1");
    host.cell("2");
    let prompt = json!({"type": "ref/prompt", "name": "make_report"});
    let found = complete(&mut host, prompt.clone(), "session", "mi");
    assert_eq!((&found["values"], &found["total"]), (&json!(["mine"]), &json!(1)));
    assert_eq!(complete(&mut host, prompt, "session", "x")["values"], json!([]));
    let uri = "husk://sessions/{session}/cells/{cell}/output{?from,to}";
    let template = json!({"type": "ref/resource", "uri": uri});
    let found = complete(&mut host, template.clone(), "cell", "");
    assert_eq!(found["values"], json!(["c1", "c2"]));
    assert_eq!(complete(&mut host, template, "other", "")["values"], json!([]));
}

#[test]
fn variables_and_kernels_are_completed() {
    let mut host = Host::start(&["--session", "mine"]);
    host.cell("total = 7; table = [1, 2]; other = None");
    let uri = "husk://sessions/{session}/variables/{name}";
    let template = json!({"type": "ref/resource", "uri": uri});
    assert_eq!(complete(&mut host, template, "name", "t")["values"], json!(["table", "total"]));
    let mut read = |name: &str| {
        let uri = format!("husk://sessions/mine/variables/{name}");
        host.call("resources/read", json!({"uri": uri}))
    };
    let text = read("table")["result"]["contents"][0]["text"].take();
    let found: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    assert_eq!((&found["type"], &found["length"]), (&json!("list"), &json!(2)), "{found}");
    let missing = read("nobody")["error"]["message"].take();
    assert!(missing.as_str().unwrap().contains("variables/nobody`"), "{missing}");
    // Every Python with ipykernel brings the kernel of this name.
    let prompt = json!({"type": "ref/prompt", "name": "analyse_file"});
    assert_eq!(complete(&mut host, prompt, "kernel", "pyt")["values"], json!(["python3"]));
    let params = json!({"name": "analyse_file", "arguments": {"file": "a.csv", "kernel": "ir"}});
    let asked = host.call("prompts/get", params);
    let text = asked["result"]["messages"][0]["content"]["text"].as_str().unwrap();
    assert!(text.contains("the kernel \"ir\" in a session of its own"), "{text}");
}
