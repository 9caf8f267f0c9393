//! `notebook_interrupt`: stops the cell under way, or gives the session a fresh kernel.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Definition, Hints, Running};
use crate::{
    base::ids::SessionName,
    guard::{Policy, Repeats},
    mcp::{Call, Context, identity::Likeness, reply::Reply},
    sandbox::{CellRun, Phase, SandboxError, Stopped},
};

/// The longest that the ladder and a fresh start may take.
const LONGEST: Duration = Duration::from_secs(900);

/// The tool.
pub const TOOL: Definition = Definition {
    name: "notebook_interrupt",
    title: "Interrupt the notebook",
    description: "Stop the cell under way; variables are kept unless the cell resists and its kernel \
        has to be killed. With restart: a fresh kernel, all variables gone.",
    annotations: Hints { read_only: false, destructive: true, idempotent: true, open_world: false },
    policy: Policy { repeats: Repeats::Noted, breaks: false, limited: false, runs: false },
    likeness: Likeness::EXACT,
    in_order: false,
    input: super::input::<Args>,
    output: Some(super::output::<Output>),
    deadline: |_, _, _| LONGEST,
    run,
};

/// Arguments of `notebook_interrupt`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    #[serde(default)]
    session: Option<String>,
    /// Also start a fresh kernel.
    #[serde(default)]
    restart: bool,
}

/// Structured answer of `notebook_interrupt`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    session: String,
    /// The cell that was stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    cell: Option<String>,
    /// What it took: interrupt, signal or kill.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'static str>,
    /// Variables are gone.
    state_lost: bool,
    /// Number of the session's kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
}

impl Output {
    /// A fresh kernel runs.
    pub(super) fn restarted(session: &SessionName, generation: u64) -> Self {
        Self {
            session: session.to_string(),
            cell: None,
            by: None,
            state_lost: true,
            generation: Some(generation),
        }
    }
}

fn run(context: Arc<Context>, call: Call) -> Running {
    Box::pin(async move {
        let understood = super::arguments::<Args>(TOOL.name, call.arguments).and_then(|args| {
            Ok((super::session(&context, args.session.as_deref())?, args.restart))
        });
        let (session, restart) = match understood {
            Ok(understood) => understood,
            Err(denial) => return Reply::denied(denial),
        };
        let done = match restart {
            true => restarted(&context, session).await,
            false => interrupted(&context, session).await,
        };
        match done {
            Ok((text, output)) => Reply::value(text, &output),
            Err(error) => Reply::no_sandbox(&error),
        }
    })
}

async fn interrupted(
    context: &Context,
    session: SessionName,
) -> Result<(String, Output), SandboxError> {
    let stopped = context.sandboxes.interrupt(&session).await?;
    let mut output = Output {
        session: session.to_string(),
        cell: None,
        by: None,
        state_lost: false,
        generation: None,
    };
    let Some(run) = stopped else { return Ok(("nothing was running".to_owned(), output)) };
    output.cell = Some(run.id());
    let text = told(&run, &mut output);
    Ok((text, output))
}

/// How the cell ended.
fn told(run: &CellRun, output: &mut Output) -> String {
    let Phase::Over(outcome) = run.phase() else { return "the cell did not begin".to_owned() };
    output.generation = Some(outcome.generation);
    output.state_lost = outcome.exit.is_some();
    let (by, how) = match outcome.stopped {
        Some(Stopped::Interrupt) => (Some("interrupt"), "an interrupt; variables are kept"),
        Some(Stopped::Signal) => {
            (Some("signal"), "SIGINT, after it ignored an interrupt; variables are kept")
        }
        Some(Stopped::Kill) => (
            Some("kill"),
            "killing the kernel, after it ignored an interrupt and SIGINT; variables and imports are lost",
        ),
        Some(Stopped::LeftBehind) => (
            None,
            "nothing: the kernel is not husk's; it may still be busy with the cell, or run it later",
        ),
        None => (None, "itself, before the interrupt reached it"),
    };
    output.by = by;
    let seconds = outcome.duration.as_secs_f64();
    format!("cell {} was stopped after {seconds:.1} s by {how}", run.id())
}

async fn restarted(
    context: &Context,
    session: SessionName,
) -> Result<(String, Output), SandboxError> {
    let generation = context.sandboxes.restart(&session).await?;
    let text = format!(
        "a fresh kernel runs (generation {generation}); all variables and imports are gone"
    );
    Ok((text, Output::restarted(&session, generation)))
}
