//! A folder that a kernel may write to as well, used without ever being led out of it.
//!
//! Everything is done relative to an open folder and by plain names, and no symbolic link is
//! followed: whatever a kernel puts at a name, nothing outside is read, written or removed. What
//! the names mean is the caller's business.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Most entries of a folder that are looked at: a kernel may have filled it.
const MOST_NAMES: usize = 10_000;

/// An open folder.
#[derive(Debug)]
pub struct Folder(OwnedFd);

/// What tells one state of a file from another: its place on disk, its size, when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    place: (i128, i128),
    size: i128,
    written: (i128, i128),
}

impl Stamp {
    /// How long before `now` the file was written; nothing where that is in the future.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        let seconds = u64::try_from(self.written.0).ok()?;
        now.duration_since(SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?).ok()
    }
}

impl Folder {
    /// Opens the folder at a path that the user chose; links in it are the user's own.
    ///
    /// # Errors
    /// When it is not there, no folder, or not ours to enter.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(fs::open(path, flags, Mode::empty())?))
    }

    /// Opens a folder in this one, and makes it where there is none; tells whether it was made.
    ///
    /// # Errors
    /// When the name is taken by anything but a folder, a symbolic link to one included.
    pub fn enter(&self, name: &OsStr) -> io::Result<(Self, bool)> {
        let made = match fs::mkdirat(&self.0, plain(name)?, Mode::from_raw_mode(0o777)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok((Self(fs::openat(&self.0, name, flags, Mode::empty())?), made))
    }

    /// Makes a file that was not there (0644 less the umask), for writing.
    ///
    /// # Errors
    /// When the name is taken, by whatever it is, or nothing can be written here.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(fs::openat(&self.0, plain(name)?, flags, Mode::from_raw_mode(0o644))?.into())
    }

    /// The stamp of what is at a name, a link itself and not what it points to; nothing where
    /// nothing is.
    ///
    /// # Errors
    /// When the folder cannot be searched.
    pub fn stamp(&self, name: &OsStr) -> io::Result<Option<Stamp>> {
        let stat = match fs::statat(&self.0, plain(name)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Stamp {
            place: (stat.st_dev.into(), stat.st_ino.into()),
            size: stat.st_size.into(),
            written: (stat.st_mtime.into(), stat.st_mtime_nsec.into()),
        }))
    }

    /// Renames, in place of what is at the new name; a link there is itself replaced.
    ///
    /// # Errors
    /// When a folder is at the new name, or the old one is gone.
    pub fn replace(&self, old: &OsStr, new: &OsStr) -> io::Result<()> {
        Ok(fs::renameat(&self.0, plain(old)?, &self.0, plain(new)?)?)
    }

    /// Renames where nothing is at the new name.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] where something is.
    pub fn rename(&self, old: &OsStr, new: &OsStr) -> io::Result<()> {
        let (from, to) = (plain(old)?, plain(new)?);
        match fs::renameat_with(&self.0, from, &self.0, to, RenameFlags::NOREPLACE) {
            // File systems that cannot (NFS, some of FUSE): looked up and done in two steps.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match self.stamp(new)? {
                Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
                None => self.replace(old, new),
            },
            done => Ok(done?),
        }
    }

    /// Removes a file, or a link itself.
    ///
    /// # Errors
    /// When nothing or a folder is there, or nothing can be written here.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, plain(name)?, AtFlags::empty())?)
    }

    /// The names in the folder, at most ten thousand.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let entries = fs::Dir::read_from(&self.0)?.take(MOST_NAMES);
        let name = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        entries.map(|entry| Ok(name(entry?.file_name().to_bytes()))).collect()
    }
}

/// A name that stays in its folder.
fn plain(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain file name"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn name(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn no_link_leads_out() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), "kept").unwrap();
        symlink(outside.path(), inside.path().join("folder")).unwrap();
        symlink(outside.path().join("secret"), inside.path().join("file")).unwrap();
        symlink(outside.path().join("new"), inside.path().join("dangling")).unwrap();
        let folder = Folder::open(inside.path()).unwrap();
        assert!(folder.enter(name("folder")).is_err());
        assert!(folder.create(name("file")).is_err());
        assert!(folder.create(name("dangling")).is_err());
        folder.create(name("mine")).unwrap();
        assert!(folder.rename(name("mine"), name("file")).is_err());
        folder.replace(name("mine"), name("file")).unwrap();
        folder.remove(name("dangling")).unwrap();
        assert_eq!(std::fs::read_to_string(outside.path().join("secret")).unwrap(), "kept");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        for bad in ["", ".", "..", "a/b", "/etc"] {
            assert!(folder.create(name(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stamp_changes_with_the_file() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path()).unwrap();
        assert_eq!(folder.stamp(name("a")).unwrap(), None);
        folder.create(name("a")).unwrap();
        let first = folder.stamp(name("a")).unwrap();
        folder.rename(name("a"), name("b")).unwrap();
        assert_eq!(folder.stamp(name("b")).unwrap(), first);
        std::fs::write(home.path().join("b"), "x").unwrap();
        assert_ne!(folder.stamp(name("b")).unwrap(), first);
    }
}
