//! The relay between a kernel's socket and the server's: nothing reaches `zeromq` unchecked.
//!
//! `zeromq` reserves whatever frame length its peer announces, and code in a cell can write to the
//! kernel's own sockets: nine bytes would abort the server. So each channel runs through one
//! [`Relay`] task: kernel → [`frames::Inspector`] → a socket that only the server can reach. It
//! also keeps reading from the kernel, up to [`BACKLOG`], while the server is busy elsewhere.
//! It knows nothing of Jupyter.

pub mod frames;

use std::{collections::VecDeque, io, path::Path};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixListener, UnixStream},
};

use frames::{Breach, Inspector};

/// How much of a kernel's output waits in memory for the server before the kernel has to wait,
/// in bytes.
pub const BACKLOG: usize = 8 * 1024 * 1024;
/// What is read at once, and given back at once when it has been passed on, in bytes.
const CHUNK: usize = 64 * 1024;

/// The message that the relay puts in when the kernel's side has ended: all that the kernel had
/// sent stands before it. A kernel that forges it only cuts itself short.
pub const END: &[u8] = b"husk:end";

/// What a kernel may send over its sockets.
#[derive(
    Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Largest single ZeroMQ frame in bytes; a kernel that announces more is ended.
    pub max_frame_bytes: u64,
    /// Largest message (all its frames) in bytes.
    pub max_message_bytes: u64,
    /// Most frames in one message.
    pub max_parts: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_frame_bytes: 256 << 20, max_message_bytes: 256 << 20, max_parts: 1024 }
    }
}

impl Settings {
    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        for (field, value) in [
            ("max_frame_bytes", self.max_frame_bytes),
            ("max_message_bytes", self.max_message_bytes),
        ] {
            if value < 1 << 20 {
                faults.push((field, format!("must be at least 1048576 (1 MiB), not {value}")));
            }
        }
        if self.max_parts < 16 {
            faults.push(("max_parts", format!("must be at least 16, not {}", self.max_parts)));
        }
        faults
    }
}

/// Where a kernel listens on one channel.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Endpoint {
    /// A unix socket.
    Ipc(std::path::PathBuf),
    /// An address of this machine, or one that a connection file names.
    Tcp(std::net::SocketAddr),
}

/// Why a relay ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The kernel closed its side.
    #[error("the kernel closed the connection")]
    Kernel,
    /// The server closed its side.
    #[error("the server closed the connection")]
    Server,
    /// The kernel announced what no honest kernel announces.
    #[error("the kernel's {channel} channel {breach}")]
    Breach {
        /// The channel's name.
        channel: &'static str,
        /// What it announced.
        breach: Breach,
    },
    /// A read or write failed.
    #[error("the kernel's {channel} channel broke")]
    Io {
        /// The channel's name.
        channel: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// One connected channel, before bytes move.
pub struct Relay {
    channel: &'static str,
    caps: Settings,
    kernel: Box<dyn Stream>,
    listener: UnixListener,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Relay {
    /// Connects to the kernel's `endpoint` and listens at `inner` for the server.
    ///
    /// # Errors
    /// When the kernel does not listen (yet), or `inner` cannot be bound.
    pub async fn open(
        channel: &'static str,
        caps: Settings,
        endpoint: &Endpoint,
        inner: &Path,
    ) -> io::Result<Self> {
        let kernel: Box<dyn Stream> = match endpoint {
            Endpoint::Ipc(path) => {
                must_be_socket(path)?;
                Box::new(UnixStream::connect(path).await?)
            }
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        };
        let listener = UnixListener::bind(inner)?;
        Ok(Self { channel, caps, kernel, listener })
    }

    /// Accepts the server's one connection and moves bytes until an end or a breach.
    pub async fn run(self) -> Ended {
        let Self { channel, caps, kernel, listener } = self;
        let server = match listener.accept().await {
            Ok((server, _)) => server,
            Err(source) => return Ended::Io { channel, source },
        };
        drop(listener);
        let (from_kernel, to_kernel) = tokio::io::split(kernel);
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            ended = outward(channel, caps, from_kernel, to_server) => ended,
            ended = inward(channel, from_server, to_kernel) => ended,
        }
    }
}

/// A hostile cell may have replaced the socket by a link to another.
fn must_be_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    if std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is not a socket", path.display())))
}

/// Kernel → server: checked, buffered, closed with [`END`].
async fn outward(
    channel: &'static str,
    caps: Settings,
    mut kernel: impl AsyncRead + Unpin,
    mut server: impl AsyncWrite + Unpin,
) -> Ended {
    let io = |source| Ended::Io { channel, source };
    let mut inspector = Inspector::new(caps);
    // Pieces of shared chunks: nothing is copied, and a backlog takes no more than its size.
    let mut waiting = VecDeque::<BytesMut>::new();
    let mut backlog = 0;
    let mut chunk = BytesMut::new();
    loop {
        if chunk.capacity() < CHUNK / 8 {
            chunk.reserve(CHUNK);
        }
        let next = waiting.front().map_or(&[][..], |piece| piece);
        tokio::select! {
            biased;
            wrote = server.write(next), if !next.is_empty() => match wrote {
                Ok(0) => return Ended::Server,
                Ok(n) => {
                    backlog -= n;
                    pass(&mut waiting, n);
                }
                Err(source) => return io(source),
            },
            read = kernel.read_buf(&mut chunk), if backlog < BACKLOG => match read {
                Ok(0) => break,
                Ok(n) => {
                    if let Err(breach) = inspector.feed(&chunk) {
                        return Ended::Breach { channel, breach };
                    }
                    backlog += n;
                    waiting.push_back(chunk.split());
                }
                Err(_reset) => break,
            },
        }
    }
    if inspector.between_messages() {
        waiting.push_back([&[0, END.len() as u8], END].concat().as_slice().into());
    }
    for piece in waiting {
        if let Err(source) = server.write_all(&piece).await {
            return io(source);
        }
    }
    Ended::Kernel
}

/// Takes away `n` bytes of the first piece.
fn pass(waiting: &mut VecDeque<BytesMut>, n: usize) {
    if let Some(piece) = waiting.front_mut() {
        piece.advance(n);
        if piece.is_empty() {
            waiting.pop_front();
        }
    }
}

/// Server → kernel: the server is trusted.
async fn inward(
    channel: &'static str,
    mut server: impl AsyncRead + Unpin,
    mut kernel: impl AsyncWrite + Unpin,
) -> Ended {
    match tokio::io::copy(&mut server, &mut kernel).await {
        Ok(_) => Ended::Server,
        // The kernel's end is told by the outward half, after what it had sent.
        Err(_broken_pipe) => {
            tracing::debug!(channel, "the kernel no longer reads");
            std::future::pending().await
        }
    }
}
