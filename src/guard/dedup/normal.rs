//! When two results are the same: their text without what differs from run to run though nothing
//! has happened.
//!
//! Left out are terminal escapes, execution counts, dates and times of day, durations and memory
//! addresses. A plain number stays: a counter that counts is progress.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// What is left out, one alternative each.
const NOISE: &str = concat!(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]",
    // Addresses.
    r"|\b0x[0-9a-fA-F]{4,}\b",
    // Counts: `In [3]`, `Cell In[3]`, `Out[3]`, and the names that tracebacks give to cells.
    r"|\b(?:In|Out) ?\[\d+\]",
    r"|<ipython-input-[^>]*>|\bipykernel_\d+(?:/\d+)?",
    // Dates and times of day, and seconds since 1970.
    r"|\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?",
    r"|\b\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?\b",
    r"|\b1[0-9]{9}(?:\.\d+)?\b",
    // Durations: `1.5 s`, `12ms`, `3.2 µs ± 20 ns`, `took 2 seconds`.
    r"|\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)? ?(?:ns|us|µs|μs|ms|s|sec|secs|seconds?|mins?|minutes?|hours?|hrs?|h)\b",
    // The date as `date` and `time.ctime` write it.
    r"|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? (?:(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +\d{1,2}|\d{1,2} [A-Z][a-z]{2} \d{4})\b",
);

// The pattern is a constant, which the tests compile: without it nothing would be left out.
static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(NOISE).ok());

/// The text without what differs though nothing has happened.
#[must_use]
pub fn normalised(text: &str) -> Cow<'_, str> {
    match &*PATTERN {
        Some(pattern) => pattern.replace_all(text, "\u{1}"),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_though_nothing_has_happened_is_left_out() {
        let check = |one: &str, other: &str| {
            assert_eq!(normalised(one), normalised(other), "{one:?} and {other:?}");
        };
        check("\u{1b}[31mred\u{1b}[0m", "\u{1b}[32mred\u{1b}[1;0m");
        check("<object at 0x7f3a2b10>", "<object at 0x7f3a2c40aa>");
        check("Cell In[3], line 1", "Cell In[12], line 1");
        check("<ipython-input-5-8c9d>", "<ipython-input-6-aa12>");
        check("/tmp/ipykernel_12/345.py", "/tmp/ipykernel_99/111.py");
        check("at 2026-11-24T10:00:00.123Z", "at 2026-11-24T10:00:05.9+01:00");
        check("10:00:01 waiting", "10:00:31 waiting");
        check("done in 1.52 s", "done in 10.1 s");
        check("12.3 ms ± 4 µs per loop", "11 ms ± 32 µs per loop");
        check("Wall time: 20 ms", "Wall time: 1.2 s");
        check("took 3 seconds", "took 14 seconds");
        check("1760000000.25", "1760000123.75");
        check("Tue Nov 24 10:00:00 2026", "Wed Nov 25 11:30:10 2026");
    }

    #[test]
    fn what_may_be_progress_stays() {
        let check = |one: &str, other: &str| {
            assert_ne!(normalised(one), normalised(other), "{one:?} and {other:?}");
        };
        check("1", "2");
        check("x = 10", "x = 11");
        check("epoch 3/10", "epoch 4/10");
        check("45 %", "46 %");
        check("3 rows", "4 rows");
        check("loss 0.123", "loss 0.122");
        check("'a'", "'b'");
        check("0xff", "0xfe");
        check("run s1", "run s2");
    }
}
