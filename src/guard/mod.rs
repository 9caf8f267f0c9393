//! Floor 1: the layers around every tool call, generic over what a call carries and answers.
//!
//! Order, outermost first: [`trace`], [`dedup`], [`breaker`], [`limiter`], [`deadline`], [`contain`].
//!
//! - `trace` sees everything that leaves, denials too.
//! - `dedup` and `breaker` stand outside the limiter: a repeated or a blocked call costs no budget,
//!   and `dedup` stands outside the breaker: a loop is no fault.
//! - `limiter` lets through what there is room for, and settles what it has really cost.
//! - `deadline` and `contain` stand innermost, so that what they make of a call (late, cancelled,
//!   panicked) is an outcome that the outer layers count like any other.
//!
//! Each layer is a thin shell around a heart that is given `now` and decides. A denial is an answer,
//! never an error, and no layer counts another one's denial. The layers know nothing of MCP: a call's
//! payload is passed through, and an answer tells what they need through [`Answer`].

pub mod about;
pub mod breaker;
pub mod contain;
pub mod deadline;
pub mod dedup;
pub(crate) mod keyed;
pub mod limiter;
pub mod shared;
mod shell;
pub mod tally;
pub mod trace;
pub mod usage;
mod window;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder, util::BoxCloneSyncService};

use crate::base::canon::Digest;

pub use dedup::trail::Signature;
pub use shell::{Guard, GuardLayer, Guarded, Tool};

/// How many principals are remembered: of more, those that called least recently are forgotten.
pub const MOST_PRINCIPALS: usize = 100_000;
/// The same for sessions.
pub const MOST_SESSIONS: usize = 20_000;

/// Who calls, and for which session. Guards never mix two of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Who {
    /// The user.
    pub principal: Arc<str>,
    /// The session that the call names.
    pub session: Arc<str>,
}

/// How the calls of a tool stand among those that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// It is there to be asked again: its calls are not seen.
    Exempt,
    /// It is never refused, but something was done between the calls around it.
    Noted,
    /// It is refused when it repeats itself and gets nowhere.
    Judged,
}

/// Which guards the calls of a tool pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How repeated calls are taken.
    pub repeats: Repeats,
    /// Whether a breaker can refuse it.
    pub breaks: bool,
    /// Whether a limit can refuse it.
    pub limited: bool,
    /// Whether each call runs code.
    pub runs: bool,
}

/// One tool call on its way through the layers.
#[derive(Debug, Clone)]
pub struct ToolCall<P> {
    /// Who calls.
    pub who: Who,
    /// The tool, and its arguments in canonical form.
    pub signature: Signature,
    /// Which guards it passes.
    pub policy: Policy,
    /// Whether it only attends an execution that was let through before: it costs nothing, and
    /// counts nowhere.
    pub attends: bool,
    /// Whether its host says that it may be repeated.
    pub may_repeat: bool,
    /// How long the code of its session has run so far.
    pub ran: Duration,
    /// Tokens of its arguments, estimated.
    pub cost: u64,
    /// The longest that the call may take, whatever happens inside.
    pub deadline: Duration,
    /// Fires when the caller gives up.
    pub cancelled: CancellationToken,
    /// What the tool itself needs.
    pub payload: P,
}

/// How a call ended, as far as the layers care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It did what was asked.
    Done,
    /// The code that it ran raised an exception.
    Raised,
    /// The code that it ran took longer than the call allows.
    TimedOut,
    /// husk or the kernel failed, for this reason.
    Fault(String),
    /// It was refused, or could not be understood: nothing was carried out.
    Denied,
    /// Its caller gave up.
    GivenUp,
}

/// A call that was not carried out, and what to do about it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Denial {
    /// Which part of husk refused.
    pub by: &'static str,
    /// A stable word for programs.
    pub code: &'static str,
    /// Why, for the model.
    pub reason: String,
    /// Seconds after which a retry can succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<f64>,
    /// What to do instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What an answer tells the layers, and the answers that they give themselves.
