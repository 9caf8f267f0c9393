//! A provider of the tests' own: a raw TCP server that does what each request is told to get, byte by
//! byte, and remembers what it was asked. No ready-made mock can be silent, reset a connection, or
//! stall at will on every wire.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a request gets.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// A status, headers and a body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// A stream, and how it ends.
    Stream { content_type: &'static str, parts: Vec<Vec<u8>>, end: End },
    /// A whole stream of server-sent events that pauses before its last ones, as many as told.
    Pausing { events: Vec<String>, last: usize, pause: Duration },
    /// Nothing, for ever.
    Silence,
    /// The connection is reset at once.
    Reset,
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// As HTTP wants it.
    Clean,
    /// Not yet.
    Open,
    /// The connection closes in the middle.
    Cut,
    /// Nothing more comes, and the connection stays.
    Stall,
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) text: String,
}

/// The server; it ends when this is dropped.
pub(crate) struct Provider {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    /// Does these, one a request; the last one again and again.
    pub(crate) async fn new(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let acts = Arc::new(Mutex::new(VecDeque::from(acts)));
            // Connections end with the server.
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                open.spawn(serve(stream, Arc::clone(&acts), Arc::clone(&heard)));
            }
        });
        Self { url, asked, task }
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Asked {
    /// A header of it.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// Whether a stream was asked for.
    pub(crate) fn streams(&self) -> bool {
        self.body["stream"] == true || self.path.ends_with("with-response-stream")
    }
}

/// One connection: one request after the other, as long as answers end as HTTP wants it.
async fn serve(
    mut stream: TcpStream,
    acts: Arc<Mutex<VecDeque<Act>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
) {
    while let Some(request) = read(&mut stream).await {
        asked.lock().unwrap().push(request);
        let act = {
            let mut acts = acts.lock().unwrap();
            if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() }
        };
        if !perform(&mut stream, act.unwrap()).await {
            return;
        }
    }
}

/// Reads a request; nothing when the connection closes.
async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = bytes[head + 4..].to_vec();
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let text = String::from_utf8(body).unwrap();
    Some(Asked { path, headers, body: serde_json::from_str(&text).unwrap(), text })
}

/// Whether the connection can go on.
async fn perform(stream: &mut TcpStream, act: Act) -> bool {
    match act {
        Act::Answer(status, headers, body) => {
            let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                text += &format!("{name}: {value}\r\n");
            }
            write(stream, format!("{text}\r\n{body}").as_bytes()).await
        }
        Act::Stream { content_type, parts, end } => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
            );
            let goes_on = write(stream, head.as_bytes()).await && send(stream, parts).await;
            match end {
                End::Open => goes_on,
                End::Clean => write(stream, b"0\r\n\r\n").await,
                End::Cut => false,
                End::Stall => hang(stream).await,
            }
        }
        Act::Pausing { events, last, pause } => {
            let (first, rest) = events.split_at(events.len() - last);
            let bytes = |events: &[String]| vec![events.concat().into_bytes()];
            let content_type = "text/event-stream";
            let head = Act::Stream { content_type, parts: bytes(first), end: End::Open };
            Box::pin(perform(stream, head)).await && {
                // The pause is what this provider does, and nothing waits for it to be over.
                tokio::time::sleep(pause).await;
                send(stream, bytes(rest)).await && write(stream, b"0\r\n\r\n").await
            }
        }
        Act::Silence => hang(stream).await,
        Act::Reset => {
            // With nothing left to linger for, closing is a reset.
            stream.set_zero_linger().unwrap();
            false
        }
    }
}

/// Parts of a stream, each in a chunk of its own.
async fn send(stream: &mut TcpStream, parts: Vec<Vec<u8>>) -> bool {
    let mut goes_on = true;
    for part in parts {
        let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
        chunk.extend(part);
        chunk.extend(b"\r\n");
        goes_on = goes_on && write(stream, &chunk).await;
    }
    goes_on
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
}

/// Until the other side gives up.
async fn hang(stream: &mut TcpStream) -> bool {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    false
}
