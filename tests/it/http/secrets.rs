//! Secrets, planted wherever husk is given some: they are in no log, no answer, no file, and no kernel.

use std::{fs, path::Path, process::Command};

use serde_json::json;

use crate::support::{
    husk, python, repository,
    web::{Client, Served, send},
};

/// Variables by which husk is given secrets, or whoever started it.
const VARIABLES: [(&str, &str); 13] = [
    ("ANTHROPIC_API_KEY", "planted-anthropic"),
    ("ANTHROPIC_AUTH_TOKEN", "planted-anthropic-token"),
    ("OPENAI_API_KEY", "planted-openai"),
    ("AWS_ACCESS_KEY_ID", "planted-aws-id"),
    ("AWS_SECRET_ACCESS_KEY", "planted-aws-secret"),
    ("AWS_SESSION_TOKEN", "planted-aws-session"),
    ("AWS_BEARER_TOKEN_BEDROCK", "planted-bedrock"),
    ("HUSK_KEY_MAIN", "planted-named"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=planted-otlp"),
    ("HUSK_GATEWAY_TOKEN", "planted-gateway"),
    ("PGPASSWORD", "planted-pg"),
    ("PGPASSFILE", "/planted-pgpass"),
    ("PGSSLKEY", "-----BEGIN PRIVATE KEY-----planted-key"),
];
const PLANTED: &str = "planted-";

/// Writes what the kernel has in its environment, and the key that signs its messages, where only the
/// test looks; shows neither.
const LOOK: &str = "import json, os; from ipykernel.connect import get_connection_file\n\
    open('environment', 'w').write(repr(dict(os.environ)))\n\
    open('key', 'w').write(json.load(open(get_connection_file()))['key'])\nprint('looked')";

fn holds_none(what: &str, text: &str, secrets: &[&str]) {
    for secret in secrets {
        let at = text.find(secret);
        assert_eq!(at, None, "{what} holds `{secret}`: {:?}", at.map(|at| &text[at..]));
    }
}

/// Every file below a folder, with what it holds.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path));
        } else if entry.file_type().unwrap().is_file() {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            found.push((path.display().to_string(), text));
        }
    }
    found
}

fn secret_part(token: &str) -> &str {
    token.rsplit_once('_').unwrap().1
}

/// What the server says of itself, wherever it does.
fn everything_said(served: &Served, client: &mut Client, admin: &str) -> String {
    let mut said = String::new();
    for (tool, arguments) in [
        ("sandbox_status", json!({})),
        ("usage", json!({})),
        ("notebook_inspect", json!({"session": "main"})),
        ("notebook_wait_cell", json!({"cell": "c99"})),
        ("notebook_run_cell", json!({"code": 7})),
        ("sandbox_reset", json!({"kernel": "no-such-kernel", "session": "other"})),
    ] {
        said.push_str(&client.call(tool, arguments).to_string());
    }
    said.push_str(&client.ask("resources/list", json!({})).to_string());
    said.push_str(&client.ask("prompts/list", json!({})).to_string());
    let auth = format!("Authorization: Bearer {admin}");
    for path in ["/metrics", "/admin/sessions", "/admin/usage", "/no/such"] {
        said.push_str(&send(&served.at, &format!("GET {path}"), &[&auth], b"").text());
    }
    for wrong in ["Bearer planted-guess", "Basic planted-guess", "planted-guess"] {
        let line = format!("Authorization: {wrong}");
        let mut answer = send(&served.at, "GET /mcp", &[&line], b"");
        assert_eq!(answer.status, 401);
        let headers = format!("{:?}", answer.headers);
        said.push_str(&headers);
        said.push_str(&answer.text());
    }
    said
}

