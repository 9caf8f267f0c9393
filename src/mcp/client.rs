//! An MCP client of husk: of a server in the same process, or of one that serves a host already.
//!
//! The way by which the command line runs cells and asks for sessions. Every call goes through the
//! whole of MCP and the whole stack, as a host's would.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rmcp::{
    ClientHandler, RoleClient, ServiceExt,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, CancelledNotification,
        CancelledNotificationParam, ClientRequest, ContentBlock, CustomRequest,
        ProgressNotificationParam, ProgressToken, ReadResourceRequestParams, RequestId,
        RequestMetaObject, ResourceContents, ServerResult,
    },
    service::{
        NotificationContext, PeerRequestOptions, RequestHandle, RunningService, ServiceError,
    },
    transport::async_rw::AsyncRwTransport,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    Server, identity::REPEAT, progress::STREAM, reset, resources, stop,
    transport::lines::LONGEST_MESSAGE,
};
use crate::{base::ids::SessionName, sandbox::MAX_TIMEOUT};

pub use super::reset::WasReset;

/// Bytes that may be on their way between the two halves.
const PIPE: usize = 1 << 20;

/// How long text that was sent before an answer may still be on its way.
const LATE: Duration = Duration::from_millis(500);

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The two halves did not come together.
    #[error("the server does not shake hands: {0}")]
    Connect(String),
    /// The call failed in the protocol.
    #[error("the call failed")]
    Call(#[source] Box<ServiceError>),
    /// The connection ended first.
    #[error("the server ended before it answered")]
    Gone,
    /// The caller gave it up.
    #[error("the cell was cancelled")]
    Cancelled,
    /// The answer was of another kind.
    #[error("the server's answer is of another kind than was asked for")]
    Answer,
}

/// Sees text as it comes, once, in order.
pub type Print = Arc<dyn Fn(&str) + Send + Sync>;

/// A cell's answer as its client sees it.
#[derive(Debug)]
pub struct CellAnswer {
    /// Text that was not printed while the cell ran.
    pub text: String,
    /// Whether all its text, printed or not, ends within a line.
    pub open_line: bool,
    /// Images: MIME type and base64.
    pub images: Vec<(String, String)>,
    /// Whether the cell failed in any way.
    pub failed: bool,
    /// `structuredContent`.
    pub structured: Value,
}

impl CellAnswer {
    /// How long to wait before the cell may be let through, where it was refused for now.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.structured.get("denied")?.get("retry_after_s")?.as_f64()?;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// A connected client.
pub struct Client {
    service: RunningService<RoleClient, Printer>,
    printer: Printer,
    /// The server in the same process runs as long as its client.
    server: Option<JoinHandle<()>>,
}

impl Client {
    /// A client of the server at the other end of `stream`.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub async fn connect<S>(stream: S, print: Print) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        let transport =
            AsyncRwTransport::new_client(reader, writer).with_max_line_length(LONGEST_MESSAGE);
        let printer = Printer { print, state: Arc::default(), grown: Arc::default() };
        let service = printer
            .clone()
            .serve(transport)
            .await
            .map_err(|error| ClientError::Connect(error.to_string()))?;
        Ok(Self { service, printer, server: None })
    }

