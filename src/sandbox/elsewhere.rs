//! Which server has a session, where servers on several machines serve the same ones.

use std::sync::Arc;

use super::{
    Failed, SandboxError, Sandboxes, Source, launch::LaunchError, registry::Key, servers::Who,
};
use crate::base::ids::SessionName;

impl Sandboxes {
    /// Why nothing of a session is known here: another server has it, and no call can be answered but
    /// by that one.
    pub async fn elsewhere(&self, name: &SessionName) -> Option<SandboxError> {
        let keeping = self.keeping_of(name, &Source::Settings).filter(|keeping| keeping.shared)?;
        if self.status(Some(name)).iter().any(|session| session.facts.is_some()) {
            return None;
        }
        let key = Key::new(&self.workspace, name.clone());
        // A store that cannot be asked is told by the next cell.
        let who = keeping.tenancy.ok()?.who_has(&key).await.ok()??;
        Some(Failed { session: name.clone(), source: Arc::new(has_it(who)) }.into())
    }
}

/// That server has it.
pub(super) fn has_it(who: Who) -> LaunchError {
    LaunchError::Elsewhere { who: who.to_string(), url: who.url }
}
