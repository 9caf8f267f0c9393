//! Completes what a user types into a host: names of sessions, of their cells and variables, and of kernels.
//!
//! Only what the caller has is offered, so a name that is completed is never another's.

use std::{sync::Arc, time::Duration};

use rmcp::{
    ErrorData, RoleServer,
    model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference},
    service::RequestContext,
};
use serde_json::Value;

use super::{
    Context, prompts,
    prompts::{KERNEL, SESSION},
    resources,
};
use crate::base::ids::SessionName;

/// How long a kernel may take to tell its variables: a user is typing.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the argument may become.
///
/// # Errors
/// What a guest says of what is its own.
pub(super) async fn complete(
    context: &Arc<Context>,
    asked: CompleteRequestParams,
    request: RequestContext<RoleServer>,
) -> Result<CompleteResult, ErrorData> {
    let is_own = match &asked.r#ref {
        Reference::Prompt(prompt) => prompts::is_own(&prompt.name),
        Reference::Resource(resource) => resources::is_own(&resource.uri),
        _ => true,
    };
    match context.guest().filter(|_| !is_own) {
        Some(guest) => guest.complete(asked, request).await,
        None => Ok(of_own(context, &asked).await),
    }
}

async fn of_own(context: &Arc<Context>, request: &CompleteRequestParams) -> CompleteResult {
    let typed = request.argument.value.as_str();
    let known = match (&request.r#ref, request.argument.name.as_str()) {
        (_, SESSION) => sessions(context),
        (Reference::Resource(_), "cell") => cells(context, request),
        (Reference::Resource(_), "name") => variables(context, request).await,
        (_, KERNEL) => kernels(context).await,
        _ => Vec::new(),
    };
    let mut fits: Vec<String> =
        known.into_iter().filter(|known| known.starts_with(typed)).collect();
    fits.sort();
    fits.dedup();
    let total = u32::try_from(fits.len()).unwrap_or(u32::MAX);
    let more = fits.len() > CompletionInfo::MAX_VALUES;
    fits.truncate(CompletionInfo::MAX_VALUES);
    // It was cut to what is allowed.
    let info = CompletionInfo::with_pagination(fits, Some(total), more);
    CompleteResult::new(info.unwrap_or_default())
}

fn sessions(context: &Context) -> Vec<String> {
    let open = context.sandboxes.status(None);
    let open = open.iter().map(|snapshot| snapshot.session.to_string());
    open.chain([context.default_session.to_string()]).collect()
}

/// The session that was chosen before.
fn chosen(context: &Context, request: &CompleteRequestParams) -> Option<SessionName> {
    let chosen = request.context.as_ref().and_then(|context| context.arguments.as_ref());
    match chosen.and_then(|chosen| chosen.get(SESSION)) {
        Some(name) => SessionName::new(name).ok(),
        None => Some(context.default_session.clone()),
    }
}

fn cells(context: &Context, request: &CompleteRequestParams) -> Vec<String> {
    let Some(session) = chosen(context, request) else { return Vec::new() };
    context.sandboxes.cells(&session).iter().map(|run| run.id()).collect()
}

/// Variables of that session, as far as its kernel tells them in time.
async fn variables(context: &Context, request: &CompleteRequestParams) -> Vec<String> {
    let Some(session) = chosen(context, request) else { return Vec::new() };
    let Ok(Ok(found)) = context.sandboxes.inspect(&session, None, PATIENCE).await else {
        return Vec::new();
    };
    let variables = found.get("variables").and_then(Value::as_array).into_iter().flatten();
    let name = |variable: &Value| Some(variable.get("name")?.as_str()?.to_owned());
    variables.filter_map(name).collect()
}

async fn kernels(context: &Arc<Context>) -> Vec<String> {
    let context = Arc::clone(context);
    let list = move || context.sandboxes.installed_kernels();
    tokio::task::spawn_blocking(list).await.unwrap_or_default()
}
