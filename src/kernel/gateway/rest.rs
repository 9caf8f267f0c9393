//! What a gateway is asked to do with kernels, over REST.
//!
//! Source: <https://jupyter-server.readthedocs.io/en/latest/developers/rest-api.html>. One connection a
//! request: they are few.

use std::{fmt, io, path::Path, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_rustls::TlsConnector;
use url::{Position, Url};

use super::{
    error::GatewayError,
    settings::{Settings, base},
    stream::Stream,
};
use crate::base::secret::Secret;

/// The longest that any request but a start may take. The end of a kernel that does not go by itself
/// takes a Jupyter Server five seconds.
const ANSWERS: Duration = Duration::from_secs(20);
/// The largest answer, in bytes.
const LARGEST: usize = 1 << 20;

/// A gateway, and what it takes from whom.
pub struct Gateway {
    base: Url,
    token: Option<Secret>,
    tls: Option<TlsConnector>,
    /// How long it may be away.
    pub(super) patience: Duration,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gateway({})", self.base)
    }
}

/// The name that a gateway has given to a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelId(String);

impl KernelId {
    /// It becomes part of addresses and of a file's name.
    fn new(text: String) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        fits.then_some(Self(text))
    }

    /// The same, of a text that was written down.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::new(text.to_owned())
    }
}

impl fmt::Display for KernelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is said of a kernel that was started.
#[derive(Deserialize)]
struct Model {
    id: String,
}

impl Gateway {
    /// The gateway of the settings; none where they name none. Who says `https` needs `tls`.
    ///
    /// # Errors
    /// What `tls` says.
    pub fn of<E>(
        settings: &Settings,
        tls: impl FnOnce(Option<&Path>) -> Result<TlsConnector, E>,
    ) -> Result<Option<Self>, E> {
        let Some(base) = settings.url.as_ref().and_then(base) else { return Ok(None) };
        let tls = match base.scheme() {
            "https" => Some(tls(settings.ca.as_deref())?),
            _ => None,
        };
        let patience = Duration::from_secs_f64(settings.patience);
        Ok(Some(Self { base, token: settings.token.clone(), tls, patience }))
    }

