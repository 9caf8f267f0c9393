//! What happens in a run, for whoever watches: a terminal, a program that reads JSON lines, a test.
//!
//! The JSON form is documented by `schemas/agent/event.json`. Decides nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::limits::Limit;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A run begins.
    Init(Init),
    /// Words of the answer.
    TextDelta {
        /// The words.
        text: String,
    },
    /// The model calls a tool. What comes of it follows, also where it is not carried out.
    ToolUse {
        /// Names the call.
        id: String,
        /// The tool, as the model names it.
        name: String,
        /// Its arguments.
        input: Value,
    },
    /// What a call gave, or why it was not carried out.
    ToolResult(ToolResult),
    /// Something went wrong and something is done about it, or a call tells how far it is.
    Status(Status),
    /// What was shown of this answer does not count: it begins anew.
    Reset {
        /// Why, in words.
        reason: String,
    },
    /// What an answer of the model took.
    Usage(Usage),
    /// The run is over.
    Result(Ended),
    /// The run is over, and something failed for which there was no way round.
    Error {
        /// What failed.
        message: String,
    },
}

/// What a run begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Init {
    /// Names the conversation; the same after it is resumed.
    pub conversation: String,
    /// husk's version.
    pub version: String,
    /// The model, where the command names one and not the routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The tool servers.
    pub servers: Vec<String>,
    /// The tools, as the model names them.
    pub tools: Vec<String>,
    /// Messages of the conversation before this run.
    pub messages: usize,
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolResult {
    /// The call.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Its words.
    pub text: String,
    /// Its images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Image>,
    /// Whether it failed, or was not carried out.
    pub is_error: bool,
    /// How long it took.
    pub duration_ms: u64,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// `image/png` and the like.
    pub media_type: String,
    /// In base64.
    pub data: String,
}

/// What is done about a failure, or how far a call is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// What happens now.
    pub now: Now,
    /// Why, as a word: the class of a failure (`overloaded`, `timeout`, `stream`, …), or what is told.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// The target of the routes, or the call, that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// What happens now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Now {
    /// The same target is asked once more.
    Retry,
    /// It is asked once more, and the answer comes in one piece.
    Degraded,
    /// Another target is asked.
    Fallback,
    /// A call goes on.
    Progress,
    /// Older parts of the conversation are left out, or summed up, to make room.
    Compacted,
    /// The provider's prompt cache could not be used.
    Uncached,
    /// The tools of a server have changed.
    Tools,
}

/// What an answer of the model took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// The answer's number in this run, from 1.
    pub turn: u32,
    /// The model that gave it.
    pub model: String,
    /// The target of the routes that gave it.
    pub target: String,
    /// This answer.
    pub this: Taken,
    /// The conversation so far.
    pub total: Taken,
    /// How much of what the model had to read came from the provider's cache, 0 to 1.
    pub cache_share: f64,
    /// Whether the answer was kept from before, so that no model was asked.
    pub kept: bool,
}

/// Tokens, and what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Taken {
    /// Tokens read afresh.
    pub input_tokens: u64,
    /// Tokens written by the model.
    pub output_tokens: u64,
    /// Tokens read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Tokens written to the provider's cache.
    pub cache_write_tokens: u64,
    /// US dollars, estimated; nothing where a price is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// The last answer.
    pub text: String,
    /// Why it ended.
    pub why: Why,
    /// Which limit was reached, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// What there is to say about the end, where it is not the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Names the conversation.
    pub conversation: String,
    /// Answers of the model in this run.
    pub turns: u32,
    /// Calls of tools in this run that were carried out.
    pub tool_calls: u32,
    /// How long the run took.
    pub duration_ms: u64,
    /// What the conversation has taken so far.
    pub total: Taken,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The model has said all.
    EndTurn,
    /// Its answer was as long as an answer may be.
    MaxTokens,
    /// It declined, or a filter did.
    Refusal,
    /// A limit of this run.
    Limit,
    /// Whoever asked gave up.
    Cancelled,
}
