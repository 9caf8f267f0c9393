//! What runs a session's kernel: the kernelspec that was asked for, and the interpreter.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use tokio::sync::watch;

use super::{
    launch::{LaunchError, Launcher},
    python::{self, Interpreter, Progress},
};
use crate::kernel::spec::{self, Spec};

impl Launcher {
    /// The kernelspec that was asked for.
    pub(super) fn spec(&self, name: Option<&String>) -> Result<Option<Spec>, LaunchError> {
        let Some(name) = name else { return Ok(None) };
        let folders = spec::folders(&self.prefixes());
        spec::find(name, &folders).map(Some).map_err(LaunchError::Spec)
    }

    /// Python environments whose own kernels count too: the ones that an interpreter is looked for in.
    #[must_use]
    pub fn prefixes(&self) -> Vec<PathBuf> {
        let wanted = &self.wanted;
        let explicit = wanted.explicit.iter().filter_map(|python| python.parent()?.parent());
        let active =
            wanted.surroundings.virtual_env.iter().chain(&wanted.surroundings.conda_prefix);
        let project = wanted.project.join(".venv");
        let all = explicit.map(Path::to_owned).chain(active.cloned()).chain([project]);
        all.filter(|prefix| prefix.is_dir()).collect()
    }

    pub(super) async fn interpreter(
        &self,
        spec: Option<&Spec>,
        workspace: &Path,
        says: &watch::Sender<String>,
    ) -> Result<Interpreter, LaunchError> {
        let mut wanted = self.wanted.clone();
        wanted.reach = self.reach(workspace);
        // A kernelspec that says only `python` means the configured interpreter, as in Jupyter.
        if let Some((spec, path)) = spec.and_then(|spec| Some((spec, spec.ipykernel()?)))
            && path.contains('/')
        {
            wanted.explicit = Some(path.into());
            wanted.reach.everywhere = wanted.reach.holds(&spec.folder);
        }
        let known = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (wanted.explicit.clone(), wanted.reach.everywhere);
        let kept = known().get(&key).cloned();
        if let Some(found) = kept.filter(|found| found.executable.exists()) {
            return Ok(found);
        }
        let found = python::discover(&wanted, &Say(says)).await.map_err(LaunchError::Python)?;
        known().insert(key, found.clone());
        Ok(found)
    }
}

/// Progress goes to the log and to every call that waits.
struct Say<'a>(&'a watch::Sender<String>);

impl Progress for Say<'_> {
    fn line(&self, text: &str) {
        tracing::info!("{text}");
        self.0.send_replace(text.to_owned());
    }
}
