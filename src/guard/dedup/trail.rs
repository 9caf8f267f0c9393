//! The no-progress guard's memory of one session: which calls came one after another, and what came
//! of them.
//!
//! A loop is told from honest work by its results: the same call with the same result again and
//! again, or two or three calls in turn whose results stay the same. A call whose results change (a
//! counter, a poll) may come much more often, and so may one that says nothing (`x += 1`). Whatever
//! else runs in between begins the count anew.
//!
//! Pure: it is given `now` and decides; it runs nothing. Calls that were not carried out do not
//! count, and an exempt call never comes here.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::settings::{Mode, Rules};
use crate::base::canon::Digest;

/// What is called: the tool and its arguments in canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature {
    /// The tool's name.
    pub tool: &'static str,
    /// Its arguments.
    pub arguments: Digest,
}

/// How a call came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Came {
    /// The normalised result; nothing where it says nothing, for then it cannot be told from progress.
    pub result: Option<Digest>,
    /// Whether it was an error of the code or of the call.
    pub failed: bool,
}

impl Came {
    /// Whether both came out the same, as far as results tell.
    fn is_like(self, other: Self) -> bool {
        self.result.is_some() && self == other
    }
}

/// How calls repeat themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repetition {
    /// The same call with the same result, so many times.
    SameResult(u32),
    /// The same call, so many times.
    SameArguments(u32),
    /// The same call with the same error, so many times.
    SameError(u32),
    /// So many calls in turn, so many times over, with the same results.
    Cycle {
        /// Calls in one turn.
        length: usize,
        /// Turns.
        turns: u32,
    },
    /// The same call is among so many last ones.
    Window(u32),
}

/// The calls of one session that follow one another.
#[derive(Debug, Default)]
pub struct Trail {
    streak: Option<Streak>,
    /// The newest last; as many as the longest cycle needs.
    past: VecDeque<(Signature, Came)>,
    /// The last calls, for the plain window.
    window: VecDeque<Signature>,
    last: Option<Instant>,
}

/// One call, again and again.
#[derive(Debug, Clone, Copy)]
struct Streak {
    call: Signature,
    came: Came,
    times: u32,
    /// How many of them, to the last, had this result.
    same: u32,
}

/// The longest cycle that is looked for, in calls.
const LONGEST_CYCLE: usize = 3;

