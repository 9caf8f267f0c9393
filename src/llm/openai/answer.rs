//! What comes back in the form of Chat Completions.

use serde_json::Value;

use crate::llm::{
    anthropic::of_words,
    draft::{Counts, Piece},
    error::{Class, Failure},
    reply::Stop,
};

/// The blocks of an answer in this form: thoughts, words, and then each call by its index.
const THOUGHTS: u64 = 0;
const WORDS: u64 = 1;
const CALLS: u64 = 2;

/// What a chunk of a streamed answer says, or a whole answer in its place. `open` holds the calls
/// that have begun.
pub(in crate::llm) fn read(chunk: &Value, open: &mut Vec<u64>) -> Result<Vec<Piece>, Failure> {
    if chunk.get("error").is_some_and(|error| !error.is_null()) {
        return Err(failure(None, chunk).in_stream());
    }
    let mut pieces = Vec::new();
    let text = |name| chunk.get(name).and_then(Value::as_str).unwrap_or_default();
    if !text("model").is_empty() {
        let (id, model) = (text("id").to_owned(), text("model").to_owned());
        pieces.push(Piece::Opened { id, model });
    }
    pieces.extend(chunk.get("usage").filter(|usage| usage.is_object()).map(counted));
    // The chunk that tells the usage has no choice.
    if let Some(choice) = chunk.get("choices").and_then(|choices| choices.get(0)) {
        let said = choice.get("delta").or_else(|| choice.get("message"));
        pieces.extend(said.into_iter().flat_map(|said| of_said(said, open)));
        pieces.extend(choice.get("finish_reason").and_then(Value::as_str).map(stopped));
    }
    Ok(pieces)
}

fn of_said(said: &Value, open: &mut Vec<u64>) -> Vec<Piece> {
    let text = |name| said.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut pieces = Vec::new();
    // vLLM, llama.cpp and DeepSeek; Ollama and OpenRouter.
    if let Some(text) = text("reasoning_content").or_else(|| text("reasoning")) {
        pieces.push(Piece::Thinking { at: THOUGHTS, text: text.to_owned() });
    }
    for text in [text("content"), text("refusal")].into_iter().flatten() {
        pieces.push(Piece::Text { at: WORDS, text: text.to_owned() });
    }
    let calls = said.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    for call in calls {
        pieces.extend(of_call(call, open));
    }
    pieces
}

/// A call comes in parts: its id and name first, its arguments after. Servers that send calls whole
/// give them no index: a new id is a new call.
fn of_call(call: &Value, open: &mut Vec<u64>) -> Vec<Piece> {
    let function = call.get("function").unwrap_or(&Value::Null);
    let text = |value: &Value, name| {
        value
            .get(name)
            .and_then(Value::as_str)
            .filter(|text: &&str| !text.is_empty())
            .map(str::to_owned)
    };
    let id = text(call, "id");
    let index = call.get("index").and_then(Value::as_u64);
    let next = open.len() as u64;
    let index = index.unwrap_or(if id.is_some() { next } else { next.saturating_sub(1) });
    let at = CALLS + index;
    let mut pieces = Vec::new();
    if !open.contains(&index) {
        open.push(index);
        // Old servers give no ids; a result has to name one.
        let id = id.unwrap_or_else(|| format!("call_{index}"));
        pieces.push(Piece::Call { at, id, name: text(function, "name").unwrap_or_default() });
    }
    pieces.extend(match function.get("arguments") {
        Some(Value::String(json)) => Some(Piece::Arguments { at, json: json.clone() }),
        // Ollama's own form has them as an object.
        Some(object @ Value::Object(_)) => Some(Piece::Arguments { at, json: object.to_string() }),
        _ => None,
    });
    pieces
}

/// Their count of the input holds what came from the cache.
fn counted(usage: &Value) -> Piece {
    let number = |name| usage.get(name).and_then(Value::as_u64);
    let details = usage.get("prompt_tokens_details");
    let cached = details.and_then(|details| details.get("cached_tokens")).and_then(Value::as_u64);
    let input = number("prompt_tokens");
    Piece::Counted(Counts {
        input: input.map(|all| all.saturating_sub(cached.unwrap_or_default())),
        output: number("completion_tokens"),
        cache_read: cached,
        ..Counts::default()
    })
}

fn stopped(reason: &str) -> Piece {
    Piece::Stopped(match reason {
        "stop" => Stop::EndTurn,
        "length" => Stop::MaxTokens,
        "tool_calls" | "function_call" => Stop::ToolUse,
        "content_filter" => Stop::Refusal,
        other => Stop::Other(other.to_owned()),
    })
}

