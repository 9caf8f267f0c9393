//! A kernel's channels over a gateway's WebSocket, which is made anew when it breaks.
//!
//! A task owns the connection. While there is none, what is to be sent waits; a gateway that keeps what
//! the kernel has said meanwhile (Jupyter Server does, for the same session) sends it then. Whether a
//! message that was under way when the connection broke has arrived is not known: [`Arrival::Again`]
//! tells that it was made anew, and who waits for an answer looks.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::{StatusCode, header};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        error::{ProtocolError, SubProtocolError},
        handshake::client::Request,
        http::HeaderValue,
        protocol::WebSocketConfig,
    },
};

use super::{
    Gateway, GatewayError, KernelId,
    frames::{self, SUBPROTOCOL},
    stream::Stream,
};
use crate::{
    base::{backoff::Backoff, causes},
    kernel::{
        channels::{Arrival, Channel},
        relay, wire,
    },
};

/// How many messages of the kernel wait for the server before the gateway has to wait.
const BACKLOG: usize = 1024;
/// How often the gateway is asked whether it has the kernel still, and pinged.
const CHECK: Duration = Duration::from_secs(5);
/// After how long without a sign of life a connection counts as broken.
const SILENT: Duration = Duration::from_secs(20);
/// How long a connection may take that is made anew.
const ANEW: Duration = Duration::from_secs(20);
/// Between tries.
const AGAIN: Backoff = Backoff {
    first: Duration::from_millis(100),
    factor: 2.0,
    cap: Duration::from_secs(3),
    jitter: 0.25,
    retries: u32::MAX,
};

/// The channels; dropping it closes them. The kernel goes on.
pub(in crate::kernel) struct Socket {
    outgoing: mpsc::UnboundedSender<(Channel, Vec<Bytes>)>,
    arrivals: mpsc::Receiver<Arrival>,
    task: JoinHandle<()>,
}

impl Socket {
    /// Connects to a kernel. `session` stands for husk in the gateway's eyes. Never gives up by itself.
    pub(in crate::kernel) async fn open(
        gateway: Arc<Gateway>,
        id: KernelId,
        session: &str,
        caps: relay::Settings,
    ) -> Result<Self, GatewayError> {
        let (outgoing, inbox) = mpsc::unbounded_channel();
        let (sender, arrivals) = mpsc::channel(BACKLOG);
        let session = session.to_owned();
        let line = Line { gateway, id, session, caps, outgoing: inbox, arrivals: sender };
        let live = line.connect().await?;
        let task = tokio::spawn(line.run(live));
        Ok(Self { outgoing, arrivals, task })
    }

    /// Sends a message, or keeps it until there is a connection; whether anybody does.
    pub(in crate::kernel) fn send(&self, channel: Channel, frames: Vec<Bytes>) -> bool {
        self.outgoing.send((channel, frames)).is_ok()
    }

