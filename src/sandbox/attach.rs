//! Where a session's kernel comes from; above all one that somebody else started, by its connection
//! file.
//!
//! husk is one more client of such a kernel: it never ends it, shares its variables with whoever
//! started it, and tells when it goes.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    body::Body,
    facts::Facts,
    launch::{Kernel, LaunchError, Launcher},
    room::Place,
    run_folder::Run,
};
use crate::kernel::{Client, connection::Connection};

/// Where a session's kernel comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Source {
    /// As the settings say.
    #[default]
    Settings,
    /// An installed kernelspec.
    Spec(String),
    /// The connection file of a kernel that somebody else started.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings => f.write_str("the kernel of the settings"),
            Self::Spec(name) => write!(f, "the kernel `{name}`"),
            Self::File(path) => write!(f, "the kernel of `{}`", path.display()),
        }
    }
}

impl Launcher {
    /// A kernel that runs already.
    pub(super) async fn attach(&self, file: &Path) -> Result<Kernel, LaunchError> {
        let run = Run::make().map_err(LaunchError::Run)?;
        let connection = Connection::of_file(file, &run.inner).map_err(LaunchError::Connection)?;
        let limit = Duration::from_secs_f64(self.settings.timeout);
        let absent = |source| LaunchError::Absent { file: file.to_owned(), source };
        let client = tokio::time::timeout(limit, Client::connect(&connection, self.wire, None))
            .await
            .map_err(|_elapsed| absent(None))?
            .map_err(|source| absent(Some(source)))?;
        let facts = Facts::of(client.info(), file.to_owned());
        let name = client.info().language.clone();
        // It cannot be signalled: husk may be neither its parent nor on its machine.
        let body = Body::Foreign;
        Ok(Kernel {
            client,
            body,
            gifts: Vec::new(),
            _proxy: None,
            facts,
            name,
            launched: false,
            interrupts_by_message: true,
            hold: None,
            connection: None,
            run,
            _place: Place::default(),
        })
    }
}
