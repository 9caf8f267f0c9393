//! One connection of a kernel to the proxy, from its first request to its end.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    answer::{self, Content},
    forward,
    gate::Gate,
    idle::{Counted, Moves},
    tunnel::Tunnel,
    wish::{self, Wish},
};

/// How long the head of a request may take, also the one after an answer.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes, and its lines.
const HEAD: usize = 16 * 1024;
const HEADERS: usize = 100;

/// The connection that a request has opened, until the answer about it has gone out.
type Opened = Arc<Mutex<Option<Tunnel>>>;

/// Serves it until it ends, or nothing moves on it for so long.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    gate: Arc<Gate>,
    silence: Duration,
) {
    let moves = Moves::default();
    let stream = Counted { stream, moves: moves.clone() };
    tokio::select! {
        () = converse(stream, &gate) => {}
        () = moves.stopped(silence) => {}
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, gate: &Arc<Gate>) {
    let opened = Opened::default();
    let service = service_fn(|request| {
        let (gate, opened) = (Arc::clone(gate), Arc::clone(&opened));
        async move { Ok::<_, Infallible>(answer(&gate, &opened, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_header_size(HEAD)
        .max_headers(HEADERS)
        .max_buf_size(4 * HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a kernel's connection to the proxy broke");
    }
    let tunnel = opened.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(tunnel) = tunnel {
        tunnel.carry(gate).await;
    }
}

async fn answer(gate: &Gate, opened: &Opened, mut request: Request<Incoming>) -> Response<Content> {
    match wish::read(&request) {
        Err(misread) => answer::misread(misread),
        Ok(Wish::Answer(target)) => forward::answer_of(gate, &target, request).await,
        Ok(Wish::Tunnel(target)) => match gate.open(&target).await {
            Err(closed) => answer::closed(&closed),
            Ok(host) => {
                let kernel = hyper::upgrade::on(&mut request);
                let tunnel = Tunnel { host, target, kernel };
                *opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
                answer::empty(StatusCode::OK)
            }
        },
    }
}
