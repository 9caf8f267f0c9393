//! What is said to a caller who goes round in a loop.

use super::{settings::Rules, trail::Repetition};
use crate::guard::Denial;

/// The codes of this layer's denials.
pub const CODES: [&str; 7] = [
    "no_progress",
    "same_error",
    "too_often",
    "cycle",
    "repeated",
    "key_under_way",
    "key_unchecked",
];

/// A hint in the answer to a call that still ran.
pub(super) fn hint(repetition: Repetition, rules: &Rules) -> String {
    let refused = |bound: u32| match bound {
        0 => String::new(),
        bound => format!(" (it is refused from the {}th time on)", bound),
    };
    match repetition {
        Repetition::SameResult(times) | Repetition::SameError(times) => format!(
            "the same call has given the same result {times} times in a row: change something, or go \
             on with what you know{}",
            refused(rules.same_result_refuse)
        ),
        Repetition::SameArguments(times) => format!(
            "the same call was made {times} times in a row: if you wait for something, wait inside \
             one cell (a loop with time.sleep){}",
            refused(rules.same_arguments_refuse)
        ),
        Repetition::Cycle { length, turns } => format!(
            "the same {length} calls have given the same results {turns} times over: the next turn is \
             refused; do something else",
        ),
        Repetition::Window(_) => String::new(),
    }
}

/// The answer to a call that is refused.
pub(super) fn denial(repetition: Repetition, tool: &str) -> Denial {
    let (code, why) = match repetition {
        Repetition::SameResult(times) => {
            ("no_progress", format!("this call has given the same result {times} times in a row"))
        }
        Repetition::SameError(times) => (
            "same_error",
            format!("this call has failed with the same error {times} times in a row"),
        ),
        Repetition::SameArguments(times) => {
            ("too_often", format!("this call was made {times} times in a row"))
        }
        Repetition::Cycle { length, turns } => (
            "cycle",
            format!("the same {length} calls have given the same results {turns} times over"),
        ),
        Repetition::Window(window) => {
            ("repeated", format!("this call is among the last {window} of this session"))
        }
    };
    Denial {
        by: "dedup",
        code,
        reason: format!("refused: {why}; {tool} was not carried out"),
        retry_after_s: None,
        hint: Some(way_out(repetition).to_owned()),
    }
}

fn way_out(repetition: Repetition) -> &'static str {
    match repetition {
        Repetition::SameError(_) => {
            "look at the error and change the code; the same call runs again after any other one"
        }
        Repetition::SameResult(_) | Repetition::Cycle { .. } => {
            "its result is known: use it, or do something else; the same call runs again after any \
             other one"
        }
        Repetition::SameArguments(_) => {
            "to wait for something, loop with time.sleep inside one cell; the same call runs again \
             after any other one"
        }
        Repetition::Window(_) => "use the result that you have, or change the call",
    }
}
