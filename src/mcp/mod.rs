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
mod call;
mod changes;
pub mod client;
mod complete;
mod context;
pub mod guest;
mod identity;
mod keyed;
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
mod view;
pub mod watch;

use std::{sync::Arc, time::Duration};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
        CompleteResult, CustomNotification, CustomRequest, CustomResult, GetPromptRequestParams,
        GetPromptResponse, GetSkillRequestParams, GetSkillResult, GetTaskParams, GetTaskResult,
        Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListSkillsResult, ListToolsResult, PaginatedRequestParams,
        ReadResourceDirectoryRequestParams, ReadResourceDirectoryResult, ReadResourceRequestParams,
        ReadResourceResponse, ServerCapabilities, ServerConfig, SubscribeRequestParams,
        SubscriptionFilter, Tool, UnsubscribeRequestParams, UpdateTaskParams,
    },
    service::{NotificationContext, RequestContext, SubscriptionContext},
};

use crate::guard::{self, Stack, ToolCall};

use call::{Call, Payload};
use changes::Connection;
use guest::{Hosted, joined};
use reply::Reply;

pub use context::Context;

/// The rules of good use of a notebook, for the model.
const INSTRUCTIONS: &str = "A persistent Jupyter kernel. Three rules. \
    1. Variables and imports stay between calls to notebook_run_cell: work in small cells that build on \
    earlier ones, print only what you need to see, and run again what you need when an answer says \
    state_lost. \
    2. Read an error and change something before you go on: the same cell gives the same error. \
    3. A cell that is still running goes on: follow it with notebook_wait_cell, do not run it again.";

/// The principal of all who reach this server over standard input or this user's own socket.
pub const LOCAL: &str = "local";

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
            tower::service_fn(move |call: ToolCall<Payload>| call.payload.run(&context))
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

    fn guest(&self) -> Option<&dyn Hosted> {
        self.context.guest()
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let mut implementation = Implementation::new("husk", env!("CARGO_PKG_VERSION"));
        implementation.title = Some("husk: a sandboxed Jupyter kernel".to_owned());
        implementation.icons = Some(vec![view::icon()]);
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_completions()
            .enable_prompts()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_tasks()
            .build();
        let own = ServerConfig::new(capabilities)
            .with_server_info(implementation)
            .with_instructions(INSTRUCTIONS);
        joined::info(own, self.guest())
    }

    async fn list_tools(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let own = match view::is_shown_by(context.client_capabilities().as_ref()) {
            true => view::linked(&self.tools),
            false => self.tools.to_vec(),
        };
        joined::list_tools(self.guest(), own, page, context).await
    }

    async fn list_resources(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let mut own = resources::all(&self.context);
        if view::is_shown_by(context.client_capabilities().as_ref()) {
            own.push(view::resource());
        }
        joined::list_resources(self.guest(), own, page, context).await
    }

    async fn list_resource_templates(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let own = resources::templates();
        joined::list_resource_templates(self.guest(), own, page, context).await
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if let Some(guest) = self.guest().filter(|_| !resources::is_own(&request.uri)) {
            return guest.read_resource(request, context).await;
        }
        let context = Arc::clone(&self.context);
        if let Some((session, name)) = resources::variable(&request.uri) {
            return Ok(resources::inspect(&context, &session, &name, &request.uri).await?.into());
        }
        let read = move || resources::read(&context, &request.uri);
        let read = tokio::task::spawn_blocking(read).await;
        let broke = |error| ErrorData::internal_error(format!("reading broke: {error}"), None);
        Ok(read.map_err(broke)??.into())
    }

    async fn list_prompts(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        joined::list_prompts(self.guest(), prompts::all(), page, context).await
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if let Some(guest) = self.guest().filter(|_| !prompts::is_own(&request.name)) {
            return guest.get_prompt(request, context).await;
        }
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
        context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        complete::complete(&self.context, request, context).await
    }

    async fn set_level(
        &self,
        request: guest::Level,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        guest::or_nobody(self.guest(), "logging/setLevel")?.set_level(request, context).await
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        match self.guest().filter(|guest| !resources::is_own(&request.uri) && guest.subscribes()) {
            Some(guest) => guest.subscribe(request, context).await,
            None => self.connection.subscribe(request.uri),
        }
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        match self.guest().filter(|guest| !resources::is_own(&request.uri) && guest.subscribes()) {
            Some(guest) => guest.unsubscribe(request, context).await,
            None => {
                self.connection.unsubscribe(&request.uri);
                Ok(())
            }
        }
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.connection.forward(self.context.sandboxes.changes(), context.peer.clone());
        if let Some(guest) = self.guest() {
            guest.initialized(context).await;
        }
    }

    async fn on_roots_list_changed(&self, context: NotificationContext<RoleServer>) {
        if let Some(guest) = self.guest() {
            guest.roots_changed(context).await;
        }
    }

    async fn on_custom_notification(
        &self,
        notification: CustomNotification,
        context: NotificationContext<RoleServer>,
    ) {
        if let Some(guest) = self.guest() {
            guest.notified(notification, context).await;
        }
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        // rmcp leaves in it what the capabilities offer.
        Some(requested.clone())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let (sink, given_up) = (context.sink().clone(), context.request_context().ct.clone());
        let own = self.connection.listen(self.context.sandboxes.changes(), sink, given_up);
        tokio::select! {
            () = own => Ok(()),
            Some(ended) = guest::listen(self.guest(), context) => ended,
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        task::get(&self.context, request, context).await
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        task::update(&self.context, request, context).await
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        task::cancel(&self.context, request, context).await
    }

    async fn list_skills(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListSkillsResult, ErrorData> {
        guest::or_nobody(self.guest(), "skills/list")?.list_skills(page, context).await
    }

    async fn get_skill(
        &self,
        request: GetSkillRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetSkillResult, ErrorData> {
        guest::or_nobody(self.guest(), "skills/get")?.get_skill(request, context).await
    }

    async fn read_resource_directory(
        &self,
        request: ReadResourceDirectoryRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceDirectoryResult, ErrorData> {
        let guest = guest::or_nobody(self.guest(), "resources/directory/read")?;
        guest.read_resource_directory(request, context).await
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        if self.is_user && request.method == reset::METHOD {
            return reset::reset(&self.context.guards, &request);
        }
        if self.is_user && request.method == stop::METHOD {
            return stop::stop(&self.context.sandboxes, &request).await;
        }
        guest::or_nobody(self.guest(), &request.method)?.on_custom_request(request, context).await
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let own = self.tools.iter().find(|tool| tool.name == name).cloned();
        own.or_else(|| self.guest()?.tool(name))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.call(request, context).await
    }
}

/// How long a call that only looks may take.
const LOOKING: Duration = Duration::from_secs(30);
