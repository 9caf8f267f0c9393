//! Servers that others wrote, as processes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Stdio,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use crate::ports::free_port;

/// Something that `tests/run` installed, named by a variable; else where it puts it.
fn installed(variable: &str, place: &str) -> PathBuf {
    let usual = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(place);
    std::env::var_os(variable).map_or_else(usual, Into::into)
}

pub(crate) fn models() -> PathBuf {
    installed("HUSK_TEST_MODELS", "target/test-models").join("bin")
}

fn node() -> Command {
    let given = std::env::var_os("HUSK_TEST_NODE");
    Command::new(
        given.unwrap_or_else(|| panic!("HUSK_TEST_NODE is not set; run the tests with tests/run")),
    )
}

pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A server; it ends when this is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    address: SocketAddr,
    _process: Child,
}

impl Server {
    fn new(port: u16, process: Child) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { url: format!("http://{address}"), address, _process: process }
    }

    /// `llmock`, which breaks on demand and grades its clients.
    pub(crate) async fn llmock() -> Self {
        let port = free_port();
        let mut command = Command::new(models().join("llmock"));
        command.args(["serve", "--port", &port.to_string()]);
        Self::when_it_says(command, port, "Uvicorn running").await
    }

    /// `aimock` with these fixtures.
    pub(crate) async fn aimock(fixtures: &Value) -> Self {
        let port = free_port();
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        std::fs::write(file.path(), fixtures.to_string()).unwrap();
        let mut command = node();
        let cli = "target/test-node/node_modules/@copilotkit/aimock/dist/cli.js";
        command.arg(repository().join(cli)).arg("-f").arg(file.path());
        command.args(["-p", &port.to_string()]);
        // It has read its fixtures when it says where it listens.
        Self::when_it_says(command, port, "listening").await
    }

    /// Bedrock in AWS's own frames.
    pub(crate) async fn bedrock() -> Self {
        let mut command = node();
        command.arg(repository().join("tests/clients/bedrock_server.mjs"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next_line().await.unwrap().unwrap().parse().unwrap();
        Self::new(port, process)
    }

    /// A real model, small, behind llama.cpp's server.
    pub(crate) async fn small_model() -> Self {
        let python = installed("HUSK_TEST_SMALL_MODEL", "target/test-small-model");
        let mut command = Command::new(python.join("bin/python"));
        command.arg(repository().join("tests/clients/small_model.py"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("it ended"));
        let port = line.rsplit(':').next().unwrap().parse().unwrap();
        Self::new(port, process)
    }

    /// LiteLLM's proxy with these models.
    pub(crate) async fn litellm(models: &Value) -> Self {
        let port = free_port();
        let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        // JSON is YAML.
        std::fs::write(file.path(), json!({"model_list": models}).to_string()).unwrap();
        let python = installed("HUSK_TEST_GATEWAY", "target/test-gateway");
        let mut command = Command::new(python.join("bin/litellm"));
        command.arg("--config").arg(file.path()).args(["--port", &port.to_string()]);
        command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True");
        command.env("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true");
        Self::when_it_says(command, port, "Uvicorn running").await
    }

    async fn when_it_says(mut command: Command, port: u16, words: &str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.kill_on_drop(true).spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut err = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut heard = String::new();
        loop {
            let line = tokio::select! {
                line = out.next_line() => line,
                line = err.next_line() => line,
            };
            let line = line.unwrap().unwrap_or_else(|| panic!("it ended: {heard}"));
            heard += &line;
            if line.contains(words) {
                break;
            }
        }
        // What it says later must find a reader, or it would stop.
        tokio::spawn(async move { while let Ok(Some(_)) = out.next_line().await {} });
        tokio::spawn(async move { while let Ok(Some(_)) = err.next_line().await {} });
        Self::new(port, process)
    }

    /// Asks the server something about itself.
    pub(crate) async fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 2"), "{answer}");
        // In one chunk, or without any.
        let begin = body.find('{').unwrap_or(body.len());
        let end = body.rfind('}').map_or(begin, |at| at + 1);
        serde_json::from_str(&body[begin..end]).unwrap_or_default()
    }
}
