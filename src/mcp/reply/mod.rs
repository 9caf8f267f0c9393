//! The one place where an outcome becomes an MCP result.
//!
//! Text and images stand once, in `content`; `structuredContent` tells about them and holds no
//! copy. Whatever is not a plain success is `isError`, and says in words for the model what
//! happened, what is lost and what to do next.

pub mod cell;
mod guest;
mod images;
mod kept;
mod notes;

use std::{sync::Arc, time::Duration};

use rmcp::{
    ErrorData,
    model::{CallToolResponse, CallToolResult, ContentBlock, MetaObject},
};
use serde::Serialize;
use serde_json::Value;

#[cfg(feature = "gateway")]
use crate::kernel::gateway::GatewayError;
use crate::{
    base::{
        budget,
        canon::{Digest, Form},
        causes,
    },
    guard::{
        Answer, Denial, Ending,
        dedup::{self, normal},
    },
    sandbox::{SandboxError, launch::LaunchError, tenancy::TenancyError},
};

/// An answer on its way out.
#[derive(Debug)]
pub struct Reply {
    content: Vec<ContentBlock>,
    /// How many of the last blocks are husk's own words about the answer.
    words: usize,
    structured: Option<Value>,
    failed: bool,
    /// Whether a guest says it: it is compared as a whole, and its own words stay as they are.
    of_guest: bool,
    ending: Ending,
    /// Who refused it.
    denied_by: Option<&'static str>,
    /// Whether another call has begun what it tells of.
    shared: bool,
    /// How it is compared with others.
    form: Option<Arc<Form>>,
    meta: Option<MetaObject>,
    /// What is answered instead of a result.
    instead: Option<Box<Result<CallToolResponse, ErrorData>>>,
}

/// Members of structured answers that differ from call to call though nothing else does.
const VOLATILE: [&str; 8] = [
    "cell",
    "duration_ms",
    "execution_count",
    "generation",
    "hint",
    "output",
    "session",
    "state_lost",
];

/// How answers are compared: without what does not count.
pub struct Compared {
    /// Those of husk's tools.
    pub own: Arc<Form>,
    /// Those of a guest's.
    pub guest: Arc<Form>,
}

impl Compared {
    /// As the settings say.
    #[must_use]
    pub fn new(settings: &dedup::Settings) -> Self {
        let more = VOLATILE.iter().map(|&name| name.to_owned()).chain(settings.volatile.clone());
        let own = Form::without(&more.collect::<Vec<_>>());
        Self { own: Arc::new(own), guest: Arc::new(Form::without(&settings.volatile)) }
    }
}

impl Reply {
    /// An answer that is a value: its JSON, and a text for the model.
    #[must_use]
    pub fn value(text: String, value: &impl Serialize) -> Self {
        let structured = serde_json::to_value(value).unwrap_or(Value::Null);
        Self::new(vec![ContentBlock::text(text)], Some(structured), false, Ending::Done)
    }

    /// An answer that refuses.
    #[must_use]
    pub fn denied(denial: Denial) -> Self {
        Self::refusal(denial, Ending::Denied)
    }

    fn refusal(denial: Denial, ending: Ending) -> Self {
        let hint = denial.hint.as_deref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        let text = format!("{}{hint}", denial.reason);
        let structured = serde_json::json!({ "denied": denial, "error": null });
        let denied_by = (ending == Ending::Denied).then_some(denial.by);
        let refusal = Self::new(vec![ContentBlock::text(text)], Some(structured), true, ending);
        Self { denied_by, ..refusal }
    }

    fn new(
        content: Vec<ContentBlock>,
        structured: Option<Value>,
        failed: bool,
        ending: Ending,
    ) -> Self {
        Self {
            content,
            words: 0,
            structured,
            failed,
            of_guest: false,
            ending,
            denied_by: None,
            shared: false,
            form: None,
            meta: None,
            instead: None,
        }
    }

    /// Whether it is an error to the model.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// The same, compared with other answers in this form.
    #[must_use]
    pub fn compared_by(mut self, form: Arc<Form>) -> Self {
        self.form = Some(form);
        self
    }

