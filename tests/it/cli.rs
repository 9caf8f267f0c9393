//! The command line: what each subcommand prints, writes and exits with.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{husk, python, repository};

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// `husk run` in a folder of its own.
fn run_in(folder: &Path, args: &[&str]) -> Ran {
    run(husk().arg("--python").arg(python()).arg("run").args(args).current_dir(folder))
}

fn folder_with(name: &str, text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(name), text).unwrap();
    folder
}

#[test]
fn code_is_run_and_its_output_printed() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run_in(folder.path(), &["-c", "print('a'); print('b', end=''); 6 * 7"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "a\nb\n42\n"), "{}", ran.stderr);
    let ran = run_in(folder.path(), &["-c", "x = 1"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{}", ran.stderr);
}

#[test]
fn a_script_is_read_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = husk();
    command.arg("--python").arg(python()).args(["run", "-"]).current_dir(folder.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"x = 20\n# %%\nx + 1\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "21\n");
}

#[test]
fn the_first_failing_cell_ends_a_script() {
    let folder = folder_with("s.py", "x = 1\n# %%\nprint('before')\n1/0\n# %%\nprint('never')\n");
    let ran = run_in(folder.path(), &["s.py"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.starts_with("before\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("ZeroDivisionError: division by zero"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("never"), "{}", ran.stdout);
}

#[test]
fn a_dying_kernel_is_told_and_fails_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run_in(folder.path(), &["-c", "print('before'); import os; os._exit(3)"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.starts_with("before\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains("the kernel died: exit code 3"), "{}", ran.stdout);
}

#[test]
fn output_is_printed_as_it_comes_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let code = "
import time
for n in range(5):
    print('line', n, flush=True); time.sleep(0.15)
'end'";
    let ran = run_in(folder.path(), &["-c", code]);
    assert_eq!(ran.stdout, "line 0\nline 1\nline 2\nline 3\nline 4\n'end'\n");
    // More than an answer holds is printed whole all the same.
    let ran = run_in(folder.path(), &["-c", "for n in range(100_000): print(n)"]);
    let whole: String = (0..100_000).map(|n| format!("{n}\n")).collect();
    assert!(
        ran.stdout.starts_with(&whole),
        "{}…",
        ran.stdout.chars().take(200).collect::<String>()
    );
}

#[test]
fn text_and_displays_come_in_the_order_in_which_they_were_made() {
    let folder = tempfile::tempdir().unwrap();
    // Longer than text waits to be sent, which it is by a clock: the end of a wait falls between any two.
    let code = "
for n in range(4_000):
    print('text', n)
    display({'text/plain': f'display {n}'}, raw=True)";
    let ran = run_in(folder.path(), &["-c", code]);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!((ran.code, lines.len()), (Some(0), 8_000), "{}", ran.stderr);
    for (n, pair) in lines.chunks(2).enumerate() {
        assert_eq!(pair, [format!("text {n}"), format!("display {n}")]);
    }
}

#[test]
fn plots_are_saved_beside_the_script_or_where_asked() {
    let script = "import matplotlib.pyplot as plt\n# %%\nplt.plot([1, 2]); plt.show()\nplt.plot([2, 1]); plt.show()\n";
    let folder = folder_with("plot.py", script);
    let ran = run_in(folder.path(), &["plot.py"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    for name in ["plot-2-1.png", "plot-2-2.png"] {
        assert!(fs::read(folder.path().join(name)).unwrap().starts_with(b"\x89PNG"), "{name}");
        assert!(ran.stdout.contains(name), "{}", ran.stdout);
    }
    run_in(folder.path(), &["plot.py", "--out", "elsewhere/deep"]);
    assert!(folder.path().join("elsewhere/deep/plot-2-1.png").exists());
}

#[test]
fn a_notebook_is_run_in_its_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("data.txt"), "from the file").unwrap();
    let notebook = r##"{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [
        {"cell_type": "markdown", "source": "# Title"},
        {"cell_type": "code", "source": ["text = open('data.txt').read()\n", "print(text)"]},
        {"cell_type": "code", "source": "len(text)"}]}"##;
    fs::write(inner.join("n.ipynb"), notebook).unwrap();
    let ran = run_in(folder.path(), &["inner/n.ipynb"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "from the file\n13\n"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_run_is_named() {
    let folder = folder_with("bad.ipynb", "{");
    let check = |args: &[&str], expected: &str| {
        let ran = run_in(folder.path(), args);
        assert_ne!(ran.code, Some(0));
        assert!(ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
    };
    check(&["nothing.py"], "cannot read `nothing.py`");
    check(&["bad.ipynb"], "the notebook is not JSON");
    let ran = run(husk()
        .args(["--python", "/nowhere/python", "run", "-c", "1"])
        .current_dir(folder.path()));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("/nowhere/python"), "{}{}", ran.stdout, ran.stderr);
    let ran = run(husk().args(["--kernel", "cobol", "run", "-c", "1"]).current_dir(folder.path()));
    assert!(ran.stdout.contains("no kernel named `cobol`; found"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn doctor_starts_a_real_kernel_and_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let ran = run(husk().arg("--python").arg(python()).arg("doctor").current_dir(folder.path()));
    assert_eq!(ran.code, Some(0), "{}", ran.stdout);
    for line in ["✓ python", "✓ kernels", "✓ kernel start", "✓ cell"] {
        assert!(ran.stdout.contains(line), "{line}: {}", ran.stdout);
    }
    let ran =
        run(husk().args(["--python", "/bin/false", "doctor", "--json"]).current_dir(folder.path()));
    assert_eq!(ran.code, Some(1));
    let checks: Value = serde_json::from_str(&ran.stdout).unwrap();
    let bad: Vec<&Value> =
        checks.as_array().unwrap().iter().filter(|check| check["ok"] == false).collect();
    assert!(bad.iter().all(|check| check["mend"].is_string()) && !bad.is_empty(), "{checks}");
    fs::write(folder.path().join("husk.toml"), "flavour = 1\n").unwrap();
    let ran = run(husk().arg("doctor").current_dir(folder.path()));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("✗ config") && ran.stdout.contains("flavour"), "{}", ran.stdout);
}

#[test]
fn a_broken_setting_stops_the_server_before_it_serves() {
    let folder = folder_with("husk.toml", "[cells]\ntimeout = 0\nbogus = 1\n");
    let ran = run(husk().current_dir(folder.path()).stdin(Stdio::null()));
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains("cells.timeout") && ran.stderr.contains("cells.bogus"),
        "{}",
        ran.stderr
    );
}

#[test]
fn config_tells_each_value_and_its_origin() {
    let folder = folder_with("husk.toml", "[cells]\ntimeout = 60\n");
    let ran = run(husk()
        .args(["--session", "mine", "config"])
        .env("HUSK_KERNEL", "ir")
        .current_dir(folder.path()));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let line = |start: &str| {
        ran.stdout.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned()
    };
    assert!(line("session = ").contains("--session"), "{}", ran.stdout);
    assert!(line("kernel = ").contains("HUSK_KERNEL"), "{}", ran.stdout);
    assert!(ran.stdout.contains("husk.toml:2"), "{}", ran.stdout);
}

#[test]
fn the_schemas_are_those_in_the_repository() {
    let folder = repository().join("schemas");
    if std::env::var_os("UPDATE").is_some() {
        assert_eq!(run(husk().args(["schema", "--out"]).arg(&folder)).code, Some(0));
    }
    let ran = run(husk().arg("schema"));
    let printed: Value = serde_json::from_str(&ran.stdout).unwrap();
    for (name, schema) in printed.as_object().unwrap() {
        let kept = fs::read_to_string(folder.join(name)).unwrap_or_default();
        let kept: Value = serde_json::from_str(&kept).unwrap_or_default();
        assert_eq!(
            &kept, schema,
            "schemas/{name} is not what husk prints: UPDATE=1 cargo test the_schemas"
        );
    }
    let ran = run(husk().args(["schema", "nothing.json"]));
    assert!(ran.stderr.contains("there are config.json"), "{}", ran.stderr);
}

#[test]
fn completions_and_help_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(husk().args(["completions", shell]));
        assert!(ran.code == Some(0) && ran.stdout.contains("husk"), "{shell}");
    }
    let ran = run(husk().arg("--help"));
    for word in
        ["serve", "run", "sessions", "export", "doctor", "install", "--python", "HUSK_PYTHON"]
    {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
}

#[test]
fn install_writes_and_uninstall_takes_away_the_entry() {
    let home = tempfile::tempdir().unwrap();
    let command = |args: &[&str]| {
        let mut command = husk();
        command
            .args(args)
            .env("HOME", home.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("CODEX_HOME");
        run(&mut command)
    };
    let file = home.path().join(".cursor/mcp.json");
    let ran = command(&["install", "cursor", "--print"]);
    assert!(ran.stdout.contains("mcpServers") && !file.exists(), "{}", ran.stdout);
    assert_eq!(command(&["install", "cursor", "--", "--session", "mine"]).code, Some(0));
    let written: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(written["mcpServers"]["husk"]["args"], serde_json::json!(["--session", "mine"]));
    assert_eq!(command(&["uninstall", "cursor"]).code, Some(0));
    let written: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert!(written["mcpServers"].get("husk").is_none(), "{written}");
}
