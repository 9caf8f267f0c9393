//! A cell as a task of the extension `io.modelcontextprotocol/tasks`: a host that knows it polls
//! instead of calling `notebook_wait_cell`.
//!
//! The task is the cell: its id names the cell and holds a secret, as the extension demands. Nothing
//! is kept beside the cell.

use std::time::SystemTime;

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolResult, CancelTaskParams, CreateTaskResult, DetailedTask, GetTaskParams,
        GetTaskResult, JsonObject, Task, TaskPayload, TaskStatus, UpdateTaskParams,
    },
    service::RequestContext,
};
use serde::Serialize;
use serde_json::Value;

use super::{Context, ask, guest::Hosted, reply::Reply};
use crate::{
    base::{clock, ids::SessionName},
    sandbox::{CellRun, Phase, Status, Stop},
};

/// How often a host shall ask, in milliseconds.
const POLL: u64 = 1000;

/// Whether this call's host takes tasks. The extension exists in the stateless era only.
pub(super) fn wanted(request: &RequestContext<RoleServer>) -> bool {
    ask::is_stateless(request)
        && request.client_capabilities().is_some_and(|client| client.supports_tasks())
}

/// A cell that goes on, as a task.
pub(super) fn created(run: &CellRun) -> CreateTaskResult {
    CreateTaskResult::new(task(run))
}

/// The guest whose task that is: each that has no id as cells have.
fn guest_of<'a>(context: &'a Context, id: &str) -> Option<&'a dyn Hosted> {
    context.guest().filter(|_| id.split(':').count() != 3)
}

/// How a task stands.
///
/// # Errors
/// When no cell is that task.
pub(super) async fn get(
    context: &Context,
    asked: GetTaskParams,
    request: RequestContext<RoleServer>,
) -> Result<GetTaskResult, ErrorData> {
    if let Some(guest) = guest_of(context, &asked.task_id) {
        return guest.get_task(asked, request).await;
    }
    let run = find(context, &asked.task_id)?;
    let payload = match run.phase() {
        Phase::Queued | Phase::Running { question: None, .. } => TaskPayload::Working,
        Phase::Running { question: Some((number, question)), .. } => {
            TaskPayload::InputRequired { input_requests: ask::requests(number, &question) }
        }
        Phase::Over(outcome) if outcome.status == Status::Cancelled => TaskPayload::Cancelled,
        Phase::Dropped => TaskPayload::Cancelled,
        Phase::Over(_) | Phase::Failed(_) => {
            let reply = Reply::cell(&context.sandboxes, &run, Some(0)).await;
            TaskPayload::Completed { result: object(&CallToolResult::from(reply)) }
        }
    };
    Ok(GetTaskResult::new(DetailedTask::new(task(&run), payload)))
}

/// Takes the answers to a task's question.
///
/// # Errors
/// When no cell is that task.
pub(super) async fn update(
    context: &Context,
    asked: UpdateTaskParams,
    request: RequestContext<RoleServer>,
) -> Result<(), ErrorData> {
    if let Some(guest) = guest_of(context, &asked.task_id) {
        return guest.update_task(asked, request).await;
    }
    let run = find(context, &asked.task_id)?;
    if let Phase::Running { question: Some((number, _)), .. } = run.phase() {
        ask::give_response(&run, number, asked.input_responses);
    }
    Ok(())
}

/// Stops a task's cell.
///
/// # Errors
/// When no cell is that task.
pub(super) async fn cancel(
    context: &Context,
    asked: CancelTaskParams,
    request: RequestContext<RoleServer>,
) -> Result<(), ErrorData> {
    if let Some(guest) = guest_of(context, &asked.task_id) {
        return guest.cancel_task(asked, request).await;
    }
    find(context, &asked.task_id)?.stop(Stop::Cancelled);
    Ok(())
}

fn task(run: &CellRun) -> Task {
    let (created, now) = (clock::iso(run.queued_at), clock::iso(SystemTime::now()));
    Task::new(name(run), TaskStatus::Working, created, now).with_poll_interval_ms(POLL)
}

/// The session's name has no `:`.
fn name(run: &CellRun) -> String {
    format!("{}:{}:{}", run.session, run.id(), run.secret.reveal())
}

fn find(context: &Context, id: &str) -> Result<std::sync::Arc<CellRun>, ErrorData> {
    let unknown = || ErrorData::invalid_params("no such task", None);
    let mut parts = id.split(':');
    let (Some(session), Some(cell)) = (parts.next(), parts.next()) else { return Err(unknown()) };
    let session = SessionName::new(session).map_err(|_| unknown())?;
    let run = context.sandboxes.cell(&session, cell).map_err(|_| unknown())?;
    if name(&run) == id { Ok(run) } else { Err(unknown()) }
}

fn object(value: &impl Serialize) -> JsonObject {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        _ => JsonObject::new(),
    }
}
