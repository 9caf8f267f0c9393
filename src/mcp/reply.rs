//! The one place where an outcome becomes an MCP result.
//!
//! Text and images stand once, in `content`; `structuredContent` tells about them and holds no
//! copy. Whatever is not a plain success is `isError`, and says in words for the model what
//! happened, what is lost and what to do next.

use std::{error::Error, time::Duration};

use rmcp::model::{CallToolResult, ContentBlock};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{
    base::budget,
    guard::{Answer, Kind},
    kernel::output::Item,
    sandbox::{Outcome, SandboxError, Status, Stopped},
};

/// The longest name or message of an exception in `structuredContent`, in characters.
const LONGEST_ERROR: usize = 1000;

/// An answer on its way out.
#[derive(Debug)]
pub struct Reply {
    content: Vec<ContentBlock>,
    structured: Value,
    failed: bool,
    kind: Kind,
    cost: u64,
}

/// A call that was not carried out, and what to do about it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Denial {
    /// Which part of husk refused.
    pub by: &'static str,
    /// A stable word for programs.
    pub code: &'static str,
    /// Why, for the model.
    pub reason: String,
    /// Seconds after which a retry can succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<f64>,
    /// What to do instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The exception that ended a cell.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failure {
    name: String,
    value: String,
}

/// What the answer holds of the cell's output.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Totals {
    /// Bytes of text the cell put out, shown or not.
    text_bytes: u64,
    /// Images the cell put out, shown or not.
    images: u64,
    /// Whether some of it is left out of the answer.
    truncated: bool,
}

/// How a cell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StatusWord {
    Ok,
    Error,
    Timeout,
    Interrupted,
    Cancelled,
    KernelDied,
}

/// Structured answer of `notebook_run_cell`; every outcome fits it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CellOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cell: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusWord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// Number of the session's kernel, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    /// Variables of earlier cells are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_lost: Option<bool>,
    error: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Totals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Set when the call was not carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<Denial>,
}

impl Reply {
    /// An answer that is a value: its JSON, and a text for the model.
    #[must_use]
    pub fn value(text: String, value: &impl Serialize) -> Self {
        let structured = serde_json::to_value(value).unwrap_or(Value::Null);
        Self::new(vec![ContentBlock::text(text)], structured, false, Kind::Done)
    }

    /// An answer that refuses.
    #[must_use]
    pub fn denied(denial: Denial) -> Self {
        Self::refusal(denial, Kind::Done)
    }

    fn refusal(denial: Denial, kind: Kind) -> Self {
        let hint = denial.hint.as_deref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        let text = format!("{}{hint}", denial.reason);
        let structured = serde_json::json!({ "denied": denial, "error": null });
        Self::new(vec![ContentBlock::text(text)], structured, true, kind)
    }

    fn new(content: Vec<ContentBlock>, structured: Value, failed: bool, kind: Kind) -> Self {
        let block = |block: &ContentBlock| match block {
            ContentBlock::Text(text) => budget::tokens(&text.text),
            ContentBlock::Image(image) => budget::image_tokens(image.data.len() as u64),
            _ => 0,
        };
        let cost = content.iter().map(block).sum();
        Self { content, structured, failed, kind, cost }
    }

    /// The answer to a cell that was run, however it ended.
    #[must_use]
    pub fn outcome(outcome: Outcome) -> Self {
        let notes = notes(&outcome);
        let kind = if outcome.status == Status::KernelDied { Kind::Fault } else { Kind::Done };
        let failed = outcome.status != Status::Ok;
        let finished = outcome.finished;
        let totals = finished.as_ref().map(|finished| finished.totals).unwrap_or_default();
        let count = finished.as_ref().and_then(|finished| finished.execution_count);
        let (items, failure) = finished.map(|f| (f.items, f.failure)).unwrap_or_default();
        let mut content = content(items);
        let hint = (!notes.is_empty()).then(|| notes.join("; "));
        content.extend(hint.iter().map(|hint| ContentBlock::text(format!("[{hint}]"))));
        let died = || Failure {
            name: "KernelDied".to_owned(),
            value: outcome.exit.map(|exit| exit.to_string()).unwrap_or_default(),
        };
        let error = failure
            .map(|failure| Failure { name: short(failure.name), value: short(failure.value) });
        let structured = CellOutput {
            session: Some(outcome.session.to_string()),
            cell: Some(outcome.cell),
            status: Some(word(outcome.status)),
            execution_count: count,
            duration_ms: u64::try_from(outcome.duration.as_millis()).ok(),
            generation: Some(outcome.generation),
            state_lost: Some(outcome.state_lost),
            error: error.or_else(|| (outcome.status == Status::KernelDied).then(died)),
            output: Some(Totals {
                text_bytes: totals.text_bytes,
                images: totals.images,
                truncated: totals.truncated,
            }),
            hint,
            denied: None,
        };
        let structured = serde_json::to_value(structured).unwrap_or(Value::Null);
        Self::new(content, structured, failed, kind)
    }

