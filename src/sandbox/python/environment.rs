//! The environments that husk makes for itself: `<data>/envs/<name>`, made once, shared by every husk of the user.
//!
//! An environment is built in its final folder (virtual environments cannot be moved) and counts only once its mark,
//! `.husk-complete`, is there, which is written last. A lock beside the folder lets one husk build while the others
//! wait. What goes into an environment is decided by the caller; nothing is ever removed but a folder that is
//! unfinished or broken.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crate::sandbox::python::base::{self, Base};
use crate::sandbox::python::command::{self, Command};
use crate::sandbox::python::{Interpreter, Origin, Progress, Wanted, probe, search};

const MARK: &str = ".husk-complete";
/// How often a held lock is tried again. A blocking `lock()` on another thread could not be given up: it would keep
/// husk from ending until the other is done.
const LOCK_AGAIN: Duration = Duration::from_millis(100);

/// Why there is no environment of husk's own.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("could not {deed} `{}`; make the folder writable, or choose another data folder", .path.display())]
    Files {
        /// What was to be done.
        deed: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// It is not there, and looking was all that was asked for.
    #[error("`{}` is not made yet; husk makes it when it first needs it", .folder.display())]
    NotMade {
        /// Where it would be.
        folder: PathBuf,
    },
    /// Debian and Ubuntu take `ensurepip` or `venv` out of their Python.
    #[error(
        "`{}` cannot make virtual environments: Debian and Ubuntu keep that in a package of its own; install it with `apt install python3-venv` (`apt install python{minor}-venv` for this very version), or install uv",
        .python.display()
    )]
    NoVenv {
        /// The Python.
        python: PathBuf,
        /// Its minor version.
        minor: String,
    },
    /// A tool failed, as without network.
    #[error(
        "could not make the Python environment `{}`; mend what the tool names (network, package name, space) and start again, or give a Python that has ipykernel with `--python`",
        .folder.display()
    )]
    Tool {
        /// The environment.
        folder: PathBuf,
        /// The command with its last lines.
        #[source]
        fault: command::Error,
    },
    /// All went well, and yet it does not serve; or it does not answer.
    #[error("the Python environment `{}` does not serve", .folder.display())]
    DoesNotServe {
        /// The environment.
        folder: PathBuf,
        /// What is wrong.
        #[source]
        fault: probe::Error,
    },
}

/// An environment as it is to be.
#[derive(Debug)]
pub(super) struct Plan {
    name: String,
    packages: Vec<String>,
    base: Base,
}

impl Plan {
    /// The one for kernels of no script in particular.
    pub(super) fn default_environment(wanted: &Wanted, base: Base) -> Self {
        Self::new("default", wanted.packages.clone(), &[], base)
    }

    /// `packages` with ipykernel among them, under a name that is the same for the same `packages`, `also` and base.
    pub(super) fn new(kind: &str, mut packages: Vec<String>, also: &[String], base: Base) -> Self {
        if !packages.iter().any(|package| normal(package).0 == "ipykernel") {
            packages.insert(0, "ipykernel>=6".into());
        }
        let mut parts: Vec<_> = packages
            .iter()
            .map(|package| normal(package))
            .map(|(name, rest)| name + &rest)
            .collect();
        parts.sort();
        parts.dedup();
        parts.extend(also.iter().cloned());
        parts.push(base.minor());
        Self { name: format!("{kind}-{}", digest12(&parts)), packages, base }
    }

    /// Where it is or will be.
    pub(super) fn folder(&self, wanted: &Wanted) -> PathBuf {
        search::absolute(&wanted.data_dir).join("envs").join(&self.name)
    }
}

/// A requirement as its name in normal form (PEP 503) and the rest without blanks: `Foo_Bar >= 1` is `foo-bar>=1`.
fn normal(requirement: &str) -> (String, String) {
    let requirement = requirement.trim();
    let end = requirement
        .find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
        .unwrap_or(requirement.len());
    let (name, rest) = requirement.split_at_checked(end).unwrap_or((requirement, ""));
    let name = name
        .to_ascii_lowercase()
        .split(['.', '_', '-'])
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    (name, rest.split_whitespace().collect())
}

fn digest12(parts: &[String]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, parts.join("\n").as_bytes());
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// The environment if it is complete and works; makes nothing.
pub(super) async fn existing(folder: &Path) -> Result<Interpreter, Error> {
    if !folder.join(MARK).exists() {
        return Err(Error::NotMade { folder: folder.to_path_buf() });
    }
    serving(folder).await
}

async fn serving(folder: &Path) -> Result<Interpreter, Error> {
    let report = probe::ask(&folder.join("bin/python")).await;
    let found = report.and_then(|report| report.interpreter(Origin::Managed));
    found.map_err(|fault| Error::DoesNotServe { folder: folder.to_path_buf(), fault })
}