/// What an error says; `status` is that of the answer, where it is one of its own.
pub(in crate::llm) fn failure(status: Option<u16>, body: &Value) -> Failure {
    let error = body.get("error").unwrap_or(body);
    let text = |name| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let message = error.as_str().unwrap_or_else(|| text("message"));
    let code = text("code");
    // In a stream the code is the status, in some servers as a number.
    let told = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let status = status.or(told.filter(|code| (400..600).contains(code)));
    let class = match (code, text("type")) {
        ("context_length_exceeded", _) | (_, "exceed_context_size_error") => Class::ContextLength,
        ("content_filter" | "content_policy_violation", _) => Class::ContentFilter,
        // Waiting does not fill an account.
        ("insufficient_quota", _) | (_, "insufficient_quota") => Class::Denied,
        ("rate_limit_exceeded", _) => Class::RateLimited,
        (_, "overloaded_error") => Class::Overloaded,
        _ => match status.map_or(Class::Server, Class::of_status) {
            Class::BadRequest => of_words(message),
            // Azure's filter answers 403 too.
            Class::Denied if of_words(message) == Class::ContentFilter => Class::ContentFilter,
            class => class,
        },
    };
    Failure::told(class, message, error, status)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::{draft::Draft, message::Block, reply::Reply};

    fn reply(chunks: &[Value]) -> Result<Reply, Failure> {
        let (mut draft, mut open) = (Draft::default(), Vec::new());
        for chunk in chunks {
            for piece in read(chunk, &mut open)? {
                draft.take(piece);
            }
        }
        draft.take(Piece::Ended);
        draft.finish()
    }

    fn chunk(delta: Value, finish: Option<&str>) -> Value {
        json!({"id": "c", "model": "gpt", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    }

    #[test]
    fn a_stream_and_a_whole_answer_say_the_same() {
        let call = |index: u64, rest: Value| {
            let mut call = json!({"index": index});
            call.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            chunk(json!({"tool_calls": [call]}), None)
        };
        let usage = json!({"prompt_tokens": 10, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 6}});
        let streamed = [
            chunk(json!({"role": "assistant", "content": ""}), None),
            chunk(json!({"content": "Good"}), None),
            chunk(json!({"content": " day"}), None),
            call(0, json!({"id": "a", "function": {"name": "run", "arguments": ""}})),
            call(0, json!({"function": {"arguments": "{\"x\":"}})),
            call(1, json!({"id": "b", "function": {"name": "look", "arguments": "{}"}})),
            call(0, json!({"function": {"arguments": "1}"}})),
            chunk(json!({}), Some("tool_calls")),
            json!({"id": "c", "model": "gpt", "choices": [], "usage": usage}),
        ];
        let whole = json!({"id": "c", "model": "gpt", "usage": usage, "choices": [{"finish_reason": "tool_calls",
            "message": {"content": "Good day", "tool_calls": [
                {"id": "a", "function": {"name": "run", "arguments": "{\"x\":1}"}},
                {"id": "b", "function": {"name": "look", "arguments": {}}}]}}]});
        let reply = reply(&streamed).unwrap();
        assert_eq!(Ok(reply.clone()), self::reply(&[whole]));
        assert_eq!((reply.usage.input, reply.usage.cache_read, reply.usage.output), (4, 6, 4));
        assert_eq!(reply.text(), "Good day");
        let calls = reply.content.iter().filter(|it| matches!(it, Block::ToolUse { .. }));
        assert_eq!(calls.count(), 2);
    }

    #[test]
    fn errors_have_the_class_that_their_code_says() {
        let check = |status: Option<u16>, error: Value, class: Class| {
            assert_eq!(failure(status, &json!({"error": error})).class, class, "{error}");
        };
        let long = json!({"code": "context_length_exceeded", "message": "too many"});
        check(Some(400), long, Class::ContextLength);
        let words = json!({"message": "This model's maximum context length is 8192 tokens"});
        check(Some(400), words, Class::ContextLength);
        check(Some(400), json!({"code": "content_filter", "message": "no"}), Class::ContentFilter);
        let azure = json!({"message": "triggered our content management policy"});
        check(Some(403), azure, Class::ContentFilter);
        check(Some(429), json!({"code": "insufficient_quota", "message": "pay"}), Class::Denied);
        check(Some(429), json!({"message": "slow"}), Class::RateLimited);
        check(Some(503), json!({"message": "busy"}), Class::Overloaded);
        check(None, json!({"code": 429, "message": "slow"}), Class::RateLimited);
        check(None, json!("upstream failed"), Class::Server);
        assert_eq!(failure(None, &json!({"error": "gone"})).message, "gone");
    }

    #[test]
    fn an_error_inside_a_stream_is_a_failure() {
        let chunks = [chunk(json!({"content": "a"}), None), json!({"error": {"message": "x"}})];
        let failure = reply(&chunks).unwrap_err();
        assert_eq!((failure.class, failure.in_stream), (Class::Server, true));
    }

    #[test]
    fn thoughts_of_compatible_servers_are_read() {
        let chunks = [
            chunk(json!({"reasoning_content": "hm"}), None),
            chunk(json!({"content": "yes"}), Some("stop")),
        ];
        let thinking = Block::Thinking { thinking: "hm".to_owned(), signature: String::new() };
        assert_eq!(reply(&chunks).unwrap().content, vec![thinking, Block::text("yes")]);
    }
}
