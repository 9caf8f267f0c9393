//! Where Pythons may be: turns a name, a folder or `PATH` into files that can be run.
//!
//! It only looks at the file system. Whether a file is a Python, and one that serves, is asked in
//! [`probe`](crate::sandbox::python::probe).

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use crate::sandbox::python::{Origin, Surroundings, Wanted};

/// Why there is no Python at a place.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A bare name that is neither on `PATH` nor in the project.
    #[error(
        "no program named `{name}` was found on PATH ({path}), nor a folder of that name in {project}; give the Python's full path with `--python`, or leave it out and husk finds one"
    )]
    NotOnPath {
        /// The name.
        name: String,
        /// `PATH` as it was searched.
        path: String,
        /// The project folder.
        project: String,
    },
    /// No such file.
    #[error("there is no Python at `{}`: nothing is there; list what your PATH has with `which -a python3`", .path.display())]
    NothingThere {
        /// Where it should have been.
        path: PathBuf,
    },
    /// A link to something that is gone, as a virtual environment after its base Python was removed.
    #[error(
        "`{}` is a broken link (its target `{}` is gone); if it belongs to a virtual environment, make that anew with `python3 -m venv --clear <folder>`",
        .path.display(), .target.display()
    )]
    BrokenLink {
        /// The link.
        path: PathBuf,
        /// What it points to.
        target: PathBuf,
    },
    /// A file that may not be run.
    #[error("`{}` is not executable; if it is a Python, mend it with `chmod +x {}`", .path.display(), .path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// A folder without a Python.
    #[error(
        "`{}` is a folder without `bin/python`, so it is no virtual environment; make one there with `python3 -m venv {}`",
        .folder.display(), .folder.display()
    )]
    NoPythonInFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// Neither `VIRTUAL_ENV` nor `CONDA_PREFIX`.
    #[error("no virtual environment is active: neither VIRTUAL_ENV nor CONDA_PREFIX is set")]
    NoneActive,
    /// The project has no `.venv`.
    #[error("the project has no `{}`; make it with `python3 -m venv {}`", .folder.display(), .folder.display())]
    NoProjectEnvironment {
        /// Where it would be.
        folder: PathBuf,
    },
    /// Neither name is on `PATH`.
    #[error("neither `python3` nor `python` is on PATH ({path}); install Python 3.9 or newer")]
    NoneOnPath {
        /// `PATH` as it was searched.
        path: String,
    },
}

/// A place where a Python may be.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) origin: Origin,
    /// The file, folder or variable, as a user knows it.
    pub(super) spot: String,
    pub(super) python: Result<PathBuf, Error>,
}

impl Place {
    pub(super) fn explicit(given: &Path, wanted: &Wanted) -> Self {
        Self {
            origin: Origin::Explicit,
            spot: given.display().to_string(),
            python: explicit(given, wanted),
        }
    }
}

/// The places after the explicit one, in order. A Python that two of them lead to stands only in the first.
pub(super) fn places(wanted: &Wanted) -> Vec<Place> {
    let mut places = vec![active(&wanted.surroundings), project(wanted)];
    let on_path = executables(&["python3", "python"], &wanted.surroundings);
    if on_path.is_empty() {
        let python = Err(Error::NoneOnPath { path: wanted.surroundings.shown_path() });
        places.push(Place { origin: Origin::Path, spot: "PATH".into(), python });
    }
    places.extend(on_path.into_iter().map(|python| Place {
        origin: Origin::Path,
        spot: python.display().to_string(),
        python: Ok(python),
    }));
    let mut seen = HashSet::new();
    places
        .retain(|place| place.python.as_ref().map_or(true, |python| seen.insert(identity(python))));
    places
}

