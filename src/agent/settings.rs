//! How an agent works: its words to the model, its limits, what it may do unasked.

use std::{collections::BTreeSet, time::Duration};

use super::{approve::Approve, limits::Limits};

/// What every model is told about its work. Nothing that changes belongs here: it is the beginning of
/// every prompt, and kept by providers as such.
const SYSTEM: &str = "You are an agent with tools. Work in small steps: run code, look at what it \
gives, and correct what is wrong. Say what you have found, with the numbers, when you are done. If a \
tool refuses a call, do not repeat it: its answer says why and what to do instead.";

/// How an agent works.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What the model is told before all else.
    pub system: String,
    /// The model, where the routes name none.
    pub model: Option<String>,
    /// Most tokens of one answer.
    pub answer_tokens: Option<u32>,
    /// 0 for the likeliest words.
    pub temperature: Option<f64>,
    /// What a run may use.
    pub limits: Limits,
    /// Which tools run unasked.
    pub approve: Approve,
    /// The tools that run unasked whatever they do, as the model names them.
    pub allowed: BTreeSet<String>,
    /// Tokens that the model can read: when a conversation fills three quarters of it, its older parts
    /// make room.
    pub window: u64,
    /// The longest that a call of a tool may take.
    pub call: Duration,
    /// Most bytes of text that a call may add to the conversation; of more, the beginning and the end.
    pub result_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            system: SYSTEM.to_owned(),
            model: None,
            answer_tokens: None,
            temperature: None,
            limits: Limits::default(),
            approve: Approve::default(),
            allowed: BTreeSet::new(),
            window: 180_000,
            call: Duration::from_secs(600),
            // About 25,000 tokens: what hosts let through.
            result_bytes: 100_000,
        }
    }
}
