//! Names and identifiers: session names that users choose, ids that husk makes.
//!
//! Checks what may be a name; knows nothing of what is behind one.

use std::fmt;

use ring::rand::SecureRandom;

/// Longest session name, in characters (it becomes part of file names).
pub const MAX_SESSION_NAME: usize = 64;

/// The name of a session: 1-64 characters of `A-Z a-z 0-9 . _ -`, not starting with `.` or `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionName(String);

/// A text that cannot name a session.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{}` cannot name a session: use 1-{MAX_SESSION_NAME} characters of A-Z a-z 0-9 . _ -, not starting with `.` or `-`",
    .0.chars().take(80).collect::<String>().escape_debug()
)]
pub struct BadSessionName(String);

impl SessionName {
    /// Checks a name that a user chose.
    ///
    /// # Errors
    /// [`BadSessionName`] when it is empty, too long, or has a character that a file name should not have.
    pub fn new(name: &str) -> Result<Self, BadSessionName> {
        let fits = (1..=MAX_SESSION_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            && !name.starts_with(['.', '-']);
        if fits { Ok(Self(name.to_owned())) } else { Err(BadSessionName(name.to_owned())) }
    }

    /// A name nobody else has: `s-` and eight random hexadecimal digits.
    #[must_use]
    pub fn fresh() -> Self {
        Self(format!("s-{}", random_hex(4)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `bytes` random bytes from the operating system, as hexadecimal digits.
///
/// Where the system has no randomness to give, nothing that needs a secret may go on: an empty
/// string is returned, and the kernel's signature refuses an empty key.
#[must_use]
pub fn random_hex(bytes: usize) -> String {
    let mut raw = vec![0u8; bytes];
    match ring::rand::SystemRandom::new().fill(&mut raw) {
        Ok(()) => hex(&raw),
        Err(ring::error::Unspecified) => String::new(),
    }
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_names_are_safe_as_file_names() {
        for good in ["a", "my-notebook_1.2", "S", &"x".repeat(64)] {
            assert!(SessionName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "ä", "a\n", "a:b", "*", &"x".repeat(65)] {
            assert!(SessionName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn fresh_names_differ_and_are_valid() {
        let (one, two) = (SessionName::fresh(), SessionName::fresh());
        assert_ne!(one, two);
        assert!(SessionName::new(one.as_str()).is_ok());
    }
}
