//! What carries a kernel's messages: ZeroMQ's sockets of this machine, or a gateway's WebSocket.

use bytes::Bytes;
use zeromq::ZmqError;

use super::channels::{Arrival, Channel, Channels};
#[cfg(feature = "gateway")]
use super::gateway::socket::Socket;

/// See the module's documentation. Dropping it closes all channels.
pub(super) enum Carrier {
    Sockets(Box<Channels>),
    #[cfg(feature = "gateway")]
    Gateway(Socket),
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The socket does not take it.
    #[error(transparent)]
    Socket(ZmqError),
    /// Nobody takes it any more.
    #[cfg(feature = "gateway")]
    #[error("the connection to the gateway has ended")]
    Gateway,
}

impl Carrier {
    /// The next thing that came. Cancel-safe.
    pub(super) async fn next(&mut self) -> Arrival {
        match self {
            Self::Sockets(channels) => channels.next().await,
            #[cfg(feature = "gateway")]
            Self::Gateway(socket) => socket.next().await,
        }
    }

    /// Sends a message, whose frames are a [`super::wire::Codec`]'s.
    pub(super) async fn send(
        &mut self,
        channel: Channel,
        frames: Vec<Bytes>,
    ) -> Result<(), SendError> {
        match self {
            Self::Sockets(channels) => {
                channels.send(channel, frames).await.map_err(SendError::Socket)
            }
            #[cfg(feature = "gateway")]
            Self::Gateway(socket) => {
                if socket.send(channel, frames) {
                    Ok(())
                } else {
                    Err(SendError::Gateway)
                }
            }
        }
    }

    /// Whether a gateway speaks for the kernel: it also tells that the kernel has died.
    #[cfg(feature = "gateway")]
    pub(super) fn is_gateway(&self) -> bool {
        !matches!(self, Self::Sockets(_))
    }
}
