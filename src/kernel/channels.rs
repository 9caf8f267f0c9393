//! A kernel's four channels as `zeromq` sockets behind their relays.
//!
//! Opens them and says which message came from which; what messages mean is decided elsewhere.

use std::{io, path::Path, str::FromStr, time::Duration};

use bytes::Bytes;
use tokio::task::JoinSet;
use zeromq::{
    DealerSocket, ReqSocket, Socket, SocketOptions, SocketRecv, SocketSend, SubSocket, ZmqError,
    ZmqMessage, util::PeerIdentity,
};

use super::{
    connection::Connection,
    relay::{self, END, Ended, Endpoint, Relay},
};

/// How often a starting kernel is looked at for its sockets: nothing tells that a socket is there.
const LOOK: Duration = Duration::from_millis(2);

/// Why channels could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The relay could not be set up.
    #[error("cannot connect to the kernel's {channel} channel")]
    Relay {
        /// The channel.
        channel: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// `zeromq` refused.
    #[error("cannot open the kernel's {channel} channel")]
    Socket {
        /// The channel.
        channel: &'static str,
        /// The cause.
        source: ZmqError,
    },
}

/// A channel of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Shell,
    Control,
    Stdin,
    /// On which nothing is sent.
    #[cfg(feature = "gateway")]
    Iopub,
}

#[cfg(feature = "gateway")]
impl Channel {
    const ALL: [Self; 4] = [Self::Shell, Self::Control, Self::Stdin, Self::Iopub];

    /// Its name.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Control => "control",
            Self::Stdin => "stdin",
            Self::Iopub => "iopub",
        }
    }

    /// The channel of that name.
    pub(super) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.word() == word)
    }
}

/// What came from a kernel.
pub(super) enum Arrival {
    Shell(Vec<Bytes>),
    Control(Vec<Bytes>),
    /// The kernel asks something.
    Stdin(Vec<Bytes>),
    Iopub(Vec<Bytes>),
    /// All that the kernel had published has been read.
    IopubEnd,
    /// The relay of a channel ended.
    Ended(&'static str, Ended),
    /// The connection had broken and is made anew: what was under way then may not have arrived.
    #[cfg(feature = "gateway")]
    Again,
    /// The kernel cannot be talked to any more, and why.
    #[cfg(feature = "gateway")]
    Lost(String),
}

#[cfg(feature = "gateway")]
impl Arrival {
    /// A message of that channel.
    pub(super) fn of(channel: Channel, frames: Vec<Bytes>) -> Self {
        match channel {
            Channel::Shell => Self::Shell(frames),
            Channel::Control => Self::Control(frames),
            Channel::Stdin => Self::Stdin(frames),
            Channel::Iopub => Self::Iopub(frames),
        }
    }
}

/// The open channels; dropping them closes all.
pub(super) struct Channels {
    shell: DealerSocket,
    control: DealerSocket,
    stdin: DealerSocket,
    /// Gone once its relay has ended: `zeromq` would connect again, to whoever listens there then.
    iopub: Option<SubSocket>,
    relays: JoinSet<(&'static str, Ended)>,
}

impl Channels {
    /// Waits for the kernel's sockets and connects. Never gives up by itself: the caller races it
    /// against the kernel's death and a deadline.
    pub(super) async fn open(
        connection: &Connection,
        caps: relay::Settings,
        identity: &str,
    ) -> Result<Self, OpenError> {
        let mut relays = JoinSet::new();
        let mut url = async |channel, endpoint: &Endpoint| {
            let inner = connection.inner.join(channel);
            let relay = listening(channel, caps, endpoint, &inner)
                .await
                .map_err(|source| OpenError::Relay { channel, source })?;
            relays.spawn(async move { (channel, relay.run().await) });
            Ok(format!("ipc://{}", inner.display()))
        };
        let iopub_url = url("iopub", &connection.iopub).await?;
        let shell_url = url("shell", &connection.shell).await?;
        let control_url = url("control", &connection.control).await?;
        let failed = |channel| move |source| OpenError::Socket { channel, source };
        let mut iopub = SubSocket::new();
        iopub.connect(&iopub_url).await.map_err(failed("iopub"))?;
        iopub.subscribe("").await.map_err(failed("iopub"))?;
        let stdin_url = url("stdin", &connection.stdin).await?;
        // The kernel asks on stdin whoever sent the request on shell: both bear one identity.
        let dealer = async |channel, url: &str| {
            let identity = PeerIdentity::from_str(identity).map_err(failed(channel))?;
            let mut options = SocketOptions::default();
            options.peer_identity(identity);
            let mut socket = DealerSocket::with_options(options);
            socket.connect(url).await.map_err(failed(channel))?;
            Ok(socket)
        };
        let shell = dealer("shell", &shell_url).await?;
        let control = dealer("control", &control_url).await?;
        let stdin = dealer("stdin", &stdin_url).await?;
        Ok(Self { shell, control, stdin, iopub: Some(iopub), relays })
    }

