//! `notebook_wait_cell`: what a cell has put out since it was last asked for, and how it ended.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Definition, Hints, Running};
use crate::{
    guard::{Denial, Policy, Repeats},
    mcp::{
        Call, Context,
        attend::{self, Attending},
        identity::Likeness,
        progress::Progress,
        reply::Reply,
    },
};

/// The tool.
pub const TOOL: Definition = Definition {
    name: "notebook_wait_cell",
    title: "Wait for a cell",
    description: "Wait for a cell that was still running, and get its output since the last answer. \
        Also after it has ended.",
    annotations: Hints {
        read_only: true,
        destructive: false,
        idempotent: false,
        open_world: false,
    },
    policy: Policy { repeats: Repeats::Exempt, breaks: false, limited: true, runs: false },
    likeness: Likeness::EXACT,
    in_order: false,
    input: super::input::<Args>,
    output: None,
    deadline: |context, arguments, way| {
        attend::longest_wait(context, arguments, way) + super::MARGIN
    },
    run,
};

/// Arguments of `notebook_wait_cell`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The cell's id, for example "c3".
    pub cell: String,
    /// Seconds to wait for its end (default as for notebook_run_cell; 0 only looks).
    #[serde(default)]
    #[schemars(range(max = 86400.0))]
    pub wait: Option<f64>,
    /// Show its output from this offset on instead (`output.next` of an answer; 0: all again).
    #[serde(default)]
    pub from: Option<u64>,
    /// The cell's session.
    #[serde(default)]
    pub session: Option<String>,
}

fn run(context: Arc<Context>, call: Call) -> Running {
    Box::pin(async move {
        let progress = Progress::of(&call.request);
        match attending(context, call) {
            Ok(attending) => {
                let listener = progress.as_ref().map(Progress::listener);
                if let Some(listener) = &listener {
                    attending.run.listen(listener);
                }
                attending.answer(progress).await
            }
            Err(reply) => *reply,
        }
    })
}

fn attending(context: Arc<Context>, call: Call) -> Result<Attending, Box<Reply>> {
    let Call { arguments, request, resumed, .. } = call;
    let understood = || -> Result<_, Denial> {
        let args: Args = super::arguments(TOOL.name, arguments)?;
        let session = super::session(&context, args.session.as_deref())?;
        let wait = super::seconds("wait", args.wait, 0.0)?;
        Ok((args, session, wait))
    };
    let (args, session, wait) = understood().map_err(refused)?;
    let wait = wait.unwrap_or_else(|| attend::default_wait(&context, &request));
    if let Some(resumed) = resumed {
        return Attending::resumed(context, request, resumed, wait).map_err(refused);
    }
    let run = context
        .sandboxes
        .cell(&session, &args.cell)
        .map_err(|error| Box::new(Reply::no_sandbox(&error)))?;
    Ok(Attending { context, request, run, wait, from: args.from, rounds: 0, may_be_task: false })
}

fn refused(denial: Denial) -> Box<Reply> {
    Box::new(Reply::denied(denial))
}
