//! The layer that stops calls to what is broken: one circuit breaker ([`heart`]) for each principal,
//! session and tool.
//!
//! Only faults of husk and of the kernel count. An exception of the code, a denial, and a timeout that
//! the caller asked for are no faults (settings can count the first and the last). A call whose future is
//! dropped gives its permit back.

pub mod heart;
pub mod settings;

use std::{future::ready, num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Answer, Answering, Denial, Ending, Guard, MOST_SESSIONS, Tool, ToolCall, Who, keyed::Keyed,
};
use heart::{Breaker as Heart, Permit, Refusal, Verdict, Word};
pub use settings::Settings;

/// The codes of this layer's denials.
pub const CODES: [&str; 1] = ["breaker_open"];

type Key = (Who, &'static str);

/// All breakers.
#[derive(Debug)]
pub struct Breakers {
    settings: Settings,
    breakers: Keyed<Key, Heart>,
}

/// A breaker that has something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The session.
    pub session: Arc<str>,
    /// The tool.
    pub tool: &'static str,
    /// Its state.
    pub state: Word,
    /// Faults in a row that count.
    pub faults: usize,
    /// Until a probe may go through, while it is open.
    pub probe_in: Option<Duration>,
    /// The last fault.
    pub cause: String,
}

impl Breakers {
    /// All closed.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let most = NonZeroUsize::new(MOST_SESSIONS).unwrap_or(NonZeroUsize::MIN);
        Self { settings, breakers: Keyed::new(most) }
    }

    /// Breakers of a principal that are not closed, or have seen faults.
    #[must_use]
    pub fn shown(&self, principal: &str, now: Instant) -> Vec<Shown> {
        let mut shown = Vec::new();
        self.breakers.each(|(who, tool), heart| {
            let (state, faults) = (heart.word(now), heart.faults());
            if &*who.principal == principal && (state != Word::Closed || faults > 0) {
                shown.push(Shown {
                    session: Arc::clone(&who.session),
                    tool,
                    state,
                    faults,
                    probe_in: heart.probe_in(now),
                    cause: heart.cause().to_owned(),
                });
            }
        });
        shown
    }

    /// Closes these breakers; how many there were.
    pub fn reset(&self, mut these: impl FnMut(&Who, &'static str) -> bool) -> usize {
        self.breakers.forget(|(who, tool), _| these(who, tool))
    }

    fn verdict<'a>(&self, ending: &'a Ending) -> Verdict<'a> {
        match ending {
            Ending::Fault(cause) => Verdict::Fault(cause),
            Ending::Raised if self.settings.count_errors => Verdict::Fault("the code failed"),
            Ending::TimedOut if self.settings.count_timeouts => {
                Verdict::Fault("the cell timed out")
            }
            Ending::Done | Ending::Raised | Ending::TimedOut => Verdict::Fine,
            Ending::Denied | Ending::GivenUp => Verdict::Nothing,
        }
    }
}

/// A permit that is given back, whatever becomes of its call.
struct Held {
    breakers: Arc<Breakers>,
    key: Key,
    permit: Option<Permit>,
}

