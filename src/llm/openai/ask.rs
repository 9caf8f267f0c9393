//! A request in the form of Chat Completions.
//!
//! A result of a tool can hold words only in this form: images of results follow in a message of the
//! user, and that a call failed stands in words before its result.

use serde_json::{Map, Value, json};

use crate::{
    base::canon::Form,
    llm::{
        message::{Block, Message, Role, Source},
        request::{Request, Tool, ToolChoice},
    },
};

/// The body that asks for this. `of_openai`: of OpenAI itself, which has names that servers which are
/// only compatible do not know.
pub(in crate::llm) fn body(request: &Request, stream: bool, of_openai: bool) -> Value {
    let mut body = Map::new();
    let params = &request.params;
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    set("model", params.model.as_deref().map(Value::from));
    set("messages", Some(messages(request)));
    let limit = if of_openai { "max_completion_tokens" } else { "max_tokens" };
    set(limit, params.max_tokens.map(Value::from));
    set("temperature", params.temperature.map(Value::from));
    if !request.tools.is_empty() {
        set("tools", Some(request.tools.iter().map(tool).collect()));
        set("tool_choice", request.tool_choice.as_ref().map(choice));
    }
    if of_openai {
        set("prompt_cache_key", Some(cache_key(request).into()));
    }
    if stream {
        set("stream", Some(true.into()));
        set("stream_options", Some(json!({"include_usage": true})));
    }
    body.extend(params.rest.clone());
    Value::Object(body)
}

/// The same for all requests that begin with the same prompt and tools, so that they reach the
/// machine that has these in its cache.
fn cache_key(request: &Request) -> String {
    let beginning = json!({
        "principal": request.principal,
        "system": words(&request.system),
        "tools": request.tools.iter().map(tool).collect::<Vec<_>>(),
    });
    format!("husk-{:?}", Form::default().digest(&beginning))
}

fn tool(tool: &Tool) -> Value {
    json!({"type": "function", "function": {
        "name": tool.name, "description": tool.description, "parameters": tool.input_schema,
    }})
}

fn choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::Any => "required".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Tool { name } => json!({"type": "function", "function": {"name": name}}),
    }
}

fn messages(request: &Request) -> Value {
    let mut messages = Vec::new();
    if !request.system.is_empty() {
        messages.push(json!({"role": "system", "content": words(&request.system)}));
    }
    for message in &request.messages {
        match message.role {
            Role::User => of_user(message, &mut messages),
            Role::Assistant => messages.extend(of_model(message)),
        }
    }
    Value::Array(messages)
}

fn words(blocks: &[Block]) -> String {
    let texts = blocks.iter().filter_map(|block| match block {
        Block::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n\n")
}

/// Results first, as they must follow the calls; then what the user says and shows.
fn of_user(message: &Message, messages: &mut Vec<Value>) {
    let mut parts = Vec::new();
    for block in &message.content {
        match block {
            Block::ToolResult { tool_use_id, content, is_error, .. } => {
                let before = if *is_error { "Error: " } else { "" };
                let text = format!("{before}{}", words(content));
                messages
                    .push(json!({"role": "tool", "tool_call_id": tool_use_id, "content": text}));
                parts.extend(content.iter().filter_map(image));
            }
            Block::Text { text, .. } if !text.is_empty() => {
                parts.push(json!({"type": "text", "text": text}));
            }
            block => parts.extend(image(block)),
        }
    }
    let only_text = match parts.as_slice() {
        [] => return,
        [part] => part.get("text").cloned(),
        _ => None,
    };
    // Servers that know no images know no parts either.
    let content = only_text.unwrap_or(Value::Array(parts));
    messages.push(json!({"role": "user", "content": content}));
}

fn image(block: &Block) -> Option<Value> {
    let Block::Image { source, .. } = block else { return None };
    let url = match source {
        Source::Base64 { media_type, data } => format!("data:{media_type};base64,{data}"),
        Source::Url { url } => url.clone(),
    };
    Some(json!({"type": "image_url", "image_url": {"url": url}}))
}

fn of_model(message: &Message) -> Option<Value> {
    let calls = message.content.iter().filter_map(|block| match block {
        Block::ToolUse { id, name, input, .. } => {
            let arguments = Form::default().canonical(input);
            Some(json!({"id": id, "type": "function",
                "function": {"name": name, "arguments": arguments}}))
        }
        _ => None,
    });
    let calls: Vec<_> = calls.collect();
    let text = words(&message.content);
    if text.is_empty() && calls.is_empty() {
        return None;
    }
    let content = if text.is_empty() { Value::Null } else { Value::from(text) };
    let mut said = json!({"role": "assistant", "content": content});
    if let (false, Some(said)) = (calls.is_empty(), said.as_object_mut()) {
        said.insert("tool_calls".to_owned(), calls.into());
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::message::{Mark, Ttl};

    fn conversation() -> Request {
        let png = Source::Base64 { media_type: "image/png".to_owned(), data: "AA".to_owned() };
        let mark = Some(Mark::new(Ttl::FiveMinutes));
        let mut request = Request::ask("plot");
        request.system = vec![Block::Text { text: "be brief".to_owned(), cache_control: mark }];
        request.messages.push(Message {
            role: Role::Assistant,
            content: vec![
                Block::Thinking { thinking: "hm".to_owned(), signature: "s".to_owned() },
                Block::ToolUse {
                    id: "c".to_owned(),
                    name: "run".to_owned(),
                    input: json!({"code": "1"}),
                    cache_control: None,
                },
            ],
        });
        let content = vec![Block::text("boom"), Block::Image { source: png, cache_control: None }];
        request.messages.push(Message {
            role: Role::User,
            content: vec![Block::ToolResult {
                tool_use_id: "c".to_owned(),
                content,
                is_error: true,
                cache_control: mark,
            }],
        });
        request
    }

    #[test]
    fn a_conversation_with_tools_and_images_is_said_in_this_form() {
        let body = body(&conversation(), false, false);
        let expected = json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "plot"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "run", "arguments": "{\"code\":\"1\"}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "Error: boom"},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]},
        ]);
        assert_eq!(body["messages"], expected);
        assert!(!body.to_string().contains("cache_control"));
    }

    #[test]
    fn the_cache_key_stays_as_long_as_the_beginning_does() {
        let key = |request: &Request| body(request, true, true)["prompt_cache_key"].clone();
        let mut longer = conversation();
        longer.messages.pop();
        assert_eq!(key(&conversation()), key(&longer));
        longer.system.clear();
        assert_ne!(key(&conversation()), key(&longer));
        assert!(body(&longer, true, false).get("prompt_cache_key").is_none());
    }

    #[test]
    fn usage_is_asked_for_in_streams_only() {
        let ask = |stream| body(&Request::ask("?"), stream, true);
        assert_eq!(ask(true)["stream_options"], json!({"include_usage": true}));
        assert_eq!((ask(false).get("stream"), ask(false).get("stream_options")), (None, None));
    }
}
