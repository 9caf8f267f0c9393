//! Floor 3: husk as an MCP server.
//!
//! [`Server`] is a hand-written `ServerHandler` (rmcp's macro rebuilds its router on every call):
//! it finds the tool, makes a [`crate::guard::ToolCall`] and sends it through the stack of layers;
//! [`tools`] holds one file a tool, [`reply`] makes the answers, [`transport`] moves bytes, and
//! [`client`] is the way by which `husk run` uses this very server.

mod ask;
mod attend;
pub mod audit;
pub mod auth;
mod changes;
pub mod client;
mod complete;
mod identity;
mod order;
mod progress;
mod prompts;
pub mod reply;
mod reset;
mod resources;
mod stop;
mod task;
pub mod tools;
mod trace;
pub mod transport;

use std::{sync::Arc, time::Duration};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
        CompleteResult, CustomRequest, CustomResult, ErrorCode, GetPromptRequestParams,
        GetPromptResponse, GetTaskParams, GetTaskResult, Implementation, InputResponses,
        JsonObject, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
        ServerCapabilities, ServerConfig, SubscribeRequestParams, SubscriptionFilter, Tool,
        UnsubscribeRequestParams, UpdateTaskParams,
    },
    service::{NotificationContext, RequestContext, SubscriptionContext},
};
use tower::{Service, ServiceExt};
use tracing::Instrument;

use crate::{
    base::{canon::Form, ids::SessionName},
    guard::{self, Answer, Guards, Stack, ToolCall},
    sandbox::{Attended, Sandboxes},
};

use changes::Connection;
use order::Ticket;
use reply::Reply;

const INSTRUCTIONS: &str = "A persistent Jupyter kernel. Variables and imports stay between calls \
    to notebook_run_cell, so build on earlier cells instead of repeating them. Print only what you \
    need to see. A cell that is still running goes on: follow it with notebook_wait_cell. When an \
    answer says state_lost, run what you need again.";

/// The principal of all who reach this server over standard input or this user's own socket.
pub const LOCAL: &str = "local";

/// What the tools work with.
pub struct Context {
    /// The sessions and their kernels.
    pub sandboxes: Sandboxes,
    /// The session of calls that name none.
    pub default_session: SessionName,
    /// What the layers around tool calls remember.
    pub guards: Guards,
    /// Who calls.
    pub principal: Arc<str>,
    /// How results are compared.
    results: Arc<Form>,
    /// Whether a call may name the connection file of a kernel that somebody else started.
    pub allow_attach: bool,
    /// Questions of cells that hosts were given to ask.
    pub pending: ask::Pending,
    /// Where calls are written down.
    pub audit: Option<audit::Audit>,
}

impl Context {
    /// A context in which nothing was called yet.
    #[must_use]
    pub fn new(sandboxes: Sandboxes, default_session: SessionName, guards: Guards) -> Self {
        let results = Arc::new(reply::compared(guards.trails.settings()));
        Self {
            sandboxes,
            default_session,
            guards,
            principal: LOCAL.into(),
            results,
            allow_attach: false,
            pending: ask::Pending::default(),
            audit: None,
        }
    }
}

/// What the innermost service gets of a call.
struct Payload {
    tool: &'static tools::Definition,
    call: Call,
}

/// A tool call as the tools get it.
struct Call {
    arguments: JsonObject,
    request: RequestContext<RoleServer>,
    /// Set when the call comes back with the answer to a question.
    resumed: Option<(String, InputResponses)>,
    /// How it is known again.
    identity: guard::dedup::once::Identity,
    /// The cell of the call that it repeats.
    twin: Option<Attended>,
}

/// The MCP server. Cloning it is cheap; clones share everything.
#[derive(Clone)]
pub struct Server {
    context: Arc<Context>,
    stack: Stack<Payload, Reply, ErrorData>,
    tools: Arc<Vec<Tool>>,
    connection: Connection,
    /// Whether the other end is this user at a terminal, who may do what a host must not.
    is_user: bool,
}

