//! An embedder's handler on husk's stack: what it adds, what stays husk's, and what the layers do for it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use husk::{
    app,
    config::Config,
    mcp::{Server, guest::Guest},
};
use rmcp::{
    ErrorData, RoleClient, RoleServer, ServerHandler, ServiceExt,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult,
        CancelledNotificationParam, ClientRequest, ContentBlock, ListToolsResult,
        PaginatedRequestParams, Request, ServerCapabilities, ServerConfig, Tool,
    },
    service::{PeerRequestOptions, RequestContext, RunningService, ServiceError},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Tools that do what tools do wrong.
#[derive(Default)]
struct Odd {
    /// Told when a call that hangs has begun, and when it was dropped.
    hangs: Mutex<Option<(oneshot::Sender<()>, oneshot::Sender<()>)>>,
}

const NAMES: [&str; 6] = ["echo", "panics", "hangs", "breaks", "refuses", "usage"];

fn tool(name: &str) -> Tool {
    Tool::new(name.to_owned(), "A tool", Arc::default())
}

impl ServerHandler for Odd {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_instructions("Odd tools.")
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        NAMES.contains(&name).then(|| tool(name))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let all = ListToolsResult::with_all_items(NAMES.map(tool).to_vec());
        Ok(all.with_ttl_ms(60_000).with_cache_scope(CacheScope::Public))
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match &*params.name {
            "echo" => {
                let said = json!(params.arguments);
                let mut result = CallToolResult::structured(said);
                result.content = vec![ContentBlock::text("said")];
                Ok(result.into())
            }
            "panics" => panic!("odd"),
            "hangs" => {
                let (begun, _dropped) = self.hangs.lock().unwrap().take().unwrap();
                begun.send(()).unwrap();
                std::future::pending().await
            }
            "refuses" => Err(ErrorData::invalid_params("not like this", None)),
            _ => Err(ErrorData::internal_error("broken", None)),
        }
    }
}

struct Host {
    client: RunningService<RoleClient, ()>,
    _folder: TempDir,
}

/// A client of a server with that guest, in this process.
async fn host(guest: Guest) -> Host {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        data_dir: Some(folder.path().to_owned()),
        workspace: Some(folder.path().to_owned()),
        ..Config::default()
    };
    let mut context = Arc::into_inner(app::context(&config).unwrap().0).unwrap();
    context.guest = Some(guest);
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let server = Server::new(Arc::new(context));
    tokio::spawn(async move { server.serve(theirs).await.unwrap().waiting().await.unwrap() });
    Host { client: ().serve(ours).await.unwrap(), _folder: folder }
}

impl Host {
    async fn call(&self, tool: &'static str, arguments: Value) -> Result<Value, ServiceError> {
        let params = CallToolRequestParams::new(tool);
        let params = params.with_arguments(arguments.as_object().unwrap().clone());
        self.client.call_tool(params).await.map(|result| serde_json::to_value(result).unwrap())
    }
}

/// The code of a protocol error.
fn code(error: &ServiceError) -> i32 {
    let ServiceError::McpError(error) = error else { panic!("{error}") };
    error.code.0
}

#[tokio::test]
async fn what_a_guest_has_stands_behind_what_is_husks() {
    let host = host(Guest::new(Odd::default())).await;
    let page = host.client.list_tools(None).await.unwrap();
    assert_eq!((page.ttl_ms, page.cache_scope), (None, None));
    let tools = page.tools;
    let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names[0], "notebook_run_cell");
    assert_eq!(names[names.len() - 5..], NAMES[..5], "{names:?}");
    assert_eq!(names.iter().filter(|name| **name == "usage").count(), 1);
    let told = host.client.peer_info().unwrap().instructions.clone().unwrap();
    assert!(told.starts_with("A persistent Jupyter kernel") && told.ends_with("\nOdd tools."));
    // A result comes as it is.
    let said = host.call("echo", json!({"a": 1})).await.unwrap();
    let expected = json!({"content": [{"type": "text", "text": "said"}],
        "structuredContent": {"a": 1}, "isError": false});
    assert_eq!(said, expected);
    // A name that both have is husk's, which counts the guest's calls as well.
    let usage = host.call("usage", json!({})).await.unwrap();
    let usage = &usage["structuredContent"]["by_tool"];
    assert!(usage.to_string().contains("echo"), "{usage}");
    assert_eq!(code(&host.call("nothing", json!({})).await.unwrap_err()), -32602);
}

#[tokio::test]
async fn a_guests_calls_pass_the_guards() {
    let host = host(Guest::new(Odd::default())).await;
    let denied = |answer: &Value| answer["structuredContent"]["denied"]["code"].clone();
    for call in 1..=6 {
        let said = host.call("echo", json!({"a": 1})).await.unwrap();
        // Hinted at in words, and never in what is the guest's own.
        let words = said["content"].as_array().unwrap().len();
        match call {
            1 | 2 => assert_eq!(words, 1, "{said}"),
            3..=5 => assert_eq!((words, &said["structuredContent"]), (2, &json!({"a": 1}))),
            _ => assert_eq!(denied(&said), "no_progress", "{said}"),
        }
    }
    // A caller who is wrong is told so, as often as they are.
    for call in 0..5 {
        let refused = host.call("refuses", json!({"call": call})).await.unwrap_err();
        assert_eq!(code(&refused), -32602);
    }
    // A tool that breaks is not tried for ever.
    for call in 0..3 {
        let broken = host.call("breaks", json!({"call": call})).await.unwrap_err();
        assert_eq!(code(&broken), -32603);
    }
    let refused = host.call("breaks", json!({"call": 3})).await.unwrap();
    assert_eq!(denied(&refused), "breaker_open", "{refused}");
}

#[tokio::test]
async fn a_guest_that_panics_is_answered_for() {
    let host = host(Guest::new(Odd::default())).await;
    let answer = host.call("panics", json!({})).await.unwrap();
    assert_eq!(answer["structuredContent"]["denied"]["code"], "panic", "{answer}");
    let after = host.call("echo", json!({})).await.unwrap();
    assert_eq!(after["isError"], false);
}

#[tokio::test]
async fn a_call_that_hangs_ends_at_its_deadline() {
    let ((begun, has_begun), (dropped, is_dropped)) = (oneshot::channel(), oneshot::channel());
    let odd = Odd { hangs: Mutex::new(Some((begun, dropped))) };
    let host = host(Guest::new(odd).with_deadline(Duration::from_millis(50))).await;
    let answer = host.call("hangs", json!({})).await.unwrap();
    assert_eq!(answer["structuredContent"]["denied"]["code"], "deadline", "{answer}");
    has_begun.await.unwrap();
    // It was dropped, and what it held with it.
    assert!(is_dropped.await.is_err());
}

#[tokio::test]
async fn a_call_that_is_cancelled_is_dropped() {
    let ((begun, has_begun), (dropped, is_dropped)) = (oneshot::channel(), oneshot::channel());
    let odd = Odd { hangs: Mutex::new(Some((begun, dropped))) };
    let host = host(Guest::new(odd)).await;
    let request = ClientRequest::CallToolRequest(Request::new(CallToolRequestParams::new("hangs")));
    let options = PeerRequestOptions::no_options();
    let sent = host.client.send_cancellable_request(request, options).await.unwrap();
    has_begun.await.unwrap();
    let id = Some(sent.id.clone());
    host.client.notify_cancelled(CancelledNotificationParam::new(id, None)).await.unwrap();
    assert!(is_dropped.await.is_err());
}
