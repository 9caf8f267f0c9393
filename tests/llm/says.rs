//! What providers say, in the form of each wire.

use serde_json::{Value, json};

use crate::provider::{Act, End};

/// A wire under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Anthropic,
    OpenAi,
}

pub(crate) const WIRES: [Wire; 2] = [Wire::Anthropic, Wire::OpenAi];

const SSE: &str = "text/event-stream";

impl Wire {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
        }
    }

    /// The events of a streamed answer of these words, with input and output tokens.
    pub(crate) fn events(self, words: &[&str], tokens: (u64, u64)) -> Vec<String> {
        match self {
            Self::Anthropic => anthropic(words, tokens),
            Self::OpenAi => openai(words, tokens),
        }
    }

    /// A whole stream.
    pub(crate) fn stream(self, words: &[&str]) -> Act {
        self.cut(self.events(words, (7, 3)), End::Clean)
    }

    /// A stream of these events.
    pub(crate) fn cut(self, events: Vec<String>, end: End) -> Act {
        let parts = events.into_iter().map(String::into_bytes).collect();
        Act::Stream { content_type: SSE, parts, end }
    }

    /// The answer in one piece.
    pub(crate) fn whole(self, words: &str) -> Act {
        let body = match self {
            Self::Anthropic => {
                json!({"type": "message", "id": "m", "model": "served", "role": "assistant",
                "content": [{"type": "text", "text": words}], "stop_reason": "end_turn",
                "usage": {"input_tokens": 7, "output_tokens": 3}})
            }
            Self::OpenAi => {
                json!({"id": "m", "model": "served", "usage": {"prompt_tokens": 7, "completion_tokens": 3},
                "choices": [{"index": 0, "message": {"role": "assistant", "content": words}, "finish_reason": "stop"}]})
            }
        };
        Act::Answer(200, vec![("content-type", "application/json".to_owned())], body.to_string())
    }

    /// An error.
    pub(crate) fn error(self, status: u16, kind: &str, message: &str) -> Act {
        let body = match self {
            Self::Anthropic => {
                json!({"type": "error", "error": {"type": kind, "message": message}})
            }
            Self::OpenAi => json!({"error": {"code": kind, "message": message}}),
        };
        Act::Answer(status, vec![("content-type", "application/json".to_owned())], body.to_string())
    }

    /// An error that asks to wait.
    pub(crate) fn wait(self, status: u16, header: &'static str, value: &str) -> Act {
        let Act::Answer(status, mut headers, body) = self.error(status, "x", "wait") else {
            panic!()
        };
        headers.push((header, value.to_owned()));
        Act::Answer(status, headers, body)
    }

    /// The events of an answer that calls a tool with these arguments, written in two parts.
    pub(crate) fn call(self, arguments: &str) -> Vec<String> {
        let (first, second) = arguments.split_at(arguments.len() / 2);
        match self {
            Self::Anthropic => {
                let delta = |part: &str| {
                    json!({"type": "content_block_delta", "index": 0,
                    "delta": {"type": "input_json_delta", "partial_json": part}})
                };
                [
                    json!({"type": "message_start", "message": {"id": "m", "model": "served", "usage": {"input_tokens": 7, "output_tokens": 1}}}),
                    json!({"type": "content_block_start", "index": 0,
                        "content_block": {"type": "tool_use", "id": "call", "name": "run", "input": {}}}),
                    delta(first),
                    delta(second),
                    json!({"type": "content_block_stop", "index": 0}),
                    json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}}),
                    json!({"type": "message_stop"}),
                ]
                .iter()
                .map(named)
                .collect()
            }
            Self::OpenAi => {
                let call = |call: Value| chunk(json!({"tool_calls": [call]}), None);
                vec![
                    call(
                        json!({"index": 0, "id": "call", "function": {"name": "run", "arguments": ""}}),
                    ),
                    call(json!({"index": 0, "function": {"arguments": first}})),
                    call(json!({"index": 0, "function": {"arguments": second}})),
                    chunk(json!({}), Some("tool_calls")),
                    "data: [DONE]\n\n".to_owned(),
                ]
            }
        }
    }
}

fn named(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
}

fn anthropic(words: &[&str], (input, output): (u64, u64)) -> Vec<String> {
    let mut events = vec![
        json!({"type": "message_start", "message": {"id": "m", "model": "served", "usage": {"input_tokens": input, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    ];
    events.extend(words.iter().map(|word| {
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
    }));
    events.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": output}}),
        json!({"type": "message_stop"}),
    ]);
    events.iter().map(named).collect()
}

fn chunk(delta: Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    format!("data: {}\n\n", json!({"id": "m", "model": "served", "choices": [choice]}))
}

fn openai(words: &[&str], (input, output): (u64, u64)) -> Vec<String> {
    let usage = json!({"prompt_tokens": input, "completion_tokens": output});
    let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), None)];
    events.extend(words.iter().map(|word| chunk(json!({"content": word}), None)));
    events.push(chunk(json!({}), Some("stop")));
    let usage = json!({"id": "m", "model": "served", "choices": [], "usage": usage});
    events.push(format!("data: {usage}\n\n"));
    events.push("data: [DONE]\n\n".to_owned());
    events
}