impl Server {
    /// A server over `context`.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        let inner = {
            let context = Arc::clone(&context);
            tower::service_fn(move |call: ToolCall<Payload>| {
                let Payload { tool, call } = call.payload;
                let context = Arc::clone(&context);
                let session = tools::asks_about(&context, tool, &call.arguments);
                let reply = (tool.run)(Arc::clone(&context), call);
                async move {
                    let elsewhere = match session {
                        Some(session) => context.sandboxes.elsewhere(&session).await,
                        None => None,
                    };
                    let reply = match elsewhere {
                        Some(error) => Reply::no_sandbox(&error),
                        None => reply.await,
                    };
                    Ok(reply.compared_by(Arc::clone(&context.results)))
                }
            })
        };
        let stack = guard::stack(inner, &context.guards);
        let tools = Arc::new(tools::ALL.iter().map(|tool| tool.describe()).collect());
        Self { context, stack, tools, connection: Connection::new(), is_user: false }
    }

    /// The same server for another process of this user.
    #[must_use]
    pub fn for_the_user(&self) -> Self {
        Self { connection: Connection::new(), is_user: true, ..self.clone() }
    }

    /// The same server for another client, which has subscriptions of its own.
    #[must_use]
    pub fn for_another(&self) -> Self {
        Self { connection: Connection::new(), ..self.clone() }
    }

    /// What the tools work with.
    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut implementation = Implementation::new("husk", env!("CARGO_PKG_VERSION"));
        implementation.title = Some("husk: a sandboxed Jupyter kernel".to_owned());
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_completions()
            .enable_prompts()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_tasks()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(implementation)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.to_vec()))
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(resources::all(&self.context)))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let context = Arc::clone(&self.context);
        let read = move || resources::read(&context, &request.uri);
        let read = tokio::task::spawn_blocking(read).await;
        let broke = |error| ErrorData::internal_error(format!("reading broke: {error}"), None);
        Ok(read.map_err(broke)??.into())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(prompts::all()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let context = Arc::clone(&self.context);
        // It may read a notebook from disk.
        let get = move || prompts::get(&context, &request.name, request.arguments);
        let got = tokio::task::spawn_blocking(get).await;
        let broke = |error| ErrorData::internal_error(format!("the prompt broke: {error}"), None);
        Ok(got.map_err(broke)??.into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        Ok(complete::complete(&self.context, &request))
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.connection.subscribe(request.uri)
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.connection.unsubscribe(&request.uri);
        Ok(())
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.connection.forward(self.context.sandboxes.changes(), context.peer);
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        // rmcp leaves in it what the capabilities offer.
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        self.connection.listen(self.context.sandboxes.changes(), &context).await;
        Ok(())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        task::get(&self.context, &request.task_id).await
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        task::update(&self.context, &request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        task::cancel(&self.context, &request.task_id)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        if self.is_user && request.method == reset::METHOD {
            return reset::reset(&self.context.guards, &request);
        }
        if self.is_user && request.method == stop::METHOD {
            return stop::stop(&self.context.sandboxes, &request).await;
        }
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, request.method, None))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = tools::ALL.into_iter().find(|tool| tool.name == request.name) else {
            return Err(unknown_tool(&request.name));
        };
        let arguments = request.arguments.unwrap_or_default();
        let responses = request.input_responses.unwrap_or_default();
        let resumed = request.request_state.map(|state| (state, responses));
        in_turn(tool, resumed.is_some(), &context).await;
        let trace = trace::TraceId::of(&context);
        let span = trace::span(tool.name, &context, trace.as_ref());
        let call = match identity::tool_call(&self.context, tool, arguments, context, resumed) {
            Ok(call) => call,
            Err(denial) => return Ok(Reply::denied(denial).into()),
        };
        let code = call.payload.call.arguments.get("code").and_then(serde_json::Value::as_str);
        let audit = self.context.audit.as_ref();
        let mut entry = audit.map(|audit| audit.begin(&call.who, tool.name, code, trace.as_ref()));
        let mut stack = self.stack.clone();
        let reply = stack.ready().await?.call(call).instrument(span).await?;
        if let Some(entry) = &mut entry {
            entry.ends(reply.ending(), reply.denied_by());
        }
        Ok(reply.into())
    }
}

/// Waits until a call that has to come in order may go on; lets the others pass one that has no place,
/// or whose tool needs none.
async fn in_turn(tool: &tools::Definition, resumed: bool, context: &RequestContext<RoleServer>) {
    let Some(ticket) = context.extensions.get::<Ticket>() else { return };
    if !tool.in_order || resumed {
        ticket.pass();
        return;
    }
    tokio::select! {
        () = ticket.turn() => {}
        () = context.ct.cancelled() => {}
    }
}

fn unknown_tool(name: &str) -> ErrorData {
    let known: Vec<&str> = tools::ALL.iter().map(|tool| tool.name).collect();
    let name: String = name.chars().take(80).collect();
    ErrorData::invalid_params(
        format!("no tool named `{name}`; there are {}", known.join(", ")),
        None,
    )
}

/// How long a call that only looks may take.
const LOOKING: Duration = Duration::from_secs(30);