impl Trail {
    /// Whether this call may run, as the next one.
    ///
    /// # Errors
    /// How calls repeat themselves too often.
    pub fn admit(
        &mut self,
        call: Signature,
        rules: &Rules,
        now: Instant,
    ) -> Result<(), Repetition> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) >= rules.forget) {
            *self = Self::default();
        }
        match self.too_often(call, rules) {
            Some(repetition) => Err(repetition),
            None => {
                self.last = Some(now);
                Ok(())
            }
        }
    }

    fn too_often(&self, call: Signature, rules: &Rules) -> Option<Repetition> {
        if rules.mode == Mode::Window {
            return self.window.contains(&call).then_some(Repetition::Window(rules.window));
        }
        let reached = |count: u32, bound: u32| bound > 0 && count >= bound;
        if let Some(streak) = self.streak.filter(|streak| streak.call == call) {
            let says = streak.came.result.is_some();
            if says && streak.came.failed && reached(streak.same, rules.same_error_refuse) {
                return Some(Repetition::SameError(streak.same));
            }
            if says && reached(streak.same + 1, rules.same_result_refuse) {
                return Some(Repetition::SameResult(streak.same));
            }
            if reached(streak.times + 1, rules.same_arguments_refuse) {
                return Some(Repetition::SameArguments(streak.times));
            }
        }
        self.cycle(rules).filter(|(_, next)| *next == call).map(|(cycle, _)| cycle)
    }

    /// Enters what came of a call. What it says is worth a hint to the caller.
    pub fn record(
        &mut self,
        call: Signature,
        came: Came,
        rules: &Rules,
        now: Instant,
    ) -> Option<Repetition> {
        self.last = Some(now);
        let again = self.streak.filter(|streak| streak.call == call);
        let streak = again.map_or(Streak { call, came, times: 1, same: 1 }, |streak| Streak {
            times: streak.times + 1,
            same: if streak.came.is_like(came) { streak.same + 1 } else { 1 },
            ..Streak { came, ..streak }
        });
        self.streak = Some(streak);
        keep(&mut self.window, call, rules.window as usize);
        keep(&mut self.past, (call, came), LONGEST_CYCLE * rules.cycle_turns as usize);
        if rules.mode == Mode::Window {
            return None;
        }
        let reached = |count: u32, bound: u32| bound > 0 && count >= bound;
        if came.result.is_some() && reached(streak.same, rules.same_result_hint) {
            return Some(Repetition::SameResult(streak.same));
        }
        if reached(streak.times, rules.same_arguments_hint) {
            return Some(Repetition::SameArguments(streak.times));
        }
        self.cycle(rules).map(|(cycle, _)| cycle)
    }

    /// The cycle that the last calls make, and the call that would go on with it.
    fn cycle(&self, rules: &Rules) -> Option<(Repetition, Signature)> {
        let turns = rules.cycle_turns as usize;
        (2..=LONGEST_CYCLE).filter(|_| turns > 0).find_map(|length| {
            let begin = self.past.len().checked_sub(length * turns)?;
            let first = self.past.get(begin)?;
            let part = || self.past.iter().skip(begin);
            let mut pairs = part().zip(part().skip(length));
            let repeats = pairs.all(|(one, later)| one.0 == later.0 && one.1.is_like(later.1));
            // One call again and again is a streak, and has its own bounds.
            let varies = part().take(length).any(|(call, _)| *call != first.0);
            let cycle = Repetition::Cycle { length, turns: rules.cycle_turns };
            (repeats && varies).then_some((cycle, first.0))
        })
    }

    /// The call that is repeated: its tool, how often it came, how often with the same result, and
    /// how long ago.
    #[must_use]
    pub fn streak(&self, now: Instant) -> Option<(&'static str, u32, u32, Duration)> {
        let streak = self.streak.filter(|streak| streak.times > 1)?;
        let ago = now.saturating_duration_since(self.last?);
        Some((streak.call.tool, streak.times, streak.same, ago))
    }
}

