//! A conversation as the entries of its transcript, and as the messages that a model gets.
//!
//! Whatever happens to a conversation is an [`Entry`] first: what a run does and what a resumed
//! transcript says take the same way. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{compact, event::Taken};
use crate::llm::{
    message::{Block, Message, Role},
    reply::Usage,
};

/// The form of transcripts that this husk writes.
pub const VERSION: u32 = 1;

/// One line of a transcript.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Entry {
    /// The first line.
    Begin {
        /// The form of the lines.
        version: u32,
        /// Names the conversation.
        conversation: String,
        /// When, as ISO 8601.
        at: String,
    },
    /// Somebody has spoken.
    Message {
        /// What was said.
        message: Message,
    },
    /// A call was carried out.
    Tool(Called),
    /// What the answer before took.
    Usage {
        /// Tokens.
        usage: Usage,
        /// US dollars, where the price is known.
        cost: Option<f64>,
        /// The model.
        model: String,
        /// The target of the routes.
        target: String,
    },
    /// The results of these calls are no longer shown to the model.
    Cleared {
        /// The calls.
        calls: Vec<String>,
    },
    /// Messages are replaced by what they come to.
    Summed {
        /// What they come to.
        text: String,
        /// The first message that stays.
        kept_from: usize,
    },
}

/// A call that was carried out, beyond what the model gets to see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Called {
    /// The call.
    pub id: String,
    /// The server.
    pub server: String,
    /// The tool, as its server names it.
    pub tool: String,
    /// When it began, in milliseconds since 1970.
    pub at: u64,
    /// Its structured answer.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub structured: Value,
}

/// A conversation so far.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    /// All that happened.
    log: Vec<Entry>,
    messages: Vec<Message>,
    taken: Usage,
    /// US dollars; nothing once a price was not known.
    cost: Option<f64>,
    id: String,
    /// As many messages were this many tokens, as a provider counted.
    counted: Option<(usize, u64)>,
}

impl Conversation {
    /// A conversation in which nothing was said.
    #[must_use]
    pub fn new(id: String, at: String) -> Self {
        let mut new = Self { cost: Some(0.0), ..Self::default() };
        new.enter(Entry::Begin { version: VERSION, conversation: id, at });
        new
    }

    /// The conversation of a transcript.
    #[must_use]
    pub fn of(entries: Vec<Entry>) -> Self {
        let mut conversation = Self { cost: Some(0.0), ..Self::default() };
        entries.into_iter().for_each(|entry| conversation.enter(entry));
        conversation
    }

    /// Enters what has happened.
    pub fn enter(&mut self, entry: Entry) {
        match &entry {
            Entry::Begin { conversation, .. } => self.id.clone_from(conversation),
            Entry::Message { message } => self.say(message.clone()),
            Entry::Tool(_) => {}
            Entry::Usage { usage, cost, .. } => {
                self.taken += *usage;
                self.cost = self.cost.zip(*cost).map(|(sum, cost)| sum + cost);
                let tokens = usage.whole_input() + usage.output;
                // An answer that was kept tells nothing of its size.
                self.counted = (tokens > 0).then_some((self.messages.len(), tokens));
            }
            Entry::Cleared { calls } => {
                compact::clear(&mut self.messages, calls);
                self.counted = None;
            }
            Entry::Summed { text, kept_from } => {
                compact::replace(&mut self.messages, text, *kept_from);
                self.counted = None;
            }
        }
        self.log.push(entry);
    }

    /// Two turns of the user in a row become one: not every provider takes them.
    fn say(&mut self, message: Message) {
        match self.messages.last_mut() {
            Some(last) if last.role == Role::User && message.role == Role::User => {
                last.content.extend(message.content);
                self.counted = None;
            }
            _ => self.messages.push(message),
        }
    }

    /// Names the conversation.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What a model gets.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// All that happened.
    #[must_use]
    pub fn log(&self) -> &[Entry] {
        &self.log
    }

    /// What it has taken so far.
    #[must_use]
    pub fn taken(&self) -> Taken {
        taken(&self.taken, self.cost)
    }

    /// Tokens of the next question, where what stands before the messages has so many.
    #[must_use]
    pub fn size(&self, before: u64) -> u64 {
        let (counted, known) = self.counted.unwrap_or((0, before));
        let rest = self.messages.iter().skip(counted).map(compact::size);
        known + rest.sum::<u64>()
    }