    /// Its address; there is no secret in it.
    #[must_use]
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    /// Starts a kernel of that kernelspec, or of the gateway's default one, for at most `limit`.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn start(
        &self,
        spec: Option<&str>,
        limit: Duration,
    ) -> Result<KernelId, GatewayError> {
        let asked = spec.map_or_else(|| json!({}), |name| json!({ "name": name }));
        let started = self.ask(Method::POST, "api/kernels", asked.to_string(), limit).await;
        let body = started.map_err(|error| match (error, spec) {
            // Gateways do not say that they have no such kernelspec.
            (GatewayError::Answer { url, asked, status, said }, Some(name)) => {
                let asked = format!("{asked} with the kernelspec {name:?}");
                GatewayError::Answer { url, asked, status, said }
            }
            (other, _) => other,
        })?;
        let no_id = |why: String| GatewayError::NoGateway { url: self.url().to_owned(), why };
        let model: Model =
            serde_json::from_slice(&body).map_err(|error| no_id(error.to_string()))?;
        KernelId::new(model.id).ok_or_else(|| no_id("its kernel has no fit id".to_owned()))
    }

    /// Interrupts what the kernel does.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn interrupt(&self, id: &KernelId) -> Result<(), GatewayError> {
        let path = format!("api/kernels/{id}/interrupt");
        self.ask(Method::POST, &path, String::new(), ANSWERS).await.map(drop)
    }

    /// Ends the kernel, whatever it does; also one that is not there any more.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn end(&self, id: &KernelId) -> Result<(), GatewayError> {
        let path = format!("api/kernels/{id}");
        match self.ask(Method::DELETE, &path, String::new(), ANSWERS).await {
            Err(GatewayError::Unknown(_)) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Whether it has the kernel.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub(super) async fn knows(&self, id: &KernelId) -> Result<bool, GatewayError> {
        let path = format!("api/kernels/{id}");
        match self.ask(Method::GET, &path, String::new(), ANSWERS).await {
            Err(GatewayError::Unknown(_)) => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// A connection to it.
    pub(super) async fn connection(&self) -> Result<Stream, GatewayError> {
        let opened = Stream::open(&self.base, self.tls.as_ref()).await;
        opened.map_err(|source| GatewayError::unreached(self.url().to_owned(), source))
    }

    /// The address of a kernel's WebSocket, and what authorizes.
    pub(super) fn socket(&self, id: &KernelId, session: &str) -> (String, Option<String>) {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let rest = &self.base[Position::BeforeHost..Position::AfterPath];
        let url = format!("{scheme}://{rest}api/kernels/{id}/channels?session_id={session}");
        (url, self.authorization())
    }

    fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("token {}", token.reveal()))
    }

    /// What is wrong with the answer to a request about a kernel.
    pub(super) fn refused(&self, asked: &str, status: StatusCode, body: &[u8]) -> GatewayError {
        let url = self.url().to_owned();
        if status == StatusCode::NOT_FOUND && asked.contains("api/kernels/") {
            return GatewayError::Unknown(url);
        }
        GatewayError::of(url, asked, status, body)
    }

    /// Asks it; what it answers.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: String,
        limit: Duration,
    ) -> Result<Bytes, GatewayError> {
        let url = || self.url().to_owned();
        let asked = format!("{method} /{path}");
        let answer = async {
            let request = self.request(method, path, body)?;
            let (status, body) = send(self.connection().await?, request)
                .await
                .map_err(|error| GatewayError::unanswered(url(), io::Error::other(error)))?;
            if status.is_success() { Ok(body) } else { Err(self.refused(&asked, status, &body)) }
        };
        let seconds = limit.as_secs_f64();
        let late = |_| GatewayError::Late { url: url(), seconds };
        tokio::time::timeout(limit, answer).await.map_err(late)?
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Request<Full<Bytes>>, GatewayError> {
        let target = format!("{}{path}", &self.base[Position::BeforePath..Position::AfterPath]);
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, &self.base[Position::BeforeHost..Position::AfterPort])
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json");
        request = match self.authorization() {
            Some(authorization) => request.header(header::AUTHORIZATION, authorization),
            // A Jupyter Server that asks nobody for a token wants to see that no page of another site
            // asks: that would not know what the cookie says.
            None => request.header(header::COOKIE, "_xsrf=husk").header("x-xsrftoken", "husk"),
        };
        request.body(Full::from(body)).map_err(|error| GatewayError::NoGateway {
            url: self.url().to_owned(),
            why: error.to_string(),
        })
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn send(
    stream: Stream,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await?.to_bytes();
        Ok((status, body))
    };
    tokio::select! {
        answer = answer => answer,
        // The connection moves the bytes; that it ends first is an answer that does not come.
        Err(error) = connection => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::address::Address;

    fn gateway(url: &str) -> Gateway {
        let settings = Settings {
            url: Some(Address::new(url.to_owned())),
            token: Some(Secret::new("hunter2".to_owned())),
            ..Settings::default()
        };
        Gateway::of(&settings, |_| Err("no TLS here")).unwrap().unwrap()
    }

    #[test]
    fn addresses_lie_below_the_base_and_hold_no_token() {
        let gateway = gateway("http://[::1]:8888/user/me");
        let (url, authorization) = gateway.socket(&KernelId("k-1".to_owned()), "s");
        assert_eq!(url, "ws://[::1]:8888/user/me/api/kernels/k-1/channels?session_id=s");
        assert_eq!(authorization.as_deref(), Some("token hunter2"));
        let request = gateway.request(Method::GET, "api/kernels/k-1", String::new()).unwrap();
        assert_eq!(request.uri(), "/user/me/api/kernels/k-1");
        assert_eq!(request.headers()[header::HOST], "[::1]:8888");
        assert!(!format!("{gateway:?}").contains("hunter2"));
    }

    #[test]
    fn an_id_that_leads_elsewhere_is_none() {
        assert!(KernelId::read("0c1f-AB").is_some());
        for bad in ["", "../kernels", "a/b", "a?b", &"x".repeat(65)] {
            assert!(KernelId::read(bad).is_none(), "{bad}");
        }
    }
}