    /// The next thing that came. Cancel-safe.
    pub(in crate::kernel) async fn next(&mut self) -> Arrival {
        match self.arrivals.recv().await {
            Some(arrival) => arrival,
            // That it is lost was the last word.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection.
struct Live {
    websocket: WebSocketStream<Stream>,
    /// Whether the gateway knows the subprotocol.
    binary: bool,
}

/// What the task owns beside the connection.
struct Line {
    gateway: Arc<Gateway>,
    id: KernelId,
    session: String,
    caps: relay::Settings,
    outgoing: mpsc::UnboundedReceiver<(Channel, Vec<Bytes>)>,
    arrivals: mpsc::Sender<Arrival>,
}

/// Why a connection is no more.
enum End {
    /// Nobody wants it.
    Unwanted,
    /// It broke.
    Broken(String),
    /// There is no kernel at its end.
    Gone(GatewayError),
}

impl Line {
    async fn run(mut self, mut live: Live) {
        loop {
            let why = match self.carry(&mut live).await {
                End::Unwanted => return,
                End::Gone(error) => return self.lost(&error).await,
                End::Broken(why) => why,
            };
            tracing::warn!(kernel = %self.id, why, "the connection to the gateway broke");
            drop(live);
            live = match self.anew().await {
                Ok(live) => live,
                Err(error) => return self.lost(&error).await,
            };
            tracing::info!(kernel = %self.id, "the connection to the gateway is made anew");
            if self.arrivals.send(Arrival::Again).await.is_err() {
                return;
            }
        }
    }

    async fn lost(self, error: &GatewayError) {
        // Nobody may listen any more.
        let _ = self.arrivals.send(Arrival::Lost(causes::told(error, ": "))).await;
    }

    /// Passes messages on until the connection ends.
    async fn carry(&mut self, live: &mut Live) -> End {
        let mut heard = Instant::now();
        let (gateway, id) = (Arc::clone(&self.gateway), self.id.clone());
        let check = async || {
            sleep(CHECK).await;
            gateway.knows(&id).await
        };
        let mut checked = Box::pin(check());
        loop {
            tokio::select! {
                message = live.websocket.next() => {
                    heard = Instant::now();
                    let arrival = match arrived(message) {
                        Ok(None) => continue,
                        Ok(Some(arrival)) => arrival,
                        Err(end) => return end,
                    };
                    if self.arrivals.send(arrival).await.is_err() {
                        return End::Unwanted;
                    }
                }
                outgoing = self.outgoing.recv() => {
                    let Some((channel, frames)) = outgoing else { return End::Unwanted };
                    if let Err(why) = live.send(channel, &frames).await {
                        return End::Broken(why);
                    }
                }
                known = &mut checked => {
                    match known {
                        Ok(true) => {}
                        Ok(false) => return End::Gone(GatewayError::Unknown(self.gateway.url().to_owned())),
                        // As long as messages come all is well; a token that has expired is told by
                        // the next thing that needs it.
                        Err(error) => tracing::warn!(%error, kernel = %self.id, "cannot ask for the kernel"),
                    }
                    if heard.elapsed() > SILENT {
                        return End::Broken(format!("nothing has come for {} s", SILENT.as_secs()));
                    }
                    if let Err(why) = live.pass(Message::Ping(Bytes::new())).await {
                        return End::Broken(why);
                    }
                    checked = Box::pin(check());
                }
            }
        }
    }

    /// A new connection, as long as the gateway may be away.
    async fn anew(&self) -> Result<Live, GatewayError> {
        let began = Instant::now();
        let mut tries = 0;
        loop {
            let late = |_| GatewayError::Late {
                url: self.gateway.url().to_owned(),
                seconds: ANEW.as_secs_f64(),
            };
            let error = match timeout(ANEW, self.connect()).await.map_err(late).flatten() {
                Ok(live) => return Ok(live),
                Err(error) => error,
            };
            if !error.passes() || began.elapsed() > self.gateway.patience {
                return Err(error);
            }
            sleep(AGAIN.delay(tries, 0.5)).await;
            tries += 1;
        }
    }

    async fn connect(&self) -> Result<Live, GatewayError> {
        match self.shake_hands(true).await? {
            Some(live) => Ok(live),
            None => self.shake_hands(false).await?.ok_or_else(|| GatewayError::NoGateway {
                url: self.gateway.url().to_owned(),
                why: "it chose a subprotocol that was not offered".to_owned(),
            }),
        }
    }

    /// A connection; none if the gateway does not know the subprotocol that is offered.
    async fn shake_hands(&self, offer: bool) -> Result<Option<Live>, GatewayError> {
        let url = || self.gateway.url().to_owned();
        let request = self
            .request(offer)
            .map_err(|why| GatewayError::NoGateway { url: url(), why: why.to_string() })?;
        let most = usize::try_from(self.caps.max_message_bytes).ok();
        let config = WebSocketConfig::default().max_message_size(most).max_frame_size(most);
        let stream = self.gateway.connection().await?;
        match client_async_with_config(request, stream, Some(config)).await {
            Ok((websocket, _)) => Ok(Some(Live { websocket, binary: offer })),
            Err(tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(
                SubProtocolError::NoSubProtocol,
            ))) => Ok(None),
            Err(tungstenite::Error::Http(answer)) => {
                let body = answer.body().as_deref().unwrap_or_default();
                let asked = format!("GET /api/kernels/{}/channels", self.id);
                let status = StatusCode::from_u16(answer.status().as_u16());
                let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
                Err(self.gateway.refused(&asked, status, body))
            }
            Err(tungstenite::Error::Io(source)) => Err(GatewayError::Reach { url: url(), source }),
            Err(other) => Err(GatewayError::NoGateway { url: url(), why: other.to_string() }),
        }
    }

    fn request(&self, offer: bool) -> Result<Request, tungstenite::Error> {
        let (url, authorization) = self.gateway.socket(&self.id, &self.session);
        let mut request = url.into_client_request()?;
        if let Some(authorization) = authorization {
            let mut value = HeaderValue::try_from(authorization)
                .map_err(|error| tungstenite::Error::HttpFormat(error.into()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        if offer {
            let value = HeaderValue::from_static(SUBPROTOCOL);
            request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
        Ok(request)
    }
}

impl Live {
    async fn send(&mut self, channel: Channel, frames: &[Bytes]) -> Result<(), String> {
        let parts = wire::parts(frames);
        let message = match self.binary {
            true => Some(Message::Binary(frames::encode(channel, parts).into())),
            false => frames::encode_text(channel, parts).map(|text| Message::Text(text.into())),
        };
        match message {
            Some(message) => self.pass(message).await,
            // What husk writes is JSON in four parts.
            None => Ok(()),
        }
    }

    async fn pass(&mut self, message: Message) -> Result<(), String> {
        match timeout(SILENT, self.websocket.send(message)).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_elapsed) => Err(format!("it takes nothing for {} s", SILENT.as_secs())),
        }
    }
}

/// What a WebSocket's message is, if it is one of the kernel's.
fn arrived(message: Option<Result<Message, tungstenite::Error>>) -> Result<Option<Arrival>, End> {
    let decoded = match message {
        Some(Ok(Message::Binary(text))) => {
            frames::decode(&text).or_else(|| frames::decode_with_buffers(&text))
        }
        Some(Ok(Message::Text(text))) => frames::decode_text(text.as_bytes()),
        Some(Ok(Message::Close(frame))) => {
            let why = frame.map_or_else(String::new, |frame| format!(": {frame}"));
            return Err(End::Broken(format!("the gateway closed it{why}")));
        }
        Some(Ok(_)) => return Ok(None),
        Some(Err(error)) => return Err(End::Broken(error.to_string())),
        None => return Err(End::Broken("the gateway closed it".to_owned())),
    };
    if decoded.is_none() {
        tracing::warn!("dropped a message of the gateway that is no kernel's");
    }
    Ok(decoded.map(|(channel, frames)| Arrival::of(channel, frames)))
}
