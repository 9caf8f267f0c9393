//! Clients that others wrote: the official Python and TypeScript SDKs, and the MCP Inspector.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{HUSK, python, repository};

/// Something that `tests/run` installed, named by a variable; else where it puts it.
pub(crate) fn installed(variable: &str, place: &str) -> std::path::PathBuf {
    std::env::var_os(variable).map_or_else(|| repository().join(place), Into::into)
}

pub(crate) fn node() -> std::path::PathBuf {
    let given = std::env::var_os("HUSK_TEST_NODE").map(std::path::PathBuf::from);
    given.unwrap_or_else(|| panic!("HUSK_TEST_NODE is not set; run the tests with tests/run"))
}

/// What a script that judges has found; it has to be content.
pub(crate) fn judge(mut command: Command) -> Value {
    let folder = tempfile::tempdir().unwrap();
    command.env("HUSK_TEST_PYTHON", python()).current_dir(folder.path());
    // Of its own, and faster than an agent is.
    // Not in the folder in which cells work.
    let data = tempfile::tempdir().unwrap();
    command.env("HUSK_DATA_DIR", data.path());
    command.envs([("HUSK_LIMITS_REQUESTS_PER_MINUTE", "0"), ("HUSK_DEDUP_MODE", "off")]);
    command.env("HUSK_SESSIONS_KEEP_ALIVE", "0");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let verdict: Value =
        serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or_default();
    assert!(output.status.success() && verdict["ok"] == true, "{}", told(&output));
    verdict
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_official_python_client_is_served() {
    for script in ["python_client.py", "python_input.py", "python_resources.py"] {
        let mut command = Command::new(python());
        command.arg(repository().join("tests/clients").join(script)).arg(HUSK);
        judge(command);
    }
}

#[test]
fn the_official_typescript_client_is_served() {
    let mut command = Command::new(node());
    command.arg(repository().join("tests/clients/node_client.mjs")).arg(HUSK);
    judge(command);
}

/// Runs the Inspector's command line against the binary.
fn inspector(args: &[&str]) -> Output {
    let python = python();
    inspect(&[&[HUSK, "--python", python.to_str().unwrap()], args].concat())
}

/// Runs the Inspector's command line.
pub(crate) fn inspect(args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(node());
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HUSK_"))
    {
        command.env_remove(name);
    }
    command
        .arg(installed("HUSK_TEST_INSPECTOR", "target/test-node/node_modules/.bin/mcp-inspector"))
        .arg("--cli")
        .args(args)
        .args(["--format", "json"])
        .env("HOME", home.path())
        .current_dir(home.path())
        .output()
        .unwrap()
}

#[test]
fn the_inspector_finds_no_fault_with_the_tool_list() {
    let output = inspector(&["--method", "tools/list", "--strict"]);
    assert!(output.status.success(), "{}", told(&output));
    let listed: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    assert!(listed.to_string().contains("notebook_run_cell"), "{listed}");
}

#[test]
fn the_inspector_finds_the_resources() {
    let check = |args: &[&str], expected: &str| {
        let output = inspector(args);
        assert!(output.status.success(), "{args:?}: {}", told(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains(expected), "{}", told(&output));
    };
    check(&["--method", "resources/list"], "resources");
    check(&["--method", "resources/templates/list"], "husk://sessions/{session}/notebook");
    // Every start of the Inspector is a server of its own: nothing has run there.
    let missing = "husk://sessions/default/notebook";
    let output = inspector(&["--method", "resources/read", "--uri", missing]);
    assert!(!output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("no session named `default`"), "{}", told(&output));
}

#[test]
fn the_inspector_runs_a_cell() {
    let call = ["--method", "tools/call", "--tool-name", "notebook_run_cell", "--tool-args-json"];
    let output = inspector(&[call.as_slice(), &[r#"{"code": "print(6 * 7)"}"#]].concat());
    assert!(output.status.success(), "{}", told(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("42"), "{}", told(&output));
    // The Inspector's own exit code for an answer with isError.
    let output = inspector(&[call.as_slice(), &[r#"{"code": "1/0"}"#]].concat());
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
}
