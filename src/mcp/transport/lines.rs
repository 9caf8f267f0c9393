//! MCP as lines of JSON over two streams of bytes: what standard input and output and the local
//! socket have in common.
//!
//! rmcp's transport, with two additions: calls keep their order, and the end of input is told at
//! once. rmcp itself would go on for up to five seconds for calls under way, while hosts kill what
//! does not go within two.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use rmcp::{
    RoleServer, ServiceExt,
    service::{RunningService, ServerInitializeError},
    transport::async_rw::AsyncRwTransport,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::mcp::{Server, order::Ordered};

/// Longest message in bytes. rmcp's default, 16 MiB, is less than a large code string, and what is
/// longer is dropped without an answer.
pub(in crate::mcp) const LONGEST_MESSAGE: usize = 256 << 20;

/// How long calls under way may still answer after the end of input.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Why serving ended badly.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// The first message was no MCP.
    #[error("the first message is no MCP request")]
    Handshake(#[source] Box<ServerInitializeError>),
    /// The task that served broke.
    #[error("the task that served broke")]
    Broke(#[source] tokio::task::JoinError),
}

/// Serves until the input ends or `stop` fires; calls that are under way then are cancelled.
/// Kernels are not ended here.
///
/// # Errors
/// [`LinesError`]. A client that only looked (connected and left) is not an error.
pub(super) async fn serve<R, W>(
    server: Server,
    (reader, writer): (R, W),
    stop: CancellationToken,
) -> Result<(), LinesError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let ended = CancellationToken::new();
    let reader = TellsItsEnd { reader, ended: ended.clone() };
    let transport =
        AsyncRwTransport::new_server(reader, writer).with_max_line_length(LONGEST_MESSAGE);
    let running = tokio::select! {
        running = server.serve(Ordered::new(transport)) => running,
        () = stop.cancelled() => return Ok(()),
    };
    let running = match running {
        Ok(running) => running,
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(LinesError::Handshake(Box::new(error))),
    };
    until_the_end(running, ended, stop).await
}

async fn until_the_end(
    running: RunningService<RoleServer, Server>,
    ended: CancellationToken,
    stop: CancellationToken,
) -> Result<(), LinesError> {
    let cut = running.cancellation_token();
    let mut waiting = std::pin::pin!(running.waiting());
    let done = tokio::select! {
        done = &mut waiting => Some(done),
        () = stop.cancelled() => None,
        () = ended.cancelled() => tokio::time::timeout(LAST_ANSWERS, &mut waiting).await.ok(),
    };
    match done {
        Some(done) => done.map(drop).map_err(LinesError::Broke),
        None => {
            cut.cancel();
            Ok(())
        }
    }
}

/// A reader that fires a token at its end.
struct TellsItsEnd<R> {
    reader: R,
    ended: CancellationToken,
}

impl<R: AsyncRead + Unpin> AsyncRead for TellsItsEnd<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.reader).poll_read(cx, buf);
        let over = match &read {
            Poll::Ready(Ok(())) => buf.filled().len() == before && buf.remaining() > 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if over {
            self.ended.cancel();
        }
        read
    }
}
