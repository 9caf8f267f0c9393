//! An HTTP client in its simplest form, over a socket and by hand, and a server to talk to.
//!
//! It shares no code with husk, so that both cannot be wrong together.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::channel,
    thread::JoinHandle,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{husk, python};

/// The longest that a test waits for one thing. Far above what anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server that listens.
pub(crate) struct Served {
    pub(crate) child: Child,
    /// Reads what it says on standard error.
    log: Option<JoinHandle<String>>,
    /// `127.0.0.1:PORT`.
    pub(crate) at: String,
    pub(crate) data: TempDir,
    pub(crate) workspace: TempDir,
}

impl Served {
    /// `husk serve --http` with these arguments, without guards: tests repeat themselves, and are fast.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), args)
    }

    /// The same with this data folder.
    pub(crate) fn start_in(data: TempDir, args: &[&str]) -> Self {
        Self::start_with(data, args, &[])
    }

    /// The same with these variables beside.
    pub(crate) fn start_with(data: TempDir, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = husk();
        command.args(["serve", "--http", "127.0.0.1:0", "--python"]).arg(python()).args(args);
        command.envs([
            ("HUSK_DEDUP_MODE", "off"),
            ("HUSK_LIMITS_REQUESTS_PER_MINUTE", "0"),
            ("HUSK_LIMITS_TOKENS_PER_HOUR", "0"),
            ("HUSK_HTTP_REQUESTS_PER_MINUTE", "0"),
            ("HUSK_LAUNCH_POOL", "0"),
            ("HUSK_SESSIONS_KEEP_ALIVE", "0"),
        ]);
        command.envs(variables.iter().copied());
        Self::of(command, data)
    }

    /// A server that this command starts, with that data folder.
    pub(crate) fn of(mut command: Command, data: TempDir) -> Self {
        let workspace = tempfile::tempdir().unwrap();
        let mut child = command
            .env("HUSK_DATA_DIR", data.path())
            .current_dir(workspace.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let reads = std::thread::spawn(move || {
            let mut said = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                said.push_str(&line);
                said.push('\n');
                // After the first nobody listens.
                let _ = sender.send(line);
            }
            said
        });
        let mut at = None;
        while at.is_none() {
            let line = log.recv_timeout(PATIENCE).unwrap();
            let rest = line.split_once("listening at ").map(|(_, rest)| rest.to_owned());
            at = rest
                .and_then(|url| Some(url.split_once("://")?.1.strip_suffix("/mcp")?.to_owned()));
        }
        Self { child, log: Some(reads), at: at.unwrap(), data, workspace }
    }

    /// A token for that user of this server.
    pub(crate) fn token(data: &TempDir, user: &str, scopes: &[&str]) -> String {
        let mut command = husk();
        command.env("HUSK_DATA_DIR", data.path()).args(["token", "new", user]);
        for scope in scopes {
            command.args(["--scope", scope]);
        }
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.at)
    }

    /// Its memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Sends it SIGTERM and waits for its end.
    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// All that it has said on standard error, once it has ended.
    pub(crate) fn said(&mut self) -> String {
        self.log.take().unwrap().join().unwrap()
    }

    /// A client of the era of handshakes that has shaken hands.
    pub(crate) fn client(&self, token: Option<&str>) -> Client {
        Client::initialize(&self.at, token).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
        }
    }
}

/// A request that was sent, and its answer as it comes.
#[derive(Debug)]
pub(crate) struct Answer {
    reader: BufReader<TcpStream>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    chunked: bool,
    left: usize,
    /// The id of the last event that came, by which a stream is taken up again.
    pub(crate) last_id: Option<String>,
}

/// Sends a request; `headers` are lines.
pub(crate) fn send(at: &str, line: &str, headers: &[&str], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!("{line} HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|header| header.to_lowercase().starts_with("host:")) {
        head.push_str(&format!("Host: {at}\r\n"));
    }
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // A server that refuses need not read it.
    let _ = stream.write_all(body);
    receive(stream)
}

