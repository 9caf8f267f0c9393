//! Where one kernel's sockets, connection file and journal live while it runs.

use std::{io, os::unix::fs::PermissionsExt, path::PathBuf};

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
/// server's; removed when dropped.
pub(super) struct Run {
    pub(super) outer: PathBuf,
    pub(super) inner: PathBuf,
    pub(super) folder: tempfile::TempDir,
}

impl Run {
    /// Makes them, for this user alone.
    pub(super) fn make() -> Result<Self, RunError> {
        let base = run_base();
        let failed = |source| RunError { path: base.clone(), source };
        let private = std::fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new()
            .prefix("husk-")
            .rand_bytes(8)
            .permissions(private)
            .tempdir_in(&base)
            .map_err(failed)?;
        let (outer, inner) = (folder.path().join("k"), folder.path().join("s"));
        for path in [&outer, &inner, &outer.join("t"), &outer.join("t/home")] {
            std::fs::create_dir(path).map_err(failed)?;
        }
        Ok(Self { outer, inner, folder })
    }
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
