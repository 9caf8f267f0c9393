//! The older transport: `GET /sse` opens a stream of events and tells where to `POST` messages to.
//!
//! For hosts that know nothing else; rmcp has it no more. A link lives as long as its stream, and only
//! its own user can post to it: each user's links are a map of their own.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use rmcp::{
    RoleServer, ServiceExt,
    model::{ClientJsonRpcMessage, GetExtensions, ServerJsonRpcMessage},
    service::ServerInitializeError,
    transport::Transport,
};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    base::ids,
    mcp::{Server, order::Ordered},
};

/// Messages on their way in each direction; a client that does not read stops its own link.
const WAITING: usize = 64;
/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A user's links.
#[derive(Clone)]
pub(super) struct Links {
    all: Arc<Mutex<HashMap<String, mpsc::Sender<ClientJsonRpcMessage>>>>,
    most: usize,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    #[error("no such link: open one with GET /sse")]
    Unknown,
    #[error("there are too many links; close one (`http.max_sessions`)")]
    Full,
}

/// The server's end of a link.
struct Link {
    incoming: mpsc::Receiver<ClientJsonRpcMessage>,
    outgoing: Option<mpsc::Sender<ServerJsonRpcMessage>>,
}

impl Transport<RoleServer> for Link {
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let outgoing = self.outgoing.clone();
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        async move { outgoing.ok_or_else(gone)?.send(message).await.map_err(|_| gone()) }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        self.incoming.recv().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.outgoing = None;
        self.incoming.close();
        Ok(())
    }
}

/// The link ends with its stream.
struct Open {
    links: Links,
    id: String,
    _server: DropGuard,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.links.locked().remove(&self.id);
    }
}

impl Links {
    pub(super) fn new(most: usize) -> Self {
        Self { all: Arc::default(), most }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<ClientJsonRpcMessage>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.locked().len()
    }

    /// Opens a link to `server`, which ends when the client goes, or at `end`.
    pub(super) fn open(
        &self,
        server: Server,
        end: &CancellationToken,
    ) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>> + use<>>, NotTaken> {
        let (to_server, incoming) = mpsc::channel(WAITING);
        let (outgoing, from_server) = mpsc::channel(WAITING);
        let id = ids::random_hex(16);
        {
            let mut all = self.locked();
            // A link that cannot be told from another is none.
            if id.is_empty() || all.len() >= self.most {
                return Err(NotTaken::Full);
            }
            all.insert(id.clone(), to_server);
        }
        let stop = end.child_token();
        let open = Open { links: self.clone(), id: id.clone(), _server: stop.clone().drop_guard() };
        let link = Ordered::new(Link { incoming, outgoing: Some(outgoing) });
        // Ends with the link, or with the server.
        tokio::spawn(converse(server, link, stop.clone()));
        Ok(events(id, from_server, open, stop))
    }

    /// Hands a message to the server's end of a link.
    pub(super) async fn post(
        &self,
        id: &str,
        mut message: ClientJsonRpcMessage,
        parts: axum::http::request::Parts,
    ) -> Result<(), NotTaken> {
        let link = self.locked().get(id).cloned().ok_or(NotTaken::Unknown)?;
        if let ClientJsonRpcMessage::Request(request) = &mut message {
            request.request.extensions_mut().insert(parts);
        }
        link.send(message).await.map_err(|_| NotTaken::Unknown)
    }
}

async fn converse(server: Server, link: Ordered<Link>, stop: CancellationToken) {
    match server.serve_with_ct(link, stop).await {
        Ok(running) => {
            if let Err(error) = running.waiting().await {
                tracing::error!(%error, "the task of an SSE link broke");
            }
        }
        Err(ServerInitializeError::ConnectionClosed(_)) => {}
        Err(error) => tracing::debug!(%error, "an SSE link shook no hands"),
    }
}

fn events(
    id: String,
    from_server: mpsc::Receiver<ServerJsonRpcMessage>,
    open: Open,
    stop: CancellationToken,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let place = format!("/messages?sessionId={id}");
    let first = stream::once(async move { Ok(Event::default().event("endpoint").data(place)) });
    let rest = stream::unfold((from_server, open), |(mut from_server, open)| async move {
        let message = from_server.recv().await?;
        Some((message, (from_server, open)))
    });
    let rest = rest.map(|message| {
        let event = Event::default().event("message");
        // What rmcp makes can be written; should it not, the client sees an event without data.
        Ok(event.json_data(&message).unwrap_or_default())
    });
    let events = first.chain(rest).take_until(stop.cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT))
}
