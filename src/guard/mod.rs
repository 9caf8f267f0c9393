//! Floor 1: the layers around every tool call, generic over what a call carries and answers.
//!
//! Order, outermost first: [`trace`], (places for dedup, breaker and limiter), [`deadline`],
//! [`contain`]. `trace` sees everything that leaves, denials too. A duplicate or a blocked call
//! shall cost no budget, so dedup and breaker stand outside the limiter. `deadline` and `contain`
//! stand innermost, so that what they make of a call (late, cancelled, panicked) is an outcome that
//! the outer layers count like any other.
//!
//! The layers know nothing of MCP: a call's payload is passed through, and an answer tells what
//! they need through [`Answer`].

pub mod contain;
pub mod deadline;
pub mod trace;
pub mod usage;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder, util::BoxCloneSyncService};

/// One tool call on its way through the layers.
#[derive(Debug, Clone)]
pub struct ToolCall<P> {
    /// The tool's name.
    pub tool: &'static str,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It did what was asked (also: it told truthfully that user code failed).
    Done,
    /// husk or the kernel failed.
    Fault,
}

/// What an answer tells the layers, and the answers that they give themselves.
pub trait Answer: Send + 'static {
    /// How the call ended.
    fn kind(&self) -> Kind;
    /// Tokens of the answer, estimated.
    fn cost(&self) -> u64;
    /// The answer to a call that took longer than its deadline.
    fn late(after: Duration) -> Self;
    /// The answer to a call whose caller gave up; mostly nobody reads it.
    fn cancelled() -> Self;
    /// The answer to a call in which husk panicked.
    fn panicked(what: &str) -> Self;
}

/// The future of each layer.
pub type Answering<A, E> = Pin<Box<dyn Future<Output = Result<A, E>> + Send>>;

/// The whole stack, with its types erased (about a microsecond a call).
pub type Stack<P, A, E> = BoxCloneSyncService<ToolCall<P>, A, E>;

/// Puts the layers around `tool`. The order and its reason stand in the module's documentation.
pub fn stack<P, A, E, S>(tool: S, meter: Arc<usage::Meter>) -> Stack<P, A, E>
where
    P: Send + 'static,
    A: Answer,
    E: Send + 'static,
    S: Service<ToolCall<P>, Response = A, Error = E> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    BoxCloneSyncService::new(
        ServiceBuilder::new()
            .layer(trace::TraceLayer::new(meter))
            .layer(deadline::DeadlineLayer)
            .layer(contain::ContainLayer)
            .service(tool),
    )
}

#[cfg(test)]
pub(crate) mod test_support {
    //! An answer for the layers' own tests.

    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct Said(pub(crate) String);

    impl Answer for Said {
        fn kind(&self) -> Kind {
            Kind::Done
        }
        fn cost(&self) -> u64 {
            1
        }
        fn late(after: Duration) -> Self {
            Self(format!("late after {after:?}"))
        }
        fn cancelled() -> Self {
            Self("cancelled".into())
        }
        fn panicked(what: &str) -> Self {
            Self(format!("panicked: {what}"))
        }
    }

    pub(crate) fn call(deadline: Duration) -> ToolCall<()> {
        let cancelled = CancellationToken::new();
        ToolCall { tool: "t", cost: 1, deadline, cancelled, payload: () }
    }
}
