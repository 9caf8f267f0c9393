//! `notebook_run_cell`: runs code in a session's kernel.

use std::{sync::Arc, time::Duration};

use rmcp::model::JsonObject;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Definition, Hints, Running};
use crate::{
    base::ids::SessionName,
    guard::{Answer, Denial, Ending, Policy, Repeats},
    mcp::{
        Call, Context,
        ask::Way,
        attend::{self, Attending},
        identity::Likeness,
        keyed::Keyed,
        order::Ticket,
        progress::Progress,
        reply::{Reply, cell::CellOutput},
    },
    sandbox::{Attended, Cell, Claim, Listener, MAX_TIMEOUT, Source},
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
    policy: Policy { repeats: Repeats::Judged, breaks: true, limited: true, runs: true },
    likeness: Likeness { ignored: &["description", "wait"], trimmed: &["code"] },
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

fn run(context: Arc<Context>, mut call: Call) -> Running {
    Box::pin(async move {
        let understood = match understood(&context, std::mem::take(&mut call.arguments)) {
            Ok(understood) => understood,
            Err(denial) => return Reply::denied(denial),
        };
        let keyed = match Keyed::claim(&context, &call, &understood.0).await {
            Ok(keyed) => keyed,
            Err(reply) => return *reply,
        };
        let progress = Progress::of(&call.request);
        let listener = progress.as_ref().map(Progress::listener);
        match attending(context, call, understood, listener.as_ref()) {
            Ok((attending, claim, shared)) => {
                let budget = budget_of(&attending);
                let remembered = attending.context.sandboxes.replay();
                let kept = keyed.map(|keyed| keyed.follows(&attending.run, remembered));
                let reply = attending.answer(progress).await;
                if let (Some(kept), Some(answer)) = (kept, reply.to_be_kept()) {
                    // Nobody hears it where the end is told already.
                    let _ = kept.send(answer);
                }
                if reply.asks() {
                    claim.pause()
                } else {
                    claim.keep()
                }
                let reply = if shared { reply.shared() } else { reply };
                match budget {
                    Some(hint) if *reply.ending() == Ending::TimedOut => reply.hinted(hint),
                    _ => reply,
                }
            }
            Err(reply) => {
                if let Some(keyed) = keyed {
                    keyed.never_began();
                }
                *reply
            }
        }
    })
}

/// What to say when the cell is stopped because its session has no more seconds to run.
fn budget_of(attending: &Attending) -> Option<String> {
    let most = attending.context.guards.accounts.settings().session.max_seconds?;
    let cut = attending.run.cell.budgeted;
    cut.then(|| {
        format!(
            "the {most} seconds of this session are used up (setting `limits.session.max_seconds`)"
        )
    })
}

/// The call at its cell: a new one, the one of the call that it repeats, or the one to which it comes
/// back with an answer.
fn attending(
    context: Arc<Context>,
    call: Call,
    (session, source, mut cell, wait): Understood,
    listener: Option<&Arc<dyn Listener>>,
) -> Result<(Attending, Claim, bool), Box<Reply>> {
    let Call { request, resumed, identity, twin, trace, .. } = call;
    let wait = wait.unwrap_or_else(|| attend::default_wait(&context, &request));
    if let Some(resumed) = resumed {
        let attending = Attending::resumed(context, request, resumed, wait);
        let attending = attending.map_err(|denial| Box::new(Reply::denied(denial)))?;
        let claim = Claim::again(&attending.run);
        listener.iter().for_each(|listener| attending.run.listen(listener));
        return Ok((Attending { from: Some(0), may_be_task: true, ..attending }, claim, false));
    }
    cell.asks = Way::of(&request) != Way::None;
    cell.trace = trace;
    let queue = || {
        let (source, identity) = (source.as_ref(), Some(&identity));
        context.sandboxes.queue(&session, source, identity, cell, listener)
    };
    let queued = twin.map_or_else(queue, Ok);
    if let Some(ticket) = request.extensions.get::<Ticket>() {
        ticket.pass();
    }
    let Attended { claim, shared } = queued.map_err(|error| Box::new(Reply::no_sandbox(&error)))?;
    let run = Arc::clone(claim.run());
    if let Some(listener) = listener {
        if shared {
            run.listen(listener);
        }
        if let ahead @ 1.. = context.sandboxes.ahead(&run) {
            listener.note(&format!("queued: {ahead} before it"));
        }
    }
    // Everything from the beginning, whoever else has seen a part of it.
    let attending =
        Attending { context, request, run, wait, from: Some(0), rounds: 0, may_be_task: true };
    Ok((attending, claim, shared))
}

/// What the arguments ask for: the session, its kernel, the cell, and how long to wait.
type Understood = (SessionName, Option<Source>, Cell, Option<Duration>);

/// The arguments as what the sandbox takes.
fn understood(context: &Context, arguments: JsonObject) -> Result<Understood, Denial> {
    let args: Args = super::arguments(TOOL.name, arguments)?;
    let timeout = super::seconds("timeout", args.timeout, f64::MIN_POSITIVE)?;
    let cell = Cell {
        code: args.code,
        description: args.description,
        timeout: timeout.unwrap_or_else(|| context.sandboxes.default_timeout()),
        asks: false,
        budgeted: false,
        trace: None,
    };
    let (session, file) = super::session_or_file(context, args.session.as_deref())?;
    let cell = within_budget(context, &session, cell);
    let source = match (file, args.kernel) {
        (None, kernel) => kernel.map(Source::Spec),
        (Some(file), None) => Some(Source::File(file)),
        (Some(_), Some(_)) => {
            return Err(super::bad("kernel cannot be given for a session of a file".to_owned()));
        }
    };
    Ok((session, source, cell, super::seconds("wait", args.wait, 0.0)?))
}

/// The cell, which is stopped when the seconds of its session are used up.
fn within_budget(context: &Context, session: &SessionName, cell: Cell) -> Cell {
    let Some(most) = context.guards.accounts.settings().session.max_seconds else { return cell };
    let left = Duration::from_secs_f64(most.clamp(0.0, MAX_TIMEOUT));
    let left = left.saturating_sub(context.sandboxes.ran(session));
    if left >= cell.timeout { cell } else { Cell { timeout: left, budgeted: true, ..cell } }
}
