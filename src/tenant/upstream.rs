//! Where Redis is, for bytes that husk does not read: how a kernel's connection goes on.

use std::{io, path::PathBuf};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use url::Url;

/// The port that Redis has where an address names none.
const PORT: u16 = 6379;

/// Where Redis is.
#[derive(Clone)]
pub(super) enum Upstream {
    Tcp(String, u16),
    Tls(String, u16, Box<(TlsConnector, ServerName<'static>)>),
    Unix(PathBuf),
}

/// A connection of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Upstream {
    /// That of a `redis://`, `rediss://` or `unix://` address; nothing where it is none.
    pub(super) fn of(url: &Url, tls: &TlsConnector) -> Option<Self> {
        let host = || {
            let host = url.host_str()?;
            Some(host.trim_start_matches('[').trim_end_matches(']').to_owned())
        };
        let port = url.port().unwrap_or(PORT);
        match url.scheme() {
            "redis" => Some(Self::Tcp(host()?, port)),
            "rediss" => {
                let name = ServerName::try_from(host()?).ok()?;
                Some(Self::Tls(host()?, port, Box::new((tls.clone(), name))))
            }
            "unix" | "redis+unix" => Some(Self::Unix(url.path().into())),
            _ => None,
        }
    }

    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(host, port) => Ok(Box::new(tcp(host, *port).await?)),
            Self::Tls(host, port, tls) => {
                let (connector, name) = &**tls;
                Ok(Box::new(connector.connect(name.clone(), tcp(host, *port).await?).await?))
            }
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // Only slower without.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
