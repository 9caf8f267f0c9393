//! Notices that the beginning of a conversation's prompt has changed, so that what the provider kept
//! of it could not be used, and tells what changed.
//!
//! Pure: one [`Prefix`] follows one conversation.

use serde::Serialize;
use serde_json::json;

use crate::{
    base::canon::{Digest, Form},
    llm::{cache, reply::Usage, request::Request},
};

/// What was sent last.
#[derive(Debug, Default)]
pub struct Prefix {
    last: Option<Prints>,
    /// Answers in a row for which nothing was read from a cache or written to one, though marks were
    /// there.
    unkept: u32,
}

#[derive(Debug)]
struct Prints {
    model: Option<String>,
    tools: Vec<(String, Digest)>,
    system: Digest,
    messages: Vec<Digest>,
}

/// Why a provider's cache is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Caches are kept for each model.
    #[error("the model is another one: caches are kept for each model")]
    Model,
    /// Tools come first in a prompt.
    #[error("the tools have changed (`{0}`): they are the beginning of every prompt")]
    Tools(String),
    /// The system prompt comes before all messages.
    #[error("the system prompt has changed: nothing that changes belongs there, such as a time")]
    System,
    /// A message that was sent already.
    #[error("message {0} of the conversation has changed since it was sent")]
    Message(usize),
    /// Nothing is kept at all.
    #[error("the provider keeps nothing: what is marked may be shorter than this model's least")]
    Nothing,
}

impl Prefix {
    /// Looks at a request before it is sent.
    pub fn see(&mut self, request: &Request) -> Option<Broken> {
        let now = Prints::of(request);
        let broken = self.last.as_ref().and_then(|last| last.broken_by(&now));
        self.last = Some(now);
        broken
    }

    /// Looks at what an answer to a marked request took; tells once that nothing is kept.
    pub fn settle(&mut self, usage: &Usage) -> Option<Broken> {
        let kept = usage.cache_read + usage.cache_write + usage.cache_write_1h > 0;
        self.unkept = if kept { 0 } else { self.unkept.saturating_add(1) };
        (self.unkept == 2).then_some(Broken::Nothing)
    }
}

impl Prints {
    fn of(request: &Request) -> Self {
        // Marks move on from request to request, and change nothing of what is kept.
        let request = cache::stripped(request);
        Self {
            model: request.params.model.clone(),
            tools: request.tools.iter().map(|tool| (tool.name.clone(), print(tool))).collect(),
            system: print(&request.system),
            messages: request.messages.iter().map(print).collect(),
        }
    }

    fn broken_by(&self, now: &Self) -> Option<Broken> {
        if self.model != now.model {
            return Some(Broken::Model);
        }
        if self.tools != now.tools {
            let of = |these: &Self, others: &Self| {
                these.tools.iter().find(|tool| !others.tools.contains(tool)).cloned()
            };
            let changed = of(now, self).or_else(|| of(self, now));
            return Some(Broken::Tools(
                changed.map_or_else(|| "their order".to_owned(), |it| it.0),
            ));
        }
        if self.system != now.system {
            return Some(Broken::System);
        }
        let both = self.messages.iter().zip(&now.messages);
        let changed = both.into_iter().position(|(before, now)| before != now);
        changed.map(|at| Broken::Message(at + 1))
    }
}

fn print(value: &impl Serialize) -> Digest {
    Form::default().digest(&json!(value))
}
