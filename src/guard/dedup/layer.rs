//! The layer itself, and the trails of all sessions.

use std::{future::ready, num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    says,
    settings::{Mode, Settings},
    trail::{Came, Repetition, Signature, Trail},
};
use crate::guard::{
    Answer, Answering, Ending, Guard, MOST_SESSIONS, Repeats, Tool, ToolCall, Who, keyed::Keyed,
};

/// The calls of every session that follow one another.
#[derive(Debug)]
pub struct Trails {
    settings: Settings,
    trails: Keyed<Who, Trail>,
}

/// A call that is repeated in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streak {
    /// The session.
    pub session: Arc<str>,
    /// The tool.
    pub tool: &'static str,
    /// How often in a row.
    pub times: u32,
    /// How often, to the last, with the same result.
    pub same_result: u32,
    /// How long ago the last one was.
    pub ago: Duration,
}

impl Trails {
    /// No calls yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let most = NonZeroUsize::new(MOST_SESSIONS).unwrap_or(NonZeroUsize::MIN);
        Self { settings, trails: Keyed::new(most) }
    }

    /// What counts as a loop.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn admit(&self, who: &Who, call: Signature, now: Instant) -> Result<(), Repetition> {
        let rules = self.settings.of(call.tool);
        self.trails.with(who, |trail| trail.admit(call, &rules, now))
    }

    fn record(&self, who: &Who, call: Signature, came: Came, now: Instant) -> Option<String> {
        let rules = self.settings.of(call.tool);
        let repetition = self.trails.with(who, |trail| trail.record(call, came, &rules, now))?;
        Some(says::hint(repetition, &rules))
    }

    /// The repeated calls of a principal's sessions, the newest first.
    #[must_use]
    pub fn streaks(&self, principal: &str, now: Instant) -> Vec<Streak> {
        let mut streaks = Vec::new();
        self.trails.each(|who, trail| {
            if &*who.principal == principal
                && let Some((tool, times, same_result, ago)) = trail.streak(now)
            {
                let session = Arc::clone(&who.session);
                streaks.push(Streak { session, tool, times, same_result, ago });
            }
        });
        streaks
    }

    /// Forgets the calls of these sessions; how many sessions had any.
    pub fn forget(&self, mut these: impl FnMut(&Who) -> bool) -> usize {
        self.trails.forget(|who, _| these(who))
    }
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Dedup {
    trails: Arc<Trails>,
}

impl Dedup {
    /// A guard that remembers calls in `trails`.
    #[must_use]
    pub fn new(trails: Arc<Trails>) -> Self {
        Self { trails }
    }
}

