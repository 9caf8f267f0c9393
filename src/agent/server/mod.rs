//! Tool servers: started or reached, asked for their tools, and called. The agent's door to `rmcp`.
//!
//! [`config`] reads which ones there are, `start` starts one, `connection` starts it anew, `answer` is
//! what a call gives, `handler` hears what a server tells and asks on the way.

pub mod answer;
pub mod config;
mod connection;
mod handler;
mod start;

use std::{sync::Arc, time::Duration};

use rmcp::{
    Peer, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CancelledNotification, CancelledNotificationParam,
        ClientRequest, JsonObject, ReadResourceRequestParams, RequestId, ResourceContents,
        ServerResult,
    },
    service::{PeerRequestOptions, ServiceError},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::elicit::Elicit;
use crate::guard::{Answer, Ending};

use answer::ToolAnswer;
use config::Wanted;
use connection::{Connection, Standing};
use handler::Handler;

/// How long a server may take until it is ready, and to tell its tools.
const READY: Duration = Duration::from_secs(60);

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
    /// It ends each time that it is started.
    #[error(
        "the tool server `{name}` has ended {starts} times without an answer, and is left alone"
    )]
    Ends {
        /// The server.
        name: String,
        /// How often it was started anew.
        starts: u32,
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
    connection: Connection,
    handler: Handler,
}

/// Hears how far a call is.
pub(super) type Progress = Arc<dyn Fn(&str) + Send + Sync>;

impl Server {
    /// Starts or reaches a server; `user` is asked what it asks.
    ///
    /// # Errors
    /// [`ServerError`] names the server, and what it wrote last.
    pub async fn connect(
        wanted: Wanted,
        user: Option<Arc<dyn Elicit>>,
    ) -> Result<Self, ServerError> {
        let name = wanted.name.clone();
        let handler = Handler::new(&name, user);
        let connection = Connection::new(wanted, handler.clone(), READY).await?;
        let info = connection.standing().await?.peer.peer_info();
        let named = info.as_ref().and_then(|info| info.server_info.as_ref());
        let is_husk = named.is_some_and(|named| named.name == "husk");
        let instructions = info.as_ref().and_then(|info| info.instructions.clone());
        Ok(Self { name, is_husk, instructions, connection, handler })
    }

    /// Its tools.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn tools(&self) -> Result<Vec<Tool>, ServerError> {
        let failed = |why: String| ServerError::Tools { name: self.name.clone(), why };
        let peer = self.connection.standing().await?.peer;
        let told = tokio::time::timeout(READY, peer.list_all_tools()).await;
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
        let standing = tokio::select! {
            biased;
            () = cancel.cancelled() => return ToolAnswer::cancelled(),
            standing = self.connection.standing() => standing,
        };
        let Standing { peer, anew } = match standing {
            Ok(standing) => standing,
            Err(error) => {
                return ToolAnswer::words(error.to_string(), Ending::Fault(error.to_string()));
            }
        };
        let mut params = CallToolRequestParams::new(tool.to_owned());
        params.arguments = Some(arguments);
        let mut answer = self.answer(&peer, params, most, progress, cancel).await;
        if anew {
            answer.texts.insert(0, format!("[{}]", self.is_anew()));
        }
        answer
    }

    async fn answer(
        &self,
        peer: &Peer<RoleClient>,
        params: CallToolRequestParams,
        (deadline, bytes): (Duration, usize),
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> ToolAnswer {
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let options = PeerRequestOptions::no_options();
        let handle = match peer.send_cancellable_request(request, options).await {
            Ok(handle) => handle,
            Err(error) => return self.failed(&error),
        };
        let id = handle.id.clone();
        let _heard = self.handler.listen(handle.progress_token.clone(), Arc::clone(progress));
        tokio::select! {
            biased;
            answer = handle.await_response() => match answer {
                Ok(answer) => {
                    self.connection.answered();
                    taken(answer, bytes)
                }
                Err(error) => self.failed(&error),
            },
            () = cancel.cancelled() => {
                self.give_up(peer, id).await;
                ToolAnswer::cancelled()
            }
            () = tokio::time::sleep(deadline) => {
                self.give_up(peer, id).await;
                ToolAnswer::late(deadline)
            }
        }
    }

    async fn give_up(&self, peer: &Peer<RoleClient>, id: RequestId) {
        let params = CancelledNotificationParam::new(Some(id), None);
        let notification = CancelledNotification::new(params);
        if let Err(error) = peer.send_notification(notification.into()).await {
            tracing::debug!(%error, server = self.name, "a call could not be taken back");
        }
    }

    fn is_anew(&self) -> String {
        format!(
            "the tool server `{}` had ended and was started anew: what it held is gone",
            self.name
        )
    }

    fn failed(&self, error: &ServiceError) -> ToolAnswer {
        let text = match error {
            ServiceError::McpError(error) => format!("the call is refused: {}", error.message),
            ServiceError::TransportClosed | ServiceError::TransportSend(_) => {
                format!(
                    "the tool server `{}` has ended; whether the call was carried out is not known. The next call starts it anew, without what it held",
                    self.name
                )
            }
            error => format!("the call failed: {error}"),
        };
        ToolAnswer::words(text, Ending::Fault(error.to_string()))
    }

    /// The text of a resource, where the server has it.
    pub async fn resource(&self, uri: &str) -> Option<String> {
        let params = ReadResourceRequestParams::new(uri);
        let peer = self.connection.standing().await;
        let peer =
            peer.inspect_err(|error| tracing::debug!(%error, uri, "not to be read")).ok()?.peer;
        let read = peer.read_resource(params).await;
        let read =
            read.inspect_err(|error| tracing::debug!(%error, uri, "no such resource")).ok()?;
        match read.contents.into_iter().next() {
            Some(ResourceContents::TextResourceContents { text, .. }) => Some(text),
            _ => None,
        }
    }

    /// Ends it.
    pub async fn close(self) {
        self.connection.close().await;
    }
}

fn taken(answer: ServerResult, bytes: usize) -> ToolAnswer {
    match answer {
        ServerResult::CallToolResult(result) => ToolAnswer::of(result, bytes),
        _ => ToolAnswer::words(
            "the server's answer is of another kind than was asked for".to_owned(),
            Ending::Fault("answer".to_owned()),
        ),
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
