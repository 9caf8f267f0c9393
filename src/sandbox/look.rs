//! What sessions and kernels tell of themselves to who only looks.

use std::{sync::PoisonError, time::Duration};

use serde_json::Value;

use super::{InspectError, SandboxError, Sandboxes, Snapshot, census, session::Session};
use crate::{base::ids::SessionName, kernel::spec};

impl Sandboxes {
    /// The notebook of a session as JSON; nothing before its first cell, or when none is kept. Blocks.
    ///
    /// # Errors
    /// [`SandboxError::NoSession`], [`SandboxError::Notebook`].
    pub fn notebook(&self, name: &SessionName) -> Result<Option<String>, SandboxError> {
        self.open(name)?.notebook().transpose().map_err(SandboxError::Notebook)
    }

    /// Looks at one variable of a session, or at all, for at most `wait`.
    ///
    /// # Errors
    /// [`SandboxError::NoSession`]; inside, why there is no look.
    pub async fn inspect(
        &self,
        name: &SessionName,
        variable: Option<&str>,
        wait: Duration,
    ) -> Result<Result<Value, InspectError>, SandboxError> {
        Ok(self.open(name)?.inspect(variable, wait).await)
    }

    /// The state of every session, or of the one that is named.
    #[must_use]
    pub fn status(&self, name: Option<&SessionName>) -> Vec<Snapshot> {
        let asked = |key: &SessionName| name.is_none_or(|name| name == key);
        let sessions: Vec<Session> = {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            let open = sessions.iter().flat_map(|open| &open.by_name);
            open.filter(|(key, _)| asked(key)).map(|(_, session)| session.clone()).collect()
        };
        sessions.iter().map(Session::snapshot).collect()
    }

    /// Names of the kernels that are installed beside Python. Reads from disk.
    #[must_use]
    pub fn installed_kernels(&self) -> Vec<String> {
        let all = spec::list(&spec::folders(&self.launcher.prefixes()));
        all.into_iter().map(|spec| spec.name).collect()
    }

    /// How many kernels were started and how they ended, of all users.
    #[must_use]
    pub fn census(&self) -> census::Counted {
        self.launcher.census.look()
    }

    /// Process ids of the kernels that wait for a session.
    #[must_use]
    pub fn ready(&self) -> Vec<u32> {
        self.launcher.pool.pids()
    }
}
