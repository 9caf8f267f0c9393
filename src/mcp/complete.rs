//! Completes what a user types into a host: names of sessions and of their cells.
//!
//! Only what the caller has is offered, so a name that is completed is never another's.

use rmcp::{
    ErrorData, RoleServer,
    model::{CompleteRequestParams, CompleteResult, CompletionInfo, Reference},
    service::RequestContext,
};

use super::{Context, prompts, prompts::SESSION, resources};
use crate::base::ids::SessionName;

/// What the argument may become.
///
/// # Errors
/// What a guest says of what is its own.
pub(super) async fn complete(
    context: &Context,
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
        None => Ok(of_own(context, &asked)),
    }
}

fn of_own(context: &Context, request: &CompleteRequestParams) -> CompleteResult {
    let typed = request.argument.value.as_str();
    let known = match (&request.r#ref, request.argument.name.as_str()) {
        (_, SESSION) => sessions(context),
        (Reference::Resource(_), "cell") => cells(context, request),
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

/// Cells of the session that was chosen before.
fn cells(context: &Context, request: &CompleteRequestParams) -> Vec<String> {
    let chosen = request.context.as_ref().and_then(|context| context.arguments.as_ref());
    let session = chosen.and_then(|chosen| chosen.get(SESSION));
    let session = match session.map(|name| SessionName::new(name)) {
        Some(Ok(session)) => session,
        Some(Err(_)) => return Vec::new(),
        None => context.default_session.clone(),
    };
    context.sandboxes.cells(&session).iter().map(|run| run.id()).collect()
}
