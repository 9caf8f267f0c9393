//! The connection to a gateway: TCP, with TLS where its address says so, and with quick
//! acknowledgements.
//!
//! Gateways leave Nagle's algorithm on, so that the second small message of an answer waits until the
//! first is acknowledged, which a system delays by 40 ms. On Linux a connection can acknowledge at
//! once; it forgets that, so that it is said anew before each read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};
use url::Url;

use super::last_words::LastWords;
use crate::tls::mute;

/// How long a server may take to answer TLS's first word. A Jupyter Server without TLS never does.
const GREETING: Duration = Duration::from_secs(10);

/// See the module's documentation.
pub(super) enum Stream {
    Plain(Quick),
    Tls(Box<TlsStream<LastWords<Quick>>>),
}

impl Stream {
    /// Connects to the host of that address.
    pub(super) async fn open(url: &Url, tls: Option<&TlsConnector>) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let host = url.host_str().ok_or_else(invalid)?;
        let port = url.port_or_known_default().ok_or_else(invalid)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else { return Ok(Self::Plain(Quick(stream))) };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid())?;
        let greeted = timeout(GREETING, tls.connect(name, LastWords::new(Quick(stream)))).await;
        Ok(Self::Tls(Box::new(greeted.unwrap_or_else(|_elapsed| Err(mute(GREETING)))?)))
    }
}

/// A TCP connection that acknowledges at once.
pub(super) struct Quick(TcpStream);

impl AsyncRead for Quick {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        #[cfg(target_os = "linux")]
        // Where it cannot be said, answers are late and right.
        let _ = self.0.set_quickack(true);
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Quick {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => {
                let read = ready!(Pin::new(&mut *stream).poll_read(context, buffer));
                // What is refused by TLS 1.3 is so in the first words.
                stream.get_mut().0.opened();
                Poll::Ready(read)
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
