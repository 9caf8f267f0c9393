//! A call and an answer for the layers' own tests, and a tool whose answers a test gives by hand.

use std::task::Poll;

use tower::{Layer, Service};
use tower_test::mock::{self, Handle, Mock};

use super::*;

/// An answer: what it says, how the call ended, what it cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) end: Ending,
    pub(crate) cost: u64,
    pub(crate) hints: usize,
    pub(crate) shared: bool,
}

impl Said {
    pub(crate) fn of(text: impl Into<String>, end: Ending) -> Self {
        Self { text: text.into(), end, cost: 1, hints: 0, shared: false }
    }

    pub(crate) fn done(text: impl Into<String>) -> Self {
        Self::of(text, Ending::Done)
    }
}

impl Answer for Said {
    fn ending(&self) -> &Ending {
        &self.end
    }
    fn cost(&self) -> u64 {
        self.cost
    }
    fn result(&self) -> Option<Digest> {
        (!self.text.is_empty()).then(|| Digest::of_bytes(self.text.as_bytes()))
    }
    fn deduplicated(&self) -> bool {
        self.shared
    }
    fn hinted(self, _hint: String) -> Self {
        Self { hints: self.hints + 1, ..self }
    }
    fn denied(denial: Denial) -> Self {
        Self::of(format!("{}: {}", denial.by, denial.code), Ending::Denied)
    }
    fn late(after: Duration) -> Self {
        Self::of(format!("late after {after:?}"), fault())
    }
    fn cancelled() -> Self {
        Self::of("cancelled", Ending::GivenUp)
    }
    fn panicked(what: &str) -> Self {
        Self::of(format!("panicked: {what}"), fault())
    }
}

pub(crate) fn fault() -> Ending {
    Ending::Fault("the kernel died".to_owned())
}

pub(crate) fn who(principal: &str, session: &str) -> Who {
    Who { principal: principal.into(), session: session.into() }
}

/// A call of that code.
pub(crate) fn call(code: &str) -> ToolCall<()> {
    ToolCall {
        who: who("p", "s"),
        signature: Signature { tool: "t", arguments: Digest::of_bytes(code.as_bytes()) },
        policy: Policy { repeats: Repeats::Judged, breaks: true, limited: true, runs: true },
        attends: false,
        may_repeat: false,
        ran: Duration::ZERO,
        cost: 1,
        deadline: Duration::MAX,
        cancelled: CancellationToken::new(),
        payload: (),
    }
}

/// The answer of a future that has it already.
pub(crate) async fn answer<S>(service: &mut S, call: ToolCall<()>) -> Said
where
    S: Service<ToolCall<()>, Response = Said, Error = Box<dyn std::error::Error + Send + Sync>>,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    service.call(call).await.unwrap()
}

/// A tool whose answers the test gives by hand, behind a guard.
pub(crate) type Behind<G> = Guarded<G, Mock<ToolCall<()>, Said>>;

/// A guard around such a tool.
pub(crate) fn by_hand<G: Clone>(guard: G) -> (Behind<G>, Handle<ToolCall<()>, Said>) {
    let (tool, handle) = mock::pair();
    (GuardLayer(guard).layer(tool), handle)
}

/// Whether no call has reached the tool.
pub(crate) fn is_idle(handle: &mut Handle<ToolCall<()>, Said>) -> bool {
    let mut polled = tokio_test::task::spawn(handle.next_request());
    matches!(polled.poll(), Poll::Pending)
}