    /// The next thing that came. Cancel-safe: each `recv` takes a whole message or nothing.
    pub(super) async fn next(&mut self) -> Arrival {
        loop {
            let iopub = async {
                match &mut self.iopub {
                    Some(iopub) => iopub.recv().await,
                    None => std::future::pending().await,
                }
            };
            // What the kernel had published is read before the end of its relay is looked at.
            tokio::select! {
                biased;
                message = iopub => match frames(message) {
                    Some(frames) if is_end(&frames) => {
                        self.iopub = None;
                        return Arrival::IopubEnd;
                    }
                    Some(frames) => return Arrival::Iopub(frames),
                    None => self.iopub = None,
                },
                message = self.shell.recv() => match frames(message) {
                    Some(frames) if !is_end(&frames) => return Arrival::Shell(frames),
                    _ => {}
                },
                message = self.control.recv() => match frames(message) {
                    Some(frames) if !is_end(&frames) => return Arrival::Control(frames),
                    _ => {}
                },
                message = self.stdin.recv() => match frames(message) {
                    Some(frames) if !is_end(&frames) => return Arrival::Stdin(frames),
                    _ => {}
                },
                Some(ended) = self.relays.join_next() => if let Ok((channel, ended)) = ended {
                    if channel == "iopub" {
                        self.iopub = None;
                    }
                    return Arrival::Ended(channel, ended);
                },
            }
        }
    }

    pub(super) async fn send(
        &mut self,
        channel: Channel,
        frames: Vec<Bytes>,
    ) -> Result<(), ZmqError> {
        let socket = match channel {
            Channel::Shell => &mut self.shell,
            Channel::Control => &mut self.control,
            Channel::Stdin => &mut self.stdin,
            #[cfg(feature = "gateway")]
            Channel::Iopub => return Err(ZmqError::NoMessage),
        };
        let message = ZmqMessage::try_from(frames).map_err(|_| ZmqError::NoMessage)?;
        socket.send(message).await
    }
}

/// Asks the kernel's heartbeat for an echo. It answers also while a cell runs. Never gives up by
/// itself.
pub(super) async fn heartbeat(
    connection: &Connection,
    caps: relay::Settings,
) -> Result<bool, OpenError> {
    const CHANNEL: &str = "heartbeat";
    let relay = |source| OpenError::Relay { channel: CHANNEL, source };
    let failed = |source| OpenError::Socket { channel: CHANNEL, source };
    let inner = connection.inner.join("hb");
    let opened = listening(CHANNEL, caps, &connection.heartbeat, &inner).await.map_err(relay)?;
    let echo = async {
        let mut socket = ReqSocket::new();
        socket.connect(&format!("ipc://{}", inner.display())).await?;
        socket.send(ZmqMessage::from("husk")).await?;
        let answer = socket.recv().await?;
        Ok(answer.into_vec().iter().any(|frame| frame.as_ref() == b"husk"))
    };
    tokio::select! {
        echo = echo => echo.map_err(failed),
        _ended = opened.run() => Ok(false),
    }
}

/// A failed `recv` is the end of a connection, which its relay tells better.
fn frames(message: Result<ZmqMessage, ZmqError>) -> Option<Vec<Bytes>> {
    match message {
        Ok(message) => Some(message.into_vec()),
        Err(error) => {
            tracing::debug!(%error, "a kernel socket closed");
            None
        }
    }
}

fn is_end(frames: &[Bytes]) -> bool {
    matches!(frames, [only] if only.as_ref() == END)
}

async fn listening(
    channel: &'static str,
    caps: relay::Settings,
    endpoint: &Endpoint,
    inner: &Path,
) -> io::Result<Relay> {
    loop {
        match Relay::open(channel, caps, endpoint, inner).await {
            Err(error) if not_yet(&error) => tokio::time::sleep(LOOK).await,
            other => return other,
        }
    }
}

fn not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}
