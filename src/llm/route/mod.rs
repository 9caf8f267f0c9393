//! Which provider is asked, and which one after it: a tree in the configuration shape of Portkey's
//! gateway.
//!
//! `read` makes the tree out of JSON and names everything that is wrong with it (`inherited`: what a
//! node hands down); `walk` goes through
//! it, failure by failure; `build` writes the two usual trees. All of it is pure.

pub mod build;
mod faults;
mod inherited;
mod read;
mod walk;

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    error::{Class, Failure},
    request::Params,
};

pub(super) use walk::Walk;

/// Something that is wrong with a configuration of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, as `targets[0].weight`.
    pub at: String,
    /// What, and what may stand there.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = if self.at.is_empty() { "at the top" } else { &self.at };
        write!(f, "{at}: {}", self.what)
    }
}

/// A whole tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Routes {
    /// Its name, where it has one.
    pub name: Option<String>,
    pub(super) root: Node,
}

impl Routes {
    /// Reads a configuration: the bare one, or `{"name": …, "config": …}`.
    ///
    /// # Errors
    /// Every fault in it.
    pub fn read(json: &serde_json::Value) -> Result<Self, Vec<Fault>> {
        read::routes(json)
    }

    /// All targets, in the order in which they are written.
    #[must_use]
    pub fn targets(&self) -> Vec<&Target> {
        let mut targets = Vec::new();
        self.root.collect(&mut targets);
        targets
    }
}

/// A place in the tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Target(Box<Target>),
    Group(Group),
}

impl Node {
    /// Gives all targets their places.
    fn number(&mut self, next: &mut usize) {
        match self {
            Self::Target(target) => {
                target.id = *next;
                *next += 1;
            }
            Self::Group(group) => group.nodes.iter_mut().for_each(|(_, node)| node.number(next)),
        }
    }

    fn collect<'a>(&'a self, targets: &mut Vec<&'a Target>) {
        match self {
            Self::Target(target) => targets.push(target),
            Self::Group(group) => group.nodes.iter().for_each(|(_, node)| node.collect(targets)),
        }
    }
}

/// Nodes among which a strategy chooses.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) strategy: Strategy,
    /// With their weights.
    pub(super) nodes: Vec<(f64, Node)>,
}

/// How a group chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Strategy {
    pub(super) mode: Mode,
    pub(super) on_status_codes: Option<Vec<u16>>,
    pub(super) on_errors: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One after the other.
    Fallback,
    /// One by its weight; the others are spares where `on_status_codes` or `on_errors` stands.
    Loadbalance,
    /// The first.
    Single,
}

impl Strategy {
    /// Whether another node is asked after this failure.
    pub(super) fn goes_on(&self, failure: &Failure) -> bool {
        let has_spares = match self.mode {
            Mode::Fallback => true,
            Mode::Loadbalance => self.on_status_codes.is_some() || self.on_errors.is_some(),
            Mode::Single => false,
        };
        match failure.class {
            // What nobody asks is no failure of the one that was chosen.
            Class::BreakerOpen => self.mode != Mode::Single,
            // Another provider would have to refuse it too.
            Class::ContentFilter => false,
            Class::ContextLength => has_spares,
            Class::Connect | Class::Timeout(_) | Class::Stream if !self.lists(failure) => {
                let word = failure.class.word();
                has_spares
                    && self.on_errors.as_ref().is_none_or(|all| all.iter().any(|it| it == word))
            }
            Class::BadRequest => has_spares && self.lists(failure),
            _ => has_spares && (self.on_status_codes.is_none() || self.lists(failure)),
        }
    }

    fn lists(&self, failure: &Failure) -> bool {
        let Some(codes) = &self.on_status_codes else { return false };
        // Whoever lists 503 means what has too much to do, and Anthropic has a code of its own for it.
        codes.contains(&failure.status)
            || (failure.class == Class::Overloaded && codes.contains(&503))
    }
}

/// A provider's model with all that is needed to ask it.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its place among all targets, from 0.
    pub(super) id: usize,
    /// Its name: that of the configuration, else provider and model.
    pub name: String,
    /// Which wire it speaks.
    pub kind: Kind,
    /// The name under which its key is kept.
    pub virtual_key: Option<String>,
    /// Where it is, if not at its usual place.
    pub host: Option<String>,
    /// Bedrock's region.
    pub region: Option<String>,
    /// What it sets differently.
    pub params: Params,
    /// Further headers of each request.
    pub headers: BTreeMap<String, String>,
    /// How often it is asked again.
    pub retry: Retry,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// For how long its answers are kept, if they are.
    pub cache: Option<Duration>,
    /// Hooks that judge its answers.
    pub output_guardrails: Vec<String>,
}

/// A kind of provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Anthropic's Messages API, and what is compatible with it.
    Anthropic,
    /// OpenAI's Chat Completions, and what is compatible with it.
    OpenAi,
    /// Bedrock's `invoke` and `invoke-with-response-stream`.
    Bedrock,
    /// Bedrock's endpoint that speaks the Messages API.
    BedrockMessages,
}

impl Kind {
    /// All of them, by the words that name them.
    pub const ALL: [(&'static str, Self); 4] = [
        ("anthropic", Self::Anthropic),
        ("openai", Self::OpenAi),
        ("bedrock", Self::Bedrock),
        ("bedrock-messages", Self::BedrockMessages),
    ];

    /// Its word in configurations.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }

    /// Whether this model thinks in silence: OpenAI's own, in this form of theirs.
    #[must_use]
    pub(super) fn hides_thoughts(self, model: &str) -> bool {
        let thinks = ["o1", "o3", "o4", "gpt-5"];
        self == Self::OpenAi && thinks.iter().any(|beginning| model.starts_with(beginning))
    }

    /// The kind that a model's name tells.
    #[must_use]
    pub fn of_model(model: &str) -> Option<Self> {
        let bedrock = model.starts_with("arn:aws")
            || model.split('.').take(2).any(|part| part == "anthropic") && model.contains('.');
        if bedrock {
            return Some(Self::Bedrock);
        }
        let begins = |all: &[&str]| all.iter().any(|beginning| model.starts_with(beginning));
        if begins(&["claude"]) {
            Some(Self::Anthropic)
        } else if begins(&["gpt-", "chatgpt-", "o1", "o3", "o4"]) {
            Some(Self::OpenAi)
        } else {
            None
        }
    }
}

/// How often a target is asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Times after the first.
    pub attempts: u32,
    /// After answers with these codes; unset means those that may pass.
    pub on_status_codes: Option<Vec<u16>>,
    /// Whether `Retry-After` is heeded.
    pub heed_retry_after: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 2, on_status_codes: None, heed_retry_after: true }
    }
}

/// How long a target may take, where that is set. What is not set depends on whether another target
/// is left ([`super::Settings`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// Until the answer's headers.
    pub headers: Option<Duration>,
    /// From there to the first part of a streamed answer.
    pub first_token: Option<Duration>,
    /// Between two parts.
    pub idle: Option<Duration>,
    /// For one attempt, all in all.
    pub total: Option<Duration>,
}