pub trait Answer: Send + 'static {
    /// How the call ended.
    fn ending(&self) -> &Ending;
    /// Tokens of the answer, estimated.
    fn cost(&self) -> u64;
    /// What it says, without what differs though nothing has happened; nothing where it says nothing.
    fn result(&self) -> Option<Digest>;
    /// Who refused it, where it was refused.
    fn denied_by(&self) -> Option<&'static str> {
        None
    }
    /// Whether it tells of an execution that another call began.
    fn deduplicated(&self) -> bool;
    /// The same with a hint for the caller.
    #[must_use]
    fn hinted(self, hint: String) -> Self;
    /// The answer to a call that is not let through.
    fn denied(denial: Denial) -> Self;
    /// The answer to a call that took longer than its deadline.
    fn late(after: Duration) -> Self;
    /// The answer to a call whose caller gave up; mostly nobody reads it.
    fn cancelled() -> Self;
    /// The answer to a call in which husk panicked.
    fn panicked(what: &str) -> Self;
}

/// The future of each layer.
pub type Answering<A, E> = Pin<Box<dyn Future<Output = Result<A, E>> + Send>>;

/// The whole stack, with its types erased.
pub type Stack<P, A, E> = BoxCloneSyncService<ToolCall<P>, A, E>;

/// What the layers remember, shared by all of a server's stacks.
#[derive(Debug, Clone)]
pub struct Guards {
    /// Counts the calls.
    pub meter: Arc<usage::Meter>,
    /// What all came to.
    pub tally: Arc<tally::Tally>,
    /// Which calls came one after another.
    pub trails: Arc<dedup::Trails>,
    /// What is broken.
    pub breakers: Arc<breaker::Breakers>,
    /// What was used.
    pub accounts: Arc<limiter::Accounts>,
    /// Who counts for all servers, where somebody does.
    pub shared: Option<Arc<shared::Shared>>,
}

/// The settings of all guards.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Repeated calls.
    pub dedup: dedup::Settings,
    /// Faults.
    pub breaker: breaker::Settings,
    /// Use.
    pub limits: limiter::Settings,
}

impl Guards {
    /// Guards that remember nothing yet; `since_1970` microseconds have passed since 1970 at `now`.
    #[must_use]
    pub fn new(settings: Settings, since_1970: i64, now: Instant) -> Self {
        Self::sharing(settings, since_1970, now, None)
    }

    /// The same, where somebody counts for all servers.
    #[must_use]
    pub fn sharing(
        settings: Settings,
        since_1970: i64,
        now: Instant,
        shared: Option<Arc<shared::Shared>>,
    ) -> Self {
        let limits = settings.limits;
        let minded = shared.as_ref().map_or_else(|| limits.clone(), |shared| shared.minded());
        let accounts = limiter::Accounts::minding(minded, limits, since_1970, now);
        Self {
            meter: Arc::new(usage::Meter::new(now)),
            tally: Arc::default(),
            trails: Arc::new(dedup::Trails::new(settings.dedup)),
            breakers: Arc::new(breaker::Breakers::new(settings.breaker)),
            accounts: Arc::new(accounts),
            shared,
        }
    }
}

/// Puts the layers around `tool`. The order and its reason stand in the module's documentation.
pub fn stack<P, A, E, S>(tool: S, guards: &Guards) -> Stack<P, A, E>
where
    P: Send + 'static,
    A: Answer,
    E: Send + 'static,
    S: Service<ToolCall<P>, Response = A, Error = E> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            .layer(GuardLayer(trace::Trace::new(
                Arc::clone(&guards.meter),
                Arc::clone(&guards.tally),
            )))
            .layer(GuardLayer(dedup::Dedup::new(Arc::clone(&guards.trails))))
            .layer(GuardLayer(breaker::Breaker::new(Arc::clone(&guards.breakers))))
            .layer(GuardLayer(
                limiter::Limiter::new(Arc::clone(&guards.accounts)).sharing(guards.shared.clone()),
            ))
            .layer(GuardLayer(deadline::Deadline))
            .layer(GuardLayer(contain::Contain))
            .service(tool),
    )
}

#[cfg(test)]
pub(crate) mod test_support;
