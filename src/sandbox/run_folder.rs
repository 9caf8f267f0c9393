//! Where one kernel's sockets, connection file and journal live while it runs.

use std::{
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::service::Folders;
use crate::jail;

/// How their names begin.
const PREFIX: &str = "husk-";

/// A run folder that could not be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot make the kernel's run folder in `{}`; set XDG_RUNTIME_DIR or TMPDIR to a folder that you may write",
    .path.display()
)]
pub struct RunError {
    /// Where.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

/// The folders of one kernel: `k` is the kernel's, with `t` for what it keeps for a while, `s` the
/// server's; removed when dropped, unless it is left for another server.
pub(super) struct Run {
    pub(super) outer: PathBuf,
    pub(super) inner: PathBuf,
    pub(super) folder: PathBuf,
    stays: bool,
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.stays {
            // Init removes it too, and may have been faster.
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

impl Run {
    /// Makes them, for this user alone.
    pub(super) fn make() -> Result<Self, RunError> {
        let base = run_base();
        let failed = |source| RunError { path: base.clone(), source };
        let private = std::fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(8)
            .permissions(private)
            .tempdir_in(&base)
            .map_err(failed)?;
        let run = Self::at(folder.keep());
        let (outer, inner) = (&run.outer, &run.inner);
        for path in [outer, inner, &outer.join("t"), &outer.join("t/home")] {
            std::fs::create_dir(path).map_err(failed)?;
        }
        Ok(run)
    }

    /// Those of a kernel that runs already.
    pub(super) fn at(folder: PathBuf) -> Self {
        Self { outer: folder.join("k"), inner: folder.join("s"), folder, stays: false }
    }

    /// As services get them; `seen` is where the kernel sees its part.
    pub(super) fn folders<'a>(&'a self, seen: &'a Path, plan: &jail::Plan) -> Folders<'a> {
        Folders {
            folder: &self.folder,
            inner: &self.inner,
            outer: &self.outer,
            seen,
            connects: !plan.offline(),
        }
    }

    /// Leaves them.
    pub(super) fn leave(mut self) {
        self.stays = true;
    }
}

/// The run folders of this user that are there, of whichever server.
pub(super) fn all() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(run_base()).into_iter().flatten().flatten();
    let ours = |path: &PathBuf| {
        let named = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
        named
            && std::fs::symlink_metadata(path).is_ok_and(|about| {
                about.is_dir() && about.uid() == crate::jail::user_id() && about.mode() & 0o077 == 0
            })
            && path.join("s").is_dir()
    };
    entries.map(|entry| entry.path()).filter(ours).collect()
}

/// Where run folders are made: short, this machine's, this user's.
fn run_base() -> PathBuf {
    let runtime =
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_dir());
    let base = runtime.unwrap_or_else(std::env::temp_dir);
    let room = base.as_os_str().len() + "/husk-12345678/s/control".len();
    if room <= crate::kernel::connection::MAX_SOCKET_PATH { base } else { PathBuf::from("/tmp") }
}

/// Tries whether a run folder can be made and a socket bound in it; tells where.
///
/// # Errors
/// [`RunError`].
pub fn try_out() -> Result<PathBuf, RunError> {
    let run = Run::make()?;
    let path = run_base();
    std::os::unix::net::UnixListener::bind(run.inner.join("control"))
        .map_err(|source| RunError { path: path.clone(), source })?;
    Ok(path)
}
