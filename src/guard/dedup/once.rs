//! No call runs twice because its transport sent it twice.
//!
//! A call is known again by its idempotency key, or by its arguments while an execution of the same is
//! under way: then it joins that execution. For some time after its end a repeated key is answered from
//! it. Pure: it is given `now`, knows an execution only by [`Execution`], and starts none.

use std::time::Duration;

use tokio::time::Instant;

use super::trail::Signature;
use crate::base::canon::Digest;

/// Something that runs once, and that several callers may wait for.
pub trait Execution {
    /// Since when it is over.
    fn over_since(&self) -> Option<Instant>;
    /// Whether it has run, or may have; what never began can be begun anew.
    fn has_begun(&self) -> bool;
    /// Takes part in it as one of those whom it runs for. Not when it is over, or about to be stopped
    /// because all of those have given it up.
    fn join(&self) -> bool;
}

/// How a call is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The tool and its arguments.
    pub signature: Signature,
    /// The digest of its idempotency key.
    pub key: Option<Digest>,
    /// Whether an identical call under way is its twin also without a key.
    pub may_join: bool,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<E> {
    /// It was not seen before.
    New,
    /// It joins this execution, which goes on until the last of its callers has given it up.
    Joined(E),
    /// This execution is over, or not to be joined any more; its result is the call's.
    Replayed(E),
    /// Its key belongs to a call with other arguments.
    KeyReused,
}

/// The executions of one session.
#[derive(Debug)]
pub struct Once<E> {
    replay: Duration,
    known: Vec<(Identity, E)>,
}

/// How many executions that are over are kept for their keys: of more, the oldest are forgotten.
const MOST: usize = 1000;

impl<E: Execution + Clone> Once<E> {
    /// Results are kept for `replay` for repeated keys.
    #[must_use]
    pub fn new(replay: Duration) -> Self {
        Self { replay, known: Vec::new() }
    }

    /// Whether the call was seen before.
    pub fn find(&mut self, call: &Identity, now: Instant) -> Found<E> {
        self.forget(now);
        if let Some(key) = call.key
            && let Some((known, execution)) = self.by_key(key)
        {
            if known.signature != call.signature {
                return Found::KeyReused;
            }
            let execution = execution.clone();
            return match execution.join() {
                true => Found::Joined(execution),
                false => Found::Replayed(execution),
            };
        }
        let twin = |known: &&(Identity, E)| {
            call.may_join && known.0.may_join && known.0.signature == call.signature
        };
        let mut twins = self.known.iter().filter(twin).map(|(_, execution)| execution);
        let Some(twin) = twins.find(|execution| execution.join()).cloned() else {
            return Found::New;
        };
        if call.key.is_some() {
            self.begin(*call, twin.clone());
        }
        Found::Joined(twin)
    }

    fn by_key(&self, key: Digest) -> Option<&(Identity, E)> {
        self.known.iter().rev().find(|(known, _)| known.key == Some(key))
    }

    /// The call begins this execution.
    pub fn begin(&mut self, call: Identity, execution: E) {
        self.known.push((call, execution));
    }

