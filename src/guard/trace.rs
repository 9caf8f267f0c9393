//! The outermost layer: each call's entry in the meter and in the tally.
//!
//! It changes nothing. The call's span is its caller's to open; arguments and answers are in no log, they
//! are the user's.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Answer, Answering, Ending, Guard, Tool, ToolCall,
    tally::Tally,
    usage::{Counts, Meter},
};

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Trace {
    meter: Arc<Meter>,
    tally: Arc<Tally>,
}

impl Trace {
    /// A guard that enters calls into `meter` and `tally`.
    #[must_use]
    pub fn new(meter: Arc<Meter>, tally: Arc<Tally>) -> Self {
        Self { meter, tally }
    }
}

impl Guard for Trace {
    fn call<S, P>(&self, call: ToolCall<P>, inner: &mut S) -> Answering<S::Response, S::Error>
    where
        S: Tool<P>,
        P: Send + 'static,
    {
        let (principal, tool, cost) =
            (Arc::clone(&call.who.principal), call.signature.tool, call.cost);
        let (meter, tally) = (Arc::clone(&self.meter), Arc::clone(&self.tally));
        let begun = Instant::now();
        let answer = inner.call(call);
        Box::pin(async move {
            let result = answer.await;
            let counts = result.as_ref().map_or(Counts::FAULT, |answer| counted(answer, cost));
            let denied_by = result.as_ref().ok().and_then(Answer::denied_by);
            meter.record(&principal, tool, counts, Instant::now());
            tally.record(tool, counts, denied_by, begun.elapsed());
            tracing::debug!(ms = begun.elapsed().as_millis(), ?counts, "answered");
            result
        })
    }
}

/// What a call counts for: a denial costs nothing, and neither does the second answer about one
/// execution.
fn counted(answer: &impl Answer, cost: u64) -> Counts {
    match answer.ending() {
        Ending::Denied => Counts { denied: 1, ..Counts::default() },
        _ if answer.deduplicated() => Counts { joined: 1, ..Counts::default() },
        ending => Counts {
            calls: 1,
            tokens: cost + answer.cost(),
            faults: u64::from(matches!(ending, Ending::Fault(_))),
            ..Counts::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::guard::test_support::{Said, answer, by_hand, call, fault};

    use super::*;

    #[tokio::test]
    async fn each_answer_is_counted_for_what_it_is() {
        let meter = Arc::new(Meter::new(Instant::now()));
        let (mut trace, mut tool) = by_hand(Trace::new(Arc::clone(&meter), Arc::default()));
        let shared = Said { shared: true, ..Said::done("x") };
        let said = [Said::done("x"), Said::of("x", fault()), Said::of("x", Ending::Denied), shared];
        for said in said {
            let (got, ()) = tokio::join!(answer(&mut trace, call("x")), async {
                tool.next_request().await.unwrap().1.send_response(said.clone());
            });
            assert_eq!(got, said);
        }
        let summary = meter.summary("p", Instant::now());
        let expected = Counts { calls: 2, tokens: 4, faults: 1, denied: 1, joined: 1 };
        assert_eq!(summary.by_tool["t"], expected);
        assert_eq!((summary.minute_calls, summary.minute_tokens), (2, 4));
    }
}
