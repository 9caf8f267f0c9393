//! Anthropic's Messages API as a wire: the request's body, and what its events and answers say.
//!
//! Pure. Bedrock carries the same bodies and events in another wrapping.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    draft::{Counts, Piece},
    error::{Class, Failure},
    message::{Block, Message},
    reply::Stop,
    request::{MAX_TOKENS, Request, Tool, ToolChoice},
};

/// The version of the API that this wire speaks.
pub(super) const VERSION: &str = "2023-06-01";

/// The body of a request, borrowed: conversations hold images.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) anthropic_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<&'a str>,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "<[Tool]>::is_empty")]
    tools: &'a [Tool],
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'a ToolChoice>,
    #[serde(skip_serializing_if = "<[Block]>::is_empty")]
    system: &'a [Block],
    messages: &'a [Message],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stream: Option<bool>,
    #[serde(flatten)]
    rest: &'a Map<String, Value>,
}

/// The body that asks for this.
pub(super) fn body(request: &Request, stream: bool) -> Body<'_> {
    Body {
        anthropic_version: None,
        model: request.params.model.as_deref(),
        max_tokens: request.params.max_tokens.unwrap_or(MAX_TOKENS),
        temperature: request.params.temperature,
        tools: &request.tools,
        // A choice without tools is refused.
        tool_choice: request.tool_choice.as_ref().filter(|_| !request.tools.is_empty()),
        system: &request.system,
        messages: &request.messages,
        stream: stream.then_some(true),
        rest: &request.params.rest,
    }
}

