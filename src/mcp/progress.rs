//! Progress notifications of a running cell: its newest lines, at most ten a second.
//!
//! Text is gathered without waiting (the kernel's task must not), and sent by the call itself, so
//! that no notification can overtake the result. A silent cell sends a sign of life every
//! [`HEARTBEAT`]. A client that sets `_meta["husk/stream"]` gets all text as it came, with `progress`
//! as the count of bytes up to the end of the message, and in the result's `_meta["husk/stream"]` how
//! many bytes there were and whether that was all: `husk run` prints from it.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rmcp::{
    RoleServer,
    model::{ProgressNotificationParam, ProgressToken},
    service::{Peer, RequestContext},
};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::Instant};

use crate::sandbox::Listener;

/// Set in a request's `_meta` by a client that wants all text.
pub(super) const STREAM: &str = "husk/stream";

const PACE: Duration = Duration::from_millis(100);
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The newest text that one notification carries, in bytes.
const NEWEST: usize = 2000;
/// Text that waits for a slow client that wants all, in bytes; beyond that it is left to the result.
const BACKLOG: usize = 4 << 20;

/// The progress of one call.
pub(super) struct Progress {
    peer: Peer<RoleServer>,
    token: ProgressToken,
    gathered: Arc<Gathered>,
    all: bool,
}

#[derive(Default)]
struct Gathered {
    pending: Mutex<Pending>,
    more: Notify,
    all: bool,
}

#[derive(Default)]
struct Pending {
    text: String,
    note: Option<String>,
    bytes: u64,
    /// Text was left out; what follows cannot be joined to what was sent.
    broken: bool,
}

impl Progress {
    /// The progress of a call that gave a token.
    pub(super) fn of(request: &RequestContext<RoleServer>) -> Option<Self> {
        let token = request.meta.get_progress_token()?;
        let all = request.meta.0.get(STREAM).is_some_and(|value| value == true);
        let gathered = Arc::new(Gathered { all, ..Gathered::default() });
        Some(Self { peer: request.peer.clone(), token, gathered, all })
    }

    /// What gathers the text.
    pub(super) fn listener(&self) -> Arc<dyn Listener> {
        Arc::<Gathered>::clone(&self.gathered)
    }

    /// Sends progress until `work` is done, and what is left then; what a client that wants all
    /// has to know of it.
    pub(super) async fn during<T>(self, work: impl Future<Output = T>) -> (T, Option<Value>) {
        let mut work = pin!(work);
        let begun = Instant::now();
        let mut sent = 0.0;
        let done = loop {
            let silent = tokio::select! {
                biased;
                done = &mut work => break done,
                () = self.gathered.more.notified() => false,
                () = tokio::time::sleep(HEARTBEAT) => true,
            };
            let alive = silent.then(|| format!("running for {} s", begun.elapsed().as_secs()));
            // A slow host must not hold the answer back; text that is promised whole must go out.
            if self.all {
                self.send(&mut sent, alive).await;
                continue;
            }
            let paced = async {
                self.send(&mut sent, alive).await;
                tokio::time::sleep(PACE).await;
            };
            tokio::select! {
                biased;
                done = &mut work => break done,
                () = paced => {}
            }
        };
        if !self.all {
            return (done, None);
        }
        self.send(&mut sent, None).await;
        let pending = self.gathered.pending.lock().unwrap_or_else(PoisonError::into_inner);
        (done, Some(json!({ "bytes": pending.bytes, "whole": !pending.broken })))
    }

    async fn send(&self, sent: &mut f64, alive: Option<String>) {
        let Some((bytes, message)) = self.gathered.take(self.all, alive) else { return };
        // Progress must grow with every notification, also for a note without text.
        *sent = if self.all { bytes as f64 } else { (*sent + 1.0).max(bytes as f64) };
        let param = ProgressNotificationParam::new(self.token.clone(), *sent).with_message(message);
        if let Err(error) = self.peer.notify_progress(param).await {
            tracing::debug!(%error, "the client takes no progress");
        }
    }
}

impl Gathered {
    /// What to say now: the count of bytes so far, and the text.
    fn take(&self, all: bool, alive: Option<String>) -> Option<(u64, String)> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let text = std::mem::take(&mut pending.text);
        let note = pending.note.take().or(alive);
        if all {
            return (!text.is_empty()).then_some((pending.bytes, text));
        }
        let text = text.trim_end();
        let message = if text.is_empty() { note? } else { folded(newest(text)) };
        Some((pending.bytes, message))
    }
}

