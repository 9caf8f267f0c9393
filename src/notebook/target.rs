//! The place of a notebook in a workspace where the kernel can write too.
//!
//! No link below the workspace is followed, and husk only ever replaces what it has written itself:
//!
//! - What is at the name when a session begins to record (an earlier session's notebook) is renamed
//!   to `NAME.1.ipynb`, `NAME.2.ipynb` and so on.
//! - What appears at the name later (somebody has edited the notebook, or a second husk records a
//!   session of that name there) stays, and the record goes on under the next such name.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write},
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::record::{Published, RecordError};
use crate::{
    base::ids,
    jail::{Folder, Stamp},
};

/// Most notebooks of one name.
const MOST_OF_A_NAME: u32 = 9999;

/// A draft that is older than this was left by a crash.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Where a session's notebook goes.
pub(super) struct Target {
    workspace: Folder,
    workspace_path: PathBuf,
    /// The folders from the workspace to the file.
    folders: Vec<OsString>,
    /// The file's name without `.ipynb`.
    stem: String,
    /// The name and the state of the file that was written last.
    mine: Option<(OsString, Stamp)>,
}

impl Target {
    pub(super) fn find(workspace: &Path, file: &Path) -> Result<Self, RecordError> {
        let (folders, stem) = split(file).ok_or_else(|| RecordError::Name(file.to_owned()))?;
        let workspace_path = workspace.to_owned();
        let failed = |source| RecordError::Folder { path: workspace.to_owned(), source };
        let workspace = Folder::open(workspace).map_err(failed)?;
        Ok(Self { workspace, workspace_path, folders, stem, mine: None })
    }

    /// Writes a new state of the file with `fill`, and puts it in the place of the last.
    pub(super) fn write(
        &mut self,
        fill: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<Published, RecordError> {
        let inner = self.enter()?;
        let folder = inner.as_ref().unwrap_or(&self.workspace);
        if self.mine.is_none() {
            self.sweep(folder);
        }
        let draft = OsString::from(format!(".{}.ipynb.{}.tmp", self.stem, ids::random_hex(8)));
        let failed = |source| RecordError::Write { path: self.path(&self.name()), source };
        let file = folder.create(&draft).map_err(failed)?;
        let placed = fill(&file).and_then(|()| self.place(folder, &draft));
        let (name, stamp) = placed.map_err(|error| {
            // It may be gone already; then it is as it should be.
            let _ = folder.remove(&draft);
            failed(error)
        })?;
        let path = self.folders.iter().collect::<PathBuf>().join(&name);
        self.mine = Some((name, stamp));
        Ok(Published { path, file })
    }

    /// Opens the file's folder, each time anew: somebody may have removed it.
    pub(super) fn enter(&self) -> Result<Option<Folder>, RecordError> {
        let mut path = self.workspace_path.clone();
        let mut inner: Option<Folder> = None;
        for name in &self.folders {
            path.push(name);
            let entered = inner.as_ref().unwrap_or(&self.workspace).enter(name);
            let (folder, made) =
                entered.map_err(|source| RecordError::Folder { path: path.clone(), source })?;
            if made && name.as_encoded_bytes().starts_with(b".") {
                // Outputs hold data that nobody has chosen to commit. Not worth failing for.
                let _ = folder
                    .create(OsStr::new(".gitignore"))
                    .and_then(|mut file| file.write_all(b"*\n"));
            }
            inner = Some(folder);
        }
        Ok(inner)
    }

    /// Gives the draft its name.
    fn place(&self, folder: &Folder, draft: &OsStr) -> io::Result<(OsString, Stamp)> {
        let name = self.name();
        let found = folder.stamp(&name)?;
        let name = match (&self.mine, found) {
            (Some((_, mine)), Some(found)) if *mine == found => {
                folder.replace(draft, &name)?;
                name
            }
            (None, Some(_)) => {
                self.rename_to_free(folder, &name, 1)?;
                self.rename_to_free(folder, draft, 0)?
            }
            _ => match folder.rename(draft, &name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.rename_to_free(folder, draft, 1)?
                }
                done => done.map(|()| name)?,
            },
        };
        let stamp = folder.stamp(&name)?.ok_or(io::ErrorKind::NotFound)?;
        Ok((name, stamp))
    }

    /// Renames to the first of this notebook's names that is free, from the `first`th on.
    fn rename_to_free(&self, folder: &Folder, old: &OsStr, first: u32) -> io::Result<OsString> {
        for number in first..=MOST_OF_A_NAME {
            let name = self.numbered(number);
            match folder.rename(old, &name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                done => return done.map(|()| name),
            }
        }
        Err(io::Error::other(format!("{MOST_OF_A_NAME} notebooks of that name are there already")))
    }

    /// Removes drafts that crashes have left.
    fn sweep(&self, folder: &Folder) {
        let prefix = format!(".{}.ipynb.", self.stem);
        let now = SystemTime::now();
        for name in folder.names().unwrap_or_default() {
            let draft = name.to_str().is_some_and(|name| {
                name.strip_prefix(&prefix).is_some_and(|rest| rest.ends_with(".tmp"))
            });
            let stamp = if draft { folder.stamp(&name).ok().flatten() } else { None };
            if stamp.and_then(|stamp| stamp.age(now)).is_some_and(|age| age > LEFT_BEHIND) {
                let _ = folder.remove(&name);
            }
        }
    }

    /// The name that the record has now.
    fn name(&self) -> OsString {
        self.mine.as_ref().map_or_else(|| self.numbered(0), |(name, _)| name.clone())
    }

    fn numbered(&self, number: u32) -> OsString {
        match number {
            0 => format!("{}.ipynb", self.stem).into(),
            number => format!("{}.{number}.ipynb", self.stem).into(),
        }
    }

