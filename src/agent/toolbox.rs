//! The tools of all servers under the names that the model knows, with the loop guard before them.
//!
//! The guard is the layer that a husk has on its own side ([`crate::guard::dedup`]): calls that repeat
//! themselves and get nowhere are refused, whatever the server. A husk guards itself and is not
//! guarded twice.

mod names;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

use super::{
    elicit::Elicit,
    server::{Progress, Server, ServerError, Tool, answer::ToolAnswer, config::Wanted},
    settings::Settings,
};
use crate::{
    base::canon::Form,
    guard::{GuardLayer, Policy, Repeats, Signature, ToolCall, Who, dedup},
    llm::request,
};

/// The name of the tool whose calls are a notebook's cells.
pub(super) const CELL: &str = "notebook_run_cell";

/// All tools.
pub struct Toolbox {
    servers: Vec<Arc<Server>>,
    tools: BTreeMap<String, Known>,
    guarded: Guarded,
}

/// A tool, and whose it is.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) server: Arc<Server>,
    pub(super) tool: Tool,
}

/// What a call needs behind the guard.
struct Payload {
    known: Known,
    arguments: Value,
    most: (Duration, usize),
    progress: Progress,
}

type Never = std::convert::Infallible;
type Guarded = BoxCloneSyncService<ToolCall<Payload>, ToolAnswer, Never>;

impl Toolbox {
    /// Starts all servers side by side, and asks for their tools. They can ask nobody anything.
    ///
    /// # Errors
    /// [`ServerError`] of the first that fails; the others are ended.
    pub async fn open(wanted: Vec<Wanted>) -> Result<Self, ServerError> {
        Self::with_user(wanted, None).await
    }

    /// The same, with somebody who answers what servers ask.
    ///
    /// # Errors
    /// [`ServerError`] of the first that fails; the others are ended.
    pub async fn with_user(
        wanted: Vec<Wanted>,
        user: Option<Arc<dyn Elicit>>,
    ) -> Result<Self, ServerError> {
        let starts = wanted.into_iter().map(|wanted| Server::connect(wanted, user.clone()));
        let servers = try_join_all(starts).await?;
        let servers = servers.into_iter().map(Arc::new).collect();
        let trails = Arc::new(dedup::Trails::new(dedup::Settings::default()));
        let guarded = BoxCloneSyncService::new(
            ServiceBuilder::new()
                .layer(GuardLayer(dedup::Dedup::new(trails)))
                .service(service_fn(carried_out)),
        );
        let mut toolbox = Self { servers, tools: BTreeMap::new(), guarded };
        toolbox.ask().await?;
        Ok(toolbox)
    }

    async fn ask(&mut self) -> Result<(), ServerError> {
        let told = try_join_all(self.servers.iter().map(|server| server.tools())).await?;
        let all: Vec<(Arc<Server>, Tool)> = self
            .servers
            .iter()
            .zip(told)
            .flat_map(|(server, tools)| tools.into_iter().map(|tool| (Arc::clone(server), tool)))
            .collect();
        let several = self.servers.len() > 1;
        let origins: Vec<_> = all
            .iter()
            .map(|(server, tool)| (several.then_some(server.name.as_str()), tool.name.as_str()))
            .collect();
        let names = names::of(&origins);
        let known = all.into_iter().map(|(server, tool)| Known { server, tool });
        self.tools = names.into_iter().zip(known).collect();
        Ok(())
    }

    /// Asks again where a server has said that its tools have changed: only between prompts, for tools
    /// are the beginning of every one, which providers keep.
    ///
    /// # Errors
    /// [`ServerError`].
    pub(super) async fn refresh(&mut self) -> Result<bool, ServerError> {
        // Every server is asked, so that none is asked twice for one change.
        let changed = self.servers.iter().filter(|server| server.has_changed()).count() > 0;
        if changed {
            self.ask().await?;
        }
        Ok(changed)
    }

    /// The servers' names.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.servers.iter().map(|server| server.name.clone()).collect()
    }

    /// Whether every server is a husk.
    #[must_use]
    pub fn is_all_husk(&self) -> bool {
        self.servers.iter().all(|server| server.is_husk)
    }

    /// What the servers tell models about their tools.
    #[must_use]
    pub fn instructions(&self) -> String {
        let told = self.servers.iter().filter_map(|server| {
            let instructions = server.instructions.as_ref()?;
            Some(format!("\n\nAbout the tools of `{}`: {instructions}", server.name))
        });
        told.collect()
    }

    /// The tools as the model gets them.
    #[must_use]
    pub fn described(&self) -> Vec<request::Tool> {
        let described = |(name, known): (&String, &Known)| request::Tool {
            name: name.clone(),
            description: known.tool.description.clone(),
            input_schema: known.tool.schema.clone(),
            cache_control: None,
        };
        self.tools.iter().map(described).collect()
    }

    pub(super) fn find(&self, name: &str) -> Option<&Known> {
        self.tools.get(name)
    }

    /// Carries a call out, unless the guard refuses it.
    pub(super) async fn call(
        &self,
        known: &Known,
        arguments: Value,
        settings: &Settings,
        progress: Progress,
        cancelled: &CancellationToken,
    ) -> ToolAnswer {
        let most = (settings.call, settings.result_bytes);
        let payload = Payload { known: known.clone(), arguments, most, progress };
        let call = guarded_call(payload, cancelled);
        let mut guarded = self.guarded.clone();
        let answer = match guarded.ready().await {
            Ok(ready) => ready.call(call).await,
            Err(never) => match never {},
        };
        match answer {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }

    /// The text of a resource, of the server that has it.
    pub(super) async fn resource(&self, server: &str, uri: &str) -> Option<String> {
        self.servers.iter().find(|it| it.name == server)?.resource(uri).await
    }

    /// Ends all servers.
    pub async fn close(mut self) {
        self.tools.clear();
        drop(self.guarded);
        let ends = self.servers.into_iter().filter_map(Arc::into_inner).map(Server::close);
        join_all(ends).await;
    }
}

/// The call as the guard gets it.
fn guarded_call(payload: Payload, cancelled: &CancellationToken) -> ToolCall<Payload> {
    let Known { server, tool } = &payload.known;
    let what = json!({"server": server.name, "tool": tool.name, "arguments": payload.arguments});
    let cell = tool.name == CELL;
    let signature = Signature {
        tool: if cell { CELL } else { "the tool" },
        arguments: Form::without(&[]).keeping("arguments").digest(&what),
    };
    ToolCall {
        who: Who { principal: "agent".into(), session: "agent".into() },
        signature,
        policy: Policy { repeats: Repeats::Judged, breaks: false, limited: false, runs: cell },
        attends: false,
        may_repeat: server.is_husk,
        ran: Duration::ZERO,
        cost: 0,
        deadline: payload.most.0,
        cancelled: cancelled.clone(),
        payload,
    }
}

async fn carried_out(call: ToolCall<Payload>) -> Result<ToolAnswer, Never> {
    let Payload { known, arguments, most, progress } = call.payload;
    let arguments = match arguments {
        Value::Object(arguments) => arguments,
        _ => serde_json::Map::new(),
    };
    let Known { server, tool } = known;
    Ok(server.call(&tool.name, arguments, most, &progress, &call.cancelled).await)
}