    /// The calls of the last answer, which nobody has answered yet.
    #[must_use]
    pub fn open_calls(&self) -> Vec<String> {
        let last = self.messages.last().filter(|last| last.role == Role::Assistant);
        let blocks = last.map(|last| last.content.as_slice()).unwrap_or_default();
        let id = |block: &Block| match block {
            Block::ToolUse { id, .. } => Some(id.clone()),
            _ => None,
        };
        blocks.iter().filter_map(id).collect()
    }
}

/// Tokens and dollars, as events tell them.
pub(super) fn taken(usage: &Usage, cost: Option<f64>) -> Taken {
    Taken {
        input_tokens: usage.input,
        output_tokens: usage.output,
        cache_read_tokens: usage.cache_read,
        cache_write_tokens: usage.cache_write + usage.cache_write_1h,
        cost_usd: cost,
    }
}

/// The answer to a call that was not carried out.
#[must_use]
pub(super) fn not_carried_out(id: &str, why: &str) -> Block {
    Block::ToolResult {
        tool_use_id: id.to_owned(),
        content: vec![Block::text(format!("not carried out: {why}"))],
        is_error: true,
        cache_control: None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::agent) fn user(text: &str) -> Message {
        Message { role: Role::User, content: vec![Block::text(text)] }
    }

    pub(in crate::agent) fn calls(id: &str) -> Message {
        let call = Block::ToolUse {
            id: id.to_owned(),
            name: "run".to_owned(),
            input: json!({"code": "1"}),
            cache_control: None,
        };
        Message { role: Role::Assistant, content: vec![call] }
    }

    pub(in crate::agent) fn gives(id: &str, text: &str) -> Message {
        let result = Block::ToolResult {
            tool_use_id: id.to_owned(),
            content: vec![Block::text(text)],
            is_error: false,
            cache_control: None,
        };
        Message { role: Role::User, content: vec![result] }
    }

    pub(in crate::agent) fn says(text: &str) -> Message {
        Message { role: Role::Assistant, content: vec![Block::text(text)] }
    }

    pub(in crate::agent) fn with(messages: Vec<Message>) -> Conversation {
        let mut conversation = Conversation::new("c".to_owned(), String::new());
        for message in messages {
            conversation.enter(Entry::Message { message });
        }
        conversation
    }

    #[test]
    fn calls_are_open_until_they_are_answered() {
        let mut conversation = with(vec![user("?"), calls("a")]);
        assert_eq!(conversation.open_calls(), ["a"]);
        conversation.enter(Entry::Message { message: gives("a", "1") });
        assert_eq!(conversation.open_calls(), Vec::<String>::new());
    }

    #[test]
    fn two_turns_of_the_user_become_one() {
        let conversation = with(vec![user("a"), user("b"), says("c")]);
        let roles: Vec<_> = conversation.messages().iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant]);
        assert_eq!(conversation.messages()[0].content.len(), 2);
    }

    #[test]
    fn a_price_that_is_not_known_makes_the_sum_unknown() {
        let mut conversation = with(vec![user("a"), says("b")]);
        let usage = Usage { input: 10, output: 5, ..Usage::default() };
        let entry =
            |cost| Entry::Usage { usage, cost, model: String::new(), target: String::new() };
        conversation.enter(entry(Some(0.5)));
        assert_eq!(conversation.taken().cost_usd, Some(0.5));
        assert_eq!(conversation.size(1000), 15);
        conversation.enter(entry(None));
        assert_eq!(conversation.taken().cost_usd, None);
        assert_eq!(conversation.taken().input_tokens, 20);
    }

    #[test]
    fn entries_have_a_form_that_can_be_read_again() {
        let entries = [
            Entry::Begin { version: 1, conversation: "c".into(), at: "t".into() },
            Entry::Message { message: calls("a") },
            Entry::Tool(Called {
                id: "a".into(),
                server: "husk".into(),
                tool: "t".into(),
                at: 7,
                structured: json!({"status": "ok"}),
            }),
            Entry::Cleared { calls: vec!["a".into()] },
            Entry::Summed { text: "s".into(), kept_from: 2 },
        ];
        for entry in entries {
            let line = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
        }
    }
}