    /// The answer to a cell that could not be run.
    #[must_use]
    pub fn no_sandbox(error: &SandboxError) -> Self {
        let (code, kind) = match error {
            SandboxError::Full { .. } => ("too_many_sessions", Kind::Done),
            SandboxError::Closing => ("closing", Kind::Done),
            SandboxError::Failed(_) => ("kernel_start_failed", Kind::Fault),
        };
        let hint = matches!(error, SandboxError::Failed(_)).then(|| {
            "the code did not run; `husk doctor` shows what is missing on this machine".to_owned()
        });
        let reason = chain(error);
        Self::refusal(Denial { by: "sandbox", code, reason, retry_after_s: None, hint }, kind)
    }
}

/// An exception's text as far as a program needs it; the whole stands in the bounded output.
fn short(text: String) -> String {
    match text.char_indices().nth(LONGEST_ERROR) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// An error and its causes, one line each.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let line = cause.to_string();
        if !text.ends_with(&line) {
            text.push_str("\ncause: ");
            text.push_str(&line);
        }
        source = cause.source();
    }
    text
}

fn word(status: Status) -> StatusWord {
    match status {
        Status::Ok => StatusWord::Ok,
        Status::Error => StatusWord::Error,
        Status::Timeout => StatusWord::Timeout,
        Status::Interrupted => StatusWord::Interrupted,
        Status::Cancelled => StatusWord::Cancelled,
        Status::KernelDied => StatusWord::KernelDied,
    }
}

fn content(items: Vec<Item>) -> Vec<ContentBlock> {
    let block = |item| match item {
        Item::Text(text) => ContentBlock::text(text),
        Item::Image(image) => ContentBlock::image(image.base64, image.mime),
    };
    let blocks: Vec<ContentBlock> = items.into_iter().map(block).collect();
    if blocks.is_empty() { vec![ContentBlock::text("(no output)")] } else { blocks }
}

/// What a model must know beside the output.
fn notes(outcome: &Outcome) -> Vec<String> {
    let mut notes = Vec::new();
    let seconds = outcome.duration.as_secs_f64();
    let how = match outcome.stopped {
        Some(Stopped::Interrupt) => "an interrupt",
        Some(Stopped::Signal) => "SIGINT, after it ignored an interrupt",
        Some(Stopped::Kill) => "killing the kernel, after it ignored an interrupt and SIGINT",
        None => "",
    };
    match outcome.status {
        Status::Ok | Status::Error => {}
        Status::Timeout => {
            notes.push(format!("timeout: the cell was stopped after {seconds:.1} s by {how}"))
        }
        Status::Interrupted => notes.push(format!("the cell was interrupted after {seconds:.1} s")),
        Status::Cancelled => {
            notes.push(format!("cancelled: the cell was stopped after {seconds:.1} s by {how}"))
        }
        Status::KernelDied => notes.push(death(outcome)),
    }
    if outcome.status == Status::Ok && outcome.cause.is_some() {
        notes.push(death(outcome));
    }
    if outcome.exit.is_some() {
        notes.push(
            "all variables and imports are lost; the next call runs in a fresh kernel".to_owned(),
        );
    } else if outcome.state_lost {
        notes.push(format!(
            "this is a fresh kernel (generation {}): variables and imports of earlier cells are gone",
            outcome.generation
        ));
    } else if outcome.stopped.is_some() {
        notes.push("variables are kept".to_owned());
    }
    if outcome.finished.as_ref().is_some_and(|finished| finished.cut) {
        notes.push("the kernel did not tell the end of the output: some may be missing".to_owned());
    }
    let truncated = outcome.finished.as_ref().is_some_and(|finished| finished.totals.truncated);
    if truncated {
        notes.push(
            "output is shortened: print less, or write it to a file and look at parts".to_owned(),
        );
    }
    notes
}

fn death(outcome: &Outcome) -> String {
    let Some(exit) = outcome.exit else { return "the kernel died".to_owned() };
    match &outcome.cause {
        Some(cause) => format!("the kernel was ended: {cause}"),
        None => format!("the kernel died: {exit}, {}", exit.meaning()),
    }
}

impl Answer for Reply {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn cost(&self) -> u64 {
        self.cost
    }

    fn late(after: Duration) -> Self {
        let reason =
            format!("husk gave up on this call after {} s; the cell was stopped", after.as_secs());
        let denial =
            Denial { by: "deadline", code: "deadline", reason, retry_after_s: None, hint: None };
        Self::refusal(denial, Kind::Fault)
    }

    fn cancelled() -> Self {
        let reason = "cancelled by the caller; the cell was stopped".to_owned();
        let denial =
            Denial { by: "caller", code: "cancelled", reason, retry_after_s: None, hint: None };
        Self::refusal(denial, Kind::Done)
    }

    fn panicked(what: &str) -> Self {
        let reason = format!("husk itself failed in this call ({what}); the server goes on");
        let hint = Some("please report this with the server's log".to_owned());
        Self::refusal(
            Denial { by: "husk", code: "panic", reason, retry_after_s: None, hint },
            Kind::Fault,
        )
    }
}

impl From<Reply> for CallToolResult {
    fn from(reply: Reply) -> Self {
        let mut result =
            if reply.failed { Self::error(reply.content) } else { Self::success(reply.content) };
        result.structured_content = Some(reply.structured);
        result
    }
}
