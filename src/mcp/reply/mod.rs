//! The one place where an outcome becomes an MCP result.
//!
//! Text and images stand once, in `content`; `structuredContent` tells about them and holds no
//! copy. Whatever is not a plain success is `isError`, and says in words for the model what
//! happened, what is lost and what to do next.

pub mod cell;
mod images;
mod notes;

use std::{error::Error, time::Duration};

use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock, MetaObject};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{
    base::budget,
    guard::{Answer, Kind},
    sandbox::SandboxError,
};

/// An answer on its way out.
#[derive(Debug)]
pub struct Reply {
    content: Vec<ContentBlock>,
    structured: Value,
    failed: bool,
    kind: Kind,
    cost: u64,
    meta: Option<MetaObject>,
    /// What is answered instead of a result.
    instead: Option<Box<CallToolResponse>>,
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
        Self { content, structured, failed, kind, cost, meta: None, instead: None }
    }

    /// The answer to a call that the sandbox could not carry out.
    #[must_use]
    pub fn no_sandbox(error: &SandboxError) -> Self {
        let (code, kind, hint) = match error {
            SandboxError::Full { .. } => ("too_many_sessions", Kind::Done, None),
            SandboxError::Foreign { .. } => ("not_our_kernel", Kind::Done, None),
            SandboxError::OtherKernel { .. } => ("other_kernel", Kind::Done, None),
            SandboxError::QueueFull { .. } => (
                "queue_full",
                Kind::Done,
                Some(
                    "the code did not run; wait for a cell with notebook_wait_cell, or stop the one under way with notebook_interrupt",
                ),
            ),
            SandboxError::NoSession { .. } => (
                "no_such_session",
                Kind::Done,
                Some("a session begins with its first notebook_run_cell"),
            ),
            SandboxError::NoCell { .. } => ("no_such_cell", Kind::Done, None),
            SandboxError::Notebook(_) => ("notebook_unreadable", Kind::Fault, None),
            SandboxError::Dropped => ("withdrawn", Kind::Done, None),
            SandboxError::Closing => ("closing", Kind::Done, None),
            SandboxError::Failed(_) => (
                "kernel_start_failed",
                Kind::Fault,
                Some("the code did not run; `husk doctor` shows what is missing on this machine"),
            ),
        };
        let hint = hint.map(str::to_owned);
        let reason = chain(error);
        Self::refusal(Denial { by: "sandbox", code, reason, retry_after_s: None, hint }, kind)
    }

    /// Another kind of answer than a result: a question, a task.
    #[must_use]
    pub fn instead(response: impl Into<CallToolResponse>) -> Self {
        let mut reply = Self::new(Vec::new(), Value::Null, false, Kind::Done);
        reply.instead = Some(Box::new(response.into()));
        reply
    }

    /// Notes for the client itself.
    #[must_use]
    pub fn with_meta(mut self, name: &str, value: Value) -> Self {
        self.meta.get_or_insert_default().0.insert(name.to_owned(), value);
        self
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

impl From<Reply> for CallToolResponse {
    fn from(mut reply: Reply) -> Self {
        match reply.instead.take() {
            Some(instead) => *instead,
            None => CallToolResult::from(reply).into(),
        }
    }
}

impl From<Reply> for CallToolResult {
    fn from(reply: Reply) -> Self {
        let mut result =
            if reply.failed { Self::error(reply.content) } else { Self::success(reply.content) };
        result.structured_content = Some(reply.structured);
        result.meta = reply.meta;
        result
    }
}
