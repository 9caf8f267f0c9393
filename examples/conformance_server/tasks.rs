//! Tools that go on as tasks, for clients that know the extension.

use std::{future::Future, time::Duration};

use rmcp::{
    ErrorData,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
        CreateTaskResult, InputRequests, InputRequiredResult,
    },
    task_manager::{TaskContext, TaskExit, TaskOptions},
};
use serde_json::Value;

use crate::{Fixtures, Request, rounds, tools::bad};

/// How long a task is at least under way, so that it is seen.
const MOMENT: Duration = Duration::from_millis(200);

type Ended = Result<CallToolResult, TaskExit>;

pub(crate) async fn call(
    fixtures: &Fixtures,
    params: CallToolRequestParams,
    request: &Request,
) -> Result<CallToolResponse, ErrorData> {
    let arguments = params.arguments.unwrap_or_default();
    let text = |name: &str| {
        let given = arguments.get(name).and_then(Value::as_str).map(str::to_owned);
        given.ok_or_else(|| bad(format!("`{name}` must be a text")))
    };
    let knows = request.client_capabilities().is_some_and(|client| client.supports_tasks());
    match &*params.name {
        "greet" => return Ok(said(format!("Hello, {}!", text("name")?)).into()),
        "slow_compute" => {
            let seconds = arguments.get("seconds").and_then(Value::as_f64).unwrap_or(1.0);
            let long = Duration::try_from_secs_f64(seconds);
            let long = long.map_err(|_| bad("`seconds` must be a number of seconds"))?;
            return match knows {
                true => Ok(begin(fixtures, move |task| compute(task, long))),
                false => {
                    tokio::time::sleep(long).await;
                    Ok(said(format!("computed for {seconds} s")).into())
                }
            };
        }
        _ => {}
    }
    if !knows {
        let needed = ClientCapabilities::builder().enable_tasks().build();
        return Err(ErrorData::missing_required_client_capability(needed));
    }
    Ok(match &*params.name {
        "confirm_delete" => {
            let file = text("filename")?;
            begin(fixtures, |task| confirm(task, file))
        }
        "multi_input" => begin(fixtures, two_at_once),
        "failing_job" => begin(fixtures, |_| failing()),
        "protocol_error_job" => begin(fixtures, |_| broken()),
        _ => match rounds::field(params.input_responses.as_ref(), "user_name", "name") {
            Some(name) => {
                let hello = format!("Hello, {name}!");
                begin(fixtures, |_| greeting(hello))
            }
            None => {
                let question = rounds::user("user_name", "What is your name?", "name")?;
                InputRequiredResult::from_input_requests(InputRequests::from([question])).into()
            }
        },
    })
}

fn said(text: String) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

/// Begins a task that does so.
fn begin<F, W>(fixtures: &Fixtures, work: F) -> CallToolResponse
where
    F: FnOnce(TaskContext) -> W,
    W: Future<Output = Ended> + Send + 'static,
{
    let task = fixtures.tasks.spawn(TaskOptions::default(), |task| Box::pin(work(task)));
    CreateTaskResult::new(task).into()
}

async fn compute(task: TaskContext, long: Duration) -> Ended {
    tokio::select! {
        () = tokio::time::sleep(long) => Ok(said(format!("computed for {long:?}"))),
        () = task.cancelled() => Err(TaskExit::Cancelled),
    }
}

async fn failing() -> Ended {
    tokio::time::sleep(MOMENT).await;
    Ok(CallToolResult::error(vec![ContentBlock::text("it is there to fail")]))
}

async fn broken() -> Ended {
    tokio::time::sleep(MOMENT).await;
    Err(TaskExit::Error(ErrorData::internal_error("it is there to break", None)))
}

async fn greeting(hello: String) -> Ended {
    tokio::time::sleep(MOMENT).await;
    Ok(said(hello))
}

async fn confirm(task: TaskContext, file: String) -> Ended {
    let (name, question) = rounds::confirmation().map_err(TaskExit::Error)?;
    let answer = task.request_input(name, question).await?;
    Ok(said(format!("delete {file}: {}", rounds::told(&answer, "/content"))))
}

async fn two_at_once(task: TaskContext) -> Ended {
    let (one, first) =
        rounds::user("one", "The first, please", "value").map_err(TaskExit::Error)?;
    let (two, second) =
        rounds::user("two", "The second, please", "value").map_err(TaskExit::Error)?;
    let asked = (task.request_input(one, first), task.request_input(two, second));
    let (one, two) = tokio::join!(asked.0, asked.1);
    let (one, two) = (one?, two?);
    let told = |answer| rounds::told(answer, "/content");
    Ok(said(format!("{} and {}", told(&one), told(&two))))
}