#[test]
fn no_secret_is_in_a_log_an_answer_a_file_or_a_kernel() {
    for isolation in ["auto", "none"] {
        let data = tempfile::tempdir().unwrap();
        let alice = Served::token(&data, "alice", &[]);
        let admin = Served::token(&data, "root", &["admin"]);
        let audit = format!("audit.file={}", data.path().join("audit.jsonl").display());
        let isolated = format!("sandbox.isolation={isolation}");
        let args = ["--set", &audit, "--set", "audit.code=full", "--set", &isolated];
        let args = [&args[..], &["--log", "trace"]].concat();
        let mut served = Served::start_with(data, &args, &VARIABLES);
        let mut client = served.client(Some(&alice));
        assert_eq!(client.run("main", LOOK), "looked\n", "{isolation}");
        let said = everything_said(&served, &mut client, &admin);
        assert!(served.terminate().success());
        let log = served.said();
        assert!(log.contains("DEBUG") && log.contains("tools/call"), "{log}");
        let (mut seen, mut key) = (String::new(), String::new());
        let kept = files(served.data.path());
        for (path, text) in &kept {
            match path.rsplit('/').next().unwrap() {
                "environment" => seen.clone_from(text),
                "key" => key.clone_from(text),
                _ => {}
            }
        }
        assert!(seen.contains("PATH") && key.len() >= 32, "{seen}");
        let secrets = [PLANTED, secret_part(&alice), secret_part(&admin)];
        holds_none("the kernel's environment", &seen, &secrets);
        let secrets = [PLANTED, secret_part(&alice), secret_part(&admin), &key];
        holds_none("the log", &log, &secrets);
        holds_none("an answer", &said, &secrets);
        assert!(kept.iter().any(|(path, _)| path.ends_with("audit.jsonl")));
        for (path, text) in kept.iter().filter(|(path, _)| !path.ends_with("/key")) {
            holds_none(path, text, &secrets);
        }
    }
}

#[test]
fn what_husk_says_of_its_settings_and_of_this_machine_holds_no_secret() {
    let data = tempfile::tempdir().unwrap();
    let token = Served::token(&data, "alice", &[]);
    let said = |args: &[&str]| {
        let mut command = husk();
        command.env("HUSK_DATA_DIR", data.path()).env("HUSK_LOG", "trace").envs(VARIABLES);
        command.env("HUSK_PYTHON", python()).current_dir(data.path()).args(args);
        let output = command.output().unwrap();
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    };
    let set = ["--set", "sandbox.env_set=PIP_PASSWORD=planted-set"];
    for command in [&["config"][..], &["doctor"], &["doctor", "--json"], &["token", "list"]] {
        let text = said(&[command, &set].concat());
        assert!(text.len() > 20, "{command:?}: {text}");
        holds_none(&format!("{command:?}"), &text, &[PLANTED, secret_part(&token)]);
    }
    assert!(said(&[&["config"][..], &set].concat()).contains("PIP_PASSWORD"));
    // Faults as well.
    for wrong in ["sandbox.env_set=planted-set", "sandbox.env_set==planted-set"] {
        holds_none("a fault", &said(&["config", "--set", wrong]), &[PLANTED]);
    }
    fs::write(data.path().join("tokens.toml"), "planted-token = [").unwrap();
    for command in [&["token", "list"][..], &["serve", "--http", "127.0.0.1:0"]] {
        let text = said(command);
        assert!(text.contains("husk token new"), "{text}");
        holds_none(&format!("{command:?}"), &text, &[PLANTED]);
    }
}

#[test]
fn the_private_key_of_tls_is_in_no_log() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let script = |args: &[&str]| {
        let mut command = Command::new(python());
        command.arg(repository().join("tests/clients/tls_client.py")).args(args);
        assert!(command.output().unwrap().status.success(), "{args:?}");
    };
    script(&["make", place]);
    let (cert, key) = (format!("{place}/cert.pem"), format!("{place}/key.pem"));
    let mut served = Served::start(&["--tls-cert", &cert, "--tls-key", &key, "--log", "trace"]);
    script(&["ask", place, served.at.rsplit_once(':').unwrap().1]);
    assert!(served.terminate().success());
    let (log, pem) = (served.said(), fs::read_to_string(&key).unwrap());
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(!lines.is_empty());
    holds_none("the log", &log, &lines);
    // Nor is it told when it is no key.
    fs::write(&key, "-----BEGIN PRIVATE KEY-----\nplanted-key\n-----END PRIVATE KEY-----\n")
        .unwrap();
    let mut command = husk();
    command.args(["serve", "--http", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key]);
    let output = command.env("HUSK_DATA_DIR", place).output().unwrap();
    assert!(!output.status.success());
    holds_none("the error", &String::from_utf8_lossy(&output.stderr), &[PLANTED]);
}
