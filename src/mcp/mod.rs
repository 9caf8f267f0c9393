//! Floor 3: husk as an MCP server.
//!
//! [`Server`] is a hand-written `ServerHandler` (rmcp's macro rebuilds its router on every call):
//! it finds the tool, makes a [`crate::guard::ToolCall`] and sends it through the stack of layers;
//! [`tools`] holds one file a tool, [`reply`] makes the answers, [`transport`] moves bytes, and
//! [`client`] is the way by which `husk run` uses this very server.

mod attend;
pub mod client;
mod order;
mod progress;
pub mod reply;
pub mod tools;
pub mod transport;

use std::{sync::Arc, time::Duration};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, Implementation, JsonObject,
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use tokio::time::Instant;
use tower::{Service, ServiceExt};

use crate::{
    base::{budget, ids::SessionName},
    guard::{self, Stack, ToolCall, usage::Meter},
    sandbox::Sandboxes,
};

use order::Ticket;
use reply::Reply;

const INSTRUCTIONS: &str = "A persistent Jupyter kernel. Variables and imports stay between calls \
    to notebook_run_cell, so build on earlier cells instead of repeating them. Print only what you \
    need to see. When an answer says state_lost, run what you need again.";

/// What the tools work with.
pub struct Context {
    /// The sessions and their kernels.
    pub sandboxes: Sandboxes,
    /// The session of calls that name none.
    pub default_session: SessionName,
    /// Counts the calls.
    pub meter: Arc<Meter>,
}

impl Context {
    /// A context that has counted nothing yet.
    #[must_use]
    pub fn new(sandboxes: Sandboxes, default_session: SessionName) -> Self {
        Self { sandboxes, default_session, meter: Arc::new(Meter::new(Instant::now())) }
    }
}

/// What the innermost service gets of a call.
#[derive(Clone)]
struct Payload {
    tool: &'static tools::Definition,
    arguments: JsonObject,
    context: RequestContext<RoleServer>,
}

/// The MCP server. Cloning it is cheap; clones share everything.
#[derive(Clone)]
pub struct Server {
    context: Arc<Context>,
    stack: Stack<Payload, Reply, ErrorData>,
    tools: Arc<Vec<Tool>>,
}

impl Server {
    /// A server over `context`.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        let inner = {
            let context = Arc::clone(&context);
            tower::service_fn(move |call: ToolCall<Payload>| {
                let Payload { tool, arguments, context: request } = call.payload;
                let reply = (tool.run)(Arc::clone(&context), arguments, request);
                async move { Ok(reply.await) }
            })
        };
        let stack = guard::stack(inner, Arc::clone(&context.meter));
        let tools = Arc::new(tools::ALL.iter().map(|tool| tool.describe()).collect());
        Self { context, stack, tools }
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
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
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
        let call = ToolCall {
            tool: tool.name,
            cost: arguments.values().map(|value| budget::tokens(&value.to_string())).sum(),
            deadline: (tool.deadline)(&self.context, &arguments),
            cancelled: context.ct.clone(),
            payload: Payload { tool, arguments, context },
        };
        // A call that has no place, or whose tool needs none, lets the others pass.
        if !tool.in_order
            && let Some(ticket) = call.payload.context.extensions.get::<Ticket>()
        {
            ticket.pass();
        }
        let mut stack = self.stack.clone();
        let reply = stack.ready().await?.call(call).await?;
        Ok(CallToolResult::from(reply).into())
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
