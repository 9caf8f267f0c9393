//! The Python that an environment is made from.
//!
//! It needs no ipykernel, only a version that serves. It makes nothing
//! ([`environment`](crate::sandbox::python::environment) does).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pep440_rs::VersionSpecifiers;

use crate::sandbox::python::probe::{Asked, Report, Version};
use crate::sandbox::python::{Wanted, search};

/// The plain names first, as a user's own choice; then the newest.
const NAMES: [&str; 9] = [
    "python3",
    "python",
    "python3.15",
    "python3.14",
    "python3.13",
    "python3.12",
    "python3.11",
    "python3.10",
    "python3.9",
];
const OLDEST: &str = ">=3.9";
/// uv says its version within milliseconds.
const UV_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no Python to make an environment from.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// None of them, and no uv that could bring one.
    #[error(
        "no Python {wanted} to make an environment from: looked for {} on PATH ({path}) and found {found}; install one (`apt install python3 python3-venv`, `dnf install python3`, `brew install python`) or install uv, which brings its own",
        names()
    )]
    None {
        /// The versions that would do.
        wanted: String,
        /// `PATH` as it was searched.
        path: String,
        /// What there was instead, and where.
        found: String,
    },
}

fn names() -> String {
    NAMES.map(|name| format!("`{name}`")).join(", ")
}

/// What an environment is made from.
#[derive(Debug)]
pub(super) enum Base {
    /// A Python that is here.
    Python(Report),
    /// None is here; uv finds or downloads one of these versions.
    Uv {
        /// For example `>=3.12,>=3.9`.
        versions: String,
    },
}

impl Base {
    /// What the name of an environment depends on: packages are built for a minor version.
    pub(super) fn minor(&self) -> String {
        match self {
            Self::Python(report) => format!("{}.{}", report.version.0, report.version.1),
            Self::Uv { versions } => format!("uv {versions}"),
        }
    }
}

/// The first Python, `first` before those on `PATH`, that is new enough and within `versions`.
pub(super) async fn choose(
    asked: &mut Asked,
    wanted: &Wanted,
    first: Option<&Path>,
    versions: Option<&VersionSpecifiers>,
) -> Result<Base, Error> {
    let mut found = Vec::new();
    let on_path = search::executables(&NAMES, &wanted.surroundings);
    for python in first.map(Path::to_path_buf).into_iter().chain(on_path) {
        // It would build outside of any sandbox.
        if wanted.reach.holds(&python) {
            found.push(format!("`{}`, which cells can write", python.display()));
            continue;
        }
        match asked.ask(&python).await {
            Ok(report) if report.is_new_enough().is_ok() && within(report.version, versions) => {
                return Ok(Base::Python(report.clone()));
            }
            Ok(report) => found.push(format!(
                "Python {} at `{}`",
                report.version,
                report.executable.display()
            )),
            Err(why) => {
                tracing::debug!(python = %python.display(), %why, "no base for an environment");
                found.push(format!("`{}`, which does not run", python.display()));
            }
        }
    }
    let asked_for = versions.map_or(OLDEST.into(), ToString::to_string);
    if uv(wanted).await.is_some() {
        let versions = versions.map_or(OLDEST.into(), |versions| format!("{versions},{OLDEST}"));
        return Ok(Base::Uv { versions });
    }
    if found.is_empty() {
        found.push("none of them".into());
    }
    Err(Error::None {
        wanted: asked_for,
        path: wanted.surroundings.shown_path(),
        found: found.join("; "),
    })
}

/// The first uv on `PATH` that runs: a pyenv shim of that name may lead nowhere.
pub(super) async fn uv(wanted: &Wanted) -> Option<PathBuf> {
    let found = search::executables(&["uv"], &wanted.surroundings);
    for uv in found.into_iter().filter(|uv| !wanted.reach.holds(uv)) {
        let mut version = tokio::process::Command::new(&uv);
        version.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
        if let Ok(Ok(answer)) = tokio::time::timeout(UV_LIMIT, version.output()).await
            && answer.status.success()
            && answer.stdout.starts_with(b"uv ")
        {
            return Some(uv);
        }
    }
    None
}

/// Whether a script that requires `versions` runs on it.
pub(super) fn within(version: Version, versions: Option<&VersionSpecifiers>) -> bool {
    let version = pep440_rs::Version::new([version.0, version.1, version.2].map(u64::from));
    versions.is_none_or(|versions| versions.contains(&version))
}
