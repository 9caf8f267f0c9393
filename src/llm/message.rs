//! The one form of a conversation inside husk: Anthropic's content blocks. Each wire translates it
//! into its provider's form and back.
//!
//! The `serde` form of these types is that of Anthropic's Messages API. Knows no provider.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is asked of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What a target may set differently.
    pub params: Params,
    /// The system prompt, in parts.
    pub system: Vec<Block>,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The tools that the model may call.
    pub tools: Vec<Tool>,
    /// Whether and which tool it has to call; unset leaves it to the model.
    pub tool_choice: Option<ToolChoice>,
    /// Who asks: keeps the cached answers of one user from another.
    pub principal: String,
}

/// The parameters of a request that `override_params` of a target may set.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Params {
    /// The model, as the target names it.
    pub model: Option<String>,
    /// Most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// 0 for the likeliest words.
    pub temperature: Option<f64>,
    /// Any other parameter, sent as it stands.
    pub rest: Map<String, Value>,
}

/// Most tokens of an answer where nobody has said.
pub const MAX_TOKENS: u32 = 8192;

impl Params {
    /// These, where the others do not say otherwise.
    #[must_use]
    pub fn under(&self, inner: &Self) -> Self {
        let mut rest = self.rest.clone();
        rest.extend(inner.rest.clone());
        Self {
            model: inner.model.clone().or_else(|| self.model.clone()),
            max_tokens: inner.max_tokens.or(self.max_tokens),
            temperature: inner.temperature.or(self.temperature),
            rest,
        }
    }
}

impl Request {
    /// A question without tools.
    #[must_use]
    pub fn ask(text: &str) -> Self {
        Self {
            params: Params::default(),
            system: Vec::new(),
            messages: vec![Message { role: Role::User, content: vec![Block::text(text)] }],
            tools: Vec::new(),
            tool_choice: None,
            principal: String::new(),
        }
    }

    /// The same with what does not depend on the conversation in one order, so that two requests
    /// begin with the same bytes: tools by name, the members of their schemas by name.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.tools.sort_by(|one, other| one.name.cmp(&other.name));
        for tool in &mut self.tools {
            tool.input_schema = in_order(&tool.input_schema);
        }
        self
    }
}

/// A value with the members of all objects by name.
fn in_order(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            let members = members.into_iter().map(|(name, value)| (name.clone(), in_order(value)));
            Value::Object(members.collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(in_order).collect()),
        value => value.clone(),
    }
}

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

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does, for the model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The JSON schema of its arguments.
    pub input_schema: Value,
    /// A prompt-cache mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<Mark>,
}

/// Whether the model has to call a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// Any of them.
    Any,
    /// None of them.
    None,
    /// This one.
    Tool {
        /// Its name.
        name: String,
    },
}

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

    #[test]
    fn the_order_in_which_tools_are_found_does_not_count() {
        let tool = |name: &str| Tool {
            name: name.to_owned(),
            description: String::new(),
            input_schema: json!({"type": "object"}),
            cache_control: None,
        };
        let with =
            |names: [&str; 2]| Request { tools: names.map(tool).to_vec(), ..Request::ask("?") };
        assert_eq!(with(["b", "a"]).settled(), with(["a", "b"]).settled());
    }

    #[test]
    fn an_inner_parameter_wins() {
        let params = |model: Option<&str>, rest: Value| Params {
            model: model.map(str::to_owned),
            rest: serde_json::from_value(rest).unwrap(),
            ..Params::default()
        };
        let outer = params(Some("a"), json!({"top_p": 1, "x": {"deep": 1}}));
        let inner = params(None, json!({"x": {"other": 2}}));
        assert_eq!(outer.under(&inner), params(Some("a"), json!({"top_p": 1, "x": {"other": 2}})));
    }
}
