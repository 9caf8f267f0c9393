//! Which path is served by what.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Extension, Query, Request, State, rejection::QueryRejection},
    http::{Method, StatusCode, header::ACCESS_CONTROL_ALLOW_ORIGIN, request::Parts},
    middleware,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use hyper::body::{Frame, SizeHint};
use rmcp::model::ClientJsonRpcMessage;
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    Door, NoRoom, admin,
    checks::{self, Refusal, refuse},
    ends::Call,
    metrics,
    tenants::Tenant,
    view,
};
use crate::mcp::{
    auth::{Caller, Scope},
    guest::stream::Stream,
};

/// Where clients find who makes tokens (RFC 9728).
const METADATA: &str = "/.well-known/oauth-protected-resource";

/// All paths.
pub(super) fn router(door: &Arc<Door>) -> Router {
    let mut checked = Router::new()
        .route("/mcp", any(mcp))
        .route("/metrics", get(metrics::metrics))
        .route("/admin/sessions", get(admin::sessions))
        .route("/admin/usage", get(admin::used))
        .route("/admin/stop", post(admin::stop))
        .route("/admin/reset", post(admin::reset));
    if door.settings.sse {
        checked = checked.route("/sse", get(sse)).route("/messages", post(message));
    }
    let check = middleware::from_fn_with_state(Arc::clone(door), checks::checked);
    checked
        .layer(check)
        // A browser has no token for a page: this one asks for it.
        .route("/view", get(view::view))
        // What watches over a server asks these, by whatever name it knows it; and everybody may know who
        // makes tokens.
        .route(METADATA, get(metadata))
        .route(&format!("{METADATA}/{{*path}}"), get(metadata))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .with_state(Arc::clone(door))
}

async fn ready(State(door): State<Arc<Door>>) -> Response {
    match door.ends.are_near() {
        false => "ready".into_response(),
        true => refuse(StatusCode::SERVICE_UNAVAILABLE, "the server is about to end"),
    }
}

/// Who makes tokens, for clients that have none.
async fn metadata(State(door): State<Arc<Door>>) -> Response {
    let Some(oauth) = &door.doorman.oauth else {
        return refuse(StatusCode::NOT_FOUND, "the server's user hands out its tokens");
    };
    let told = Json(json!({
        "resource": oauth.audience(),
        "resource_name": "husk",
        "authorization_servers": [oauth.issuer()],
        "scopes_supported": Scope::ALL.map(Scope::name),
        "bearer_methods_supported": ["header"],
    }));
    ([(ACCESS_CONTROL_ALLOW_ORIGIN, "*")], told).into_response()
}

fn tenant(door: &Door, caller: &Caller) -> Result<Arc<Tenant>, Refusal> {
    door.tenants.of(&caller.principal).map_err(|error| {
        let status = match error {
            NoRoom::Full => StatusCode::SERVICE_UNAVAILABLE,
            NoRoom::House(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        tracing::warn!(%error, principal = &**caller.principal.name(), "a user is not let in");
        refuse(status, error).into()
    })
}

/// Streamable HTTP, of every revision.
async fn mcp(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
) -> Result<Response, Refusal> {
    let tenant = tenant(&door, &caller)?;
    let stream = Stream::default();
    request.extensions_mut().insert(stream.clone());
    let (call, ends) = (door.ends.begins(&request), request.method() == Method::DELETE);
    let mut answer = tenant.mcp.handle(request).await;
    if ends && answer.status() == StatusCode::ACCEPTED {
        // The session has ended already; clients take "accepted" for a failure.
        *answer.status_mut() = StatusCode::NO_CONTENT;
    }
    let let_go = Box::pin(stream.ended());
    Ok(answer.map(|body| Body::new(Answer { body: Body::new(body), let_go, _call: call })))
}

/// The body of an answer; its call is under way until it was sent, or its client is let go.
struct Answer {
    body: Body,
    let_go: Pin<Box<WaitForCancellationFutureOwned>>,
    _call: Option<Call>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // What is there goes out first.
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => self.let_go.as_mut().poll(cx).map(|()| None),
            ready => ready,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The older transport's stream.
async fn sse(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refusal> {
    let tenant = tenant(&door, &caller)?;
    let full = |error| refuse(StatusCode::SERVICE_UNAVAILABLE, error);
    let events = tenant.links.open(tenant.server.for_another(), &door.ends.streams);
    Ok(events.map_err(full)?.into_response())
}

#[derive(Deserialize)]
struct Link {
    #[serde(rename = "sessionId")]
    id: String,
}

/// A message of the older transport.
async fn message(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    link: Result<Query<Link>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let bad = |why: String| refuse(StatusCode::BAD_REQUEST, why);
    let tenant = tenant(&door, &caller)?;
    let lost = |_| bad("the stream of GET /sse tells where to post to".to_owned());
    let Query(Link { id }) = link.map_err(lost)?;
    let (parts, body): (Parts, Body) = request.into_parts();
    let body = axum::body::to_bytes(body, door.settings.max_body_bytes).await;
    let body = body.map_err(|error| bad(error.to_string()))?;
    let message = serde_json::from_slice::<ClientJsonRpcMessage>(&body)
        .map_err(|error| bad(format!("this is no message of MCP: {error}")))?;
    let posted = tenant.links.post(&id, message, parts).await;
    posted.map_err(|error| refuse(StatusCode::NOT_FOUND, error))?;
    Ok(StatusCode::ACCEPTED.into_response())
}