    /// A client of a server in the same process, over a pipe in memory.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub async fn within(server: Server, print: Print) -> Result<Self, ClientError> {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let server = tokio::spawn(async move {
            match server.serve(theirs).await {
                Ok(running) => drop(running.waiting().await),
                Err(error) => tracing::error!(%error, "husk's own server did not start"),
            }
        });
        let client = Self::connect(ours, print).await?;
        Ok(Self { server: Some(server), ..client })
    }

    /// The server's sessions, as `sandbox_status` tells them.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn sessions(&self) -> Result<Vec<Value>, ClientError> {
        let params = CallToolRequestParams::new("sandbox_status");
        let handle = self.send(params, PeerRequestOptions::no_options()).await?;
        let result = tool_result(handle.await_response().await)?;
        match result
            .structured_content
            .and_then(|mut told| told.get_mut("sessions").map(Value::take))
        {
            Some(Value::Array(sessions)) => Ok(sessions),
            _ => Err(ClientError::Answer),
        }
    }

    /// Closes the server's breakers and forgets its loops, of one session or of all.
    ///
    /// # Errors
    /// [`ClientError`]; a server takes this only over its user's own socket.
    pub async fn reset_guards(&self, session: Option<&str>) -> Result<WasReset, ClientError> {
        let told = self.ask_as_user(reset::METHOD, session).await?;
        serde_json::from_value(told).map_err(|_| ClientError::Answer)
    }

    /// Ends the kernel of a session.
    ///
    /// # Errors
    /// [`ClientError`]; a server takes this only over its user's own socket.
    pub async fn stop_session(&self, session: &str) -> Result<(), ClientError> {
        self.ask_as_user(stop::METHOD, Some(session)).await.map(drop)
    }

    /// Asks what only this user may ask.
    async fn ask_as_user(&self, method: &str, session: Option<&str>) -> Result<Value, ClientError> {
        let which = json!({ "session": session });
        let request = ClientRequest::CustomRequest(CustomRequest::new(method, Some(which)));
        let handle =
            self.service.send_cancellable_request(request, PeerRequestOptions::no_options());
        match handle.await.map_err(failed)?.await_response().await.map_err(failed)? {
            ServerResult::CustomResult(told) => Ok(told.0),
            _ => Err(ClientError::Answer),
        }
    }

    /// A session's notebook, as it is now.
    ///
    /// # Errors
    /// [`ClientError`], also where nothing is recorded of the session.
    pub async fn notebook(&self, session: &SessionName) -> Result<String, ClientError> {
        let params = ReadResourceRequestParams::new(resources::notebook_uri(session));
        let read = self.service.peer().read_resource(params).await.map_err(failed)?;
        match read.contents.into_iter().next() {
            Some(ResourceContents::TextResourceContents { text, .. }) => Ok(text),
            _ => Err(ClientError::Answer),
        }
    }

    /// Runs a cell, printing its text as it comes. Once `cancel` fires, the cell is stopped, or
    /// does not begin; its session stays.
    ///
    /// # Errors
    /// [`ClientError`]; a cell that failed is an answer.
    pub async fn run_cell(
        &self,
        session: Option<&str>,
        code: &str,
        cancel: &CancellationToken,
    ) -> Result<CellAnswer, ClientError> {
        if cancel.is_cancelled() {
            return Err(ClientError::Cancelled);
        }
        self.printer.begin();
        let mut arguments = json!({ "code": code, "wait": MAX_TIMEOUT });
        if let (Some(session), Some(arguments)) = (session, arguments.as_object_mut()) {
            arguments.insert("session".to_owned(), session.into());
        }
        let mut params = CallToolRequestParams::new("notebook_run_cell");
        params.arguments = arguments.as_object().cloned();
        let mut meta = RequestMetaObject::new();
        meta.0.insert(STREAM.to_owned(), Value::Bool(true));
        // Who writes code into a terminal knows what is repeated.
        meta.0.insert(REPEAT.to_owned(), Value::Bool(true));
        let handle = self.send(params, PeerRequestOptions::no_options().with_meta(meta)).await?;
        self.printer.state().token = Some(handle.progress_token.clone());
        let id = handle.id.clone();
        tokio::select! {
            response = handle.await_response() => Ok(self.answer(tool_result(response)?).await),
            () = cancel.cancelled() => {
                self.cancel(id).await?;
                Err(ClientError::Cancelled)
            }
        }
    }

    async fn send(
        &self,
        params: CallToolRequestParams,
        options: PeerRequestOptions,
    ) -> Result<RequestHandle<RoleClient>, ClientError> {
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        self.service.send_cancellable_request(request, options).await.map_err(failed)
    }

    /// Tells the server that nobody waits for this call any more.
    async fn cancel(&self, id: RequestId) -> Result<(), ClientError> {
        let params = CancelledNotificationParam::new(Some(id), None);
        let notification = CancelledNotification::new(params);
        self.service.send_notification(notification.into()).await.map_err(failed)
    }

    async fn answer(&self, result: CallToolResult) -> CellAnswer {
        let mut texts = Vec::new();
        let mut images = Vec::new();
        for block in result.content {
            match block {
                ContentBlock::Text(text) => texts.push(text.text),
                ContentBlock::Image(image) => images.push((image.mime_type, image.data)),
                _ => {}
            }
        }
        let structured = result.structured_content.unwrap_or(Value::Null);
        let streamed = result.meta.and_then(|mut meta| meta.0.remove(STREAM));
        let (text, printed_open) = match streamed {
            Some(streamed) if structured.get("denied").is_none() => {
                self.printer.rest(&streamed, &structured).await
            }
            // A call that was not carried out.
            _ => (texts.concat(), false),
        };
        let open_line = if text.is_empty() { printed_open } else { !text.ends_with('\n') };
        CellAnswer { text, open_line, images, failed: result.is_error == Some(true), structured }
    }

    /// Ends both halves.
    pub async fn close(self) {
        if let Err(error) = self.service.cancel().await {
            tracing::debug!(%error, "the client ended badly");
        }
        if let Some(server) = self.server {
            server.abort();
        }
    }
}

