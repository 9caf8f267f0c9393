//! The calls of one answer: which run side by side, and which one after the other.
//!
//! Pure.

use std::ops::Range;

/// The order in which calls run: those of one part side by side, the parts one after the other. Only
/// neighbours that read run side by side; what changes something runs alone, in its place.
pub(super) fn batches(reads: &[bool]) -> Vec<Range<usize>> {
    let mut batches: Vec<Range<usize>> = Vec::new();
    for (at, read) in reads.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| reads.get(before));
        match batches.last_mut() {
            Some(last) if *read && before == Some(&true) => last.end = at + 1,
            _ => batches.push(at..at + 1),
        }
    }
    batches
}

/// A text of at most so many bytes: of a longer one the beginning, the end, and what is missing.
pub(super) fn bounded(text: String, most: usize) -> String {
    if text.len() <= most {
        return text;
    }
    let half = most / 2;
    let head = text.floor_char_boundary(half);
    let tail = text.ceil_char_boundary(text.len().saturating_sub(half));
    let (begin, end) = (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    format!("{begin}\n[… {} bytes left out …]\n{end}", tail.saturating_sub(head))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_that_read_run_side_by_side() {
        let check = |reads: &str, expected: &[&str]| {
            let kinds: Vec<bool> = reads.chars().map(|c| c == 'r').collect();
            let batches = batches(&kinds);
            let batches: Vec<&str> = batches.into_iter().map(|batch| &reads[batch]).collect();
            assert_eq!(batches, expected, "{reads:?}");
        };
        check("", &[]);
        check("w", &["w"]);
        check("rrr", &["rrr"]);
        check("ww", &["w", "w"]);
        check("rwrrw", &["r", "w", "rr", "w"]);
    }

    #[test]
    fn of_a_long_text_both_ends_stay() {
        assert_eq!(bounded("short".to_owned(), 5), "short");
        let text = bounded("äb".repeat(100), 20);
        assert!(text.starts_with("äbäb") && text.ends_with("äb"), "{text}");
        assert!(text.contains("bytes left out"));
    }

    proptest! {
        #[test]
        fn every_call_runs_once_and_in_order(reads in proptest::collection::vec(any::<bool>(), 0..20)) {
            let all: Vec<usize> = batches(&reads).into_iter().flatten().collect();
            prop_assert_eq!(all, (0..reads.len()).collect::<Vec<_>>());
        }

        #[test]
        fn a_bounded_text_is_no_longer_than_it_may_be(text in ".{0,300}", most in 0..200usize) {
            prop_assert!(bounded(text, most).len() <= most + 60);
        }
    }
}