impl Guard for Dedup {
    fn call<S, P>(&self, call: ToolCall<P>, inner: &mut S) -> Answering<S::Response, S::Error>
    where
        S: Tool<P>,
        P: Send + 'static,
    {
        let repeats = call.policy.repeats;
        let passes = repeats == Repeats::Exempt || call.attends || call.may_repeat;
        if passes || self.trails.settings.mode == Mode::Off {
            return Box::pin(inner.call(call));
        }
        let (who, signature, judged) =
            (call.who.clone(), call.signature, repeats == Repeats::Judged);
        if judged && let Err(repetition) = self.trails.admit(&who, signature, Instant::now()) {
            let denial = says::denial(repetition, signature.tool);
            tracing::info!(code = denial.code, "a repeated call is refused");
            return Box::pin(ready(Ok(S::Response::denied(denial))));
        }
        let trails = Arc::clone(&self.trails);
        let answer = inner.call(call);
        Box::pin(async move {
            let answer = answer.await?;
            let failed = match answer.ending() {
                // Nothing was carried out, or nobody knows what came of it.
                Ending::Denied | Ending::GivenUp => return Ok(answer),
                _ if answer.deduplicated() => return Ok(answer),
                ending => *ending != Ending::Done,
            };
            let came = Came { result: answer.result(), failed };
            Ok(match trails.record(&who, signature, came, Instant::now()) {
                Some(hint) if judged => answer.hinted(hint),
                _ => answer,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use tower_test::mock::Handle;

    use crate::guard::test_support::{Behind, Said, answer, by_hand, call, is_idle, who};

    use super::*;

    fn layer() -> (Behind<Dedup>, Handle<ToolCall<()>, Said>) {
        by_hand(Dedup::new(Arc::new(Trails::new(Settings::default()))))
    }

    /// A call that the tool answers so.
    async fn run(
        dedup: &mut Behind<Dedup>,
        tool: &mut Handle<ToolCall<()>, Said>,
        call: ToolCall<()>,
        said: Said,
    ) -> Said {
        let answered = async { tool.next_request().await.unwrap().1.send_response(said) };
        tokio::join!(answer(dedup, call), answered).0
    }

    #[tokio::test]
    async fn the_same_result_is_hinted_at_and_then_refused_before_it_reaches_the_tool() {
        let (mut dedup, mut tool) = layer();
        for hints in [0, 0, 1, 1, 1] {
            let said = run(&mut dedup, &mut tool, call("a"), Said::done("x")).await;
            assert_eq!(said.hints, hints);
        }
        let said = answer(&mut dedup, call("a")).await;
        assert_eq!((said.text.as_str(), said.end), ("dedup: no_progress", Ending::Denied));
        assert!(is_idle(&mut tool));
        // Another session is another trail.
        let other = ToolCall { who: who("p", "other"), ..call("a") };
        assert_eq!(run(&mut dedup, &mut tool, other, Said::done("x")).await.hints, 0);
        // Something else runs, and it may come again.
        run(&mut dedup, &mut tool, call("b"), Said::done("y")).await;
        assert_eq!(run(&mut dedup, &mut tool, call("a"), Said::done("x")).await.hints, 0);
    }

    #[tokio::test]
    async fn what_is_exempt_what_may_be_repeated_and_what_was_not_carried_out_does_not_count() {
        let (mut dedup, mut tool) = layer();
        let exempt = crate::guard::Policy { repeats: Repeats::Exempt, ..call("a").policy };
        for free in [
            ToolCall { policy: exempt, ..call("a") },
            ToolCall { may_repeat: true, ..call("a") },
            ToolCall { attends: true, ..call("a") },
        ] {
            for _ in 0..10 {
                let said = run(&mut dedup, &mut tool, free.clone(), Said::done("x")).await;
                assert_eq!(said.hints, 0);
            }
        }
        let shared = Said { shared: true, ..Said::done("x") };
        for said in [Said::of("x", Ending::Denied), Said::of("x", Ending::GivenUp), shared] {
            for _ in 0..10 {
                assert_eq!(run(&mut dedup, &mut tool, call("a"), said.clone()).await.hints, 0);
            }
        }
        assert_eq!(dedup.guard.trails.streaks("p", Instant::now()), []);
    }

    #[tokio::test]
    async fn what_is_only_noted_is_never_refused_and_begins_the_count_anew() {
        let (mut dedup, mut tool) = layer();
        let policy = crate::guard::Policy { repeats: Repeats::Noted, ..call("a").policy };
        for _ in 0..8 {
            let noted = ToolCall { policy, ..call("b") };
            assert_eq!(run(&mut dedup, &mut tool, noted, Said::done("x")).await.hints, 0);
        }
        for _ in 0..3 {
            run(&mut dedup, &mut tool, call("a"), Said::of("NameError", Ending::Raised)).await;
        }
        assert_eq!(answer(&mut dedup, call("a")).await.end, Ending::Denied);
        run(&mut dedup, &mut tool, ToolCall { policy, ..call("b") }, Said::done("x")).await;
        run(&mut dedup, &mut tool, call("a"), Said::of("NameError", Ending::Raised)).await;
    }

    #[tokio::test]
    async fn the_same_error_is_refused_and_a_streak_is_shown_and_forgotten() {
        let (mut dedup, mut tool) = layer();
        for _ in 0..3 {
            run(&mut dedup, &mut tool, call("a"), Said::of("NameError", Ending::Raised)).await;
        }
        assert_eq!(answer(&mut dedup, call("a")).await.text, "dedup: same_error");
        let streaks = dedup.guard.trails.streaks("p", Instant::now());
        let [streak] = streaks.as_slice() else { panic!("{streaks:?}") };
        assert_eq!((streak.tool, streak.times, streak.same_result), ("t", 3, 3));
        assert_eq!(dedup.guard.trails.streaks("q", Instant::now()), []);
        assert_eq!(dedup.guard.trails.forget(|who| &*who.session == "s"), 1);
        run(&mut dedup, &mut tool, call("a"), Said::of("NameError", Ending::Raised)).await;
    }
}
