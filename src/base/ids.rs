//! Names and identifiers: session names that users choose, ids that husk makes.
//!
//! Checks what may be a name; knows nothing of what is behind one.

use std::{fmt, os::unix::ffi::OsStrExt, path::Path};

use ring::rand::SecureRandom;

/// Longest session name, in characters (it becomes part of file names).
pub const MAX_SESSION_NAME: usize = 64;
/// Most of a file's name in the name of its session, in characters: what `file-` and a digest leave.
const MAX_STEM: usize = MAX_SESSION_NAME - "file--".len() - 8;

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

    /// The name of the session of a file: always the same for one path, and another for another. As
    /// much of the file's own name as a name may hold, and the beginning of the path's digest.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let stem = stem.chars().map(|c| if fits(c) { c } else { '_' }).take(MAX_STEM);
        let digest = ring::digest::digest(&ring::digest::SHA256, path.as_os_str().as_bytes());
        let digest = digest.as_ref().first_chunk::<4>().map(|bytes| hex(bytes)).unwrap_or_default();
        Self(format!("file-{}-{digest}", stem.collect::<String>()))
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
    fn names_of_files_are_valid_and_tell_paths_apart() {
        let of = |path: &str| SessionName::of_file(Path::new(path)).to_string();
        let long = format!("/{}.json", "ä".repeat(80));
        for path in ["/a/k.json", "/b/k.json", "/a/k.txt", "/", "/a/-. \n*.json", "/a/.json", &long]
        {
            let name = of(path);
            assert!(SessionName::new(&name).is_ok(), "{name:?}");
            assert_eq!(name, of(path));
        }
        assert_eq!(of(&long).len(), MAX_SESSION_NAME);
        assert!(of("/a/k.json").starts_with("file-k-"), "{}", of("/a/k.json"));
        assert_ne!(of("/a/k.json"), of("/b/k.json"));
        assert_ne!(of("/a/k.json"), of("/a/k.txt"));
    }

    #[test]
    fn fresh_names_differ_and_are_valid() {
        let (one, two) = (SessionName::fresh(), SessionName::fresh());
        assert_ne!(one, two);
        assert!(SessionName::new(one.as_str()).is_ok());
    }
}
