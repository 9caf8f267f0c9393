//! Where a value came from, in the words that the user knows the place by.
//!
//! Holds no value and reads no source.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from. Displays as `default`, `HUSK_PYTHON`, `--python` or `husk.toml:3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// No source says it.
    Default,
    /// A file says it: the project's, named from the project's folder, or the user's, in full.
    File {
        /// The file.
        path: PathBuf,
        /// Where in it the value starts.
        at: Position,
    },
    /// An environment variable, by name.
    Variable(String),
    /// A flag of the command line, with its dashes.
    Flag(String),
}

impl Origin {
    /// The origin with the column too, for pointing at a fault.
    pub(super) fn place(&self) -> String {
        match self {
            Self::File { at, .. } => format!("{self}:{}", at.column),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(out, "default"),
            Self::File { path, at } => write!(out, "{}:{}", path.display(), at.line),
            Self::Variable(name) | Self::Flag(name) => write!(out, "{name}"),
        }
    }
}

/// A place in a text, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Position {
    /// The position of a byte of the text; the end of the text if it lies beyond or splits a
    /// character.
    pub(super) fn of_byte(text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line_so_far = before.rsplit('\n').next().unwrap_or(before);
        // A byte order mark is nothing that an editor counts.
        let line_so_far = line_so_far.trim_start_matches('\u{feff}');
        Self { line: before.matches('\n').count() + 1, column: line_so_far.chars().count() + 1 }
    }
}
