//! Which servers live: each locks a file of its own, and the operating system takes the lock away
//! when it ends, however it ends.
//!
//! A lease would tell the same later. Process ids would not: they are other ones in a container.
//! Where servers of several machines have one store, a name also says where its server is: nobody can
//! try another machine's locks, so that there the lease decides.

use std::{
    fmt,
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::base::ids;

/// The folder's name in the data folder.
const FOLDER: &str = "servers";
/// The file in the data folder that tells it from those of all other machines.
const SITE: &str = "site";

/// This server among the others.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    /// Its file's name.
    file: String,
    name: String,
    /// Where it is, if servers on other machines have the same store.
    site: Option<Site>,
    url: Option<String>,
    /// Locked as long as this process lives.
    _lock: File,
}

/// A data folder among those of all machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    id: String,
    /// The machine's name, for people.
    pub host: String,
}

impl Site {
    /// That of this data folder, on a machine of that name.
    ///
    /// # Errors
    /// [`NoServer`].
    pub fn of(data: &Path, host: &str) -> Result<Self, NoServer> {
        let failed = |source| NoServer { folder: data.to_owned(), source };
        let id = site_id(data).map_err(failed)?;
        let host: String = host.chars().filter(|c| !c.is_whitespace() && *c != '@').collect();
        Ok(Self { id, host })
    }
}

/// Makes it where there is none: whole, and only one of those who make it at once.
fn site_id(data: &Path) -> io::Result<String> {
    use io::Write;
    let file = data.join(SITE);
    match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return Ok(read?.trim().to_owned()),
    }
    DirBuilder::new().recursive(true).mode(0o700).create(data)?;
    let mut fresh = tempfile::NamedTempFile::new_in(data)?;
    fresh.write_all(ids::random_hex(8).as_bytes())?;
    match fresh.persist_noclobber(&file) {
        Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => Err(error.error),
        _ => fs::read_to_string(&file).map(|id| id.trim().to_owned()),
    }
}

/// Who a server is, read from its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Its process, on its machine.
    pub process: Option<u32>,
    /// Its machine's name.
    pub host: Option<String>,
    /// Where users reach it.
    pub url: Option<String>,
}

impl Who {
    /// The server of that name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let (local, site) = name.split_once('@').unwrap_or((name, ""));
        let mut words = site.split(' ').skip(1).map(str::to_owned);
        let process = local.split_once('-').and_then(|(process, _)| process.parse().ok());
        Self { process, host: words.next(), url: words.next() }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("server")?;
        if let Some(process) = self.process {
            write!(f, " {process}")?;
        }
        match &self.host {
            Some(host) => write!(f, " on {host}"),
            None => Ok(()),
        }
    }
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
        Self::open_in(data.join(FOLDER), None, None)
    }

    /// Locks a file of its own, among servers on other machines; users reach it at `url`.
    ///
    /// # Errors
    /// [`NoServer`].
    pub fn open_at(data: &Path, site: Site, url: Option<String>) -> Result<Self, NoServer> {
        Self::open_in(data.join(FOLDER), Some(site), url)
    }

    /// Another one of this process, for who wants to hold something for itself.
    ///
    /// # Errors
    /// [`NoServer`].
    pub fn beside(&self) -> Result<Self, NoServer> {
        Self::open_in(self.folder.clone(), self.site.clone(), self.url.clone())
    }

    fn open_in(folder: PathBuf, site: Option<Site>, url: Option<String>) -> Result<Self, NoServer> {
        let file = format!("{}-{}", std::process::id(), ids::random_hex(6));
        let name = match (&site, &url) {
            (None, _) => file.clone(),
            (Some(Site { id, host }), None) => format!("{file}@{id} {host}"),
            (Some(Site { id, host }), Some(url)) => format!("{file}@{id} {host} {url}"),
        };
        match lock(&folder, &file) {
            Ok(lock) => Ok(Self { folder, file, name, site, url, _lock: lock }),
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
        self.folder.join(&self.file)
    }

    /// Where it is, if servers on other machines have the same store: then all of them serve the same
    /// sessions.
    #[must_use]
    pub fn site(&self) -> Option<&Site> {
        self.site.as_ref()
    }

    /// Whether what is at that site is here.
    pub(super) fn is_here(&self, site: Option<&Site>) -> bool {
        self.site.as_ref().map(|site| &site.id) == site.map(|site| &site.id)
    }

    /// Whether the server of that name has ended for certain.
    #[must_use]
    pub fn is_dead(&self, name: &str) -> bool {
        let (file, site) = match name.split_once('@') {
            Some((file, site)) => (file, site.split(' ').next()),
            None => (name, None),
        };
        let here = self.site.as_ref().map(|site| site.id.as_str()) == site;
        here && file != self.file && is_plain(file) && is_unlocked(&self.folder.join(file))
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
        assert_eq!(Who::of(&name).process, Some(std::process::id()));
    }

    #[test]
    fn of_a_server_on_another_machine_only_the_lease_tells_whether_it_lives() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |data: &Path, url: Option<&str>| {
            let site = Site::of(data, "a b@c").unwrap();
            Server::open_at(data, site, url.map(str::to_owned)).unwrap()
        };
        let (one, two) = (open(here.path(), None), open(here.path(), Some("https://h:1/mcp")));
        let far = open(there.path(), None);
        let name = two.name().to_owned();
        let who = Who::of(&name);
        assert_eq!(
            (who.host.as_deref(), who.url.as_deref()),
            (Some("abc"), Some("https://h:1/mcp"))
        );
        assert_eq!(who.to_string(), format!("server {} on abc", std::process::id()));
        assert!(one.is_here(two.site()) && !one.is_here(far.site()) && !one.is_here(None));
        assert!(!one.is_dead(&name) && !far.is_dead(&name));
        drop(two);
        assert!(one.is_dead(&name) && !far.is_dead(&name));
        // A name without a site is of a store that only this machine has.
        assert!(!one.is_dead("1-ab"));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("servers"), "").unwrap();
        let error = Server::open(data.path()).unwrap_err();
        assert!(error.to_string().contains("data_dir"), "{error}");
    }
}