fn active(surroundings: &Surroundings) -> Place {
    let folder = surroundings.virtual_env.as_ref().or(surroundings.conda_prefix.as_ref());
    let spot =
        folder.map_or("VIRTUAL_ENV, CONDA_PREFIX".into(), |folder| folder.display().to_string());
    let python = folder.map_or(Err(Error::NoneActive), |folder| python_in(folder));
    Place { origin: Origin::ActiveEnvironment, spot, python }
}

fn project(wanted: &Wanted) -> Place {
    let folder = absolute(&wanted.project.join(".venv"));
    let spot = folder.display().to_string();
    let python = if folder.is_dir() {
        python_in(&folder)
    } else {
        Err(Error::NoProjectEnvironment { folder })
    };
    Place { origin: Origin::ProjectEnvironment, spot, python }
}

/// The file that `--python` means.
pub(super) fn explicit(given: &Path, wanted: &Wanted) -> Result<PathBuf, Error> {
    let mut components = given.components();
    let bare = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    let there = absolute(&wanted.project.join(given));
    if bare {
        if let Some(found) = first_on_path(given.as_os_str(), &wanted.surroundings) {
            return Ok(found);
        }
        if there.symlink_metadata().is_err() {
            return Err(Error::NotOnPath {
                name: given.display().to_string(),
                path: wanted.surroundings.shown_path(),
                project: wanted.project.display().to_string(),
            });
        }
    }
    if there.is_dir() { python_in(&there) } else { runnable(there) }
}

/// The Python of an environment's folder (venv, uv, virtualenv and conda all put it in `bin`).
pub(super) fn python_in(folder: &Path) -> Result<PathBuf, Error> {
    let mut fault = Error::NoPythonInFolder { folder: folder.to_path_buf() };
    for name in ["python", "python3"] {
        match runnable(absolute(&folder.join("bin").join(name))) {
            Ok(python) => return Ok(python),
            Err(Error::NothingThere { .. }) => {}
            Err(other) => fault = other,
        }
    }
    Err(fault)
}

/// `path`, if it can be run; else what is wrong with it.
fn runnable(path: PathBuf) -> Result<PathBuf, Error> {
    if is_executable(&path) {
        return Ok(path);
    }
    match (path.symlink_metadata(), path.metadata()) {
        (Ok(_), Ok(_)) => Err(Error::NotExecutable { path }),
        (Ok(_), Err(_)) => {
            let target = path.read_link().unwrap_or_default();
            Err(Error::BrokenLink { path, target })
        }
        (Err(_), _) => Err(Error::NothingThere { path }),
    }
}

/// A file with an execute bit; false for a folder and a broken link.
fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

pub(super) fn first_on_path(name: &OsStr, surroundings: &Surroundings) -> Option<PathBuf> {
    surroundings.folders().map(|folder| folder.join(name)).find(|file| is_executable(file))
}

/// All files on `PATH` with one of these names, by name and then by folder, each file once.
pub(super) fn executables(names: &[&str], surroundings: &Surroundings) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let everywhere =
        names.iter().flat_map(|name| surroundings.folders().map(move |folder| folder.join(name)));
    everywhere.filter(|file| is_executable(file) && seen.insert(identity(file))).collect()
}

/// Two paths with the same identity are one Python. The folder counts beside the file, because the Python of a virtual
/// environment is a link to its base and differs from it only by where the link stands.
fn identity(python: &Path) -> (Option<PathBuf>, Option<PathBuf>) {
    (python.parent().and_then(|folder| folder.canonicalize().ok()), python.canonicalize().ok())
}

/// Absolute without following links: a link into an environment must stay a link.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

impl Surroundings {
    /// The folders of `PATH`. Relative ones are left out: a program must not depend on the folder husk stands in,
    /// where a cloned project could have put a `python3` of its own.
    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let path = self.path.as_deref().unwrap_or_default();
        std::env::split_paths(path)
            .filter(|folder| folder.is_absolute())
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// `PATH` for a message.
    pub(super) fn shown_path(&self) -> String {
        self.path.as_ref().map_or("not set".into(), |path| path.to_string_lossy().into_owned())
    }
}
