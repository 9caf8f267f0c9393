//! What is asked of a model, whoever is asked.
//!
//! Knows no provider.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::message::{Block, Mark, Message, Role};

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
    /// Asks the model though an answer to the same question is kept.
    pub refresh: bool,
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
            refresh: false,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
