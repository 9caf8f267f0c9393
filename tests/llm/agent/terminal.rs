//! What somebody at a terminal sees and types.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    command::{Ran, calls, ran},
    python, tool_server,
};
use crate::{
    provider::{End, Provider},
    says::Wire,
    servers::repository,
};

/// `husk agent` in a terminal with the judging tool server, where these lines are typed once that was
/// shown.
async fn at_a_terminal(provider: &Provider, args: &[&str], steps: Value) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let servers = json!({"mcpServers": {"judge": {"command": python(), "args": [tool_server()]}}});
    std::fs::write(folder.path().join("mcp.json"), servers.to_string()).unwrap();
    let mut command = terminal(folder.path(), provider, args, &steps);
    ran(command.args(["--mcp-config", "mcp.json"]).current_dir(folder.path())).await
}

fn terminal(folder: &Path, provider: &Provider, args: &[&str], steps: &Value) -> Command {
    let mut command = Command::new(python());
    command.arg(repository().join("tests/clients/terminal.py")).arg(steps.to_string());
    command.args([env!("CARGO_BIN_EXE_husk"), "agent"]).args(args);
    command.args(["--provider", "anthropic", "--model", "claude-test", "--url", &provider.url]);
    let xdg = [("XDG_CONFIG_HOME", folder), ("XDG_DATA_HOME", folder)];
    command.env_clear().envs(xdg).env("TERM", "xterm-kitty").env("PATH", "/usr/bin:/bin");
    command.kill_on_drop(true);
    command
}

#[tokio::test]
async fn answers_have_their_form_pictures_are_shown_and_what_is_withdrawn_is_wiped_away() {
    let half = Wire::Anthropic.events(&["half an answer\n", "and\n"], (7, 3))[..5].to_vec();
    let acts = vec![
        calls("picture", &json!({})),
        Wire::Anthropic.cut(half, End::Cut),
        Wire::Anthropic.stream(&["# Title\n\nIt is **so**", " and `so`.\n"]),
    ];
    let provider = Provider::new(acts).await;
    let ran = at_a_terminal(&provider, &["ask", "go"], json!([])).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let shown = &ran.stdout;
    assert!(shown.contains("\u{1b}_Ga=T,f=100,m=0;iVBOR"), "no picture in {shown:?}");
    assert!(shown.contains("\u{1b}[1m\u{1b}[4mTitle"), "{shown:?}");
    assert!(shown.contains("It is \u{1b}[1mso\u{1b}[0m and \u{1b}[36mso\u{1b}[0m."), "{shown:?}");
    // Two rows were shown of what was withdrawn.
    let (_, after) = shown.split_once("half an answer").unwrap();
    assert!(after.contains("\u{1b}[2A\u{1b}[0J"), "{after:?}");
    assert!(shown.contains("% of them from the cache"), "{shown:?}");
}

#[tokio::test]
async fn somebody_is_asked_before_something_is_changed() {
    let change = |value: &str| calls("change", &json!({"value": value}));
    let acts = vec![change("a"), change("b"), Wire::Anthropic.stream(&["done\n"])];
    let provider = Provider::new(acts).await;
    let question = "Run change, which may change or destroy something?";
    let steps = json!([[question, "y\r"], [question, "too risky\r"]]);
    let ran = at_a_terminal(&provider, &["ask", "go"], steps).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let told = |at: usize| provider.asked()[at].body["messages"].to_string();
    assert!(told(1).contains("\"text\":\"a\""), "{}", told(1));
    assert!(told(2).contains("the user does not allow it: too risky"), "{}", told(2));
}

#[tokio::test]
async fn somebody_is_asked_what_a_tool_wants_to_know() {
    let acts = vec![calls("ask_user", &json!({})), Wire::Anthropic.stream(&["done\n"])];
    let provider = Provider::new(acts).await;
    let steps = json!([
        ["judge asks: What [31mdo you want?", ""],
        ["Your name: ", "Ada\r"],
        ["Size (a whole number; empty: 3): ", "big\r"],
        ["it must be a whole number", ""],
        ["Size (a whole number; empty: 3): ", "\r"],
        ["Are you sure? (yes or no): ", "y\r"],
    ]);
    let ran = at_a_terminal(&provider, &["ask", "go"], steps).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let content = &provider.asked()[1].body["messages"][2]["content"][0]["content"];
    assert_eq!(content[0]["text"], r#"accept: {"name":"Ada","size":3,"sure":true}"#);
}

#[tokio::test]
async fn a_cell_that_asks_gets_the_line_that_is_typed() {
    let cell = calls("notebook_run_cell", &json!({"code": "print('Hello', input('Who? '))"}));
    let provider = Provider::new(vec![cell, Wire::Anthropic.stream(&["done\n"])]).await;
    let folder = tempfile::tempdir().unwrap();
    // Cells may not see what husk keeps.
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let steps =
        json!([["husk asks: The code in the notebook asks: Who?", ""], ["Answer: ", "Ada\r"]]);
    let mut command = terminal(folder.path(), &provider, &["ask", "go"], &steps);
    command.args(["--workspace", ".", "--python"]).arg(python()).current_dir(&work);
    let ran = ran(&mut command).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let told = provider.asked()[1].body["messages"].to_string();
    assert!(told.contains("Hello Ada"), "{told}");
}

#[tokio::test]
async fn a_chat_answers_and_obeys() {
    let provider = Provider::new(vec![Wire::Anthropic.stream(&["Hello to you.\n"])]).await;
    let prompt = "› ";
    let steps = json!([
        [prompt, "hello\\\r"],
        ["… ", "again\r"],
        ["Hello to you.", ""],
        [prompt, "/usage\r"],
        ["7 tokens read", ""],
        [prompt, "/budget turns 3\r"],
        ["3 turns a prompt", ""],
        [prompt, "/tools\r"],
        ["look: Says what it was asked for.", ""],
        [prompt, "/model claude-other\r"],
        [prompt, "more\r"],
        ["Hello to you.", ""],
        [prompt, "/save talk.jsonl\r"],
        ["talk.jsonl", ""],
        [prompt, "/export talk.ipynb\r"],
        ["talk.ipynb", ""],
        [prompt, "/nonsense\r"],
        ["there is no command /nonsense", ""],
        [prompt, "\u{4}"],
    ]);
    let ran = at_a_terminal(&provider, &["chat"], steps).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let asked = provider.asked();
    assert_eq!(asked[0].body["messages"][0]["content"][0]["text"], "hello\nagain");
    assert_eq!(asked[1].body["model"], "claude-other");
    assert_eq!(asked[1].body["messages"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn ctrl_c_stops_what_is_under_way_and_the_chat_goes_on() {
    let acts = vec![calls("hang", &json!({})), Wire::Anthropic.stream(&["Still here.\n"])];
    let provider = Provider::new(acts).await;
    let steps = json!([
        ["› ", "go\r"],
        // The spinner tells the call's own words.
        ["hanging", "\u{3}"],
        ["husk: stopped", ""],
        ["› ", "and?\r"],
        ["Still here.", ""],
        ["› ", "/exit\r"],
    ]);
    let ran = at_a_terminal(&provider, &["chat", "--approve", "always"], steps).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let told = provider.asked()[1].body["messages"].to_string();
    assert!(told.contains("cancelled") && told.contains("and?"), "{told}");
}
