//! An error and its causes as one text: each error's own words tell its own level only.

use std::error::Error;

/// The error's words and those of each cause, with `between` before each cause. One that only says again
/// how the text ends, as a wrapper's cause does, is left out.
#[must_use]
pub fn told(error: &dyn Error, between: &str) -> String {
    let causes = std::iter::successors(error.source(), |cause| Error::source(*cause));
    causes.fold(error.to_string(), |mut text, cause| {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(between);
            text.push_str(&words);
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Level {
        words: &'static str,
        source: io::Error,
    }

    #[test]
    fn each_level_is_told_once() {
        let level = |words| Level { words, source: io::Error::other("the disk is full") };
        assert_eq!(told(&level("cannot write"), ": "), "cannot write: the disk is full");
        let wrapper = level("cannot write: the disk is full");
        assert_eq!(told(&wrapper, "\ncause: "), "cannot write: the disk is full");
        assert_eq!(told(&io::Error::other("alone"), ": "), "alone");
    }
}
