//! `notebook_run_cell`: runs code in a session's kernel.

use std::{sync::Arc, time::Duration};

use rmcp::{RoleServer, model::JsonObject, service::RequestContext};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Definition, Hints, Running};
use crate::{
    base::ids::SessionName,
    mcp::{
        Context,
        order::Ticket,
        progress::Progress,
        reply::{CellOutput, Denial, Reply},
    },
    sandbox::{Cell, MAX_TIMEOUT},
};

/// What a call may wait beside its cell's own time: the queue, and a first start that has to make
/// a Python environment.
const QUEUE_AND_START: Duration = Duration::from_secs(3600);

/// The tool.
pub const TOOL: Definition = Definition {
    name: "notebook_run_cell",
    title: "Run code in the notebook",
    description: "Run code in a persistent Jupyter kernel (Python by default). State stays between \
        calls. Top-level await, magics (%pip, %%time) and !shell work. Returns what the code prints, \
        the value of its last expression, and plots as images.",
    annotations: Hints { read_only: false, destructive: true, idempotent: false, open_world: true },
    in_order: true,
    input: super::input::<Args>,
    output: super::output::<CellOutput>,
    deadline,
    run,
};

/// Arguments of `notebook_run_cell`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The code of the cell.
    pub code: String,
    /// What it does, in a few words, for the human who watches.
    #[serde(default)]
    pub description: Option<String>,
    /// Seconds until the cell is stopped (default 3600).
    #[serde(default)]
    #[schemars(range(max = 86400.0))]
    pub timeout: Option<f64>,
    /// A name of your own for a separate kernel.
    #[serde(default)]
    pub session: Option<String>,
}

fn deadline(context: &Context, arguments: &JsonObject) -> Duration {
    let asked = arguments.get("timeout").and_then(serde_json::Value::as_f64);
    let seconds = asked.map(|asked| asked.clamp(0.0, MAX_TIMEOUT));
    seconds.map_or_else(|| context.sandboxes.default_timeout(), Duration::from_secs_f64)
        + QUEUE_AND_START
}

fn run(
    context: Arc<Context>,
    arguments: JsonObject,
    request: RequestContext<RoleServer>,
) -> Running {
    Box::pin(async move {
        let (session, cell) = match understood(&context, arguments) {
            Ok(understood) => understood,
            Err(denial) => return Reply::denied(denial),
        };
        let progress = Progress::of(&request);
        let watch = progress.as_ref().map(Progress::watch);
        let ticket = request.extensions.get::<Ticket>().cloned();
        if let Some(ticket) = &ticket {
            ticket.turn().await;
        }
        let queued = context.sandboxes.queue(&session, cell, watch);
        if let Some(ticket) = ticket {
            ticket.pass();
        }
        let answer = async { queued?.answer().await };
        let outcome = match progress {
            Some(progress) => progress.during(answer).await,
            None => answer.await,
        };
        match outcome {
            Ok(outcome) => Reply::outcome(outcome),
            Err(error) => Reply::no_sandbox(&error),
        }
    })
}

/// The arguments as what the sandbox takes.
fn understood(context: &Context, arguments: JsonObject) -> Result<(SessionName, Cell), Denial> {
    let args: Args = super::arguments(TOOL.name, arguments)?;
    let bad = |reason: String| Denial {
        by: "arguments",
        code: "bad_arguments",
        reason,
        retry_after_s: None,
        hint: None,
    };
    let timeout = match args.timeout {
        None => context.sandboxes.default_timeout(),
        Some(seconds) if seconds > 0.0 && seconds <= MAX_TIMEOUT => {
            Duration::from_secs_f64(seconds)
        }
        Some(seconds) => {
            return Err(bad(format!(
                "timeout {seconds} is out of range: more than 0, at most {MAX_TIMEOUT} seconds"
            )));
        }
    };
    let session = match args.session {
        None => context.default_session.clone(),
        Some(name) => SessionName::new(&name).map_err(|error| bad(error.to_string()))?,
    };
    Ok((session, Cell { code: args.code, timeout }))
}
