//! One connection: TLS if wanted, then HTTP/1.1 until the client or the server goes.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{listen::Stream, patience::Patient};

/// How long a client may take for the head of a request, the first or the next one: what other servers
/// take, so that clients and proxies which keep connections know it.
const HEAD: Duration = Duration::from_secs(75);
/// Most bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;

/// From where a request comes: the address of TCP's other end.
#[derive(Debug, Clone, Copy)]
pub(in crate::mcp) struct Peer(pub(in crate::mcp) Option<IpAddr>);

/// How connections are served.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) router: Router,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) patience: Duration,
    /// No request is read any more.
    pub(super) last: CancellationToken,
}

impl Serving {
    /// Serves a connection to its end.
    pub(super) async fn serve(self: Arc<Self>, stream: Stream, from: Peer) {
        match (stream, &self.tls) {
            (Stream::Tcp(stream), None) => self.converse(stream, from).await,
            (Stream::Unix(stream), _) => self.converse(stream, from).await,
            (Stream::Tcp(stream), Some(tls)) => {
                match tokio::time::timeout(self.patience, tls.accept(stream)).await {
                    Ok(Ok(stream)) => self.converse(stream, from).await,
                    Ok(Err(error)) => tracing::debug!(%error, "a client shook no hands for TLS"),
                    Err(_) => tracing::debug!("a client took too long to shake hands for TLS"),
                }
            }
        }
    }

    async fn converse<S>(&self, stream: S, from: Peer)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let router = self.router.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(from);
            router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(Patient::new(stream, self.patience)), service);
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.last.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            tracing::debug!(error = &error as &dyn std::error::Error, "a connection ended badly");
        }
    }
}
