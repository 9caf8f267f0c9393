//! Stands in for what other programs would trust in a workspace and what is not there yet: an empty
//! folder, or a file that says nothing, as long as a kernel lives. The sandbox has it read-only, so that
//! no cell can put its own in that place.
//!
//! Each kernel in a workspace holds a lock on what it needs, and who cannot be sure that no other needs
//! it leaves it. What a killed husk has left is known by its look, and goes with the next kernel.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Timespec, Timestamps,
        UTIME_OMIT, flock, fstat, mkdirat, openat, statat, unlinkat, utimensat,
    },
    io::Errno,
};

use super::plan::{Missing, Plan};

/// How often, ten milliseconds apart, a lock is tried that another kernel holds while it clears up.
const TRIES: u32 = 100;
const AGAIN: Duration = Duration::from_millis(10);
/// When all of them were written, by their own account: long before husk.
const LONG_AGO: i64 = 1;

/// Those of one kernel.
#[derive(Debug, Default)]
pub(super) struct StandIns(Vec<StandIn>);

#[derive(Debug)]
struct StandIn {
    workspace: OwnedFd,
    name: String,
    missing: Missing,
    held: File,
}

impl StandIns {
    /// Makes what is missing. Where nothing can be made cells cannot make anything either.
    ///
    /// # Errors
    /// When one is there and cannot be held: then it may go while the kernel lives.
    pub(super) fn make(plan: &Plan) -> io::Result<Self> {
        let mut all = Vec::new();
        for grant in &plan.grants {
            let missing = grant.kept.as_ref().filter(|missing| **missing != Missing::Left);
            let name = grant.path.strip_prefix(&plan.folder).ok().and_then(Path::to_str);
            let (Some(missing), Some(name)) = (missing, name) else { continue };
            all.extend(stand_in(&plan.folder, name, missing)?);
        }
        Ok(Self(all))
    }

    /// Removes what no other kernel needs.
    pub(super) fn remove(&self) {
        self.0.iter().for_each(StandIn::remove);
    }
}

/// One that is held from here on; nothing where something else is in its place.
fn stand_in(folder: &Path, name: &str, missing: &Missing) -> io::Result<Option<StandIn>> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for _ in 0..TRIES {
        match tried(folder, name, missing) {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
        std::thread::sleep(AGAIN);
    }
    let told = format!("`{}`: {last}; end the program that holds it", folder.join(name).display());
    Err(io::Error::new(last.kind(), told))
}

fn tried(folder: &Path, name: &str, missing: &Missing) -> io::Result<Option<StandIn>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let workspace = openat(CWD, folder, flags, Mode::empty())?;
    match create(&workspace, name, missing) {
        Ok(()) | Err(Errno::EXIST) => {}
        // Read-only, or another's.
        Err(_) => return Ok(None),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(held) = openat(&workspace, name, flags, Mode::empty()).map(File::from) else {
        return Ok(None);
    };
    if !looks_like_one(&held, missing)? {
        return Ok(None);
    }
    flock(&held, FlockOperation::NonBlockingLockShared)?;
    // Another kernel may have removed it meanwhile.
    if !is_at(&workspace, name, &held) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(Some(StandIn { workspace, name: name.to_owned(), missing: missing.clone(), held }))
}