    /// The same as the answer about what another call has begun.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        if let Some(Value::Object(members)) = &mut self.structured {
            members.insert("deduplicated".to_owned(), Value::Bool(true));
        }
        self.hinted(
            "the same call was here before: this is its cell, and the code ran once".to_owned(),
        )
    }

    /// The answer to a call that the sandbox could not carry out.
    #[must_use]
    pub fn no_sandbox(error: &SandboxError) -> Self {
        let fault = || Ending::Fault(causes::told(error, "\ncause: "));
        let (code, ending, hint) = match error {
            SandboxError::Full { .. } => ("too_many_sessions", Ending::Denied, None),
            SandboxError::Foreign { .. } => ("not_our_kernel", Ending::Denied, None),
            SandboxError::OtherKernel { .. } => ("other_kernel", Ending::Denied, None),
            SandboxError::QueueFull { .. } => (
                "queue_full",
                Ending::Denied,
                Some(
                    "the code did not run; wait for a cell with notebook_wait_cell, or stop the one under way with notebook_interrupt",
                ),
            ),
            SandboxError::KeyReused { .. } => ("idempotency_key_reused", Ending::Denied, None),
            SandboxError::NoSession { .. } => (
                "no_such_session",
                Ending::Denied,
                Some("a session begins with its first notebook_run_cell"),
            ),
            SandboxError::NoCell { .. } => ("no_such_cell", Ending::Denied, None),
            SandboxError::Notebook(_) => ("notebook_unreadable", fault(), None),
            SandboxError::Dropped => ("withdrawn", Ending::Denied, None),
            SandboxError::Closing => ("closing", Ending::Denied, None),
            SandboxError::Failed(failed) => no_kernel(&failed.source, fault()),
        };
        let hint = hint.map(str::to_owned);
        let reason = causes::told(error, "\ncause: ");
        Self::refusal(Denial { by: "sandbox", code, reason, retry_after_s: None, hint }, ending)
    }

    /// Another kind of answer than a result: a question, a task.
    #[must_use]
    pub fn instead(response: impl Into<CallToolResponse>) -> Self {
        let mut reply = Self::new(Vec::new(), None, false, Ending::Done);
        reply.instead = Some(Box::new(Ok(response.into())));
        reply
    }

    /// Whether it is a question, with whose answer the call comes back.
    #[must_use]
    pub fn asks(&self) -> bool {
        matches!(self.instead.as_deref(), Some(Ok(CallToolResponse::InputRequired(_))))
    }

    /// Notes for the client itself.
    #[must_use]
    pub fn with_meta(mut self, name: &str, value: Value) -> Self {
        self.meta.get_or_insert_default().0.insert(name.to_owned(), value);
        self
    }
}

/// Why a session has no kernel: the code, whether that is a fault (`fault`), and what to do.
fn no_kernel(error: &LaunchError, fault: Ending) -> (&'static str, Ending, Option<&'static str>) {
    let (code, ending, hint) = match error {
        LaunchError::NoRoom { .. } => (
            "too_many_kernels",
            Ending::Denied,
            "the code did not run; try again later, or end a session of yours",
        ),
        LaunchError::Elsewhere { .. } => (
            "elsewhere",
            Ending::Denied,
            "nothing was done; call the server that has the session, or use another session",
        ),
        LaunchError::Tenancy(TenancyError::Registry(_)) => (
            "store_unusable",
            Ending::Denied,
            "the code did not run; sessions that run already go on; try again later",
        ),
        _ => ("kernel_start_failed", fault, not_started(error)),
    };
    (code, ending, Some(hint))
}

/// What to do about a kernel that did not start.
fn not_started(error: &LaunchError) -> &'static str {
    match error {
        #[cfg(feature = "gateway")]
        LaunchError::Gateway(GatewayError::Denied { .. }) => {
            "the code did not run, and none does before the gateway takes what it refuses now; `husk doctor` \
             looks at it step by step"
        }
        #[cfg(feature = "gateway")]
        LaunchError::Gateway(_) | LaunchError::LateElsewhere { .. } => {
            "the code did not run; try again: a gateway with several hosts may take another one; if it fails \
             again, `husk doctor` looks at the gateway step by step"
        }
        _ => "the code did not run; `husk doctor` shows what is missing on this machine",
    }
}

