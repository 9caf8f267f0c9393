//! Judges that others wrote: `llmock` grades how a client takes faults, `aimock` speaks the providers'
//! forms, AWS's own code writes the frames and checks the signatures of Bedrock.

use std::{process::Stdio, time::Duration};

use husk::llm::{
    Client, Settings,
    client::Parts,
    error::Class,
    message::{Block, Message, Role},
    request::{Request, Tool},
    route::Routes,
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    ask::{Bare, ask, client, hello, settings, target},
    provider::Provider,
    says::{WIRES, Wire},
    servers::{Server, models, repository},
};

fn at(server: &Server, wire: Wire) -> Value {
    let path = match wire {
        Wire::Anthropic => "/anthropic",
        Wire::OpenAi => "/v1",
    };
    target("judged", wire, &format!("{}{path}", server.url))
}

/// Long enough for a busy machine, short enough to wait for.
fn patient() -> Settings {
    let mut settings = Settings { idle: Duration::from_secs(1), ..settings() };
    settings.backoff.first = Duration::from_millis(300);
    settings
}

#[tokio::test]
async fn llmock_has_nothing_to_say_against_how_faults_are_taken() {
    let server = Server::llmock().await;
    for wire in WIRES {
        for (behavior, whole) in [
            (json!({"type": "fail", "status": 429, "retry_after": 1.0, "times": 2}), true),
            (json!({"type": "fail", "status": 529, "times": 2}), true),
            (json!({"type": "fail", "status": 500, "times": 1}), true),
            (json!({"type": "fail", "status": 400, "times": 1}), false),
            (json!({"type": "fail", "status": 401, "times": 1}), false),
            (json!({"type": "stream_fault", "kind": "truncate", "after_chunks": 2}), true),
            (json!({"type": "stream_fault", "kind": "disconnect", "after_chunks": 2}), true),
            (json!({"type": "stream_fault", "kind": "malformed", "after_chunks": 1}), true),
            (
                json!({"type": "stream_fault", "kind": "stall", "after_chunks": 1, "stall_seconds": 3.0}),
                true,
            ),
        ] {
            server.control("POST", "/_llmock/reset", &json!({})).await;
            server.control("POST", "/_llmock/scenario", &json!({"behaviors": [behavior]})).await;
            let came = hello(&client(&at(&server, wire), patient())).await;
            assert_eq!(came.end.is_ok(), whole, "{wire:?} {behavior}: {:?}", came.end);
            if let Ok(answer) = &came.end {
                assert_eq!(answer.reply.text(), came.shown);
                assert!(!came.shown.is_empty() && answer.reply.usage.output > 0);
            }
            let verdict = server.control("GET", "/_llmock/verdict", &Value::Null).await;
            let found = (&verdict["passed"], &verdict["faults_injected"]);
            assert_eq!(
                found,
                (&json!(true), &behavior.get("times").cloned().unwrap_or(json!(1))),
                "{wire:?} {behavior}: {verdict}"
            );
        }
    }
}

#[tokio::test]
async fn broken_arguments_of_llmock_are_told_and_not_carried_out() {
    let server = Server::llmock().await;
    for wire in WIRES {
        server.control("POST", "/_llmock/reset", &json!({})).await;
        let fault = json!({"behaviors": [{"type": "tool_fault", "kind": "malformed_arguments"}]});
        server.control("POST", "/_llmock/scenario", &fault).await;
        let came = ask(&client(&at(&server, wire), patient()), with_tool("weather?")).await;
        let broken = &came.answer().reply.broken;
        assert_eq!(broken.len(), 1, "{:?}", came.answer());
        assert!(broken[0].fault.contains("not valid JSON"));
    }
}

fn with_tool(question: &str) -> Request {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tool = Tool {
        name: "get_weather".to_owned(),
        description: "The weather".to_owned(),
        input_schema: schema,
        cache_control: None,
    };
    Request { tools: vec![tool], ..Request::ask(question) }
}