fn failed(error: ServiceError) -> ClientError {
    match error {
        ServiceError::TransportClosed | ServiceError::TransportSend(_) => ClientError::Gone,
        error => ClientError::Call(Box::new(error)),
    }
}

fn tool_result(
    response: Result<ServerResult, ServiceError>,
) -> Result<CallToolResult, ClientError> {
    match response.map_err(failed)? {
        ServerResult::CallToolResult(result) => Ok(result),
        _ => Err(ClientError::Answer),
    }
}

/// Prints progress in the order of its bytes: notifications may overtake one another.
#[derive(Clone)]
struct Printer {
    print: Print,
    state: Arc<Mutex<Printed>>,
    grown: Arc<Notify>,
}

#[derive(Default)]
struct Printed {
    /// The call under way.
    token: Option<ProgressToken>,
    /// The call before: what comes of it now is late.
    over: Option<ProgressToken>,
    bytes: u64,
    open_line: bool,
    early: BTreeMap<u64, String>,
}

impl Printer {
    fn state(&self) -> MutexGuard<'_, Printed> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        let mut state = self.state();
        let over = state.over.take();
        *state = Printed { over, ..Printed::default() };
    }

    fn take(&self, token: ProgressToken, end: u64, text: String) {
        let mut state = self.state();
        if state.over.as_ref() == Some(&token) {
            return;
        }
        state.token = Some(token);
        state.early.insert(end.saturating_sub(text.len() as u64), text);
        loop {
            let next = state.bytes;
            let Some(text) = state.early.remove(&next) else { return };
            (self.print)(&text);
            state.open_line = !text.ends_with('\n');
            state.bytes += text.len() as u64;
            self.grown.notify_one();
        }
    }

    /// What has to be printed after the text that was printed as it came, and whether that ends
    /// within a line. Text that was sent before the answer may still be being taken in: rmcp hands
    /// over notifications and answers by different tasks. It is not waited for long.
    async fn rest(&self, streamed: &Value, structured: &Value) -> (String, bool) {
        let bytes = streamed.get("bytes").and_then(Value::as_u64).unwrap_or(0);
        let whole = streamed.get("whole").and_then(Value::as_bool) == Some(true);
        let mut arrived = true;
        while arrived && self.state().bytes < bytes {
            arrived = tokio::time::timeout(LATE, self.grown.notified()).await.is_ok();
        }
        let mut state = self.state();
        state.over = state.token.take();
        let open = state.open_line;
        drop(state);
        let mut rest = String::new();
        if !(whole && arrived) {
            rest.push_str("\n[… part of the output could not be shown …]");
        }
        let failed = structured.get("status").and_then(Value::as_str) != Some("ok");
        let lost = structured.get("state_lost").and_then(Value::as_bool) == Some(true);
        let hint = structured.get("hint").and_then(Value::as_str);
        if let Some(hint) = hint.filter(|_| failed || lost) {
            rest.push_str(&format!(
                "{}[{hint}]\n",
                if open || !rest.is_empty() { "\n" } else { "" }
            ));
        }
        (rest, open)
    }
}

impl ClientHandler for Printer {
    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _context: NotificationContext<RoleClient>,
    ) {
        if let Some(text) = params.message {
            self.take(params.progress_token, params.progress as u64, text);
        }
    }
}