impl Answer for Reply {
    fn ending(&self) -> &Ending {
        &self.ending
    }

    fn cost(&self) -> u64 {
        let block = |block: &ContentBlock| match block {
            ContentBlock::Text(text) => budget::tokens(&text.text),
            ContentBlock::Image(image) => budget::image_tokens(image.data.len() as u64),
            other => guest::cost(other),
        };
        self.content.iter().map(block).sum()
    }

    fn result(&self) -> Option<Digest> {
        let said = self.content.len().saturating_sub(self.words);
        let said = self.content.iter().take(said);
        let texts: Vec<_> = said
            .filter_map(|block| match block {
                ContentBlock::Text(text) => Some(normal::normalised(&text.text)),
                ContentBlock::Image(image) => Some(image.data.as_str().into()),
                // husk's own links differ from call to call.
                other if self.of_guest => serde_json::to_string(other).ok().map(Into::into),
                _ => None,
            })
            .collect();
        if texts.is_empty() && !self.failed {
            return None;
        }
        let structured = self.form.as_ref().zip(self.structured.as_ref());
        let structured = structured.map(|(form, structured)| form.canonical(structured));
        let structured = structured.as_deref().map(normal::normalised);
        let parts = structured.iter().chain(&texts).map(|part| part.as_bytes());
        Some(Digest::of_parts(parts))
    }

    fn denied_by(&self) -> Option<&'static str> {
        self.denied_by
    }

    fn deduplicated(&self) -> bool {
        self.shared
    }

    fn hinted(mut self, hint: String) -> Self {
        if let Some(Value::Object(members)) = &mut self.structured
            && !self.of_guest
            && members.contains_key("status")
        {
            let before = members.get("hint").and_then(Value::as_str);
            let both = before.map_or(hint.clone(), |before| format!("{before}; {hint}"));
            members.insert("hint".to_owned(), both.into());
        }
        self.content.push(ContentBlock::text(format!("[{hint}]")));
        self.words += 1;
        self
    }

    fn denied(denial: Denial) -> Self {
        Self::denied(denial)
    }

    fn late(after: Duration) -> Self {
        let reason = format!(
            "husk gave up on this call after {} s; what it ran was stopped",
            after.as_secs()
        );
        let denial =
            Denial { by: "deadline", code: "deadline", reason, retry_after_s: None, hint: None };
        let cause = denial.reason.clone();
        Self::refusal(denial, Ending::Fault(cause))
    }

    fn cancelled() -> Self {
        let reason = "cancelled by the caller; what it ran was stopped".to_owned();
        let denial =
            Denial { by: "caller", code: "cancelled", reason, retry_after_s: None, hint: None };
        Self::refusal(denial, Ending::GivenUp)
    }

    fn panicked(what: &str) -> Self {
        let reason = format!("husk itself failed in this call ({what}); the server goes on");
        let hint = Some("please report this with the server's log".to_owned());
        let cause = reason.clone();
        let denial = Denial { by: "husk", code: "panic", reason, retry_after_s: None, hint };
        Self::refusal(denial, Ending::Fault(cause))
    }
}

impl Reply {
    /// What the client gets.
    ///
    /// # Errors
    /// What a guest has answered instead of a result.
    pub fn response(mut self) -> Result<CallToolResponse, ErrorData> {
        match self.instead.take() {
            Some(instead) => *instead,
            None => Ok(CallToolResult::from(self).into()),
        }
    }
}

impl From<Reply> for CallToolResult {
    fn from(reply: Reply) -> Self {
        let mut result =
            if reply.failed { Self::error(reply.content) } else { Self::success(reply.content) };
        result.structured_content = reply.structured;
        result.meta = reply.meta;
        result
    }
}
