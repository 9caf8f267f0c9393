//! What can be wrong with the settings, and the error that shows all of it at once.
//!
//! Finds no faults itself.

use std::fmt;

/// One thing that is wrong in one source. A `place` is a file with line and column, a variable or
/// a flag; the cause stands in the text, because a list of faults has no chain of causes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The file is there, or must be, and could not be read.
    #[error("{file}: cannot read the settings: {why}; {expected}")]
    Unreadable {
        /// The file, as the user knows it.
        file: String,
        /// What the system said.
        why: String,
        /// What should be there.
        expected: &'static str,
    },
    /// The file is no TOML, so nothing in it was looked at.
    #[error("{place}: not valid TOML: {why}")]
    Broken {
        /// File, line and column.
        place: String,
        /// What the parser said.
        why: String,
    },
    /// Nothing is set by this name.
    #[error("{place}: unknown {name}; {hint}")]
    Unknown {
        /// Where the name stands.
        place: String,
        /// The name, with what it is: a key, a variable.
        name: String,
        /// The nearest known names, or how names are made.
        hint: String,
    },
    /// The value does not fit its key.
    #[error("{place}: `{key}` {wrong}")]
    Wrong {
        /// Where the value stands.
        place: String,
        /// The dotted key.
        key: String,
        /// What was expected, and what was found.
        wrong: String,
    },
    /// A project's file says what only the user may say.
    #[error(transparent)]
    NotTheProjects(Box<NotTheProjects>),
    /// There is no current folder to read `husk.toml` from.
    #[error("cannot tell the current folder: {why}; start husk in a folder that exists")]
    NoCurrentFolder {
        /// What the system said.
        why: String,
    },
    /// There is no home folder to keep data in.
    #[error("no home folder to keep data in; set HOME, or `data_dir` (HUSK_DATA_DIR)")]
    NoDataFolder,
}

/// A value in a project's file that lets cells do more than the user's own sources give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{place}: `{key}` = {said} {why}; a project's file may only tighten what you have set ({own}, \
     {from}), because cells can write it; if you want this, set it in {file}, with {variable}, or \
     with --set {key}=…"
)]
pub struct NotTheProjects {
    /// Where the value stands.
    pub place: String,
    /// The dotted key.
    pub key: String,
    /// The value there.
    pub said: String,
    /// What is wrong with it.
    pub why: String,
    /// The value that the user's own sources give.
    pub own: String,
    /// Which of them.
    pub from: String,
    /// The user's own file.
    pub file: String,
    /// The variable for the key.
    pub variable: String,
}

/// All that is wrong with the settings; never empty when [`super::load`] returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    faults: Vec<Fault>,
}

impl Faults {
    /// The faults as one error.
    pub fn new(faults: Vec<Fault>) -> Self {
        Self { faults }
    }

    /// Each fault, those of the weakest source first.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => writeln!(out, "1 fault in the settings:")?,
            count => writeln!(out, "{count} faults in the settings:")?,
        }
        for fault in &self.faults {
            // One line each, whatever line breaks and terminal codes a file name or value holds.
            let line = fault.to_string().replace(char::is_control, "?");
            writeln!(out, "  {line}")?;
        }
        write!(out, "run `husk config` to see every setting in force, and where it comes from")
    }
}

impl std::error::Error for Faults {}