/// The environment, made if need be.
pub(super) async fn ready(
    plan: &Plan,
    wanted: &Wanted,
    progress: &dyn Progress,
) -> Result<Interpreter, Error> {
    let folder = plan.folder(wanted);
    if let Some(done) = usable(&folder).await? {
        return Ok(done);
    }
    let all = folder.parent().unwrap_or(&folder);
    tokio::fs::create_dir_all(all).await.map_err(files("make the folder", all))?;
    let lock = lock(&all.join(format!("{}.lock", plan.name)), progress).await?;
    // Another husk may have made it while this one waited.
    if let Some(done) = usable(&folder).await? {
        return Ok(done);
    }
    clear(&folder, progress).await?;
    progress.line(&format!(
        "making a Python environment (first time, about a minute): {}",
        plan.packages.join(", ")
    ));
    build(plan, wanted, &folder, &lock, progress).await?;
    let found = serving(&folder).await?;
    mark(plan, &found, &folder).await?;
    progress.line(&format!("the Python environment is ready: {}", folder.display()));
    Ok(found)
}

/// The environment, or `None` if it has to be made (anew). One that does not answer in time is not made anew: the
/// machine may be busy, and others may be using it.
async fn usable(folder: &Path) -> Result<Option<Interpreter>, Error> {
    match existing(folder).await {
        Ok(found) => Ok(Some(found)),
        Err(error @ Error::DoesNotServe { fault: probe::Error::TimedOut { .. }, .. }) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Takes the lock, which is held until the file is closed everywhere.
async fn lock(path: &Path, progress: &dyn Progress) -> Result<File, Error> {
    let open = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let file = open.map_err(files("open the lock", path))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(fault)) => return Err(files("lock", path)(fault)),
            Err(TryLockError::WouldBlock) if !told => {
                told = true;
                progress.line("waiting for another husk that is making it");
            }
            Err(TryLockError::WouldBlock) => {}
        }
        tokio::time::sleep(LOCK_AGAIN).await;
    }
}

/// Removes what an aborted or broken build left. The mark goes first, lest an abort here leave half a folder marked.
async fn clear(folder: &Path, progress: &dyn Progress) -> Result<(), Error> {
    if folder.symlink_metadata().is_err() {
        return Ok(());
    }
    progress.line("removing an environment that is unfinished or no longer works");
    for removed in
        [tokio::fs::remove_file(folder.join(MARK)).await, tokio::fs::remove_dir_all(folder).await]
    {
        match removed {
            Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => {
                return Err(files("remove", folder)(fault));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn build(
    plan: &Plan,
    wanted: &Wanted,
    folder: &Path,
    lock: &File,
    progress: &dyn Progress,
) -> Result<(), Error> {
    for step in steps(plan, base::uv(wanted).await, folder) {
        // Each tool gets the (empty) lock file as its stdin, and so holds the lock too: should husk be killed, the next
        // one waits until the orphan is gone and does not build into the same folder beside it.
        let stdin = Stdio::from(lock.try_clone().map_err(files("share the lock of", folder))?);
        let parent = folder.parent().unwrap_or(folder);
        let ran = step.run(parent, &wanted.surroundings, stdin, progress).await;
        ran.map_err(|fault| explained(plan, folder, fault))?;
    }
    Ok(())
}

/// uv, if it is there (seconds instead of a minute), else the standard library's venv and pip. `--seed` gives uv's
/// environment a pip, for `%pip` in a notebook. `--` keeps a requirement from being read as an option.
fn steps(plan: &Plan, uv: Option<PathBuf>, folder: &Path) -> Vec<Command> {
    let inner = folder.join("bin/python");
    let python = match &plan.base {
        Base::Python(report) => report.executable.clone(),
        Base::Uv { versions } => PathBuf::from(versions),
    };
    if let Some(uv) = uv {
        let make =
            Command::new(&uv).with(["venv", "--seed", "--python"]).with([&python]).with([folder]);
        let install = Command::new(&uv).with(["pip", "install", "--python"]).with([&inner]);
        return vec![make, install.with(["--"]).with(&plan.packages)];
    }
    let make = Command::new(&python).with(["-m", "venv"]).with([folder]);
    let quiet = [
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
        "--",
    ];
    vec![make, Command::new(&inner).with(quiet).with(&plan.packages)]
}

/// The fault of a tool, or what stands behind it.
fn explained(plan: &Plan, folder: &Path, fault: command::Error) -> Error {
    let said = match &fault {
        command::Error::Failed { tail, .. } => tail.join(" "),
        command::Error::Start { .. } => String::new(),
    };
    let signs = [
        "ensurepip is not",
        "No module named ensurepip",
        "No module named 'ensurepip'",
        "No module named venv",
    ];
    match &plan.base {
        Base::Python(report) if signs.iter().any(|sign| said.contains(sign)) => {
            Error::NoVenv { python: report.executable.clone(), minor: plan.base.minor() }
        }
        _ => Error::Tool { folder: folder.to_path_buf(), fault },
    }
}

/// Writes the mark beside its place and moves it there, so that there is never half a mark.
async fn mark(plan: &Plan, found: &Interpreter, folder: &Path) -> Result<(), Error> {
    let text = serde_json::json!({
        "husk": env!("CARGO_PKG_VERSION"),
        "python": found.version,
        "ipykernel": found.ipykernel,
        "packages": plan.packages,
    });
    let (part, whole) = (folder.join(".husk-complete.part"), folder.join(MARK));
    tokio::fs::write(&part, format!("{text:#}\n")).await.map_err(files("write", &part))?;
    tokio::fs::rename(&part, &whole).await.map_err(files("write", &whole))
}

fn files(deed: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Files { deed, path: path.to_path_buf(), source: Arc::new(source) }
}
