//! An MCP host in its simplest form: one JSON-RPC message a line, by hand.
//!
//! It shares no code with husk, so that both cannot be wrong together.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{husk, python};

/// The longest that a test waits for one message. Far above what anything takes: a hang, not a
/// slow machine, is what it catches.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first revision without a handshake.
pub(crate) const STATELESS: &str = "2026-07-28";

/// A running server and the host's end of its pipes.
pub(crate) struct Host {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    messages: Receiver<Value>,
    early: Vec<Value>,
    last: u64,
    /// What every request says in `_meta`: nothing in the era of handshakes.
    meta: Value,
    pub(crate) workspace: TempDir,
    _data: TempDir,
}

impl Host {
    /// Launches `husk` with `args` in a workspace of its own and shakes hands.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut host = Self::launch(args);
        host.initialize("2025-11-25");
        host
    }

    /// The same as a client that can do `capabilities`; in the stateless era it shakes no hands.
    pub(crate) fn start_as(version: &str, capabilities: &Value, args: &[&str]) -> Self {
        let mut host = Self::launch(args);
        host.introduce(version, capabilities);
        host
    }

    /// Launches `husk` with these settings and shakes hands.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Self {
        let workspace = tempfile::tempdir().unwrap();
        let mut command = husk();
        command.env("HUSK_PYTHON", python()).current_dir(workspace.path());
        command.envs(settings.iter().copied());
        let mut host = Self::run(command, workspace);
        host.initialize("2025-11-25");
        host
    }

    /// Launches `husk` without a word said, and without guards: tests repeat themselves, and are fast.
    /// Those of the guards start it with [`Self::start_with`].
    pub(crate) fn launch(args: &[&str]) -> Self {
        let workspace = tempfile::tempdir().unwrap();
        let mut command = husk();
        command.envs([
            ("HUSK_DEDUP_MODE", "off"),
            ("HUSK_LIMITS_REQUESTS_PER_MINUTE", "0"),
            ("HUSK_LIMITS_TOKENS_PER_HOUR", "0"),
        ]);
        command.arg("--python").arg(python()).args(args).current_dir(workspace.path());
        Self::run(command, workspace)
    }

    /// Launches a command that was made ready.
    pub(crate) fn run(mut command: std::process::Command, workspace: TempDir) -> Self {
        // What was used is kept in the data folder: no test shall use up another one's limits. It
        // lies outside of the workspace, since cells must not reach it.
        let data = tempfile::tempdir().unwrap();
        if !command.get_envs().any(|(name, _)| name == "HUSK_DATA_DIR") {
            command.env("HUSK_DATA_DIR", data.path());
        }
        // No test leaves kernels behind. Those of sessions that are kept say so.
        if !command.get_envs().any(|(name, _)| name == "HUSK_SESSIONS_KEEP_ALIVE") {
            command.env("HUSK_SESSIONS_KEEP_ALIVE", "0");
        }
        // Kernels are counted, and two processors have enough to do. Tests of the pool ask for one.
        if !command.get_envs().any(|(name, _)| name == "HUSK_LAUNCH_POOL") {
            command.env("HUSK_LAUNCH_POOL", "0");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let message =
                    serde_json::from_str(&line).unwrap_or_else(|_| json!({ "garbage": line }));
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let (early, meta) = (Vec::new(), json!({}));
        Self { child, stdin, messages, early, last: 0, meta, workspace, _data: data }
    }

    /// Says who it is and what it can do, as its revision has it.
    pub(crate) fn introduce(&mut self, version: &str, capabilities: &Value) {
        if version < STATELESS {
            self.initialize_with(version, capabilities);
            return;
        }
        self.meta = json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": capabilities,
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "0" },
        });
    }

    /// The handshake of the `initialize` era; returns the result.
    pub(crate) fn initialize(&mut self, version: &str) -> Value {
        self.initialize_with(version, &json!({}))
    }

    fn initialize_with(&mut self, version: &str, capabilities: &Value) -> Value {
        let params = json!({
            "protocolVersion": version, "capabilities": capabilities,
            "clientInfo": { "name": "test", "version": "0" },
        });
        let answer = self.call("initialize", params);
        self.notify("notifications/initialized", json!({}));
        answer["result"].clone()
    }

    /// Sends a request; returns its id.
    pub(crate) fn send(&mut self, method: &str, mut params: Value) -> u64 {
        self.last += 1;
        let id = self.last;
        for (name, value) in self.meta.as_object().unwrap() {
            params["_meta"][name] = value.clone();
        }
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    pub(crate) fn notify(&mut self, method: &str, params: Value) {
        self.write(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    fn write(&mut self, message: &Value) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{message}\n").as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Answers the server's request `request`.
    pub(crate) fn reply(&mut self, request: &Value, result: &Value) {
        self.write(&json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }));
    }

    /// Answers the server's request `request` with an error.
    pub(crate) fn refuse(&mut self, request: &Value, code: i32) {
        let error = json!({ "code": code, "message": "no" });
        self.write(&json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }));
    }

    /// The answer to request `id`; other messages are kept. The server counts its own requests from
    /// 0, so that one of them may have the same id.
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        self.wait(|message| message["id"] == id && message["method"].is_null())
    }

    /// The next message that fits, also one that came before.
    pub(crate) fn wait(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.early.iter().position(&fits) {
            return self.early.remove(at);
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match self.messages.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(message) if fits(&message) => return message,
                Ok(message) => self.early.push(message),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no such message came; there were {:?}", self.early)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the server closed its output; it said {:?}", self.early)
                }
            }
        }
    }

    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        self.answer(id)
    }

    /// Calls a tool; returns its result.
    pub(crate) fn tool(&mut self, name: &str, arguments: Value) -> Answer {
        let id = self.begin(name, arguments);
        self.result(id)
    }

    /// Sends a tool call; returns its id.
    pub(crate) fn begin(&mut self, name: &str, arguments: Value) -> u64 {
        self.send("tools/call", json!({ "name": name, "arguments": arguments }))
    }

    /// The result of the tool call `id`.
    pub(crate) fn result(&mut self, id: u64) -> Answer {
        let message = self.answer(id);
        assert!(message["result"].is_object(), "a tool call was answered by {message}");
        Answer(message["result"].clone())
    }

    /// Runs a cell.
    pub(crate) fn cell(&mut self, code: &str) -> Answer {
        self.tool("notebook_run_cell", json!({ "code": code }))
    }

    /// Runs a cell that must succeed; returns its text.
    pub(crate) fn ok(&mut self, code: &str) -> String {
        let answer = self.cell(code);
        assert_eq!(answer.status(), "ok", "{code}: {answer:?}");
        answer.text()
    }

    /// The process of this machine that a cell knows by that number.
    pub(crate) fn outside(&self, inside: &str) -> i32 {
        super::processes::outside(self.child.id(), inside)
    }

    /// Starts a cell that goes on, and waits until it has printed `begun`. Asks for progress.
    pub(crate) fn begin_cell(&mut self, code: &str) -> u64 {
        self.begin_cell_with(json!({ "code": code }))
    }

    /// The same with all that the tool is told.
    pub(crate) fn begin_cell_with(&mut self, mut arguments: Value) -> u64 {
        let id = self.last + 1;
        let code = arguments["code"].as_str().unwrap();
        arguments["code"] = format!("print('begun', flush=True)\n{code}").into();
        let sent = self.send(
            "tools/call",
            json!({
                "name": "notebook_run_cell", "arguments": arguments,
                "_meta": { "progressToken": id },
            }),
        );
        assert_eq!(sent, id);
        let tells = |message: &Value| {
            message["method"] == "notifications/progress"
                && message["params"]["progressToken"] == id
                && message["params"]["message"].as_str().is_some_and(|text| text.contains("begun"))
        };
        // The end of a short cell may come before its progress is due.
        let message = self.wait(|message| tells(message) || message["id"] == id);
        if message["id"] == id {
            self.early.push(message);
        }
        id
    }

    /// Closes the server's standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Ends the server, and keeps its workspace.
    pub(crate) fn into_workspace(mut self) -> TempDir {
        let other = tempfile::tempdir().unwrap();
        let workspace = std::mem::replace(&mut self.workspace, other);
        drop(self);
        workspace
    }

    /// Everything that has come and was not asked for.
    pub(crate) fn messages_so_far(&mut self) -> Vec<Value> {
        self.early.extend(self.messages.try_iter());
        self.early.clone()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stdin = None;
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// A tool's result.
#[derive(Debug, Clone)]
pub(crate) struct Answer(pub(crate) Value);

impl Answer {
    pub(crate) fn status(&self) -> &str {
        self.structured()["status"].as_str().unwrap_or("none")
    }

    pub(crate) fn structured(&self) -> &Value {
        &self.0["structuredContent"]
    }

    pub(crate) fn is_error(&self) -> bool {
        self.0["isError"] == true
    }

    /// All text, joined.
    pub(crate) fn text(&self) -> String {
        self.blocks("text").iter().filter_map(|block| block["text"].as_str()).collect()
    }

    pub(crate) fn blocks(&self, kind: &str) -> Vec<Value> {
        let all = self.0["content"].as_array().unwrap();
        all.iter().filter(|block| block["type"] == kind).cloned().collect()
    }
}
