//! The audit log: who called which tool when, with what code, and how it ended; a line of JSON each.
//!
//! Code is told by its digest, or in full where the setting says so. Nothing else that a call carries
//! or answers is in it: no output, no answer to a question of a cell, no token.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    base::{canon::Digest, clock, ids},
    guard::Ending,
};

/// Most lines that wait for the disk; what comes beyond is counted and told.
const WAITING: usize = 10_000;

/// What is written down of calls.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// File to which each tool call adds a line of JSON, a path as for `workspace`; unset means none.
    pub file: Option<PathBuf>,
    /// How much of a cell's code is in it.
    pub code: Code,
}

/// How much of a cell's code is written down.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Code {
    /// Its SHA-256.
    #[default]
    Digest,
    /// All of it, with whatever secrets it holds.
    Full,
}

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the audit log `{}` (setting `audit.file`)", path.display())]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

/// See the module's documentation. Clones are one.
#[derive(Debug, Clone)]
pub struct Audit {
    lines: SyncSender<String>,
    lost: Arc<AtomicU64>,
    code: Code,
}

/// The thread that writes; its owner waits for it when nobody has the [`Audit`] any more.
#[derive(Debug)]
pub struct Writer(JoinHandle<()>);

impl Writer {
    /// Resolves when all is on the disk. Blocks.
    pub fn wait(self) {
        if self.0.join().is_err() {
            tracing::error!("the thread of the audit log broke");
        }
    }
}

impl Audit {
    /// The log of the settings; none where they name no file.
    ///
    /// # Errors
    /// [`AuditError`] when it cannot be opened.
    pub fn open(settings: &Settings) -> Result<Option<(Self, Writer)>, AuditError> {
        let Some(path) = &settings.file else { return Ok(None) };
        let failed = |source| AuditError { path: path.clone(), source };
        // What it tells is for this user alone.
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(failed)?;
        let (lines, written) = sync_channel(WAITING);
        let lost = Arc::<AtomicU64>::default();
        let (told, path) = (Arc::clone(&lost), path.clone());
        let writer = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write(file, &path, &written, &told))
            .map_err(failed_at(settings))?;
        Ok(Some((Self { lines, lost, code: settings.code }, Writer(writer))))
    }

    /// A call begins; its line is written when what this gives is dropped.
    pub(super) fn begin(
        &self,
        principal: &Arc<str>,
        tool: &'static str,
        code: Option<&str>,
        trace: Option<&str>,
    ) -> Entry {
        let code = code.map(|code| match self.code {
            Code::Digest => ("code_sha256", ids::hex(Digest::sha256(code.as_bytes()).bytes())),
            Code::Full => ("code", code.to_owned()),
        });
        Entry {
            audit: self.clone(),
            principal: Arc::clone(principal),
            session: None,
            tool,
            code,
            trace: trace.map(str::to_owned),
            at: SystemTime::now(),
            begun: Instant::now(),
            ended: ("given_up", None),
        }
    }

    fn tell(&self, line: &Value) {
        if self.lines.try_send(format!("{line}\n")).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn failed_at(settings: &Settings) -> impl Fn(io::Error) -> AuditError {
    let path = settings.file.clone().unwrap_or_default();
    move |source| AuditError { path: path.clone(), source }
}

fn write(mut file: File, path: &Path, lines: &Receiver<String>, lost: &AtomicU64) {
    let mut works = true;
    for mut line in lines {
        let gone = lost.swap(0, Ordering::Relaxed);
        if gone > 0 {
            line.push_str(&format!("{}\n", json!({ "lost_lines": gone })));
        }
        // One write for a line: other processes may write to the same file.
        match file.write_all(line.as_bytes()) {
            Ok(()) => works = true,
            Err(error) => {
                lost.fetch_add(1 + gone, Ordering::Relaxed);
                if std::mem::take(&mut works) {
                    tracing::error!(%error, path = %path.display(), "the audit log is not written");
                }
            }
        }
    }
}

/// A call under way.
pub(super) struct Entry {
    audit: Audit,
    principal: Arc<str>,
    /// None of a call that names none that can be.
    session: Option<Arc<str>>,
    tool: &'static str,
    code: Option<(&'static str, String)>,
    trace: Option<String>,
    at: SystemTime,
    begun: Instant,
    ended: (&'static str, Option<&'static str>),
}

impl Entry {
    /// It is a call of that session.
    pub(super) fn of(&mut self, session: &Arc<str>) {
        self.session = Some(Arc::clone(session));
    }

    /// The call has ended; refused by whom, if it was refused.
    pub(super) fn ends(&mut self, ending: &Ending, denied_by: Option<&'static str>) {
        let word = match ending {
            Ending::Done => "done",
            Ending::Raised => "raised",
            Ending::TimedOut => "timed_out",
            Ending::Fault(_) => "fault",
            Ending::Denied => "denied",
            Ending::GivenUp => "given_up",
        };
        self.ended = (word, denied_by);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let (outcome, denied_by) = self.ended;
        let mut line = json!({
            "time": clock::iso(self.at),
            "principal": *self.principal,
            "tool": self.tool,
            "outcome": outcome,
            "ms": u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        if let Some(members) = line.as_object_mut() {
            if let Some(session) = &self.session {
                members.insert("session".to_owned(), (**session).into());
            }
            if let Some(by) = denied_by {
                members.insert("denied_by".to_owned(), by.into());
            }
            if let Some(trace) = self.trace.take() {
                members.insert("trace_id".to_owned(), trace.into());
            }
            if let Some((name, code)) = self.code.take() {
                members.insert(name.to_owned(), code.into());
            }
        }
        self.audit.tell(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(code: Code, deed: impl FnOnce(&Audit)) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let settings = Settings { file: Some(file.clone()), code };
        let (audit, writer) = Audit::open(&settings).unwrap().unwrap();
        deed(&audit);
        drop(audit);
        writer.wait();
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn begun(audit: &Audit, code: Option<&str>) -> Entry {
        audit.begin(&"p".into(), "t", code, None)
    }

    #[test]
    fn each_call_is_a_line_also_one_that_was_dropped() {
        let lines = lines(Code::Digest, |audit| {
            let mut first = begun(audit, Some("x = 1"));
            first.of(&"s".into());
            first.ends(&Ending::Done, None);
            drop(first);
            begun(audit, None).ends(&Ending::Denied, Some("limiter"));
            drop(begun(audit, None));
        });
        let outcomes: Vec<&str> = lines.iter().map(|it| it["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["done", "denied", "given_up"]);
        assert_eq!(lines[0]["code_sha256"].as_str().unwrap().len(), 64);
        assert_eq!((&lines[0]["principal"], &lines[0]["session"]), (&json!("p"), &json!("s")));
        assert_eq!(lines[1].get("session"), None);
        assert_eq!(lines[1]["denied_by"], "limiter");
        assert!(!lines[0].to_string().contains("x = 1"));
    }

    #[test]
    fn code_is_in_it_where_the_setting_says_so() {
        let lines = lines(Code::Full, |audit| drop(begun(audit, Some("x = 1"))));
        assert_eq!(lines[0]["code"], "x = 1");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told() {
        let settings = Settings { file: Some("/no/such/folder/a".into()), code: Code::Digest };
        assert!(Audit::open(&settings).unwrap_err().to_string().contains("audit.file"));
        assert!(Audit::open(&Settings::default()).unwrap().is_none());
    }
}
