//! What the settings are read from: the only place where `config` looks at the process.
//!
//! Parses nothing; tests build [`Sources`] by hand.

use std::ffi::OsString;
use std::path::PathBuf;

use etcetera::BaseStrategy;

use super::{Fault, Faults};

/// A setting given on the command line. Its value is read as an environment variable's is, so an
/// empty one counts as not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The dotted key, such as `cells.timeout`.
    pub key: String,
    /// The value as typed.
    pub value: OsString,
    /// The flag with its dashes, such as `--timeout`: what the user knows it by.
    pub name: String,
}

impl Flag {
    /// A flag that sets `key` to `value`.
    pub fn new(key: &str, value: impl Into<OsString>, name: &str) -> Self {
        Self { key: key.to_owned(), value: value.into(), name: name.to_owned() }
    }
}

/// Everything that [`super::load`] may look at.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Flags; of two for one key the later counts.
    pub flags: Vec<Flag>,
    /// Environment variables; those not named `HUSK_…` are passed over.
    pub env: Vec<(OsString, OsString)>,
    /// The current folder, absolute: `husk.toml` is read here, and relative paths of flags and
    /// variables start here.
    pub project: PathBuf,
    /// Read instead of the project's `husk.toml`; must exist. Relative to `project`.
    pub config_file: Option<PathBuf>,
    /// The user's own `husk.toml`, which need not exist.
    pub user: Option<PathBuf>,
    /// The home folder, for `~`.
    pub home: Option<PathBuf>,
    /// Bytes of memory that this machine has, of which an unset limit is a part.
    pub memory: Option<u64>,
}

/// The user's own `husk.toml`, which need not exist: in the configuration folder (XDG, on macOS too:
/// people edit this file by hand).
#[must_use]
pub fn user_file() -> Option<PathBuf> {
    let user = etcetera::choose_base_strategy().ok()?;
    Some(user.config_dir().join("husk").join("husk.toml"))
}

impl Sources {
    /// The sources of this process: its environment, its current folder and its user's file.
    ///
    /// # Errors
    /// When the current folder cannot be told, for example because it was deleted.
    pub fn from_process(flags: Vec<Flag>, config_file: Option<PathBuf>) -> Result<Self, Faults> {
        let project = std::env::current_dir().map_err(|error| {
            let why = error.to_string();
            Faults::new(vec![Fault::NoCurrentFolder { why }])
        })?;
        Ok(Self {
            flags,
            // Only ours: the rest may hold secrets, and `Sources` can be printed. Keys of model
            // providers are no settings either.
            env: std::env::vars_os()
                .filter(|(name, _)| {
                    let name = name.to_string_lossy();
                    name.starts_with("HUSK_") && !name.starts_with("HUSK_KEY_")
                })
                .collect(),
            project,
            config_file,
            user: user_file(),
            home: etcetera::home_dir().ok(),
            memory: Some(crate::jail::machine_memory()),
        })
    }
}
