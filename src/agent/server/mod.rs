//! Tool servers: started or reached, asked for their tools, and called. The agent's door to `rmcp`.
//!
//! [`config`] reads which ones there are, `answer` is what a call gives, `handler` hears what a server
//! tells on the way.

pub mod answer;
pub mod config;
mod handler;
mod start;

use std::{sync::Arc, time::Duration};

use rmcp::{
    RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CancelledNotification, CancelledNotificationParam,
        ClientRequest, JsonObject, ReadResourceRequestParams, RequestId, ResourceContents,
        ServerResult,
    },
    service::{PeerRequestOptions, RunningService, ServiceError},
};
use serde_json::Value;
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use crate::guard::{Answer, Ending};

use answer::ToolAnswer;
use config::Wanted;
use handler::Handler;

/// How long a server may take until it is ready, and to tell its tools.
const READY: Duration = Duration::from_secs(60);

/// How long a server may take to end when its input has ended.
const ENDS: Duration = Duration::from_secs(3);

/// Why a server is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It cannot be started.
    #[error("cannot start the tool server `{name}` (`{}`); correct its `command`", .command.display())]
    Start {
        /// The server.
        name: String,
        /// The program.
        command: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It does not speak MCP.
    #[error("the tool server `{name}` does not shake hands: {why}")]
    Handshake {
        /// The server.
        name: String,
        /// Why, and what it wrote last on its standard error.
        why: String,
    },
    /// Its address or a header.
    #[error("the tool server `{name}` cannot be reached: {why}")]
    Address {
        /// The server.
        name: String,
        /// Why.
        why: String,
    },
    /// It does not tell its tools.
    #[error("the tool server `{name}` does not tell its tools: {why}")]
    Tools {
        /// The server.
        name: String,
        /// Why.
        why: String,
    },
}

/// A tool, as its server tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The schema of its arguments.
    pub schema: Value,
    /// Whether it only reads.
    pub reads: bool,
    /// Whether it may destroy something.
    pub destructive: bool,
}

/// A server that is ready.
pub struct Server {
    /// Its name.
    pub name: String,
    /// Whether it is a husk, which refuses loops itself.
    pub is_husk: bool,
    /// What it tells models about its tools.
    pub instructions: Option<String>,
    service: RunningService<RoleClient, Handler>,
    handler: Handler,
    process: Option<Child>,
}

/// Hears how far a call is.
pub(super) type Progress = Arc<dyn Fn(&str) + Send + Sync>;

impl Server {
    /// Starts or reaches a server.
    ///
    /// # Errors
    /// [`ServerError`] names the server, and what it wrote last.
    pub async fn connect(wanted: Wanted) -> Result<Self, ServerError> {
        let handler = Handler::default();
        let (service, process) = start::connect(&wanted, handler.clone(), READY).await?;
        let info = service.peer_info();
        let named = info.as_ref().and_then(|info| info.server_info.as_ref());
        let is_husk = named.is_some_and(|named| named.name == "husk");
        let instructions = info.and_then(|info| info.instructions.clone());
        Ok(Self { name: wanted.name, is_husk, instructions, service, handler, process })
    }

    /// Its tools.
    ///
    /// # Errors
    /// [`ServerError::Tools`].
    pub async fn tools(&self) -> Result<Vec<Tool>, ServerError> {
        let failed = |why: String| ServerError::Tools { name: self.name.clone(), why };
        let told = tokio::time::timeout(READY, self.service.peer().list_all_tools()).await;
        let told = told.map_err(|_| failed(format!("nothing for {} s", READY.as_secs())))?;
        Ok(told.map_err(|error| failed(error.to_string()))?.into_iter().map(tool).collect())
    }

    /// Whether it has said since the last question that its tools have changed.
    pub fn has_changed(&self) -> bool {
        self.handler.take_changed()
    }

    /// Calls a tool. Once `cancel` fires, the server is told that nobody waits any more.
    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: JsonObject,
        most: (Duration, usize),
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> ToolAnswer {
        if cancel.is_cancelled() {
            return ToolAnswer::cancelled();
        }
        let mut params = CallToolRequestParams::new(tool.to_owned());
        params.arguments = Some(arguments);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let options = PeerRequestOptions::no_options();
        let handle = match self.service.send_cancellable_request(request, options).await {
            Ok(handle) => handle,
            Err(error) => return self.failed(&error),
        };
        let (id, token) = (handle.id.clone(), handle.progress_token.clone());
        let heard = self.handler.listen(token, Arc::clone(progress));
        let (deadline, bytes) = most;
        let answer = tokio::select! {
            biased;
            answer = handle.await_response() => match answer {
                Ok(ServerResult::CallToolResult(result)) => ToolAnswer::of(result, bytes),
                Ok(_) => ToolAnswer::words(
                    "the server's answer is of another kind than was asked for".to_owned(),
                    Ending::Fault("answer".to_owned()),
                ),
                Err(error) => self.failed(&error),
            },
            () = cancel.cancelled() => {
                self.give_up(id).await;
                ToolAnswer::cancelled()
            }
            () = tokio::time::sleep(deadline) => {
                self.give_up(id).await;
                ToolAnswer::late(deadline)
            }
        };
        drop(heard);
        answer
    }

    async fn give_up(&self, id: RequestId) {
        let params = CancelledNotificationParam::new(Some(id), None);
        let notification = CancelledNotification::new(params);
        if let Err(error) = self.service.send_notification(notification.into()).await {
            tracing::debug!(%error, server = self.name, "a call could not be taken back");
        }
    }

    fn failed(&self, error: &ServiceError) -> ToolAnswer {
        let text = match error {
            ServiceError::McpError(error) => format!("the call is refused: {}", error.message),
            ServiceError::TransportClosed | ServiceError::TransportSend(_) => {
                format!("the tool server `{}` has ended; its tools are gone", self.name)
            }
            error => format!("the call failed: {error}"),
        };
        ToolAnswer::words(text, Ending::Fault(error.to_string()))
    }

    /// The text of a resource, where the server has it.
    pub async fn resource(&self, uri: &str) -> Option<String> {
        let params = ReadResourceRequestParams::new(uri);
        let read = self.service.peer().read_resource(params).await;
        let read =
            read.inspect_err(|error| tracing::debug!(%error, uri, "no such resource")).ok()?;
        match read.contents.into_iter().next() {
            Some(ResourceContents::TextResourceContents { text, .. }) => Some(text),
            _ => None,
        }
    }

    /// Ends it: its input ends, and if it does not go by itself it is killed.
    pub async fn close(self) {
        if let Err(error) = self.service.cancel().await {
            tracing::debug!(%error, server = self.name, "the connection ended badly");
        }
        if let Some(mut process) = self.process
            && tokio::time::timeout(ENDS, process.wait()).await.is_err()
            && let Err(error) = process.kill().await
        {
            tracing::debug!(%error, server = self.name, "the server could not be killed");
        }
    }
}

fn tool(told: rmcp::model::Tool) -> Tool {
    let hints = told.annotations.as_ref();
    let reads = hints.and_then(|hints| hints.read_only_hint) == Some(true);
    // What says nothing may destroy something: so the protocol has it.
    let destructive = !reads && hints.and_then(|hints| hints.destructive_hint) != Some(false);
    Tool {
        name: told.name.into_owned(),
        description: told.description.unwrap_or_default().into_owned(),
        schema: Value::Object((*told.input_schema).clone()),
        reads,
        destructive,
    }
}
