//! The server that MCP's conformance suite is run against: `cargo run --example conformance_server -- 127.0.0.1:8932`
//!
//! The suite wants tools, resources and prompts of its own. Here they are a guest of husk's
//! ([`husk::mcp::guest`]): the transport, the checks, the sessions, the layers around each call, and all
//! that husk has itself are those of `husk serve --http`. Settings come from the same files and variables.
//!
//! It shows as well what a guest is: an rmcp handler, and three lines of `main`.

#![expect(deprecated, reason = "the suite tests what older revisions have as well")]

mod asks;
mod plain;
mod prompts;
mod resources;
mod rounds;
mod skills;
mod tasks;
mod tools;

use std::error::Error;

use husk::{
    app,
    config::{self, Sources},
    mcp::{guest::Guest, transport::http::listen::Address},
    telemetry::{self, Reader},
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
        CompleteResult, CompletionInfo, GetPromptRequestParams, GetPromptResponse,
        GetSkillRequestParams, GetSkillResult, GetTaskParams, GetTaskResult, JsonObject,
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListSkillsResult,
        ListToolsResult, PaginatedRequestParams, ReadResourceDirectoryRequestParams,
        ReadResourceDirectoryResult, ReadResourceRequestParams, ReadResourceResponse, Reference,
        ServerCapabilities, ServerConfig, SubscribeRequestParams, Tool, UnsubscribeRequestParams,
        UpdateTaskParams,
    },
    service::{RequestContext, SubscriptionContext},
    task_manager::TaskManager,
};
use serde_json::Value;
use tokio::sync::broadcast;

fn main() -> Result<(), Box<dyn Error>> {
    // Kernels are started by this program, which is then their init.
    husk::jail::init::run_if_asked();
    let address: Address = std::env::args().nth(1).ok_or("say where to listen")?.parse()?;
    let config = config::load(&Sources::from_process(Vec::new(), None)?)?.config;
    telemetry::start(&config.log, Reader::Host)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(app::http::serve(&config, &address, Some(Guest::new(Fixtures::new()))))?;
    Ok(())
}

/// What the suite asks for.
struct Fixtures {
    tools: Vec<Tool>,
    /// States of calls that were told to come back.
    rounds: rounds::States,
    tasks: TaskManager,
    /// Tells those who listen.
    changes: broadcast::Sender<Changed>,
}

/// Which list is said to have changed.
#[derive(Debug, Clone, Copy)]
enum Changed {
    Tools,
    Prompts,
}

impl Fixtures {
    fn new() -> Self {
        Self {
            tools: tools::all(),
            rounds: rounds::States::default(),
            tasks: TaskManager::new(),
            changes: broadcast::Sender::new(8),
        }
    }
}

/// A JSON object.
fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(members) => members,
        _ => JsonObject::new(),
    }
}

type Request = RequestContext<RoleServer>;
type Page = Option<PaginatedRequestParams>;

impl ServerHandler for Fixtures {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_logging()
            .enable_completions()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .enable_skills_with_directory_read()
            .build();
        ServerConfig::new(capabilities)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_tools(&self, _: Page, _: Request) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.clone()))
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        request: Request,
    ) -> Result<CallToolResponse, ErrorData> {
        tools::call(self, params, request).await
    }

    async fn list_resources(&self, _: Page, _: Request) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(resources::all()))
    }

    async fn list_resource_templates(
        &self,
        _: Page,
        _: Request,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates()))
    }

    async fn read_resource(
        &self,
        params: ReadResourceRequestParams,
        _: Request,
    ) -> Result<ReadResourceResponse, ErrorData> {
        resources::read(&params.uri).map(Into::into)
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: Request) -> Result<(), ErrorData> {
        // Its resources never change.
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: Request) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes.subscribe();
        loop {
            let change = tokio::select! {
                change = changes.recv() => change,
                () = context.cancelled() => return Ok(()),
            };
            let told = match change {
                Ok(Changed::Tools) => context.sink().notify_tool_list_changed().await,
                Ok(Changed::Prompts) => context.sink().notify_prompt_list_changed().await,
                Err(_) => continue,
            };
            if let Err(error) = told {
                // Most often nobody has asked for that.
                tracing::debug!(%error, "a listener is not told");
            }
        }
    }

    async fn list_skills(&self, _: Page, _: Request) -> Result<ListSkillsResult, ErrorData> {
        Ok(ListSkillsResult::with_all_items(skills::all()))
    }

    async fn get_skill(
        &self,
        params: GetSkillRequestParams,
        _: Request,
    ) -> Result<GetSkillResult, ErrorData> {
        skills::get(&params.uri).map(GetSkillResult::new)
    }

    async fn read_resource_directory(
        &self,
        params: ReadResourceDirectoryRequestParams,
        _: Request,
    ) -> Result<ReadResourceDirectoryResult, ErrorData> {
        skills::directory(&params.uri).map(ReadResourceDirectoryResult::with_all_items)
    }

    async fn list_prompts(&self, _: Page, _: Request) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(prompts::all()))
    }

    async fn get_prompt(
        &self,
        params: GetPromptRequestParams,
        _: Request,
    ) -> Result<GetPromptResponse, ErrorData> {
        prompts::get(params)
    }

    async fn complete(
        &self,
        params: CompleteRequestParams,
        _: Request,
    ) -> Result<CompleteResult, ErrorData> {
        let known: &[&str] = match (&params.r#ref, params.argument.name.as_str()) {
            (Reference::Prompt(_), "arg1") => &["paris", "park", "party"],
            (Reference::Resource(_), "id") => &["1", "2", "3"],
            _ => &[],
        };
        let fits = known.iter().filter(|known| known.starts_with(&params.argument.value));
        let fits = fits.map(|&known| known.to_owned()).collect();
        let info = CompletionInfo::new(fits);
        Ok(CompleteResult::new(info.map_err(|error| ErrorData::internal_error(error, None))?))
    }

    async fn set_level(
        &self,
        _: rmcp::model::SetLevelRequestParams,
        _: Request,
    ) -> Result<(), ErrorData> {
        // What the fixtures log is of the level `info`, and all of it is asked for.
        Ok(())
    }

    async fn get_task(
        &self,
        params: GetTaskParams,
        _: Request,
    ) -> Result<GetTaskResult, ErrorData> {
        self.tasks.get_task(&params.task_id).map(GetTaskResult::new)
    }

    async fn update_task(&self, params: UpdateTaskParams, _: Request) -> Result<(), ErrorData> {
        self.tasks.update_task(&params.task_id, params.input_responses)
    }

    async fn cancel_task(&self, params: CancelTaskParams, _: Request) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&params.task_id)
    }
}
