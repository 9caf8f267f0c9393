//! What can go wrong with a provider: in classes that say what to do next, not in status codes
//! alone.

use std::{fmt, time::Duration};

use serde_json::Value;

use super::route::Fault;

/// The class of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// No connection: unknown name, refused, reset before an answer, no TLS.
    Connect,
    /// Connected, and then nothing came in time.
    Timeout(Phase),
    /// The answer broke off, came without its end, or cannot be read.
    Stream,
    /// The provider has too much to do.
    Overloaded,
    /// This account asks too often.
    RateLimited,
    /// The provider's own fault.
    Server,
    /// The conversation is longer than the model can read.
    ContextLength,
    /// A filter refused the question or the answer.
    ContentFilter,
    /// The request itself is wrong.
    BadRequest,
    /// The key is missing, wrong, or may not do this.
    Denied,
    /// There is no such model, or no such address.
    NotFound,
    /// One of our own hooks refused the answer.
    Guardrail,
    /// Not asked: it failed often just now.
    BreakerOpen,
}

/// Where time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Until the status line and headers.
    Headers,
    /// From there to the first part of the answer.
    FirstToken,
    /// Between two parts.
    Idle,
    /// All in all.
    Total,
}

impl Class {
    /// The word of the class, for configurations and events.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout(_) => "timeout",
            Self::Stream => "stream",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate_limited",
            Self::Server => "server",
            Self::ContextLength => "context_length",
            Self::ContentFilter => "content_filter",
            Self::BadRequest => "bad_request",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Guardrail => "guardrail",
            Self::BreakerOpen => "breaker_open",
        }
    }

    /// The status code that stands for it where no answer had one: what `on_status_codes` is held
    /// against.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Connect | Self::BreakerOpen => 503,
            Self::Timeout(_) => 504,
            Self::Stream => 502,
            Self::Overloaded => 529,
            Self::RateLimited => 429,
            Self::Server => 500,
            Self::ContextLength | Self::ContentFilter | Self::BadRequest => 400,
            Self::Denied => 401,
            Self::NotFound => 404,
            Self::Guardrail => 446,
        }
    }

    /// What an answer with this status is, unless its body says more.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Denied,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout(Phase::Total),
            429 => Self::RateLimited,
            503 | 529 => Self::Overloaded,
            500.. => Self::Server,
            _ => Self::BadRequest,
        }
    }

    /// Whether the same question to the same target may be answered later.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(
            self,
            Self::Connect
                | Self::Timeout(_)
                | Self::Stream
                | Self::Overloaded
                | Self::RateLimited
                | Self::Server
        )
    }

    /// Whether it speaks against the target's health, and not against the question or the account.
    #[must_use]
    pub fn is_fault_of_target(self) -> bool {
        self.is_passing() && self != Self::RateLimited
    }
}

/// One attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub class: Class,
    /// The answer's status, or what stands for it ([`Class::status`]).
    pub status: u16,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// What was said, short.
    pub message: String,
    /// Whether it came inside an answer that had begun well.
    pub in_stream: bool,
}

/// The longest message that is kept, in characters.
const LONGEST: usize = 400;

impl Failure {
    /// A failure without an answer's status.
    #[must_use]
    pub fn new(class: Class, message: impl fmt::Display) -> Self {
        let message = message.to_string().chars().take(LONGEST).collect();
        Self { class, status: class.status(), retry_after: None, message, in_stream: false }
    }

    /// What a provider has told of an error: its message, or the whole where it has none.
    #[must_use]
    pub fn told(class: Class, message: &str, error: &Value, status: Option<u16>) -> Self {
        let failure = match message {
            "" => Self::new(class, error),
            message => Self::new(class, message),
        };
        match status {
            Some(status) => failure.with_status(status),
            None => failure,
        }
    }

    /// The same with the status of the answer.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The same, inside of an answer that had begun.
    #[must_use]
    pub fn in_stream(mut self) -> Self {
        self.in_stream = true;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.class.word(), self.status, self.message)
    }
}

/// A target and how it failed at last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The target's name.
    pub target: String,
    /// How often it was asked.
    pub attempts: u32,
    /// Its last failure.
    pub failure: Failure,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, asked {} times: {}", self.target, self.attempts, self.failure)
    }
}

/// No answer, or no way to ask.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// The configuration of the routes.
    #[error("the routes cannot be used: {}", list(.0))]
    Routes(Vec<Fault>),
    /// The file of the configuration.
    #[error("cannot read the routes from `{}`; name a JSON file in the shape of Portkey's gateway", .file.display())]
    File {
        /// The file.
        file: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The HTTP client cannot be built.
    #[error("cannot set up HTTPS; install this system's CA certificates (ca-certificates)")]
    Https(#[source] reqwest::Error),
    /// All that were asked have failed.
    #[error("no model has answered: {}", list(.0))]
    NoAnswer(Vec<Tried>),
    /// The budget of this call is used up.
    #[error("no model has answered within {seconds} s and {attempts} attempts: {}", list(.tried))]
    Budget {
        /// Seconds that were allowed.
        seconds: u64,
        /// Attempts that were allowed.
        attempts: u32,
        /// What was tried.
        tried: Vec<Tried>,
    },
}

impl LlmError {
    /// The failure that decided.
    #[must_use]
    pub fn last(&self) -> Option<&Failure> {
        match self {
            Self::NoAnswer(tried) | Self::Budget { tried, .. } => {
                tried.last().map(|tried| &tried.failure)
            }
            _ => None,
        }
    }
}

fn list<T: fmt::Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_classes_agree() {
        for status in [400, 401, 404, 429, 500, 529] {
            assert_eq!(Class::of_status(status).status(), status);
        }
        assert_eq!(Class::of_status(503), Class::Overloaded);
        assert_eq!(Class::of_status(502), Class::Server);
        assert!(!Class::ContextLength.is_passing());
        assert!(Class::RateLimited.is_passing() && !Class::RateLimited.is_fault_of_target());
    }
}
