//! The one form of a conversation inside husk: Anthropic's content blocks. Each wire translates it
//! into its provider's form and back.
//!
//! The `serde` form of these types is that of Anthropic's Messages API. Knows no provider.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: Vec<Block>,
}

/// Who speaks. Results of tools come from the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The user, and the tools.
    User,
    /// The model.
    Assistant,
}

/// A part of a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// Words.
    Text {
        /// The words.
        text: String,
        /// A prompt-cache mark.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cache_control: Option<Mark>,
    },
    /// An image.
    Image {
        /// Where it is.
        source: Source,
        /// A prompt-cache mark.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cache_control: Option<Mark>,
    },
    /// What the model thought, signed by its provider: it goes back unchanged.
    Thinking {
        /// The thoughts.
        thinking: String,
        /// The provider's signature; empty where it signs nothing.
        #[serde(default)]
        signature: String,
    },
    /// Thoughts that only the provider can read.
    RedactedThinking {
        /// Encrypted.
        data: String,
    },
    /// A call of a tool.
    ToolUse {
        /// Names the call.
        id: String,
        /// The tool.
        name: String,
        /// The arguments, an object.
        input: Value,
        /// A prompt-cache mark.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cache_control: Option<Mark>,
    },
    /// What a call gave.
    ToolResult {
        /// The call.
        tool_use_id: String,
        /// Words and images.
        #[serde(default)]
        content: Vec<Block>,
        /// Whether it failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        /// A prompt-cache mark.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cache_control: Option<Mark>,
    },
}

impl Block {
    /// Words without a mark.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), cache_control: None }
    }

    /// The place of its prompt-cache mark; thoughts have none.
    pub fn mark_mut(&mut self) -> Option<&mut Option<Mark>> {
        match self {
            Self::Text { cache_control, .. }
            | Self::Image { cache_control, .. }
            | Self::ToolUse { cache_control, .. }
            | Self::ToolResult { cache_control, .. } => Some(cache_control),
            Self::Thinking { .. } | Self::RedactedThinking { .. } => None,
        }
    }

    /// Its prompt-cache mark.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        match self {
            Self::Text { cache_control, .. }
            | Self::Image { cache_control, .. }
            | Self::ToolUse { cache_control, .. }
            | Self::ToolResult { cache_control, .. } => *cache_control,
            Self::Thinking { .. } | Self::RedactedThinking { .. } => None,
        }
    }
}

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Source {
    /// Here.
    Base64 {
        /// `image/png` and the like.
        media_type: String,
        /// The image in base64.
        data: String,
    },
    /// There.
    Url {
        /// Its address.
        url: String,
    },
}

/// Tells the provider to keep what is before and with this block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    #[serde(rename = "type")]
    kind: Ephemeral,
    /// For how long; unset is five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl: Option<Ttl>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ephemeral {
    Ephemeral,
}

/// How long a provider keeps what is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Ttl {
    /// Five minutes from its last use.
    #[default]
    #[serde(rename = "5m")]
    FiveMinutes,
    /// An hour from its last use.
    #[serde(rename = "1h")]
    OneHour,
}

impl Mark {
    /// A mark for this time.
    #[must_use]
    pub fn new(ttl: Ttl) -> Self {
        // Five minutes are what is meant without a word, and what every provider of the form knows.
        let ttl = (ttl != Ttl::FiveMinutes).then_some(ttl);
        Self { kind: Ephemeral::Ephemeral, ttl }
    }

    /// For how long.
    #[must_use]
    pub fn ttl(self) -> Ttl {
        self.ttl.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_have_the_form_of_the_messages_api() {
        for form in [
            json!({"type": "text", "text": "a"}),
            json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}),
            json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}),
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}),
            json!({"type": "thinking", "thinking": "hm", "signature": "s"}),
            json!({"type": "redacted_thinking", "data": "x"}),
            json!({"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}}),
            json!({"type": "tool_result", "tool_use_id": "t", "is_error": true,
                "content": [{"type": "text", "text": "no"}]}),
        ] {
            let block: Block = serde_json::from_value(form.clone()).unwrap();
            assert_eq!(serde_json::to_value(&block).unwrap(), form);
        }
    }

    #[test]
    fn five_minutes_are_what_a_mark_means_without_a_word() {
        let explicit: Mark =
            serde_json::from_value(json!({"type": "ephemeral", "ttl": "5m"})).unwrap();
        assert_eq!(explicit.ttl(), Ttl::FiveMinutes);
        assert_eq!(
            serde_json::to_value(Mark::new(Ttl::FiveMinutes)).unwrap(),
            json!({"type": "ephemeral"})
        );
    }
}
