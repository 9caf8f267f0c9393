//! A model whose answers are written down. Every question that it gets must be one that providers
//! take.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use futures_util::{StreamExt, stream};
use husk::llm::{
    error::{Class, Failure, LlmError, Tried},
    message::{Block, Message, Role},
    provider::{Answer, Event, EventStream, Provider},
    reply::{BrokenCall, Reply, Stop, Usage},
    request::Request,
};
use serde_json::{Value, json};

/// One answer.
#[derive(Debug, Clone)]
pub(super) struct Say {
    content: Vec<Block>,
    stop: Stop,
    usage: Usage,
    cost: Option<f64>,
    broken: Vec<BrokenCall>,
    /// What comes before it.
    first: Vec<Event>,
    fails: Option<Class>,
    hangs: bool,
}

/// The model.
#[derive(Default)]
pub(super) struct Script {
    says: Mutex<VecDeque<Say>>,
    asked: Mutex<Vec<Request>>,
}

impl Say {
    fn new(content: Vec<Block>, stop: Stop) -> Self {
        let usage = Usage { input: 100, output: 10, ..Usage::default() };
        let (broken, first) = (Vec::new(), Vec::new());
        Self { content, stop, usage, cost: Some(0.01), broken, first, fails: None, hangs: false }
    }

    /// Words, and that is all.
    pub(super) fn text(text: &str) -> Self {
        let mut say = Self::new(vec![Block::text(text)], Stop::EndTurn);
        say.first.push(Event::Text(text.to_owned()));
        say
    }

    /// Calls of tools, with their arguments.
    pub(super) fn calls(calls: &[(&str, Value)]) -> Self {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let call = |(name, input): &(&str, Value)| {
            let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let (id, name) = (format!("call-{number}"), (*name).to_owned());
            Block::ToolUse { id, name, input: input.clone(), cache_control: None }
        };
        Self::new(calls.iter().map(call).collect(), Stop::ToolUse)
    }

    pub(super) fn call(name: &str, input: Value) -> Self {
        Self::calls(&[(name, input)])
    }

    /// The same, with a call whose arguments do not parse.
    pub(super) fn broken(mut self) -> Self {
        if let Some(Block::ToolUse { id, input, .. }) = self.content.last_mut() {
            *input = json!({});
            let (arguments, fault) =
                ("{\"x".to_owned(), "the arguments are not valid JSON".to_owned());
            self.broken.push(BrokenCall { id: id.clone(), arguments, fault });
        }
        self
    }

    pub(super) fn stopped_by(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    pub(super) fn taking(mut self, usage: Usage, cost: Option<f64>) -> Self {
        (self.usage, self.cost) = (usage, cost);
        self
    }

    pub(super) fn after(mut self, events: Vec<Event>) -> Self {
        self.first.splice(0..0, events);
        self
    }

    pub(super) fn failure(class: Class) -> Self {
        Self { fails: Some(class), ..Self::new(Vec::new(), Stop::EndTurn) }
    }

    /// No answer, ever.
    pub(super) fn nothing() -> Self {
        Self { hangs: true, ..Self::new(Vec::new(), Stop::EndTurn) }
    }

    fn events(self) -> Vec<Result<Event, LlmError>> {
        let mut events: Vec<_> = self.first.into_iter().map(Ok).collect();
        if let Some(class) = self.fails {
            let failure = Failure::new(class, "as it is written");
            let tried = Tried { target: "script".to_owned(), attempts: 1, failure };
            events.push(Err(LlmError::NoAnswer(vec![tried])));
            return events;
        }
        let reply = Reply {
            id: String::new(),
            model: "scripted".to_owned(),
            content: self.content,
            stop: self.stop,
            usage: self.usage,
            broken: self.broken,
        };
        let target = "script".to_owned();
        let answer = Answer { reply, target, attempts: 1, kept: false, cost: self.cost };
        events.push(Ok(Event::Done(Box::new(answer))));
        events
    }
}

impl Script {
    pub(super) fn new(says: Vec<Say>) -> Arc<Self> {
        Arc::new(Self { says: Mutex::new(says.into()), asked: Mutex::default() })
    }

    pub(super) fn then(&self, say: Say) {
        self.says.lock().unwrap().push_back(say);
    }

    /// What it was asked so far.
    pub(super) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl Provider for Script {
    fn stream(&self, request: Arc<Request>) -> EventStream {
        let wrong = wrong(&request.messages);
        self.asked.lock().unwrap().push(Request::clone(&request));
        assert_eq!(wrong, None, "no provider would take this: {:#?}", request.messages);
        let say = self.says.lock().unwrap().pop_front();
        let say = say.unwrap_or_else(|| panic!("asked once more than is written"));
        match say.hangs {
            true => Box::pin(stream::pending()),
            false => Box::pin(stream::iter(say.events()).boxed()),
        }
    }
}

/// Why a provider would refuse these messages.
pub(super) fn wrong(messages: &[Message]) -> Option<String> {
    let mut open: Vec<String> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let turn = if at % 2 == 0 { Role::User } else { Role::Assistant };
        if message.role != turn {
            return Some(format!("message {at} is not {turn:?}'s"));
        }
        if message.content.is_empty() {
            return Some(format!("message {at} is empty"));
        }
        let mut results: Vec<String> = Vec::new();
        let mut calls: Vec<String> = Vec::new();
        for block in &message.content {
            match block {
                Block::ToolUse { id, .. } => calls.push(id.clone()),
                Block::ToolResult { tool_use_id, .. } => results.push(tool_use_id.clone()),
                Block::Text { text, .. } if text.trim().is_empty() => {
                    return Some(format!("message {at} has words that say nothing"));
                }
                _ => {}
            }
        }
        if results != open {
            return Some(format!("message {at} answers {results:?}, and open are {open:?}"));
        }
        open = calls;
    }
    (!open.is_empty()).then(|| format!("{open:?} are open"))
}
