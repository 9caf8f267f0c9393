//! What every request passes before anything is done for it: which page it comes from, how often its
//! address asks, who makes it, how large it is and how long it takes, and what its caller may do.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{self, AUTHORIZATION, HOST, ORIGIN, RETRY_AFTER, VARY, WWW_AUTHENTICATE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use tokio::time::Instant;

use super::{Door, connection::Peer, held};
use crate::{
    base::secret::Secret,
    mcp::auth::{Caller, NotAdmitted, Scope, scope},
};

/// What pages may read of answers beside what all may.
const EXPOSED: &str = "mcp-session-id, www-authenticate, retry-after";
/// Methods that pages may use.
const METHODS: &str = "GET, POST, DELETE";

/// A refusal: its status, and why.
pub(super) fn refuse(status: StatusCode, why: impl ToString) -> Response {
    (status, why.to_string()).into_response()
}

/// A refusal as an error: small, since most calls have none.
pub(super) struct Refusal(Box<Response>);

impl From<Response> for Refusal {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// The checks, in order; `next` serves what passes.
pub(super) async fn checked(
    State(door): State<Arc<Door>>,
    request: Request,
    next: Next,
) -> Response {
    let (host, origin) = (text(request.headers(), HOST), text(request.headers(), ORIGIN));
    if let Err(refused) = door.gate.judge(host, origin) {
        return refuse(StatusCode::FORBIDDEN, refused);
    }
    // A page may read what it may call, also why it was refused.
    let page = request.headers().get(ORIGIN).cloned();
    let mut response = if page.is_some() && request.method() == Method::OPTIONS {
        preflight(request.headers())
    } else {
        served(&door, request, next).await
    };
    if let Some(page) = page {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
        headers.append(VARY, HeaderValue::from_static("origin"));
        let exposed = HeaderValue::from_static(EXPOSED);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

/// What the caller is answered, if the request passes the rest of the checks.
async fn served(door: &Arc<Door>, request: Request, next: Next) -> Response {
    let authorization = text(request.headers(), AUTHORIZATION).unwrap_or_default();
    let authorization = Secret::new(authorization.to_owned());
    let request = match admitted(door, request).await {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let caller = request.extensions().get::<Caller>().cloned();
    let answer = next.run(request).await;
    match caller {
        Some(caller) => held::by(door, caller, authorization, answer),
        None => answer,
    }
}

pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    // One that cannot be read is one that does not pass.
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// What a browser asks before it lets a page call.
fn preflight(headers: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let allowed = response.headers_mut();
    allowed.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    allowed.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    // The headers of MCP name parameters of tools: there is no list of them.
    if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        allowed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    response
}

/// The request with its caller, and with a body that is all there.
async fn admitted(door: &Door, mut request: Request) -> Result<Request, Response> {
    let from = request.extensions().get::<Peer>().and_then(|from| from.0);
    if let Err(wait) = door.paces.take(from, Instant::now()) {
        return Err(too_many(wait));
    }
    let caller = door.doorman.admit(text(request.headers(), AUTHORIZATION)).await;
    let caller = caller.map_err(|why| unauthorized(door, why))?;
    request.extensions_mut().insert(caller.clone());
    // The secret has done its work: what is handed on is logged by others.
    request.headers_mut().remove(AUTHORIZATION);
    if request.method() != Method::POST {
        let may_look = caller.scopes.has(Scope::Read) || caller.scopes.has(Scope::Admin);
        return match may_look {
            true => Ok(request),
            false => Err(forbidden(door, Scope::Read)),
        };
    }
    let (parts, body) = request.into_parts();
    let body = whole(door, body).await?;
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(&body) {
        return Err(no_json(&error));
    }
    if !parts.uri.path().starts_with("/admin/")
        && let Some(needed) = lacks(&caller, &body)
    {
        return Err(forbidden(door, needed));
    }
    Ok(Request::from_parts(parts, Body::from(body)))
}

pub(super) fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_secs_f64().ceil();
    let mut response =
        refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests of this address; see Retry-After");
    if let Ok(after) = HeaderValue::from_str(&seconds.to_string()) {
        response.headers_mut().insert(RETRY_AFTER, after);
    }
    response
}

/// The body, within the bounds of size and time.
async fn whole(door: &Door, body: Body) -> Result<Bytes, Response> {
    let most = door.settings.max_body_bytes;
    let patience = Duration::from_secs_f64(door.settings.patience_seconds);
    match tokio::time::timeout(patience, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a request has at most {most} bytes (`http.max_body_bytes`)"),
        )),
        Ok(Err(error)) => Err(refuse(StatusCode::BAD_REQUEST, error)),
        Err(_) => Err(refuse(StatusCode::REQUEST_TIMEOUT, "the request took too long to come")),
    }
}

/// rmcp would say that it does not know the kind of document.
fn no_json(error: &serde_json::Error) -> Response {
    let message = format!("this is no JSON: {error}");
    let told = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": message}});
    (StatusCode::BAD_REQUEST, Json(told)).into_response()
}

/// The part of a message that tells which scope it needs.
#[derive(Deserialize)]
struct Glance {
    method: Option<String>,
    params: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<serde_json::Value>,
}

/// The scope that the caller would need for this message; what is no message is for others to refuse.
fn lacks(caller: &Caller, body: &[u8]) -> Option<Scope> {
    if caller.scopes.has(Scope::Run) {
        return None;
    }
    let Ok(glance) = serde_json::from_slice::<Glance>(body) else {
        // What this cannot read, others might: then it is taken for the worst.
        return Some(Scope::Run);
    };
    let tool = glance.params.and_then(|params| params.name);
    let tool = tool.as_ref().and_then(serde_json::Value::as_str);
    // An answer to what the server asked goes to a cell.
    let needed = glance.method.map_or(Some(Scope::Run), |method| scope::needed(&method, tool))?;
    (!caller.scopes.has(needed)).then_some(needed)
}

fn unauthorized(door: &Door, why: NotAdmitted) -> Response {
    let error = match why {
        NotAdmitted::Nobody => None,
        NotAdmitted::Invalid => Some("invalid_token"),
        NotAdmitted::Unsure => return refuse(StatusCode::SERVICE_UNAVAILABLE, why),
    };
    let scope = format!("{} {}", Scope::Read.name(), Scope::Run.name());
    challenged(StatusCode::UNAUTHORIZED, why, door.challenge(error, &scope))
}

pub(super) fn forbidden(door: &Door, needed: Scope) -> Response {
    let why = format!("this needs the scope {}", needed.name());
    let challenge = door.challenge(Some("insufficient_scope"), needed.name());
    challenged(StatusCode::FORBIDDEN, why, challenge)
}

fn challenged(status: StatusCode, why: impl ToString, challenge: String) -> Response {
    let mut response = refuse(status, why);
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::auth::{Principal, Scopes};

    #[test]
    fn what_a_caller_may_not_do_is_seen_in_the_message() {
        let check = |names: &[&str], body: &str, expected: Option<Scope>| {
            let scopes = Scopes::of(names.iter().copied());
            let caller = Caller { principal: Principal::of_token("a"), scopes };
            assert_eq!(lacks(&caller, body.as_bytes()), expected, "{names:?} {body}");
        };
        let call =
            |tool: &str| format!(r#"{{"method":"tools/call","params":{{"name":"{tool}"}}}}"#);
        let (run, look) = (call("notebook_run_cell"), call("sandbox_status"));
        check(&["notebook:run"], &run, None);
        check(&["notebook:read"], &run, Some(Scope::Run));
        check(&["notebook:read"], &look, None);
        check(&[], &look, Some(Scope::Read));
        check(&["admin"], &look, Some(Scope::Read));
        check(&[], r#"{"method":"initialize","params":{}}"#, None);
        check(&["notebook:read"], r#"{"id":1,"result":{"action":"accept"}}"#, Some(Scope::Run));
        check(&["notebook:read"], &format!("[{run}]"), Some(Scope::Run));
        check(
            &["notebook:read"],
            r#"{"method":"tools/call","params":{"name":7}}"#,
            Some(Scope::Run),
        );
        // Of two members of one name, some take the first and some the last.
        let twice =
            r#"{"method":"ping","method":"tools/call","params":{"name":"notebook_run_cell"}}"#;
        check(&["notebook:read"], twice, Some(Scope::Run));
        check(&["notebook:read"], "garbage", Some(Scope::Run));
    }
}
