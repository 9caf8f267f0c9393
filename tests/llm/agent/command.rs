//! `husk agent` as a command: what it prints, what it exits with, and what it tells nobody.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use super::{python, tool_server};
use crate::{
    provider::{Act, Provider},
    says::Wire,
    servers::repository,
};

/// What a command did.
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// `husk agent` in a folder of its own, with nothing of the user's.
pub(super) fn husk(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_husk"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["HUSK_", "ANTHROPIC_", "OPENAI_", "AWS_"].iter().any(|it| name.starts_with(it)) {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", folder).env("XDG_DATA_HOME", folder).current_dir(folder);
    command.arg("agent").stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(super) async fn ran(command: &mut Command) -> Ran {
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// `husk agent ask` of this model, with the judging tool server.
async fn ask(folder: &Path, provider: &Provider, args: &[&str]) -> Ran {
    let servers = json!({"mcpServers": {"judge": {"command": python(), "args": [tool_server()]}}});
    std::fs::write(folder.join("mcp.json"), servers.to_string()).unwrap();
    let mut command = husk(folder);
    command.args(["ask", "--provider", "anthropic", "--url", &provider.url]);
    if !args.contains(&"--model") {
        command.args(["--model", "claude-test"]);
    }
    command.args(["--mcp-config", "mcp.json", "--approve", "always"]);
    ran(command.env("ANTHROPIC_API_KEY", "secret-key").args(args)).await
}

/// An answer that calls a tool.
pub(super) fn calls(name: &str, input: &Value) -> Act {
    let body = json!({"type": "message", "id": "m", "model": "served", "role": "assistant",
        "content": [{"type": "tool_use", "id": format!("call_{name}"), "name": name, "input": input}],
        "stop_reason": "tool_use", "usage": {"input_tokens": 7, "output_tokens": 3}});
    Act::Answer(200, vec![("content-type", "application/json".to_owned())], body.to_string())
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn an_answer_goes_to_standard_output_and_the_rest_to_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    let acts =
        vec![calls("look", &json!({"name": "it"})), Wire::Anthropic.stream(&["It ", "was."])];
    let provider = Provider::new(acts).await;
    let ran = ask(folder.path(), &provider, &["what", "was?"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "It was.\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("▸ look") && ran.stderr.contains("saw it"), "{}", ran.stderr);
    assert_eq!(provider.asked()[0].body["messages"][0]["content"][0]["text"], "what was?");
}

#[tokio::test]
async fn events_are_lines_of_the_form_that_the_schema_tells() {
    let folder = tempfile::tempdir().unwrap();
    let half = Wire::Anthropic.events(&["half"], (7, 3))[..3].to_vec();
    let acts = vec![
        calls("picture", &json!({})),
        Wire::Anthropic.cut(half, crate::provider::End::Cut),
        Wire::Anthropic.stream(&["Whole."]),
    ];
    let provider = Provider::new(acts).await;
    let ran = ask(folder.path(), &provider, &["go", "--output", "stream-json"]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let schema = std::fs::read_to_string(repository().join("schemas/agent/event.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let lines = lines(&ran.stdout);
    for line in &lines {
        assert!(schema.is_valid(line), "{line}");
    }
    assert!(!schema.is_valid(&json!({"type": "sneeze"})));
    let kinds: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    for kind in
        ["init", "text_delta", "tool_use", "tool_result", "status", "reset", "usage", "result"]
    {
        assert!(kinds.contains(&kind), "no {kind} in {kinds:?}");
    }
    assert_eq!(lines.last().unwrap()["text"], "Whole.");
    let json = ask(
        folder.path(),
        &Provider::new(vec![Wire::Anthropic.stream(&["x"])]).await,
        &["go", "-o", "json"],
    )
    .await;
    let result: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&result["type"], &result["text"]), (&json!("result"), &json!("x")));
}

#[tokio::test]
async fn the_exit_code_tells_how_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let check = async |acts: Vec<Act>, args: &[&str], code: i32, said: &str| {
        let ran = ask(folder.path(), &Provider::new(acts).await, args).await;
        assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
    };
    let says = || vec![Wire::Anthropic.stream(&["x"])];
    check(says(), &["go"], 0, "").await;
    let denied = Act::Answer(401, Vec::new(), "{}".to_owned());
    check(vec![denied], &["go"], 1, "no model has answered").await;
    let look = || vec![calls("look", &json!({"name": "x"}))];
    check(look(), &["go", "--max-turns", "1"], 53, "1 answers of the model were allowed").await;
    check(look(), &["go", "--max-tool-calls", "0"], 53, "0 calls of tools").await;
    check(look(), &["go", "--max-usd", "1"], 53, "has no known price").await;
    check(says(), &[], 42, "there is no prompt").await;
    check(says(), &["go", "--mcp-config", "none.json"], 42, "cannot be used multiple times").await;
    check(says(), &["go", "--window", "many"], 42, "invalid value").await;
    check(
        says(),
        &["go", "--resume", "--transcript", "none.jsonl"],
        42,
        "cannot read the transcript",
    )
    .await;
    std::fs::write(folder.path().join("there.ipynb"), "mine").unwrap();
    check(says(), &["go", "--export", "there.ipynb"], 42, "there already").await;
    assert_eq!(std::fs::read_to_string(folder.path().join("there.ipynb")).unwrap(), "mine");
}

#[tokio::test]
async fn what_cannot_be_asked_is_bad_input_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    for (args, said) in [
        (vec!["ask", "go"], "set ANTHROPIC_API_KEY"),
        (vec!["ask", "go", "--model", "smollm"], "does not tell its provider"),
        (vec!["ask", "go", "--model", "gpt-4o"], "OPENAI_API_KEY"),
        (vec!["ask", "go", "--routes", "none.json"], "cannot read the routes"),
        (vec!["route", "--user", "u", "--share", "1.5"], "weight"),
    ] {
        let ran = ran(husk(folder.path()).args(&args)).await;
        assert_eq!(ran.code, Some(42), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn the_prompt_may_come_over_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::new(vec![Wire::OpenAi.stream(&["ok"])]).await;
    let mut command = husk(folder.path());
    command.args(["ask", "--provider", "openai", "--model", "m", "--url", &provider.url, "sum up"]);
    command.args(["--mcp-config", "mcp.json"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    std::fs::write(folder.path().join("mcp.json"), "{\"mcpServers\": {}}").unwrap();
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"line 1\nline 2\n").await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n");
    let body = provider.asked()[0].body["messages"].to_string();
    assert!(body.contains("sum up\\n\\nline 1\\nline 2"), "{body}");
}

#[tokio::test]
async fn tool_servers_get_no_keys_of_providers() {
    let folder = tempfile::tempdir().unwrap();
    let acts = vec![
        calls("variable", &json!({"name": "ANTHROPIC_API_KEY"})),
        Wire::Anthropic.stream(&["done"]),
    ];
    let provider = Provider::new(acts).await;
    let ran = ask(folder.path(), &provider, &["go", "--output", "stream-json"]).await;
    let result = lines(&ran.stdout).into_iter().find(|line| line["type"] == "tool_result").unwrap();
    assert_eq!(result["text"], "unset");
    // The provider did get it.
    assert_eq!(provider.asked()[0].header("x-api-key"), Some("secret-key"));
    assert!(!ran.stdout.contains("secret-key") && !ran.stderr.contains("secret-key"));
}

#[tokio::test]
async fn routes_that_are_printed_can_be_read_and_routes_of_the_user_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let route = ["route", "--user", "user-12345", "--primary", "bedrock"];
    let printed = ran(husk(folder.path()).args(route)).await;
    let routes: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(routes["name"], "user-123-multi-fallback");
    let model = &routes["config"]["targets"][0]["override_params"]["model"];
    assert_eq!(model, "us.anthropic.claude-sonnet-4-5-20250929-v1:0");
    let provider = Provider::new(vec![Wire::Anthropic.stream(&["by routes"])]).await;
    std::fs::create_dir(folder.path().join("husk")).unwrap();
    let routes = json!({"provider": "anthropic", "custom_host": provider.url, "virtual_key": "mine",
        "override_params": {"model": "claude-mine"}});
    std::fs::write(folder.path().join("husk/routes.json"), routes.to_string()).unwrap();
    std::fs::write(folder.path().join("mcp.json"), "{\"mcpServers\": {}}").unwrap();
    let mut command = husk(folder.path());
    command.args(["ask", "go", "--mcp-config", "mcp.json"]).env("HUSK_KEY_MINE", "k");
    let asked = ran(&mut command).await;
    assert_eq!(asked.stdout, "by routes\n", "{}", asked.stderr);
    assert_eq!(provider.asked()[0].body["model"], "claude-mine");
}

#[tokio::test]
async fn a_program_judges_answers_and_what_it_objects_to_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let judge = folder.path().join("judge");
    let program = "#!/bin/sh\nif grep -q secret; then echo 'it tells a secret'; exit 1; fi\n";
    std::fs::write(&judge, program).unwrap();
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&judge, readable).unwrap();
    let asked = async |words: &[&str], guardrail: String| {
        let provider = Provider::new(vec![Wire::Anthropic.stream(words)]).await;
        let target = json!({"provider": "anthropic", "custom_host": provider.url,
            "override_params": {"model": "claude-test"}, "output_guardrails": ["discreet"]});
        std::fs::write(folder.path().join("routes.json"), target.to_string()).unwrap();
        std::fs::write(folder.path().join("mcp.json"), r#"{"mcpServers": {}}"#).unwrap();
        let mut command = husk(folder.path());
        command.args(["ask", "--routes", "routes.json", "--mcp-config", "mcp.json", "go"]);
        command.args(["--guardrail", &guardrail]).env("ANTHROPIC_API_KEY", "secret-key");
        ran(&mut command).await
    };
    let judges = format!("discreet={}", judge.display());
    let fine = asked(&["nothing"], judges.clone()).await;
    assert_eq!((fine.code, fine.stdout.as_str()), (Some(0), "nothing\n"), "{}", fine.stderr);
    for (guardrail, code, told) in [
        (judges, 1, "`discreet` objects: it tells a secret"),
        ("discreet=/nowhere/at-all".to_owned(), 1, "cannot judge"),
        ("other=/bin/true".to_owned(), 42, "`discreet`, which is not there"),
        ("nonsense".to_owned(), 42, "it must be NAME=PROGRAM"),
    ] {
        let ran = asked(&["a secret"], guardrail).await;
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        assert!(ran.stderr.contains(told) && !ran.stdout.contains("secret"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn prompts_are_marked_as_the_flags_say() {
    let folder = tempfile::tempdir().unwrap();
    let long = "word ".repeat(6_000);
    // In the tools, in all, and those that are kept for an hour.
    for (flags, expected) in [
        (&[][..], (0, 2, 0)),
        (&["--prompt-cache-ttl", "1h"][..], (0, 2, 1)),
        (&["--prompt-cache", "seed"][..], (1, 2, 0)),
        (&["--prompt-cache", "off"][..], (0, 0, 0)),
    ] {
        let provider = Provider::new(vec![Wire::Anthropic.stream(&["fine"])]).await;
        let model = ["--model", "claude-sonnet-4-5", "--system", &long];
        let ran = ask(folder.path(), &provider, &[&["go"], &model[..], flags].concat()).await;
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let body = &provider.asked()[0].body;
        let count = |body: &Value, part: &str| body.to_string().matches(part).count();
        let mark = "cache_control";
        let marks = (count(&body["tools"], mark), count(body, mark), count(body, r#""ttl":"1h""#));
        assert_eq!(marks, expected, "{flags:?}");
    }
}