#[tokio::test]
async fn aimock_is_asked_for_a_tool_and_answers_with_its_result() {
    let call = json!({"name": "get_weather", "arguments": {"city": "Lyon"}, "id": "call_lyon"});
    let server = Server::aimock(&json!({"fixtures": [
        {"match": {"toolCallId": "call_lyon"}, "response": {"content": "It rains in Lyon, as it does."}},
        {"match": {"userMessage": "weather"}, "response": {"toolCalls": [call]}},
    ]}))
    .await;
    for wire in WIRES {
        let url = match wire {
            Wire::Anthropic => server.url.clone(),
            Wire::OpenAi => format!("{}/v1", server.url),
        };
        let client = client(&target("it", wire, &url), settings());
        let mut request = with_tool("weather in Lyon?");
        let came = ask(&client, request.clone()).await;
        let content = came.answer().reply.content.clone();
        let Some(Block::ToolUse { id, name, input, .. }) = content.last() else {
            panic!("{content:?}");
        };
        assert_eq!((name.as_str(), input), ("get_weather", &json!({"city": "Lyon"})));
        let result = Block::ToolResult {
            tool_use_id: id.clone(),
            content: vec![Block::text("rain")],
            is_error: false,
            cache_control: None,
        };
        request.messages.push(Message { role: Role::Assistant, content: content.clone() });
        request.messages.push(Message { role: Role::User, content: vec![result] });
        let came = ask(&client, request).await;
        assert_eq!(came.shown, "It rains in Lyon, as it does.");
    }
}

fn bedrock(url: &str, model: &str) -> Value {
    json!({"name": "bedrock", "provider": "bedrock", "custom_host": url, "aws_region": "eu-west-3",
        "override_params": {"model": model}})
}

#[tokio::test]
async fn frames_that_awss_own_code_writes_are_read() {
    let server = Server::bedrock().await;
    let whole = bedrock(&server.url, "us.anthropic.claude-4-v1:0");
    let came = hello(&client(&whole, settings())).await;
    assert_eq!((came.shown.as_str(), came.answer().attempts), ("Grüße von fern", 1));
    let usage = came.answer().reply.usage;
    assert_eq!((usage.input, usage.cache_read, usage.output), (4, 5, 6));
    let mut throttled = bedrock(&server.url, "us.anthropic.throttled-v1:0");
    throttled["retry"] = json!({"attempts": 0});
    let came = hello(&client(&throttled, settings())).await;
    let error = came.end.unwrap_err();
    let failure = error.last().unwrap();
    assert_eq!((failure.class, failure.message.as_str()), (Class::RateLimited, "too many"));
    assert_eq!((came.resets, came.shown.as_str()), (1, ""));
}

#[tokio::test]
async fn botocore_signs_as_husk_does() {
    for token in [None, Some("a/session+token==")] {
        let provider = Provider::new(vec![Wire::Anthropic.whole("signed")]).await;
        let mut keys = vec![
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
        ];
        keys.extend(token.map(|token| ("AWS_SESSION_TOKEN", token.to_owned())));
        let here = Bare(keys.into_iter().collect());
        let routes = Routes::read(&bedrock(&provider.url, "us.anthropic.claude-4-v1:0")).unwrap();
        let parts = Parts { settings: settings(), ..Parts::default() };
        let client = Client::new(routes, parts, &here).unwrap();
        assert_eq!(hello(&client).await.shown, "signed");
        let asked = provider.asked().remove(0);
        assert!(asked.path.contains("/model/us.anthropic.claude-4-v1%3A0/"), "{}", asked.path);
        let headers: serde_json::Map<String, Value> =
            asked.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let request = json!({
            "url": format!("{}{}", provider.url, asked.path), "headers": headers, "body": asked.text,
            "key_id": "AKIDEXAMPLE", "secret": here.0["AWS_SECRET_ACCESS_KEY"], "token": token,
            "service": "bedrock", "region": "eu-west-3",
        });
        assert_eq!(botocore(&request).await, asked.header("authorization").unwrap());
    }
}

async fn botocore(request: &Value) -> String {
    let mut command = Command::new(models().join("python"));
    command.arg(repository().join("tests/clients/signature.py"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut judge = command.spawn().unwrap();
    judge.stdin.take().unwrap().write_all(request.to_string().as_bytes()).await.unwrap();
    let output = judge.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
