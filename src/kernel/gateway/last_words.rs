//! What a server says before it hangs up.
//!
//! A server that wants no TLS with husk says why, and hangs up, while husk still writes: the system then refuses the
//! write, though the reason has arrived and can be read. So that write counts as done, and reading goes on to the end.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that is read to its end when nothing can be written any more, while it opens.
pub(super) struct LastWords<S> {
    inner: S,
    opens: bool,
    /// Why nothing can be written.
    refused: Option<io::Error>,
}

impl<S> LastWords<S> {
    pub(super) const fn new(inner: S) -> Self {
        Self { inner, opens: true, refused: None }
    }

    /// From here on a write that fails has failed.
    pub(super) const fn opened(&mut self) {
        self.opens = false;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LastWords<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        let over = read.is_err() || buffer.filled().len() == before;
        Poll::Ready(self.refused.take_if(|_| over).map_or(read, Err))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LastWords<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let gone = |error: &io::Error| {
            matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
        };
        match ready!(Pin::new(&mut self.inner).poll_write(context, bytes)) {
            Err(error) if self.opens && gone(&error) => {
                self.refused.get_or_insert(error);
                Poll::Ready(Ok(bytes.len()))
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// A connection whose server has said `why` and hung up, with something of husk's unread.
    async fn hung_up() -> LastWords<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(b"hello").await.unwrap();
        server.readable().await.unwrap();
        server.write_all(b"why").await.unwrap();
        drop(server);
        client.readable().await.unwrap();
        LastWords::new(client)
    }

    #[tokio::test]
    async fn the_reason_is_heard_and_then_the_end_is_told() {
        let mut stream = hung_up().await;
        for _ in 0..3 {
            stream.write_all(b"more").await.unwrap();
        }
        let mut heard = Vec::new();
        let end = stream.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!(heard, b"why");
        assert!(matches!(end.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{end}");
    }

    #[tokio::test]
    async fn once_it_is_open_a_write_that_fails_has_failed() {
        let mut stream = hung_up().await;
        stream.opened();
        stream.write_all(b"more").await.unwrap_err();
    }
}
