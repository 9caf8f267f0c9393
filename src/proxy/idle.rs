//! A stream that can be seen to stand still.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How often something has come or gone.
#[derive(Debug, Clone, Default)]
pub(super) struct Moves(Arc<AtomicU64>);

impl Moves {
    fn moved(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Resolves when nothing has come or gone for so long, or up to twice as long.
    pub(super) async fn stopped(&self, silence: Duration) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(silence).await;
            let now = self.0.load(Ordering::Relaxed);
            if now == seen {
                return;
            }
            seen = now;
        }
    }
}

/// A stream whose moves are counted.
pub(super) struct Counted<S> {
    pub(super) stream: S,
    pub(super) moves: Moves,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            this.moves.moved();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        this.moves.moved();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::Instant,
    };

    use super::*;

    const SILENCE: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn a_stream_on_which_something_moves_is_not_still() {
        let (near, mut far) = duplex(64);
        let moves = Moves::default();
        let mut near = Counted { stream: near, moves: moves.clone() };
        let begun = Instant::now();
        let talk = async {
            for _ in 0..10 {
                tokio::time::sleep(SILENCE / 2).await;
                near.write_all(b"x").await.unwrap();
                far.read_exact(&mut [0]).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = talk => {}
            () = moves.stopped(SILENCE) => {}
        }
        let lasted = begun.elapsed();
        assert!(lasted >= SILENCE * 6 && lasted <= SILENCE * 7, "{lasted:?}");
    }
}