/// A text in which carriage returns have taken their lines back.
fn folded(text: &str) -> String {
    let last = |line: &str| line.rsplit('\r').find(|part| !part.is_empty()).map(str::to_owned);
    text.lines().map(|line| last(line).unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The last lines of a text.
fn newest(text: &str) -> &str {
    let mut from = text.len().saturating_sub(NEWEST);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let (cut, tail) = text.split_at(from);
    match tail.split_once('\n') {
        Some((_, lines)) if !cut.is_empty() => lines,
        _ => tail,
    }
}

impl Listener for Gathered {
    fn text(&self, text: &str) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = if self.all { BACKLOG } else { 4 * NEWEST };
        if self.all {
            pending.broken |= pending.text.len() + text.len() > limit;
            if !pending.broken {
                pending.bytes += text.len() as u64;
                pending.text.push_str(text);
            }
        } else {
            pending.bytes += text.len() as u64;
            pending.text.push_str(newest(text));
            if pending.text.len() > limit {
                pending.text = newest(&pending.text).to_owned();
            }
        }
        drop(pending);
        self.more.notify_one();
    }

    fn note(&self, line: &str) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).note = Some(line.to_owned());
        self.more.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn the_newest_lines_are_whole() {
        assert_eq!(newest("short\nlines"), "short\nlines");
        let long = format!("{}\nlast line", "ä".repeat(2000));
        assert_eq!(newest(&long), "last line");
    }

    #[test]
    fn gathers_within_bounds_and_takes_once() {
        let gathered = Gathered::default();
        for _ in 0..100_000 {
            gathered.text("line\n");
        }
        assert!(gathered.pending.lock().unwrap().text.len() <= 4 * NEWEST);
        let (bytes, message) = gathered.take(false, None).unwrap();
        assert_eq!(bytes, 500_000);
        assert!(message.ends_with("line") && message.len() <= NEWEST);
        assert_eq!(gathered.take(false, None), None);
        gathered.note("making an environment");
        assert_eq!(gathered.take(false, None), Some((500_000, "making an environment".into())));
    }

    #[test]
    fn a_client_that_wants_all_gets_all_or_a_clean_break() {
        let gathered = Gathered { all: true, ..Gathered::default() };
        gathered.text("a\n");
        gathered.text("b");
        assert_eq!(gathered.take(true, None), Some((3, "a\nb".into())));
        gathered.text(&"x".repeat(BACKLOG + 1));
        gathered.text("after");
        assert_eq!(gathered.take(true, None), None);
    }

    /// A server that only has a host.
    struct Bare;
    impl rmcp::ServerHandler for Bare {}

    /// Runs a cell with progress to a host at the other end of a pipe; what the host was told, and how
    /// far the cell was each time.
    async fn told<W: Future<Output = ()>>(
        cell: impl FnOnce(Arc<Gathered>) -> W,
    ) -> Vec<(String, f64)> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let server = rmcp::service::serve_directly(Bare, ours, None);
        let token = ProgressToken(rmcp::model::NumberOrString::Number(7));
        let gathered = Arc::new(Gathered::default());
        let work = cell(Arc::clone(&gathered));
        let progress = Progress { peer: server.peer().clone(), token, gathered, all: false };
        progress.during(work).await;
        drop(server.cancel().await);
        let mut said = String::new();
        tokio::io::BufReader::new(theirs).read_to_string(&mut said).await.unwrap();
        let read = |line: &str| {
            let params = serde_json::from_str::<Value>(line).unwrap()["params"].take();
            assert_eq!(params["progressToken"], 7, "{line}");
            (params["message"].as_str().unwrap().to_owned(), params["progress"].as_f64().unwrap())
        };
        said.lines().map(read).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_cell_gives_a_sign_of_life_every_ten_seconds() {
        let told = told(|_| tokio::time::sleep(Duration::from_millis(35_500))).await;
        let messages: Vec<&str> = told.iter().map(|(message, _)| message.as_str()).collect();
        assert_eq!(messages, ["running for 10 s", "running for 20 s", "running for 30 s"]);
        assert!(told.is_sorted_by(|(_, a), (_, b)| a < b), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cell_that_prints_needs_no_sign_of_life() {
        let told = told(async |cell: Arc<Gathered>| {
            for n in 0..5 {
                tokio::time::sleep(Duration::from_secs(9)).await;
                cell.text(&format!("line {n}\n"));
            }
            tokio::time::sleep(Duration::from_secs(11)).await;
        })
        .await;
        let messages: Vec<&str> = told.iter().map(|(message, _)| message.as_str()).collect();
        let lines = ["line 0", "line 1", "line 2", "line 3", "line 4"];
        assert_eq!(messages, [&lines[..], &["running for 55 s"]].concat());
        assert!(told.is_sorted_by(|(_, a), (_, b)| a < b), "{told:?}");
    }
}
