//! One question to the model: what is sent, what is told on the way, and what is kept of the answer.

use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::Value;

use super::{
    compact,
    conversation::{Entry, taken},
    event::{Event, Now, Usage},
    run::{Halt, Run},
};
use crate::{
    base::budget,
    llm::{
        self,
        error::{Class, LlmError},
        message::{Block, Message, Role},
        provider::Answer,
        reply::Stop,
        request::{Params, Request},
    },
};

/// A call of the model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) input: Value,
    /// Why it cannot be carried out, for the model.
    pub(super) fault: Option<String>,
}

/// Tokens from which every model of Anthropic keeps a prompt that is marked.
const SURELY_KEPT: u64 = 5_000;

impl Run<'_> {
    /// Asks about the conversation. If it is too long for the model, room is made and it is asked once
    /// more.
    pub(super) async fn ask(&mut self) -> Result<Answer, Halt> {
        match self.answer_to(self.question(), true).await {
            Err(Halt::Failed(super::AgentError::Llm(error))) if is_too_long(&error) => {
                self.make_room(true).await?;
                self.answer_to(self.question(), true).await
            }
            answer => answer,
        }
    }

    /// The conversation so far as a request.
    pub(super) fn question(&self) -> Request {
        let settings = &self.agent.settings;
        let system = format!("{}{}", settings.system, self.agent.toolbox.instructions());
        let params = Params {
            model: settings.model.clone(),
            max_tokens: settings.answer_tokens,
            temperature: settings.temperature,
            ..Params::default()
        };
        Request {
            params,
            system: vec![Block::text(system)],
            messages: self.agent.conversation.messages().to_vec(),
            tools: self.agent.toolbox.described(),
            tool_choice: None,
            principal: String::new(),
            refresh: false,
        }
    }

    /// Tokens that stand before the messages of every question.
    pub(super) fn before(&self) -> u64 {
        let question = self.question();
        let system = Message { role: Role::User, content: question.system };
        let tools = question.tools.iter().map(|tool| {
            let schema = tool.input_schema.to_string();
            budget::tokens(&tool.description) + budget::tokens(&schema)
        });
        compact::size(&system) + tools.sum::<u64>()
    }

    /// The whole answer to a request; its words are shown as they come, if they are for the user.
    pub(super) async fn answer_to(
        &mut self,
        request: Request,
        shown: bool,
    ) -> Result<Answer, Halt> {
        let request = request.settled();
        if shown && let Some(broken) = self.agent.prefix.see(&request) {
            self.status(Now::Uncached, "prefix", &broken.to_string(), None);
        }
        let mut events = self.agent.provider.stream(Arc::new(request));
        let (stop, mut reason) = (self.stop.clone(), String::new());
        let time_is_up = self.time_is_up();
        tokio::pin!(time_is_up);
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Halt::Cancelled),
                halt = &mut time_is_up => return Err(halt),
                event = events.next() => event,
            };
            match event.ok_or_else(|| LlmError::NoAnswer(Vec::new()))?? {
                llm::provider::Event::Done(answer) => return Ok(*answer),
                llm::provider::Event::Status(status) => {
                    reason.clone_from(&status.message);
                    let now = now(&status.now);
                    self.status(now, status.reason, &status.message, Some(status.target));
                }
                llm::provider::Event::Text(text) if shown => self.tell(Event::TextDelta { text }),
                llm::provider::Event::Reset if shown => {
                    self.tell(Event::Reset { reason: std::mem::take(&mut reason) });
                }
                // Thoughts are the model's own, and calls are told when the answer is whole.
                _ => {}
            }
        }
    }

    /// Keeps an answer, and tells what it took.
    pub(super) fn take(&mut self, answer: Answer) -> Result<Vec<Call>, Halt> {
        self.turns += 1;
        let calls = calls(&answer);
        self.text = answer.reply.text();
        let message = Message { role: Role::Assistant, content: sendable(&answer.reply.content) };
        self.agent.enter(Entry::Message { message })?;
        self.count(&answer)?;
        let (reply, conversation) = (&answer.reply, &self.agent.conversation);
        self.tell(Event::Usage(Usage {
            turn: self.turns,
            model: reply.model.clone(),
            target: answer.target.clone(),
            this: taken(&reply.usage, answer.cost),
            total: conversation.taken(),
            cache_share: reply.usage.cache_share(),
            kept: answer.kept,
        }));
        let marked = reply.model.contains("claude") && reply.usage.whole_input() > SURELY_KEPT;
        if marked && let Some(broken) = self.agent.prefix.settle(&answer.reply.usage) {
            self.status(Now::Uncached, "nothing_kept", &broken.to_string(), None);
        }
        Ok(calls)
    }

    /// Adds what an answer took to the conversation.
    pub(super) fn count(&mut self, answer: &Answer) -> Result<(), Halt> {
        Ok(self.agent.enter(Entry::Usage {
            usage: answer.reply.usage,
            cost: answer.cost,
            model: answer.reply.model.clone(),
            target: answer.target.clone(),
        })?)
    }
}

fn is_too_long(error: &LlmError) -> bool {
    error.last().is_some_and(|failure| failure.class == Class::ContextLength)
}

fn now(now: &llm::provider::Now) -> Now {
    match now {
        llm::provider::Now::Retry(_) => Now::Retry,
        llm::provider::Now::Degraded => Now::Degraded,
        llm::provider::Now::Fallback => Now::Fallback,
    }
}

/// What of an answer can be sent back: no provider takes words that say nothing.
fn sendable(content: &[Block]) -> Vec<Block> {
    let says =
        |block: &&Block| !matches!(block, Block::Text { text, .. } if text.trim().is_empty());
    let mut content: Vec<_> = content.iter().filter(says).cloned().collect();
    let only_thoughts =
        |block: &Block| matches!(block, Block::Thinking { .. } | Block::RedactedThinking { .. });
    if content.iter().all(only_thoughts) {
        content.push(Block::text("(no answer)"));
    }
    content
}

/// The calls of an answer. Of one that was cut off none is whole for sure.
fn calls(answer: &Answer) -> Vec<Call> {
    let reply = &answer.reply;
    let cut = (reply.stop == Stop::MaxTokens).then(|| {
        "your answer was cut off at the most tokens that one may have; write less at once"
            .to_owned()
    });
    let call = |block: &Block| match block {
        Block::ToolUse { id, name, input, .. } => {
            let broken = reply.broken.iter().find(|broken| broken.id == *id);
            let fault = cut.clone().or_else(|| broken.map(|broken| broken.fault.clone()));
            Some(Call { id: id.clone(), name: name.clone(), input: input.clone(), fault })
        }
        _ => None,
    };
    reply.content.iter().filter_map(call).collect()
}
