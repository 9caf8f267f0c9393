//! What each guard does, in the words of the README's table.

use super::{breaker, dedup, limiter};

/// One guard.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// What it is called in `denied.by`.
    pub name: &'static str,
    /// What it does.
    pub does: &'static str,
    /// The section of its settings.
    pub section: &'static str,
    /// The codes of its denials.
    pub codes: &'static [&'static str],
    /// What the caller is told.
    pub answers: &'static str,
}

/// All guards that can refuse a call, outermost first.
pub const ALL: [About; 3] = [
    About {
        name: "dedup",
        does: "A call that is sent twice runs once: an identical one joins the cell that runs, a \
            repeated `_meta.idempotencyKey` is answered from the first for ten minutes \
            (`deduplicated: true`). Calls that repeat themselves and get nowhere (same call and same \
            result, same error, the same two or three calls in turn) get a hint, then a denial. Any \
            other call begins the count anew; `_meta.allow_repeat` lets a call pass.",
        section: "dedup",
        codes: &dedup::CODES,
        answers: "how often, and what to do instead",
    },
    About {
        name: "breaker",
        does: "A tool that fails in a session because of husk or its kernel (does not start, dies, does \
            not answer) three times in a row is not tried for 30 s, then by one call; each failed try \
            doubles the time, up to 300 s. Exceptions and timeouts of code do not count.",
        section: "breaker",
        codes: &breaker::CODES,
        answers: "the last cause, and when the next try is let through",
    },
    About {
        name: "limiter",
        does: "Calls a minute and tokens an hour, of each user and of all; calls at the same time; cells, \
            seconds and tokens of a session. `usage`, `sandbox_status` and `notebook_interrupt` are \
            never refused, and cost nothing.",
        section: "limits",
        codes: &limiter::CODES,
        answers: "which limit, how much of it is used, and when it frees; a denial is not counted",
    },
];

/// The guards as a Markdown table, for the README.
#[must_use]
pub fn markdown_table() -> String {
    let mut table = String::from(
        "| Guard | What it does | Settings | Denials (`denied.code`) | The answer tells |\n|---|---|---|---|---|\n",
    );
    for guard in ALL {
        let codes: Vec<_> = guard.codes.iter().map(|code| format!("`{code}`")).collect();
        let About { name, does, section, answers, .. } = guard;
        let codes = codes.join(", ");
        table.push_str(&format!("| `{name}` | {does} | `[{section}]` | {codes} | {answers} |\n"));
    }
    table
}
