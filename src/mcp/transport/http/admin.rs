//! What a caller with the scope `admin` sees and does: the sessions and the use of all, the end of a
//! kernel, and breakers that close again.
//!
//! No tool, so that no agent comes to it with the token of its user.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Extension, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Door,
    checks::{self, Refusal, refuse},
    tenants::Tenant,
};
use crate::{
    base::ids::SessionName,
    mcp::{
        auth::{Caller, Scope},
        tools::{sandbox_status, usage},
    },
};

/// Refuses whoever is no admin.
fn admin(door: &Door, caller: &Caller) -> Result<(), Refusal> {
    match caller.scopes.has(Scope::Admin) {
        true => Ok(()),
        false => Err(checks::forbidden(door, Scope::Admin).into()),
    }
}

/// One value for each user.
fn of_each(door: &Door, told: impl Fn(&Tenant) -> Value) -> Response {
    let all = door.tenants.all().into_iter();
    let one = |(principal, tenant): (crate::mcp::auth::Principal, Arc<Tenant>)| {
        let mut told = told(&tenant);
        if let Some(told) = told.as_object_mut() {
            told.insert("principal".to_owned(), json!(**principal.name()));
        }
        told
    };
    Json(all.map(one).collect::<Vec<_>>()).into_response()
}

/// `GET /admin/sessions`: each user with what `sandbox_status` tells of their sessions.
pub(super) async fn sessions(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refusal> {
    admin(&door, &caller)?;
    Ok(of_each(&door, |tenant| {
        let mut told = json!(sandbox_status::all(tenant.server.context()));
        if let Some(told) = told.as_object_mut() {
            told.insert("mcp_sessions".to_owned(), json!(tenant.sessions.count()));
            told.insert("sse_links".to_owned(), json!(tenant.links.count()));
        }
        told
    }))
}

/// `GET /admin/usage`: each user with what `usage` tells them.
pub(super) async fn used(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Refusal> {
    admin(&door, &caller)?;
    Ok(of_each(&door, |tenant| json!(usage::of(tenant.server.context()))))
}

/// Whose session.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    principal: String,
    session: Option<String>,
}

impl Which {
    fn tenant(&self, door: &Door) -> Result<Arc<Tenant>, Refusal> {
        let all = door.tenants.all().into_iter();
        let mut found = all.filter(|(principal, _)| **principal.name() == *self.principal);
        let missing = || refuse(StatusCode::NOT_FOUND, "no such user is here").into();
        found.next().map(|(_, tenant)| tenant).ok_or_else(missing)
    }
}

/// `POST /admin/stop {"principal", "session"}`: the kernel of that session ends, whatever it does.
pub(super) async fn stop(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    Json(which): Json<Which>,
) -> Result<Response, Refusal> {
    admin(&door, &caller)?;
    let tenant = which.tenant(&door)?;
    let Some(Ok(session)) = which.session.as_deref().map(SessionName::new) else {
        return Err(refuse(StatusCode::BAD_REQUEST, "say which session").into());
    };
    match tenant.server.context().sandboxes.stop(&session).await {
        Ok(()) => Ok(Json(json!({ "stopped": session.as_str() })).into_response()),
        Err(error) => Err(refuse(StatusCode::NOT_FOUND, error).into()),
    }
}

/// `POST /admin/reset {"principal", "session"?}`: breakers of that user close, and repeated calls are
/// forgotten; limits stay as they are.
pub(super) async fn reset(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
    Json(which): Json<Which>,
) -> Result<Response, Refusal> {
    admin(&door, &caller)?;
    let tenant = which.tenant(&door)?;
    let meant = |who: &crate::guard::Who| {
        let session = which.session.as_deref();
        *who.principal == *which.principal && session.is_none_or(|session| session == &*who.session)
    };
    let guards = &tenant.server.context().guards;
    let breakers = guards.breakers.reset(|who, _| meant(who));
    let trails = guards.trails.forget(|who| meant(who));
    Ok(Json(json!({ "breakers": breakers, "trails": trails })).into_response())
}
