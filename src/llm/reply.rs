//! A whole answer of a model, and what it took.
//!
//! Knows no provider.

use serde::{Deserialize, Serialize};

use super::message::Block;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The provider's name for it; empty where it has none.
    pub id: String,
    /// The model that gave it, as the provider says.
    pub model: String,
    /// What it says.
    pub content: Vec<Block>,
    /// Why it ends.
    pub stop: Stop,
    /// What it took.
    pub usage: Usage,
    /// Calls in it whose arguments are no JSON object: they must not run, and the model is to be
    /// told so. In `content` such a call has no arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<BrokenCall>,
}

impl Reply {
    /// All words of it.
    #[must_use]
    pub fn text(&self) -> String {
        let words = self.content.iter().filter_map(|block| match block {
            Block::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        words.collect()
    }
}

/// A call of a tool that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenCall {
    /// The call.
    pub id: String,
    /// The arguments as the model wrote them.
    pub arguments: String,
    /// What is wrong with them, for the model.
    pub fault: String,
}

/// Why an answer ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// It is said.
    EndTurn,
    /// As many tokens as were allowed.
    MaxTokens,
    /// A text that was to stop it.
    StopSequence,
    /// Tools are called.
    ToolUse,
    /// The model declined, or a filter did.
    Refusal,
    /// Another reason, in the provider's word.
    Other(String),
}

/// What an answer took, in tokens. What was read from a cache or written to one does not count as
/// input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Read afresh.
    pub input: u64,
    /// Written by the model.
    pub output: u64,
    /// Read from the provider's cache.
    pub cache_read: u64,
    /// Written to the provider's cache for five minutes.
    pub cache_write: u64,
    /// Written to the provider's cache for an hour.
    pub cache_write_1h: u64,
}

impl Usage {
    /// All that the model had to read.
    #[must_use]
    pub fn whole_input(&self) -> u64 {
        self.input + self.cache_read + self.cache_write + self.cache_write_1h
    }

    /// Which share of it came from the cache, 0 to 1.
    #[must_use]
    pub fn cache_share(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "tokens of one answer")]
        let share = self.cache_read as f64 / self.whole_input().max(1) as f64;
        share
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_write += other.cache_write;
        self.cache_write_1h += other.cache_write_1h;
    }
}