/// Reads the head of an answer.
pub(crate) fn receive(stream: TcpStream) -> Answer {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let mut answer = Answer { reader, status, headers, chunked: false, left: 0, last_id: None };
    answer.chunked = answer.header("transfer-encoding") == Some("chunked");
    answer.left = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    answer
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The next bytes of the body; none at its end.
    fn piece(&mut self) -> Option<Vec<u8>> {
        let length = if self.chunked {
            let mut size = String::new();
            self.reader.read_line(&mut size).unwrap();
            usize::from_str_radix(size.trim(), 16).ok()?
        } else {
            std::mem::take(&mut self.left)
        };
        let mut piece = vec![0; length];
        self.reader.read_exact(&mut piece).unwrap();
        if self.chunked {
            let mut end = [0; 2];
            self.reader.read_exact(&mut end).unwrap();
        }
        (length > 0).then_some(piece)
    }

    /// The whole body.
    pub(crate) fn text(&mut self) -> String {
        let mut body = Vec::new();
        while let Some(piece) = self.piece() {
            body.extend(piece);
        }
        String::from_utf8(body).unwrap()
    }

    /// The next message: an event of a stream, or the whole body. None at the end.
    pub(crate) fn message(&mut self) -> Option<Value> {
        if self.header("content-type") == Some("application/json") {
            return self.piece().map(|body| serde_json::from_slice(&body).unwrap());
        }
        self.event().map(|(_, data)| serde_json::from_str(&data).unwrap())
    }

    /// The next event with data: its name and its data.
    pub(crate) fn event(&mut self) -> Option<(String, String)> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            self.lines_of_event(&mut name, &mut data)?;
            if !data.is_empty() {
                return Some((name, data));
            }
        }
    }

    /// Whether anything more comes, if only a sign of life: what comes is read.
    pub(crate) fn goes_on(&mut self) -> bool {
        self.lines_of_event(&mut String::new(), &mut String::new()).is_some()
    }

    /// Reads one event, also one without data, for its id.
    pub(crate) fn piece_of_stream(&mut self) {
        self.lines_of_event(&mut String::new(), &mut String::new()).unwrap();
    }

    /// rmcp and axum send each event in a piece of its own.
    fn lines_of_event(&mut self, name: &mut String, data: &mut String) -> Option<()> {
        let piece = String::from_utf8(self.piece()?).unwrap();
        for line in piece.lines() {
            match line.split_once(':') {
                Some(("event", value)) => value.trim().clone_into(name),
                Some(("data", value)) => data.push_str(value.trim_start()),
                Some(("id", value)) => self.last_id = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        Some(())
    }

    /// Goes away without a word.
    pub(crate) fn vanish(self) {
        let _ = self.reader.get_ref().shutdown(Shutdown::Both);
    }
}

/// A client of the era of handshakes.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) at: String,
    pub(crate) session: String,
    token: Option<String>,
    last: u64,
}

const TYPES: [&str; 2] =
    ["Content-Type: application/json", "Accept: application/json, text/event-stream"];

/// A message, posted to `/mcp` with these headers beside those that all have.
pub(crate) fn post(at: &str, headers: &[&str], message: &Value) -> Answer {
    let headers = [TYPES.as_slice(), headers].concat();
    send(at, "POST /mcp", &headers, message.to_string().as_bytes())
}

pub(crate) fn hello() -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"}}})
}

impl Client {
    /// Shakes hands; else what the server answers.
    pub(crate) fn initialize(at: &str, token: Option<&str>) -> Result<Self, Answer> {
        let mut client = Self {
            at: at.to_owned(),
            session: String::new(),
            token: token.map(str::to_owned),
            last: 0,
        };
        let mut answer = client.post(&hello());
        if answer.status != 200 {
            return Err(answer);
        }
        client.session = answer.header("mcp-session-id").unwrap().to_owned();
        answer.message().unwrap();
        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(client.post(&done).status, 202);
        Ok(client)
    }

    /// The headers of its requests.
    pub(crate) fn headers(&self) -> Vec<String> {
        let mut headers = vec!["MCP-Protocol-Version: 2025-11-25".to_owned()];
        headers.extend(self.token.iter().map(|token| format!("Authorization: Bearer {token}")));
        if !self.session.is_empty() {
            headers.push(format!("Mcp-Session-Id: {}", self.session));
        }
        headers
    }

    pub(crate) fn post(&self, message: &Value) -> Answer {
        let headers = self.headers();
        post(&self.at, &headers.iter().map(String::as_str).collect::<Vec<_>>(), message)
    }

    /// Sends a request.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> Answer {
        self.last += 1;
        self.post(&json!({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}))
    }

    /// The answer to a request.
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.request(method, params);
        if answer.status != 200 {
            let (status, text) = (answer.status, answer.text());
            panic!("{status}: {text}");
        }
        loop {
            let message = answer.message().unwrap();
            if message["id"] == self.last {
                return message;
            }
        }
    }

    /// The result of a tool.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))["result"].take()
    }

    /// The text that a cell puts out, in that session.
    pub(crate) fn run(&mut self, session: &str, code: &str) -> String {
        let result = self.call("notebook_run_cell", json!({"code": code, "session": session}));
        assert_ne!(result["isError"], true, "{result}");
        result["content"][0]["text"].as_str().unwrap_or_default().to_owned()
    }
}
