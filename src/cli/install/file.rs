//! A configuration file on disk: read it, keep a copy of it, put a new text in its place. Knows
//! nothing of what the text says.
//!
//! The copy is `<file>.husk-backup` beside the file. It is never overwritten, so the oldest text
//! from before husk stays there; later texts go to `.husk-backup-2`, `-3` and so on. A text that
//! some copy already holds is not copied again.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Error;

/// The file's text, or `None` where there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Puts `after` in the place of `before`, all at once, and gives back where `before` is kept.
///
/// A symbolic link stays, what it leads to is replaced; the file keeps its permissions, a new one
/// is for its owner only, because such files tend to collect keys.
pub(super) fn replace(
    path: &Path,
    before: Option<&str>,
    after: &str,
) -> Result<Option<PathBuf>, Error> {
    let target = followed(path).map_err(failed("follow the link", path))?;
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed("create the folder", folder))?;
    let permissions = match before {
        Some(_) => Some(fs::metadata(&target).map_err(failed("read", &target))?.permissions()),
        None => None,
    };
    let backup = match before {
        Some(before) => Some(keep(path, before, permissions.as_ref())?),
        None => None,
    };
    let fresh = written(folder, after, permissions.as_ref()).map_err(failed("write", &target))?;
    // Hosts write their files too; what one wrote since we read must not be lost.
    if read(path)?.as_deref() != before {
        return Err(Error::Changed { file: path.to_owned() });
    }
    fresh.persist(&target).map_err(|error| failed("replace", &target)(error.error))?;
    Ok(backup)
}

/// The path at the end of a chain of links. Unlike `canonicalize` it also names a file that is yet
/// to be made.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    // As many as Linux follows.
    for _ in 0..40 {
        if !path.is_symlink() {
            return Ok(path);
        }
        let link = fs::read_link(&path)?;
        path = path.parent().unwrap_or(Path::new("")).join(link);
    }
    Err(io::Error::other("too many links"))
}

fn keep(path: &Path, text: &str, permissions: Option<&Permissions>) -> Result<PathBuf, Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    for number in 1_u32.. {
        let copy = backup_name(path, number);
        match fs::read(&copy) {
            Ok(kept) if kept == text.as_bytes() => return Ok(copy),
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read the backup", &copy)(error)),
        }
        let fresh =
            written(folder, text, permissions).map_err(failed("write the backup", &copy))?;
        match fresh.persist_noclobber(&copy) {
            Ok(_) => return Ok(copy),
            // Another husk was faster with this number.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("write the backup", &copy)(error.error)),
        }
    }
    Err(failed("write the backup", path)(io::Error::other("no number is free")))
}

fn backup_name(path: &Path, number: u32) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".husk-backup");
    if number > 1 {
        name.push(format!("-{number}"));
    }
    path.with_file_name(name)
}

fn written(
    folder: &Path,
    text: &str,
    permissions: Option<&Permissions>,
) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix(".husk-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    if let Some(permissions) = permissions {
        file.as_file().set_permissions(permissions.clone())?;
    }
    file.as_file().sync_all()?;
    Ok(file)
}

fn failed(deed: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { deed, path, source }
}

#[cfg(test)]
mod tests {
    use super::{Error, fs, io, replace};

    #[test]
    fn what_a_host_wrote_meanwhile_is_not_lost() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("mcp.json");
        fs::write(&path, "new")?;
        let result = replace(&path, Some("old"), "ours");
        assert!(matches!(result, Err(Error::Changed { .. })), "{result:?}");
        assert_eq!(fs::read_to_string(&path)?, "new");
        Ok(())
    }
}
