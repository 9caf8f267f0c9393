//! What an agent sees of the model client: it asks a [`Provider`] and follows a stream of events.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt};

use super::{error::LlmError, reply::Reply, request::Request};

/// Something that answers: [`super::Client`], or what a test puts in its place.
pub trait Provider: Send + Sync {
    /// Asks. The stream ends with [`Event::Done`] or with the error; dropping it gives the
    /// question up.
    fn stream(&self, request: Arc<Request>) -> EventStream;
}

/// What comes of a question, in order.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event, LlmError>> + Send>>;

/// Something that came.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Words of the answer.
    Text(String),
    /// Thoughts that lead to it.
    Thinking(String),
    /// The model begins to call a tool. Only the whole answer tells with what: it must not run
    /// before [`Event::Done`].
    Call {
        /// Names the call.
        id: String,
        /// The tool.
        name: String,
    },
    /// Something went wrong and something is done about it.
    Status(Status),
    /// What was shown of this answer does not count: it begins anew.
    Reset,
    /// The answer is whole.
    Done(Box<Answer>),
}

/// A whole answer, and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The answer.
    pub reply: Reply,
    /// The target that gave it. What others took that failed is not in its usage.
    pub target: String,
    /// How often targets were asked.
    pub attempts: u32,
    /// Whether it is one that was kept: then its usage is nothing.
    pub kept: bool,
    /// What it costs in US dollars, where the price is known. Attempts that failed are not in it.
    pub cost: Option<f64>,
}

/// What went wrong, and what happens now.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What happens now.
    pub now: Now,
    /// The class of what went wrong, as a word.
    pub reason: &'static str,
    /// What went wrong, for people.
    pub message: String,
    /// The target concerned.
    pub target: String,
}

/// What happens after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// The same once more, after this time.
    Retry(Duration),
    /// Once more, and the answer comes in one piece.
    Degraded,
    /// Another target is asked.
    Fallback,
}

impl Now {
    /// Its word in events.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Retry(_) => "retry",
            Self::Degraded => "degraded",
            Self::Fallback => "fallback",
        }
    }
}

/// Waits for the whole answer, and shows nothing on the way.
///
/// # Errors
/// The stream's error.
pub async fn whole(mut events: EventStream) -> Result<Answer, LlmError> {
    while let Some(event) = events.next().await {
        if let Event::Done(answer) = event? {
            return Ok(*answer);
        }
    }
    // A provider that keeps its promise does not come here.
    Err(LlmError::NoAnswer(Vec::new()))
}