/// What an event of a streamed answer says, or a whole answer in its place. What is not known is
/// passed over: the API adds events without a new version.
pub(super) fn read(event: &Value) -> Result<Vec<Piece>, Failure> {
    let at = || event.get("index").and_then(Value::as_u64).unwrap_or_default();
    match text(event, "type") {
        "message_start" => Ok(opened(event.get("message").unwrap_or(&Value::Null))),
        "content_block_start" => {
            Ok(event.get("content_block").map(|block| begun(at(), block)).unwrap_or_default())
        }
        "content_block_delta" => {
            Ok(event.get("delta").and_then(|delta| grown(at(), delta)).into_iter().collect())
        }
        "message_delta" => {
            let mut pieces: Vec<_> = event.get("usage").map(counted).into_iter().collect();
            pieces.extend(event.get("delta").and_then(stopped));
            Ok(pieces)
        }
        "message_stop" => Ok(vec![Piece::Ended]),
        "message" => Ok(whole(event)),
        "error" => Err(failure(None, event).in_stream()),
        _ => Ok(Vec::new()),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn owned(value: &Value, name: &str) -> String {
    text(value, name).to_owned()
}

fn opened(message: &Value) -> Vec<Piece> {
    let mut pieces =
        vec![Piece::Opened { id: owned(message, "id"), model: owned(message, "model") }];
    pieces.extend(message.get("usage").map(counted));
    pieces
}

fn begun(at: u64, block: &Value) -> Vec<Piece> {
    match text(block, "type") {
        "text" => vec![Piece::Text { at, text: owned(block, "text") }],
        "thinking" => {
            let mut pieces = vec![Piece::Thinking { at, text: owned(block, "thinking") }];
            pieces.push(Piece::Signature { at, text: owned(block, "signature") });
            pieces
        }
        "redacted_thinking" => vec![Piece::Redacted { at, data: owned(block, "data") }],
        "tool_use" => {
            let mut pieces =
                vec![Piece::Call { at, id: owned(block, "id"), name: owned(block, "name") }];
            // A stream begins with an empty object and sends the arguments after it.
            let input = block.get("input").filter(|input| match input {
                Value::Object(members) => !members.is_empty(),
                Value::Null => false,
                _ => true,
            });
            pieces.extend(input.map(|input| Piece::Arguments { at, json: input.to_string() }));
            pieces
        }
        _ => Vec::new(),
    }
}

fn grown(at: u64, delta: &Value) -> Option<Piece> {
    match text(delta, "type") {
        "text_delta" => Some(Piece::Text { at, text: owned(delta, "text") }),
        "thinking_delta" => Some(Piece::Thinking { at, text: owned(delta, "thinking") }),
        "signature_delta" => Some(Piece::Signature { at, text: owned(delta, "signature") }),
        "input_json_delta" => Some(Piece::Arguments { at, json: owned(delta, "partial_json") }),
        _ => None,
    }
}

fn counted(usage: &Value) -> Piece {
    let number = |name| usage.get(name).and_then(Value::as_u64);
    let hour = usage
        .get("cache_creation")
        .and_then(|parts| parts.get("ephemeral_1h_input_tokens"))
        .and_then(Value::as_u64);
    let written = number("cache_creation_input_tokens");
    Piece::Counted(Counts {
        input: number("input_tokens"),
        output: number("output_tokens"),
        cache_read: number("cache_read_input_tokens"),
        cache_write: written.map(|all| all.saturating_sub(hour.unwrap_or_default())),
        cache_write_1h: hour,
    })
}

fn stopped(delta: &Value) -> Option<Piece> {
    let reason = delta.get("stop_reason")?.as_str()?;
    Some(Piece::Stopped(match reason {
        "end_turn" => Stop::EndTurn,
        "max_tokens" => Stop::MaxTokens,
        "stop_sequence" => Stop::StopSequence,
        "tool_use" => Stop::ToolUse,
        "refusal" => Stop::Refusal,
        other => Stop::Other(other.to_owned()),
    }))
}

fn whole(message: &Value) -> Vec<Piece> {
    let mut pieces = opened(message);
    let blocks = message.get("content").and_then(Value::as_array).into_iter().flatten();
    pieces.extend(blocks.zip(0..).flat_map(|(block, at)| begun(at, block)));
    pieces.extend(stopped(message));
    pieces.push(Piece::Ended);
    pieces
}

/// What an error says; `status` is that of the answer, where it is one of its own.
pub(super) fn failure(status: Option<u16>, body: &Value) -> Failure {
    let error = body.get("error").unwrap_or(body);
    let message = text(error, "message");
    let class = match text(error, "type") {
        "overloaded_error" => Class::Overloaded,
        "rate_limit_error" => Class::RateLimited,
        "authentication_error" | "permission_error" | "billing_error" => Class::Denied,
        "not_found_error" => Class::NotFound,
        "timeout_error" => Class::of_status(504),
        "api_error" => Class::Server,
        "request_too_large" => Class::ContextLength,
        _ => status.map_or(Class::Server, Class::of_status),
    };
    let class = match class {
        Class::BadRequest => of_words(message),
        _ if text(error, "type") == "invalid_request_error" => of_words(message),
        // A gateway's filter answers 403 too.
        Class::Denied if of_words(message) == Class::ContentFilter => Class::ContentFilter,
        class => class,
    };
    Failure::told(class, message, error, status)
}

/// The class of a bad request by what is said: the APIs have no code for these.
pub(super) fn of_words(message: &str) -> Class {
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if says(&[
        "prompt is too long",
        "input is too long",
        "too many input tokens",
        "context length",
        "context window",
        "context_length",
        "maximum context",
        "exceed context limit",
        "exceeds the available context size",
    ]) {
        Class::ContextLength
    } else if says(&[
        "content filter",
        "content_filter",
        "content management policy",
        "content policy",
    ]) {
        Class::ContentFilter
    } else {
        Class::BadRequest
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::{draft::Draft, reply::Reply};

    fn reply(events: &[Value]) -> Result<Reply, Failure> {
        let mut draft = Draft::default();
        for event in events {
            for piece in read(event)? {
                draft.take(piece);
            }
        }
        draft.finish()
    }

    fn streamed() -> Vec<Value> {
        let delta = |at: u64, delta: Value| json!({"type": "content_block_delta", "index": at, "delta": delta});
        let start = |at: u64, block: Value| json!({"type": "content_block_start", "index": at, "content_block": block});
        vec![
            json!({"type": "message_start", "message": {"id": "m", "model": "claude", "usage": {
                "input_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 9,
                "cache_creation": {"ephemeral_1h_input_tokens": 4, "ephemeral_5m_input_tokens": 5},
                "output_tokens": 1}}}),
            json!({"type": "ping"}),
            start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
            delta(0, json!({"type": "signature_delta", "signature": "sig"})),
            start(1, json!({"type": "text", "text": ""})),
            delta(1, json!({"type": "text_delta", "text": "Good"})),
            delta(1, json!({"type": "text_delta", "text": " day"})),
            json!({"type": "content_block_stop", "index": 1}),
            json!({"type": "an_event_of_next_year", "index": 7}),
            start(2, json!({"type": "tool_use", "id": "t", "name": "run", "input": {}})),
            delta(2, json!({"type": "input_json_delta", "partial_json": "{\"code\":"})),
            delta(2, json!({"type": "input_json_delta", "partial_json": "\"1\"}"})),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 12}}),
            json!({"type": "message_stop"}),
        ]
    }

    #[test]
    fn a_stream_and_a_whole_answer_say_the_same() {
        let whole = json!({"type": "message", "id": "m", "model": "claude", "stop_reason": "tool_use",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "Good day"},
                {"type": "tool_use", "id": "t", "name": "run", "input": {"code": "1"}}],
            "usage": {"input_tokens": 3, "cache_read_input_tokens": 5, "output_tokens": 12,
                "cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 4}}});
        let reply = reply(&streamed()).unwrap();
        assert_eq!(Ok(reply.clone()), self::reply(std::slice::from_ref(&whole)));
        assert_eq!(serde_json::to_value(&reply.content).unwrap(), whole["content"]);
        let usage = reply.usage;
        assert_eq!((usage.cache_write, usage.cache_write_1h, usage.whole_input()), (5, 4, 17));
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_is_no_answer() {
        let events = streamed();
        for end in 0..events.len() {
            assert_eq!(reply(&events[..end]).unwrap_err().class, Class::Stream, "{end}");
        }
    }

    #[test]
    fn errors_have_the_class_that_their_words_say() {
        let check = |status: Option<u16>, kind: &str, message: &str, class: Class| {
            let body = json!({"type": "error", "error": {"type": kind, "message": message}});
            let failure = failure(status, &body);
            assert_eq!(failure.class, class, "{kind} {message}");
            assert_eq!(failure.status, status.unwrap_or(class.status()));
        };
        check(Some(529), "overloaded_error", "Overloaded", Class::Overloaded);
        check(None, "overloaded_error", "Overloaded", Class::Overloaded);
        check(Some(429), "rate_limit_error", "slow down", Class::RateLimited);
        let long = "prompt is too long: 210000 tokens > 200000 maximum";
        check(Some(400), "invalid_request_error", long, Class::ContextLength);
        check(Some(413), "request_too_large", "too large", Class::ContextLength);
        let filtered = "Output blocked by content filtering policy: content filter";
        check(Some(400), "invalid_request_error", filtered, Class::ContentFilter);
        check(Some(400), "invalid_request_error", "max_tokens: required", Class::BadRequest);
        check(Some(401), "authentication_error", "invalid x-api-key", Class::Denied);
        check(Some(500), "api_error", "internal", Class::Server);
        check(Some(500), "", "<html>", Class::Server);
    }

    #[test]
    fn a_body_holds_what_was_asked_and_nothing_that_was_not() {
        let mut request = Request::ask("hi");
        request.tool_choice = Some(ToolChoice::Any);
        let ask = |request: &Request, stream| serde_json::to_value(body(request, stream)).unwrap();
        let messages = json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]);
        assert_eq!(ask(&request, false), json!({"max_tokens": MAX_TOKENS, "messages": messages}));
        request.params.rest.insert("top_k".to_owned(), json!(5));
        request.params.model = Some("m".to_owned());
        let expected = json!({"max_tokens": MAX_TOKENS, "messages": messages, "model": "m",
            "stream": true, "top_k": 5});
        assert_eq!(ask(&request, true), expected);
    }
}
