//! Which servers live: each locks a file of its own, and the operating system takes the lock away
//! when it ends, however it ends.
//!
//! A lease would tell the same later. Process ids would not: they are other ones in a container.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::base::ids;

/// The folder's name in the data folder.
const FOLDER: &str = "servers";

/// This server among the others.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    name: String,
    /// Locked as long as this process lives.
    _lock: File,
}

/// This server cannot be told from one that has died.
#[derive(Debug, thiserror::Error)]
#[error("cannot lock a file in `{}`; let this user write there, or set `data_dir` to another folder", .folder.display())]
pub struct NoServer {
    /// Where.
    pub folder: PathBuf,
    /// The cause.
    pub source: io::Error,
}

impl Server {
    /// Locks a file of its own.
    ///
    /// # Errors
    /// [`NoServer`].
    pub fn open(data: &Path) -> Result<Self, NoServer> {
        Self::open_in(data.join(FOLDER))
    }

    /// Another one of this process, for who wants to hold something for itself.
    ///
    /// # Errors
    /// [`NoServer`].
    pub fn beside(&self) -> Result<Self, NoServer> {
        Self::open_in(self.folder.clone())
    }

    fn open_in(folder: PathBuf) -> Result<Self, NoServer> {
        let name = format!("{}-{}", std::process::id(), ids::random_hex(6));
        match lock(&folder, &name) {
            Ok(lock) => Ok(Self { folder, name, _lock: lock }),
            Err(source) => Err(NoServer { folder, source }),
        }
    }

    /// Its name: no other one has it, or has had it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Whether the server of that name has ended for certain.
    #[must_use]
    pub fn is_dead(&self, name: &str) -> bool {
        name != self.name && is_plain(name) && is_unlocked(&self.folder.join(name))
    }

    /// Removes the files of servers that have ended.
    pub fn sweep(&self) {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for file in files.map(|entry| entry.path()).filter(|file| *file != self.file()) {
            if let Ok(open) = File::open(&file)
                && open.try_lock().is_ok()
            {
                // Another who sweeps may have been faster.
                let _ = fs::remove_file(&file);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that is gone is as wanted.
        let _ = fs::remove_file(self.file());
    }
}

/// The process of a server, by its name.
#[must_use]
pub fn process_of(name: &str) -> Option<u32> {
    name.split_once('-')?.0.parse().ok()
}

/// Whether the file of a server can be locked, or is gone: its server has ended.
pub(super) fn is_unlocked(file: &Path) -> bool {
    match File::open(file) {
        Ok(file) => file.try_lock().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A locked file that is still there: who sweeps may have removed it before it was locked.
fn lock(folder: &Path, name: &str) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(name);
    loop {
        let file =
            File::options().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            // Who sweeps has it for a moment.
            Err(TryLockError::WouldBlock) => file.lock()?,
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if fs::metadata(&path)
            .is_ok_and(|there| file.metadata().is_ok_and(|is| is.ino() == there.ino()))
        {
            return Ok(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_lives_as_long_as_it_has_its_lock() {
        let data = tempfile::tempdir().unwrap();
        let (one, two) = (Server::open(data.path()).unwrap(), Server::open(data.path()).unwrap());
        assert!(!one.is_dead(two.name()) && !two.is_dead(one.name()) && !one.is_dead(one.name()));
        let name = two.name().to_owned();
        // As it is after SIGKILL: the file stays, the lock is gone.
        fs::write(data.path().join("servers/left"), "").unwrap();
        assert!(one.is_dead("left"));
        drop(two);
        assert!(one.is_dead(&name));
        one.sweep();
        assert_eq!(fs::read_dir(data.path().join("servers")).unwrap().count(), 1);
        assert!(!one.is_dead("../../etc/passwd"));
        assert_eq!(process_of(&name), Some(std::process::id()));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("servers"), "").unwrap();
        let error = Server::open(data.path()).unwrap_err();
        assert!(error.to_string().contains("data_dir"), "{error}");
    }
}
