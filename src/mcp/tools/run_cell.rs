//! `notebook_run_cell`: runs code in a session's kernel.

use std::{sync::Arc, time::Duration};

use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Definition, Hints, Running};
use crate::{
    base::ids::SessionName,
    mcp::{
        Call, Context,
        ask::Way,
        attend::{self, Attending, Begun},
        order::Ticket,
        progress::Progress,
        reply::{Denial, Reply, cell::CellOutput},
    },
    sandbox::{Cell, Source},
};

/// The tool.
pub const TOOL: Definition = Definition {
    name: "notebook_run_cell",
    title: "Run code in the notebook",
    description: "Run code in a persistent Jupyter kernel (Python by default). State stays between \
        calls. Top-level await, magics (%pip, %%time) and !shell work. Returns what the code prints, \
        the value of its last expression, and plots as images. A cell that takes longer than `wait` \
        goes on (status running): follow it with notebook_wait_cell.",
    annotations: Hints { read_only: false, destructive: true, idempotent: false, open_world: true },
    in_order: true,
    input: super::input::<Args>,
    output: Some(super::output::<CellOutput>),
    deadline: |context, arguments, way| {
        attend::longest_wait(context, arguments, way) + super::MARGIN
    },
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
    /// Seconds to wait for the cell before it goes on without you (default 50; Claude Code 170).
    #[serde(default)]
    #[schemars(range(max = 86400.0))]
    pub wait: Option<f64>,
    /// A name of your own for a separate kernel.
    #[serde(default)]
    pub session: Option<String>,
    /// Installed Jupyter kernel for a new session (default Python).
    #[serde(default)]
    pub kernel: Option<String>,
}

fn run(context: Arc<Context>, call: Call) -> Running {
    Box::pin(async move {
        let Call { arguments, request, resumed } = call;
        let (session, source, mut cell, wait) = match understood(&context, arguments) {
            Ok(understood) => understood,
            Err(denial) => return Reply::denied(denial),
        };
        let wait = wait.unwrap_or_else(|| attend::default_wait(&context, &request));
        let progress = Progress::of(&request);
        if let Some(resumed) = resumed {
            return match Attending::resumed(context, request, resumed, wait) {
                Ok(attending) => go_on(attending, progress).await,
                Err(denial) => Reply::denied(denial),
            };
        }
        cell.asks = Way::of(&request) != Way::None;
        let listener = progress.as_ref().map(Progress::listener);
        let ticket = request.extensions.get::<Ticket>().cloned();
        if let Some(ticket) = &ticket {
            ticket.turn().await;
        }
        let queued = context.sandboxes.queue(&session, source.as_ref(), cell, listener.as_ref());
        if let Some(ticket) = ticket {
            ticket.pass();
        }
        let run = match queued {
            Ok(run) => run,
            Err(error) => return Reply::no_sandbox(&error),
        };
        if let (Some(listener), ahead @ 1..) = (listener, context.sandboxes.ahead(&run)) {
            listener.note(&format!("queued: {ahead} before it"));
        }
        let begun = Begun::new(&run);
        let attending =
            Attending { context, request, run, wait, from: None, rounds: 0, may_be_task: true };
        let reply = attending.answer(progress).await;
        begun.keep();
        reply
    })
}

/// The call of a cell that has come back with an answer: the cell is still its own.
async fn go_on(mut attending: Attending, progress: Option<Progress>) -> Reply {
    attending.may_be_task = true;
    let listener = progress.as_ref().map(Progress::listener);
    if let Some(listener) = &listener {
        attending.run.listen(listener);
    }
    let begun = Begun::new(&attending.run);
    let reply = attending.answer(progress).await;
    begun.keep();
    reply
}

/// The arguments as what the sandbox takes.
fn understood(
    context: &Context,
    arguments: JsonObject,
) -> Result<(SessionName, Option<Source>, Cell, Option<Duration>), Denial> {
    let args: Args = super::arguments(TOOL.name, arguments)?;
    let timeout = super::seconds("timeout", args.timeout, f64::MIN_POSITIVE)?;
    let cell = Cell {
        code: args.code,
        description: args.description,
        timeout: timeout.unwrap_or_else(|| context.sandboxes.default_timeout()),
        asks: false,
    };
    let (session, file) = super::session_or_file(context, args.session.as_deref())?;
    let source = match (file, args.kernel) {
        (None, kernel) => kernel.map(Source::Spec),
        (Some(file), None) => Some(Source::File(file)),
        (Some(_), Some(_)) => {
            return Err(super::bad("kernel cannot be given for a session of a file".to_owned()));
        }
    };
    Ok((session, source, cell, super::seconds("wait", args.wait, 0.0)?))
}
