//! Where the sockets of this user's servers are, and which of them live.
//!
//! `$XDG_RUNTIME_DIR/husk`, or `husk-USER` in the folder for temporary files; each socket is named
//! for its server's process. A folder that others could reach is not used. A socket at which nobody
//! answers is what a killed server left, and whoever finds it removes it.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use tokio::net::UnixStream;

use crate::jail;

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    #[error(
        "cannot make the folder `{}` for the local socket; set XDG_RUNTIME_DIR to a folder of your own",
        path.display()
    )]
    Make { path: PathBuf, source: io::Error },
    #[error(
        "the folder `{}` must not hold the local socket: {why}; remove it, or set XDG_RUNTIME_DIR to a folder of your own",
        path.display()
    )]
    NotPrivate { path: PathBuf, why: String },
}

/// A server that answers.
#[derive(Debug)]
pub struct Found {
    /// Its process.
    pub pid: u32,
    /// A connection to it, on which nothing was said.
    pub stream: UnixStream,
}

/// The socket of a server.
pub(super) fn socket(folder: &Path, pid: u32) -> PathBuf {
    folder.join(format!("{pid}.sock"))
}

/// The folder in which this server has its socket, made if there is none.
pub(super) fn make() -> Result<PathBuf, FolderError> {
    let user = jail::user_id();
    let path = match runtime(user) {
        Some(folder) => folder,
        None => temporary(user),
    };
    make_private(&path, user)?;
    Ok(path)
}

/// All servers of this user that answer, by process id. Sockets of dead ones are removed.
pub async fn find() -> Vec<Found> {
    let user = jail::user_id();
    let mut found = Vec::new();
    // Hosts keep variables from their servers: a server may not know of the folder that we know.
    for folder in runtime(user).into_iter().chain([temporary(user)]) {
        match check(&folder, user) {
            Ok(true) => find_in(&folder, &mut found).await,
            Ok(false) => {}
            Err(error) => tracing::warn!("{error}"),
        }
    }
    found.sort_by_key(|server| server.pid);
    found.dedup_by_key(|server| server.pid);
    found
}

/// A runtime folder that is another user's (left over by `su`) is none.
fn runtime(user: u32) -> Option<PathBuf> {
    let base = PathBuf::from(env::var_os("XDG_RUNTIME_DIR")?);
    let ours = fs::metadata(&base).is_ok_and(|is| is.is_dir() && is.uid() == user);
    (ours && base.is_absolute()).then(|| base.join("husk"))
}

fn temporary(user: u32) -> PathBuf {
    env::temp_dir().join(format!("husk-{user}"))
}

fn make_private(path: &Path, user: u32) -> Result<(), FolderError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(FolderError::Make { path: path.to_owned(), source });
        }
        _ => {}
    }
    check(path, user).map(drop)
}

/// Whether the folder is there, and fit: a folder itself, this user's, closed to all others.
fn check(path: &Path, user: u32) -> Result<bool, FolderError> {
    let unfit = |why| Err(FolderError::NotPrivate { path: path.to_owned(), why });
    let is = match fs::symlink_metadata(path) {
        Ok(is) => is,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return unfit(format!("it cannot be looked at ({error})")),
    };
    if is.is_symlink() {
        return unfit("it is a symbolic link".to_owned());
    }
    if !is.is_dir() {
        return unfit("it is no folder".to_owned());
    }
    if is.uid() != user {
        return unfit(format!("it belongs to user {}, not to user {user}", is.uid()));
    }
    if is.mode() & 0o077 != 0 {
        return unfit(format!("others may enter it (mode {:o}, not 700)", is.mode() & 0o7777));
    }
    Ok(true)
}

async fn find_in(folder: &Path, found: &mut Vec<Found>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return tracing::warn!("cannot read `{}`: {error}", folder.display()),
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Some(pid) = server(&path) else { continue };
        match UnixStream::connect(&path).await {
            Ok(stream) => found.push(Found { pid, stream }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Another who looks may have been faster.
                let _ = fs::remove_file(&path);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("cannot connect to the server {pid}: {error}"),
        }
    }
}

/// The process that a socket is named for.
fn server(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_suffix(".sock")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_a_private_folder_of_this_user_is_used() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let me = jail::user_id();
        make_private(&at("own"), me).unwrap();
        assert_eq!(fs::metadata(at("own")).unwrap().mode() & 0o7777, 0o700);
        make_private(&at("own"), me).unwrap();

        symlink(at("own"), at("link")).unwrap();
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("open")).unwrap();
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o750)).unwrap();
        let refused = |name: &str, user: u32, expected: &str| {
            for result in [make_private(&at(name), user), check(&at(name), user).map(drop)] {
                let told = result.unwrap_err().to_string();
                assert!(told.contains(expected), "{name}: {told}");
            }
        };
        refused("link", me, "it is a symbolic link");
        refused("file", me, "it is no folder");
        refused("open", me, "others may enter it (mode 750, not 700)");
        refused("own", me + 1, &format!("it belongs to user {me}, not to user {}", me + 1));
        assert!(make_private(&at("no/way"), me).is_err());
        assert!(!check(&at("nothing"), me).unwrap());
    }

    #[tokio::test]
    async fn dead_sockets_are_removed_and_other_files_are_left() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let _live = tokio::net::UnixListener::bind(at("12.sock")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(at("13.sock")).unwrap());
        for name in ["x.sock", "14", "15.new"] {
            fs::write(at(name), "").unwrap();
        }
        let mut found = Vec::new();
        find_in(home.path(), &mut found).await;
        assert_eq!(found.iter().map(|server| server.pid).collect::<Vec<_>>(), [12]);
        let left = |name: &str| at(name).exists();
        assert_eq!(
            ["12.sock", "13.sock", "x.sock", "14", "15.new"].map(left),
            [true, false, true, true, true]
        );
    }
}