/// Adds the newest and forgets the oldest.
fn keep<T>(all: &mut VecDeque<T>, newest: T, most: usize) {
    all.push_back(newest);
    while all.len() > most {
        all.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(name: &str) -> Signature {
        Signature { tool: "t", arguments: Digest::of_bytes(name.as_bytes()) }
    }

    fn came(result: &str, failed: bool) -> Came {
        let says = !result.is_empty();
        Came { result: says.then(|| Digest::of_bytes(result.as_bytes())), failed }
    }

    /// Plays `calls` (name, result) one after another, and says what became of each: `.` ran, `h`
    /// ran with a hint, `R` was refused.
    fn play(rules: &Rules, calls: &[(&str, String)], failed: bool) -> String {
        let (mut trail, now) = (Trail::default(), Instant::now());
        let one = |(name, result): &(&str, String)| {
            if trail.admit(call(name), rules, now).is_err() {
                return 'R';
            }
            match trail.record(call(name), came(result, failed), rules, now) {
                Some(_) => 'h',
                None => '.',
            }
        };
        calls.iter().map(one).collect()
    }

    fn same(names: &str) -> Vec<(&str, String)> {
        names.split_terminator("").skip(1).map(|name| (name, format!("of {name}"))).collect()
    }

    #[test]
    fn loops_are_hinted_at_and_then_refused() {
        let check = |calls: &str, expected: &str| {
            assert_eq!(play(&Rules::default(), &same(calls), false), expected, "{calls}");
        };
        check("aaaaaaaa", "..hhhRRR");
        // Anything else begins the count anew, also for a call that was refused.
        check("aaaaabaaaaaa", "..hhh...hhhR");
        check("aaaaaaba", "..hhhR..");
        // Two or three calls in turn: three turns, then no more of it.
        check("ababababa", ".....hR..");
        check("abcabcabcabc", "........hR..");
        check("abcabdabcabd", "............");
    }

    #[test]
    fn results_that_change_go_on_for_long() {
        let calls: Vec<_> = (0..40).map(|n| ("a", n.to_string())).collect();
        let expected = format!("{}{}{}", ".".repeat(9), "h".repeat(20), "R".repeat(11));
        assert_eq!(play(&Rules::default(), &calls, false), expected);
    }

    #[test]
    fn what_says_nothing_may_be_progress() {
        let calls: Vec<_> = (0..31).map(|_| ("a", String::new())).collect();
        let expected = format!("{}{}RR", ".".repeat(9), "h".repeat(20));
        assert_eq!(play(&Rules::default(), &calls, false), expected);
        let turns: Vec<_> = (0..20).map(|n| (["a", "b"][n % 2], String::new())).collect();
        assert_eq!(play(&Rules::default(), &turns, false), ".".repeat(20));
    }

    #[test]
    fn the_same_error_is_refused_after_three() {
        assert_eq!(play(&Rules::default(), &same("aaaaba"), true), "..hR..");
        let varied: Vec<_> = (0..8).map(|n| ("a", (n / 2).to_string())).collect();
        assert_eq!(play(&Rules::default(), &varied, true), "........");
    }

    #[test]
    fn a_pause_is_no_loop() {
        let (rules, mut trail, mut now) = (Rules::default(), Trail::default(), Instant::now());
        for _ in 0..20 {
            assert_eq!(trail.admit(call("a"), &rules, now), Ok(()));
            assert_eq!(trail.record(call("a"), came("x", false), &rules, now), None);
            now += rules.forget;
        }
    }

    #[test]
    fn the_plain_window_refuses_whatever_is_among_the_last_calls() {
        let rules = Rules { mode: Mode::Window, window: 3, ..Rules::default() };
        assert_eq!(play(&rules, &same("abacdab"), false), "..R....");
        assert_eq!(play(&rules, &same("aa"), false), ".R");
    }

    #[test]
    fn a_bound_of_zero_is_no_bound() {
        let rules = Rules {
            same_result_hint: 0,
            same_result_refuse: 0,
            same_arguments_hint: 0,
            same_arguments_refuse: 0,
            same_error_refuse: 0,
            cycle_turns: 0,
            ..Rules::default()
        };
        assert_eq!(play(&rules, &same(&"a".repeat(50)), true), ".".repeat(50));
        assert_eq!(play(&rules, &same(&"ab".repeat(25)), false), ".".repeat(50));
    }

    proptest! {
        /// Whatever the calls, a call that differs from all before it always runs.
        #[test]
        fn something_new_is_never_refused(names in proptest::collection::vec(0..3u8, 0..60)) {
            let (rules, mut trail, now) = (Rules::default(), Trail::default(), Instant::now());
            for name in names {
                let call = call(&name.to_string());
                if trail.admit(call, &rules, now).is_ok() {
                    trail.record(call, came("x", false), &rules, now);
                }
            }
            prop_assert_eq!(trail.admit(call("new"), &rules, now), Ok(()));
        }

        /// One call with one result runs less often than the bound, whatever came before it.
        #[test]
        fn no_streak_is_longer_than_its_bound(
            names in proptest::collection::vec(0..3u8, 0..60), refuse in 2..8u32
        ) {
            let rules = Rules { same_result_refuse: refuse, ..Rules::default() };
            let (mut trail, now) = (Trail::default(), Instant::now());
            let (mut longest, mut last, mut ran) = (0, None, 0);
            for name in names.into_iter().chain([7; 20]) {
                let call = call(&name.to_string());
                if trail.admit(call, &rules, now).is_ok() {
                    trail.record(call, came("x", false), &rules, now);
                    ran = if last == Some(name) { ran + 1 } else { 1 };
                    last = Some(name);
                    longest = longest.max(ran);
                }
            }
            prop_assert!(longest < refuse);
        }
    }
}