impl Held {
    fn record(&mut self, verdict: Verdict<'_>) {
        let Some(permit) = self.permit.take() else { return };
        let settings = &self.breakers.settings;
        let record = |heart: &mut Heart| heart.record(permit, verdict, settings, Instant::now());
        self.breakers.breakers.with(&self.key, record);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.record(Verdict::Nothing);
    }
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Breaker {
    breakers: Arc<Breakers>,
}

impl Breaker {
    /// A guard with these breakers.
    #[must_use]
    pub fn new(breakers: Arc<Breakers>) -> Self {
        Self { breakers }
    }
}

impl Guard for Breaker {
    fn call<S, P>(&self, call: ToolCall<P>, inner: &mut S) -> Answering<S::Response, S::Error>
    where
        S: Tool<P>,
        P: Send + 'static,
    {
        if !call.policy.breaks || call.attends {
            return Box::pin(inner.call(call));
        }
        let breakers = Arc::clone(&self.breakers);
        let key = (call.who.clone(), call.signature.tool);
        let permit = match breakers.breakers.with(&key, |heart| heart.admit(Instant::now())) {
            Ok(permit) => Some(permit),
            Err(refusal) => {
                let answer = S::Response::denied(denial(&refusal, key.1));
                return Box::pin(ready(Ok(answer)));
            }
        };
        let mut held = Held { breakers, key, permit };
        let answer = inner.call(call);
        Box::pin(async move {
            let result = answer.await;
            let verdict = match &result {
                Ok(answer) if answer.deduplicated() => Verdict::Nothing,
                Ok(answer) => held.breakers.verdict(answer.ending()),
                Err(_) => Verdict::Fault("husk could not answer"),
            };
            held.record(verdict);
            result
        })
    }
}

fn denial(refusal: &Refusal, tool: &str) -> Denial {
    let when = match refusal.retry_after {
        Some(wait) => format!("the next try is let through in {:.0} s", wait.as_secs_f64().ceil()),
        None => "one call is trying it just now".to_owned(),
    };
    Denial {
        by: "breaker",
        code: "breaker_open",
        reason: format!(
            "{tool} has failed too often in this session, and is not tried for a while: {when}; the \
             last failure: {}",
            refusal.cause
        ),
        retry_after_s: refusal.retry_after.map(|wait| wait.as_secs_f64()),
        hint: Some(
            "wait, or look for the cause (sandbox_status; `husk doctor` in a terminal); another \
             session is not affected; `husk guard reset` lets it through at once"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use tower::Service;
    use tower_test::mock::Handle;

    use crate::guard::test_support::{Behind, Said, answer, by_hand, call, fault, is_idle, who};

    use super::*;

    fn layer(settings: Settings) -> (Behind<Breaker>, Handle<ToolCall<()>, Said>) {
        by_hand(Breaker::new(Arc::new(Breakers::new(settings))))
    }

    async fn run(
        breaker: &mut Behind<Breaker>,
        tool: &mut Handle<ToolCall<()>, Said>,
        end: Ending,
    ) -> Said {
        let said = Said::of("the kernel died", end);
        let answered = async { tool.next_request().await.unwrap().1.send_response(said) };
        tokio::join!(answer(breaker, call("a")), answered).0
    }

    #[tokio::test(start_paused = true)]
    async fn three_faults_open_it_and_one_probe_closes_it() {
        let (mut breaker, mut tool) = layer(Settings::default());
        for end in [fault(), fault(), Ending::Done, fault(), fault(), fault()] {
            run(&mut breaker, &mut tool, end).await;
        }
        assert_eq!(answer(&mut breaker, call("b")).await.text, "breaker: breaker_open");
        assert!(is_idle(&mut tool));
        let shown = breaker.guard.breakers.shown("p", Instant::now());
        assert_eq!((shown[0].state, shown[0].cause.as_str()), (Word::Open, "the kernel died"));
        assert_eq!(shown[0].probe_in, Some(Duration::from_secs(30)));
        // Another session goes on.
        let other = ToolCall { who: who("p", "other"), ..call("a") };
        let answered = async {
            tool.next_request().await.unwrap().1.send_response(Said::done("x"));
        };
        assert_eq!(tokio::join!(answer(&mut breaker, other), answered).0.end, Ending::Done);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(run(&mut breaker, &mut tool, Ending::Done).await.end, Ending::Done);
        assert_eq!(breaker.guard.breakers.shown("p", Instant::now()), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_whose_future_is_dropped_gives_its_place_back() {
        let (mut breaker, mut tool) = layer(Settings::default());
        for _ in 0..3 {
            run(&mut breaker, &mut tool, fault()).await;
        }
        tokio::time::advance(Duration::from_secs(30)).await;
        std::future::poll_fn(|cx| breaker.poll_ready(cx)).await.unwrap();
        let probe = breaker.call(call("a"));
        assert_eq!(answer(&mut breaker, call("b")).await.end, Ending::Denied);
        drop(probe);
        drop(tool.next_request().await);
        run(&mut breaker, &mut tool, Ending::Done).await;
    }

    #[tokio::test(start_paused = true)]
    async fn only_faults_count_unless_a_setting_says_so() {
        let ends = [Ending::Raised, Ending::TimedOut, Ending::Denied, Ending::GivenUp];
        let (mut breaker, mut tool) = layer(Settings::default());
        for end in ends.iter().cycle().take(20) {
            run(&mut breaker, &mut tool, end.clone()).await;
        }
        let counts = |count_errors, count_timeouts| Settings {
            count_errors,
            count_timeouts,
            ..Settings::default()
        };
        for (settings, end) in
            [(counts(true, false), Ending::Raised), (counts(false, true), Ending::TimedOut)]
        {
            let (mut breaker, mut tool) = layer(settings);
            for _ in 0..3 {
                run(&mut breaker, &mut tool, end.clone()).await;
            }
            assert_eq!(answer(&mut breaker, call("a")).await.end, Ending::Denied);
            assert_eq!(
                breaker.guard.breakers.reset(|who, tool| &*who.session == "s" && tool == "t"),
                1
            );
            run(&mut breaker, &mut tool, Ending::Done).await;
        }
    }
}
