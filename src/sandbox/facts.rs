//! What is known of a kernel that runs.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use crate::{jail, kernel::Info, proxy};

/// What is known of a kernel that runs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// For example `ipython 9.18.1`.
    pub kernel: String,
    /// For example `python 3.11.7`.
    pub language: String,
    /// The program that runs it.
    pub program: PathBuf,
    /// Its process id, where husk started it.
    pub pid: Option<u32>,
    /// Its init's process id.
    pub init_pid: Option<i32>,
    /// What holds it, where husk started it.
    pub isolation: Option<Arc<jail::Report>>,
    /// What its proxy has refused, where it has one.
    pub refused: Option<Arc<proxy::Record>>,
    /// Optional features that it says it has, for example `kernel subshells`.
    pub features: Vec<String>,
    /// When it answered first.
    pub started: SystemTime,
}

impl Facts {
    /// What a kernel says of itself, and what it was started by.
    pub(super) fn of(info: &Info, program: PathBuf) -> Self {
        Self {
            kernel: format!("{} {}", info.implementation, info.version),
            language: format!("{} {}", info.language, info.language_version).trim().to_owned(),
            program,
            pid: None,
            init_pid: None,
            isolation: None,
            refused: None,
            features: info.features.clone(),
            started: SystemTime::now(),
        }
    }
}
