//! Gets a JSON document of the authorization server: by HTTPS, bounded in size and time, and without
//! following anybody elsewhere.

use std::{io, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use url::Url;

use super::settings::is_safe;
use crate::tls::{self, TlsError};

/// The longest that it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest document, in bytes.
const LARGEST: usize = 1 << 20;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address.
    #[error("`{0}` is no https address (http is for this machine only)")]
    Address(String),
    /// The network.
    #[error("cannot reach `{host}`")]
    Reach {
        /// Where.
        host: String,
        /// Why not.
        source: io::Error,
    },
    /// What it says.
    #[error("`{url}` answers with {why}")]
    Answer {
        /// Where.
        url: Url,
        /// What.
        why: String,
    },
    /// How long it takes.
    #[error("`{0}` does not answer in time")]
    Late(Url),
}

/// Gets documents.
#[derive(Clone)]
pub(super) struct Fetch {
    tls: TlsConnector,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fetch")
    }
}

impl Fetch {
    /// Trusts whom the system trusts.
    pub(super) fn new() -> Result<Self, TlsError> {
        Ok(Self { tls: tls::connector(None)? })
    }

    /// The document at that address.
    pub(super) async fn json(&self, url: &Url) -> Result<Value, FetchError> {
        let late = |_| FetchError::Late(url.clone());
        tokio::time::timeout(PATIENCE, self.get(url)).await.map_err(late)?
    }

    async fn get(&self, url: &Url) -> Result<Value, FetchError> {
        let bad = || FetchError::Address(url.to_string());
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(bad());
        };
        if !is_safe(url) {
            return Err(bad());
        }
        let reach = |source| FetchError::Reach { host: host.to_owned(), source };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await.map_err(reach)?;
        if url.scheme() == "http" {
            return ask(stream, url).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| bad())?;
        ask(self.tls.connect(name, stream).await.map_err(reach)?, url).await
    }
}

async fn ask<S>(stream: S, url: &Url) -> Result<Value, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |why: String| FetchError::Answer { url: url.clone(), why };
    let broken = |error: hyper::Error| failed(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let request = Request::get(&url[url::Position::BeforePath..url::Position::AfterQuery])
        .header(header::HOST, &url[url::Position::BeforeHost..url::Position::AfterPort])
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(error.to_string()))?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        if answer.status() != StatusCode::OK {
            return Err(failed(answer.status().to_string()));
        }
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| failed(format!("no JSON: {error}")))
    };
    tokio::select! {
        answer = answer => answer,
        // The connection moves the bytes; that it ends first is an answer that does not come.
        Err(error) = connection => Err(broken(error)),
    }
}