    /// Lets go of what no call can be known by again.
    fn forget(&mut self, now: Instant) {
        let replay = self.replay;
        self.known.retain(|(known, execution)| match execution.over_since() {
            None => true,
            Some(over) => {
                let fresh = now.saturating_duration_since(over) < replay;
                known.key.is_some() && fresh && execution.has_begun()
            }
        });
        let is_over = |execution: &E| execution.over_since().is_some();
        let mut beyond = self.known.len().saturating_sub(MOST);
        self.known.retain(|(_, execution)| {
            let goes = beyond > 0 && is_over(execution);
            beyond -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::HashMap, rc::Rc};

    use super::*;
    use proptest::prelude::*;

    /// An execution whose course a test decides.
    #[derive(Debug, Default)]
    struct Run {
        number: usize,
        over: Cell<Option<Instant>>,
        never_began: Cell<bool>,
        given_up: Cell<bool>,
        callers: Cell<u32>,
    }

    impl Execution for Rc<Run> {
        fn over_since(&self) -> Option<Instant> {
            self.over.get()
        }
        fn has_begun(&self) -> bool {
            !self.never_began.get()
        }
        fn join(&self) -> bool {
            let joins = self.over.get().is_none() && !self.given_up.get();
            self.callers.set(self.callers.get() + u32::from(joins));
            joins
        }
    }

    fn call(code: &str, key: Option<&str>) -> Identity {
        let digest = |text: &str| Digest::of_bytes(text.as_bytes());
        let signature = Signature { tool: "t", arguments: digest(code) };
        Identity { signature, key: key.map(digest), may_join: true }
    }

    fn begun(once: &mut Once<Rc<Run>>, call: Identity) -> Rc<Run> {
        let run = Rc::new(Run::default());
        once.begin(call, Rc::clone(&run));
        run
    }

    const TEN_MINUTES: Duration = Duration::from_secs(600);

    #[test]
    fn an_identical_call_joins_while_the_first_runs_and_not_after() {
        let (mut once, now) = (Once::new(TEN_MINUTES), Instant::now());
        assert!(matches!(once.find(&call("a", None), now), Found::New));
        let run = begun(&mut once, call("a", None));
        assert!(matches!(once.find(&call("a", None), now), Found::Joined(_)));
        assert!(matches!(once.find(&call("b", None), now), Found::New));
        let repeats = Identity { may_join: false, ..call("a", None) };
        assert!(matches!(once.find(&repeats, now), Found::New));
        run.given_up.set(true);
        assert!(matches!(once.find(&call("a", None), now), Found::New));
        run.given_up.set(false);
        run.over.set(Some(now));
        assert!(matches!(once.find(&call("a", None), now), Found::New));
        assert_eq!(run.callers.get(), 1);
    }

    #[test]
    fn a_repeated_key_joins_and_then_replays_for_its_time() {
        let (mut once, now) = (Once::new(TEN_MINUTES), Instant::now());
        let run = begun(&mut once, call("a", Some("k")));
        assert!(matches!(once.find(&call("a", Some("k")), now), Found::Joined(_)));
        assert!(matches!(once.find(&call("b", Some("k")), now), Found::KeyReused));
        assert!(matches!(once.find(&call("b", Some("other")), now), Found::New));
        run.over.set(Some(now));
        let later = now + TEN_MINUTES - Duration::from_millis(1);
        assert!(matches!(once.find(&call("a", Some("k")), later), Found::Replayed(_)));
        // Another key is another call, unless it came while the first one ran.
        assert!(matches!(once.find(&call("a", Some("other")), later), Found::New));
        assert!(matches!(once.find(&call("a", Some("k")), now + TEN_MINUTES), Found::New));
    }

    #[test]
    fn what_was_cancelled_under_a_key_is_not_run_again_but_what_never_began_is() {
        let (mut once, now) = (Once::new(TEN_MINUTES), Instant::now());
        let run = begun(&mut once, call("a", Some("k")));
        run.given_up.set(true);
        assert!(matches!(once.find(&call("a", Some("k")), now), Found::Replayed(_)));
        run.over.set(Some(now));
        run.never_began.set(true);
        assert!(matches!(once.find(&call("a", Some("k")), now), Found::New));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut once, now) = (Once::new(TEN_MINUTES), Instant::now());
        for n in 0..MOST + 50 {
            let call = call("a", Some(&n.to_string()));
            once.find(&call, now);
            begun(&mut once, call).over.set(Some(now));
        }
        once.find(&call("b", None), now);
        assert_eq!(once.known.len(), MOST);
        assert!(matches!(once.find(&call("a", Some("0")), now), Found::New));
    }

    proptest! {
        /// Under any schedule there is never a second execution of a call while one of it runs, nor
        /// of a key within its time.
        #[test]
        fn nothing_runs_twice(
            steps in proptest::collection::vec((0..3u8, 0..3u8, 0..4u8, 0..200u64), 1..80)
        ) {
            let (mut once, mut now) = (Once::<Rc<Run>>::new(TEN_MINUTES), Instant::now());
            let mut runs: Vec<(Identity, Rc<Run>)> = Vec::new();
            let mut by_key: HashMap<Digest, usize> = HashMap::new();
            for (code, key, what, pick) in steps {
                if what == 0 {
                    now += Duration::from_secs(pick);
                } else if what == 1 && !runs.is_empty() {
                    let run = &runs[pick as usize % runs.len()].1;
                    run.over.set(run.over.get().or(Some(now)));
                } else {
                    let key = (key > 0).then(|| format!("{code}{key}"));
                    let call = call(&code.to_string(), key.as_deref());
                    let number = match once.find(&call, now) {
                        Found::KeyReused => { prop_assert!(false); unreachable!() }
                        Found::Joined(run) | Found::Replayed(run) => run.number,
                        Found::New => {
                            let lives = |run: &Rc<Run>| run.over.get().is_none();
                            let twin = runs.iter().any(|(known, run)| lives(run) && known.signature == call.signature);
                            prop_assert!(!twin, "a second execution while one runs");
                            let run = Rc::new(Run { number: runs.len(), ..Run::default() });
                            once.begin(call, Rc::clone(&run));
                            runs.push((call, run));
                            runs.len() - 1
                        }
                    };
                    if let Some(key) = call.key {
                        let before = by_key.insert(key, number).filter(|before| *before != number);
                        if let Some(before) = before {
                            let over = runs[before].1.over.get();
                            prop_assert!(over.is_some_and(|over| now - over >= TEN_MINUTES));
                        }
                    }
                }
            }
        }
    }
}
