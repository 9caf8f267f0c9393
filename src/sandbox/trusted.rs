//! What other programs trust in a workspace, as it was when a kernel's sandbox was made around it: only
//! that is kept from its cells. A file that is put in its place later, as many editors save, is
//! another one, and open to them until the next kernel.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::jail::Plan;

/// Device and inode.
type Identity = Option<(u64, u64)>;

/// See the module's documentation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Trusted(Vec<(PathBuf, Identity)>);

impl Trusted {
    /// What a kernel of that plan, which was just started, is kept from.
    pub(super) fn of(plan: &Plan) -> Self {
        let kept = plan.grants.iter().filter(|grant| grant.kept.is_some());
        Self(kept.map(|grant| (grant.path.clone(), identity(&grant.path))).collect())
    }

    /// Whether all is in its place.
    pub(super) fn is_whole(&self) -> bool {
        self.0.iter().all(|(path, known)| identity(path) == *known)
    }

    /// What is no more; each is told once.
    pub(super) fn take_replaced(&mut self) -> Vec<PathBuf> {
        let replaced = self.0.extract_if(.., |(path, known)| identity(path) != *known);
        replaced.map(|(path, _)| path).collect()
    }
}

fn identity(path: &Path) -> Identity {
    let identity = |about: Metadata| (about.dev(), about.ino());
    path.symlink_metadata().ok().map(identity)
}