fn create(workspace: &OwnedFd, name: &str, missing: &Missing) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(0o755);
    let made = match missing {
        Missing::File(text) => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let file =
                openat(workspace, name, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))?;
            File::from(file).write_all(text.as_bytes()).map_err(|_| Errno::IO)
        }
        _ => mkdirat(workspace, name, mode),
    };
    made?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: LONG_AGO, tv_nsec: 0 },
    };
    utimensat(workspace, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Whether husk has made it, and nobody has changed it since.
fn looks_like_one(held: &File, missing: &Missing) -> io::Result<bool> {
    let about = fstat(held)?;
    if about.st_mtime != LONG_AGO {
        return Ok(false);
    }
    match (missing, FileType::from_raw_mode(about.st_mode)) {
        (Missing::Folder, FileType::Directory) => {
            let others = |name: &OsStr| name != "." && name != "..";
            Ok(!Dir::read_from(held)?.flatten().any(|entry| others(name_of(&entry))))
        }
        (Missing::File(text), FileType::RegularFile) => {
            let mut read = String::new();
            let most = text.len() as u64 + 1;
            held.take(most).read_to_string(&mut read)?;
            Ok(read == *text)
        }
        _ => Ok(false),
    }
}

fn name_of(entry: &rustix::fs::DirEntry) -> &OsStr {
    use std::os::unix::ffi::OsStrExt;
    OsStr::from_bytes(entry.file_name().to_bytes())
}

/// Whether what is held is what is at that name.
fn is_at(workspace: &OwnedFd, name: &str, held: &File) -> bool {
    let there = statat(workspace, name, AtFlags::SYMLINK_NOFOLLOW);
    let (Ok(there), Ok(held)) = (there, fstat(held)) else { return false };
    (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
}

impl StandIn {
    fn remove(&self) {
        // Other kernels hold it too: the last one removes it.
        if flock(&self.held, FlockOperation::NonBlockingLockExclusive).is_err() {
            return;
        }
        let same = is_at(&self.workspace, &self.name, &self.held);
        let fresh = || {
            use std::io::Seek;
            (&self.held).rewind().is_ok()
                && looks_like_one(&self.held, &self.missing).is_ok_and(|it| it)
        };
        if same && fresh() {
            let flags = match self.missing {
                Missing::File(_) => AtFlags::empty(),
                // One that somebody has filled at this moment stays.
                _ => AtFlags::REMOVEDIR,
            };
            let _ = unlinkat(&self.workspace, &self.name, flags);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::jail::{Ground, Level, Settings};

    fn plan(workspace: &Path) -> Plan {
        let ground = Ground {
            workspace: workspace.to_owned(),
            run: "/r".into(),
            programs: Vec::new(),
            home: None,
            state: "/s".into(),
            memory: 1,
            settings: None,
            record: None,
        };
        Plan::make(&Settings::default(), Level::Namespaces, &ground).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_missing_is_there_while_a_kernel_lives() {
        let workspace = tempfile::tempdir().unwrap();
        let at = |name: &str| -> PathBuf { workspace.path().join(name) };
        fs::create_dir(at(".vscode")).unwrap();
        fs::write(at("data"), "").unwrap();
        let plan = plan(workspace.path());
        let first = StandIns::make(&plan).unwrap();
        for name in [".git", ".claude", ".mcp.json", "husk.toml"] {
            assert!(at(name).exists(), "{name}");
        }
        assert!(!at(".bashrc").exists());
        assert!(
            toml::from_str::<toml::Table>(&fs::read_to_string(at("husk.toml")).unwrap()).is_ok()
        );
        // Another kernel needs them longer.
        let second = StandIns::make(&plan).unwrap();
        first.remove();
        drop(first);
        assert!(at(".git").exists() && at("husk.toml").exists());
        second.remove();
        drop(second);
        assert_eq!(names(workspace.path()), [".vscode", "data"]);
    }

    #[test]
    fn what_somebody_has_made_of_one_stays() {
        let workspace = tempfile::tempdir().unwrap();
        let at = |name: &str| workspace.path().join(name);
        let all = StandIns::make(&plan(workspace.path())).unwrap();
        fs::write(at(".git/HEAD"), "").unwrap();
        fs::write(at("husk.toml"), "log = 'info'").unwrap();
        all.remove();
        assert_eq!(names(workspace.path()), [".git", "husk.toml"]);
    }

    #[test]
    fn what_a_killed_husk_has_left_goes_with_the_next_kernel() {
        let workspace = tempfile::tempdir().unwrap();
        let plan = plan(workspace.path());
        drop(StandIns::make(&plan).unwrap());
        assert!(names(workspace.path()).len() > 5);
        let next = StandIns::make(&plan).unwrap();
        next.remove();
        assert_eq!(names(workspace.path()), Vec::<String>::new());
    }

    #[test]
    fn one_that_cannot_be_held_is_an_error() {
        let workspace = tempfile::tempdir().unwrap();
        let plan = plan(workspace.path());
        let first = StandIns::make(&plan).unwrap();
        drop(first);
        let git = File::open(workspace.path().join(".git")).unwrap();
        flock(&git, FlockOperation::LockExclusive).unwrap();
        let error = StandIns::make(&plan).unwrap_err().to_string();
        assert!(error.contains("/.git`"), "{error}");
    }
}
