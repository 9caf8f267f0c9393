//! What `husk install` and `husk uninstall` say that they did. Refusals are [`super::Error`].

use std::fmt;
use std::path::PathBuf;

use super::host::Host;

/// What was done, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whose file it is.
    pub host: Host,
    /// The file.
    pub file: PathBuf,
    /// What became of it.
    pub outcome: Outcome,
    /// Where the text from before is kept; `None` where nothing was written or nothing was there.
    pub backup: Option<PathBuf>,
}

/// What became of a host's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The entry was added or brought up to date.
    Registered,
    /// The entry was there already.
    AlreadyRegistered,
    /// The entry was taken out.
    Removed,
    /// There was no entry.
    NotRegistered,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, file, outcome, backup } = self;
        let file = file.display();
        match outcome {
            Outcome::Registered => write!(f, "registered husk with {host} in {file}")?,
            Outcome::AlreadyRegistered => {
                return write!(
                    f,
                    "husk is already registered with {host} in {file}; nothing was written"
                );
            }
            Outcome::Removed => write!(f, "removed husk from {host}'s {file}")?,
            Outcome::NotRegistered => {
                return write!(
                    f,
                    "husk is not registered with {host} in {file}; nothing was written"
                );
            }
        }
        match backup {
            Some(backup) => write!(f, "; the file as it was is kept as {}", backup.display())?,
            None => write!(f, " (a new file)")?,
        }
        write!(f, ". Restart {host} for it to take effect.")
    }
}
