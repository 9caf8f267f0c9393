//! What the sandbox needs of a store: who has which session. `app` fills it.

use std::{error::Error, fmt, future::Future, path::Path, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::state::tenure::{Refused, Step, Tenure, Terms};
use crate::base::ids::SessionName;

/// A session that outlives its server, as all processes know it: one name means another session in
/// another workspace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Where its kernel works.
    pub workspace: String,
    /// Its name there.
    pub name: SessionName,
}

impl Key {
    /// The session `name` in that folder, by whatever way it is named.
    #[must_use]
    pub fn new(workspace: &Path, name: SessionName) -> Self {
        let folder = workspace.canonicalize().or_else(|_| std::path::absolute(workspace));
        let folder = folder.unwrap_or_else(|_| workspace.to_owned());
        // A path that is no text is told apart from all others by its escapes.
        let workspace = folder.to_str().map_or_else(|| format!("{folder:?}"), str::to_owned);
        Self { workspace, name }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` in `{}`", self.name, self.workspace)
    }
}

/// A session and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub key: Key,
    /// What is known of it.
    pub tenure: Tenure,
    /// How long nothing has happened to it.
    pub untouched: Duration,
}

/// The store cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("husk's store cannot be used")]
pub struct RegistryError {
    /// Why.
    #[source]
    pub cause: Arc<dyn Error + Send + Sync>,
    /// Whether it may be over when the same is tried again.
    pub passes: bool,
}

/// What is being found out.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, RegistryError>> + Send + 'a>>;

/// Keeps [`Tenure`]s for all processes: each change is one guarded statement.
pub trait Registry: Send + Sync {
    /// Takes a session, as [`Tenure::claim`].
    fn claim<'a>(
        &'a self,
        key: &'a Key,
        terms: &'a Terms,
    ) -> Answer<'a, Result<Tenure, (Tenure, Refused)>>;

    /// Changes it, as [`Tenure::step`].
    fn step<'a>(
        &'a self,
        key: &'a Key,
        holder: &'a str,
        epoch: u64,
        attempts: u32,
        step: &'a Step,
    ) -> Answer<'a, bool>;

    /// Renews all that this holder has; which these are, and the epochs of their claims.
    fn renew<'a>(&'a self, holder: &'a str, lease: Duration) -> Answer<'a, Vec<(Key, u64)>>;

    /// A session, and the time of the store's clock in milliseconds.
    fn find<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<(Tenure, u64)>>;

    /// All sessions, the one that was changed last first.
    fn all(&self) -> Answer<'_, Vec<Entry>>;

    /// Forgets what has no kernel and was not touched for so long.
    fn forget(&self, age: Duration) -> Answer<'_, ()>;

    /// Changes whenever something may have changed. Subscribe before reading.
    fn changes(&self) -> Answer<'_, watch::Receiver<u64>>;
}