    fn path(&self, name: &OsStr) -> PathBuf {
        let mut path = self.workspace_path.clone();
        path.extend(&self.folders);
        path.join(name)
    }
}

/// The folders of a relative path, and its file name without `.ipynb`.
fn split(file: &Path) -> Option<(Vec<OsString>, String)> {
    let names: Option<Vec<OsString>> = file
        .components()
        .map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            _ => None,
        })
        .collect();
    let mut folders = names?;
    let name = folders.pop()?.into_string().ok()?;
    let stem = name.strip_suffix(".ipynb").filter(|stem| !stem.is_empty())?;
    Some((folders, stem.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn target(home: &Path) -> Target {
        Target::find(home, Path::new(".husk/s.ipynb")).unwrap()
    }

    fn write(target: &mut Target, text: &str) -> PathBuf {
        target.write(|mut file| file.write_all(text.as_bytes())).unwrap().path
    }

    /// The folder's files with what is in them.
    fn files(home: &Path) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> = fs::read_dir(home.join(".husk"))
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap_or_default())
            })
            .filter(|(name, _)| name != ".gitignore")
            .collect();
        files.sort();
        files
    }

    fn check(home: &Path, expected: &[(&str, &str)]) {
        let files = files(home);
        let files: Vec<_> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(files, expected);
    }

    #[test]
    fn each_state_replaces_the_last_and_the_folder_is_not_for_git() {
        let home = tempfile::tempdir().unwrap();
        let mut one = target(home.path());
        assert_eq!(write(&mut one, "1"), Path::new(".husk/s.ipynb"));
        write(&mut one, "2");
        check(home.path(), &[("s.ipynb", "2")]);
        assert_eq!(fs::read_to_string(home.path().join(".husk/.gitignore")).unwrap(), "*\n");
        fs::remove_dir_all(home.path().join(".husk")).unwrap();
        write(&mut one, "3");
        check(home.path(), &[("s.ipynb", "3")]);
    }

    #[test]
    fn an_earlier_sessions_notebook_is_kept_under_a_number() {
        let home = tempfile::tempdir().unwrap();
        for text in ["a", "b", "c"] {
            write(&mut target(home.path()), text);
        }
        check(home.path(), &[("s.1.ipynb", "a"), ("s.2.ipynb", "b"), ("s.ipynb", "c")]);
    }

    #[test]
    fn what_somebody_else_wrote_is_never_replaced() {
        let home = tempfile::tempdir().unwrap();
        let mut one = target(home.path());
        write(&mut one, "1");
        fs::write(home.path().join(".husk/s.ipynb"), "edited").unwrap();
        assert_eq!(write(&mut one, "2"), Path::new(".husk/s.1.ipynb"));
        write(&mut one, "3");
        check(home.path(), &[("s.1.ipynb", "3"), ("s.ipynb", "edited")]);
        // Two at once.
        let mut two = target(home.path());
        for text in ["4", "5"] {
            write(&mut one, &format!("one {text}"));
            write(&mut two, &format!("two {text}"));
        }
        check(
            home.path(),
            &[("s.1.ipynb", "one 5"), ("s.2.ipynb", "edited"), ("s.ipynb", "two 5")],
        );
    }

    #[test]
    fn links_and_folders_in_the_way_lead_nowhere() {
        let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = outside.path().join("secret");
        fs::write(&secret, "kept").unwrap();
        symlink(outside.path(), home.path().join(".husk")).unwrap();
        let mut one = target(home.path());
        let error = one.write(|_| Ok(())).unwrap_err();
        assert!(matches!(error, RecordError::Folder { .. }), "{error}");
        fs::remove_file(home.path().join(".husk")).unwrap();
        write(&mut one, "1");
        let file = home.path().join(".husk/s.ipynb");
        fs::remove_file(&file).unwrap();
        symlink(&secret, &file).unwrap();
        assert_eq!(write(&mut one, "2"), Path::new(".husk/s.1.ipynb"));
        fs::remove_file(home.path().join(".husk/s.1.ipynb")).unwrap();
        fs::create_dir(home.path().join(".husk/s.1.ipynb")).unwrap();
        assert_eq!(write(&mut one, "3"), Path::new(".husk/s.2.ipynb"));
        assert_eq!(fs::read_to_string(secret).unwrap(), "kept");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_last_state_and_no_draft() {
        let home = tempfile::tempdir().unwrap();
        let mut one = target(home.path());
        write(&mut one, "1");
        let error = one.write(|_| Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert!(error.to_string().contains("cannot write the notebook"), "{error}");
        check(home.path(), &[("s.ipynb", "1")]);
    }

    #[test]
    fn drafts_of_crashes_go_when_they_are_old() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".husk");
        fs::create_dir(&folder).unwrap();
        for name in [".s.ipynb.old.tmp", ".s.ipynb.new.tmp", ".other.ipynb.old.tmp"] {
            let file = File::create(folder.join(name)).unwrap();
            if name.contains("old") {
                file.set_modified(SystemTime::now() - 2 * LEFT_BEHIND).unwrap();
            }
        }
        write(&mut target(home.path()), "1");
        check(
            home.path(),
            &[(".other.ipynb.old.tmp", ""), (".s.ipynb.new.tmp", ""), ("s.ipynb", "1")],
        );
    }

    #[test]
    fn paths_out_of_the_workspace_are_refused() {
        for bad in [
            "",
            "/tmp/s.ipynb",
            "../s.ipynb",
            ".husk/../../s.ipynb",
            ".husk",
            ".husk/.ipynb",
            "s.txt",
        ] {
            assert!(split(Path::new(bad)).is_none(), "{bad}");
        }
        assert_eq!(split(Path::new("a.b.ipynb")), Some((vec![], "a.b".to_owned())));
    }
}
