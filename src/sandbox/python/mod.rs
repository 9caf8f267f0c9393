//! Which Python the kernel runs on.
//!
//! [`discover`] looks, in this order, at the Python that was asked for, the active virtual environment, the
//! project's `.venv` and `PATH`, and takes the first that can run a kernel. If none can, husk makes an environment
//! of its own ([`environment`]). A script that declares its dependencies gets one for itself ([`inline`]).
//!
//! It does not start kernels, and it never installs anything into a Python that is not its own.

pub mod base;
pub mod command;
pub mod environment;
pub mod inline;
pub mod pip;
pub mod probe;
pub mod reach;
pub mod search;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::sandbox::python::probe::Asked;
use crate::sandbox::python::reach::Reach;

/// What is asked for, and everything outside that the answer depends on.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `--python` or `HUSK_PYTHON`: a path, the folder of a virtual environment, or a bare name on `PATH`.
    /// A relative path starts at `project`.
    pub explicit: Option<PathBuf>,
    /// The project folder, whose `.venv` is looked at.
    pub project: PathBuf,
    /// husk's data folder; its own environments are in `envs` below it.
    pub data_dir: PathBuf,
    /// What husk's own default environment holds; `ipykernel` comes in any case.
    pub packages: Vec<String>,
    /// The part of the process environment that matters here.
    pub surroundings: Surroundings,
    /// Where cells may have written, and how what lies there is asked.
    pub reach: Reach,
}

/// The environment variables that say where Pythons are; given, so that a test can give others.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `PATH`.
    pub path: Option<OsString>,
    /// `VIRTUAL_ENV`.
    pub virtual_env: Option<PathBuf>,
    /// `CONDA_PREFIX`, which counts only without `VIRTUAL_ENV`.
    pub conda_prefix: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process. A variable that is set to nothing counts as not set.
    pub fn of_this_process() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            path: set("PATH"),
            virtual_env: set("VIRTUAL_ENV").map(PathBuf::from),
            conda_prefix: set("CONDA_PREFIX").map(PathBuf::from),
        }
    }
}

/// A Python that can run a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// What that Python calls itself (`sys.executable`), not the shim or wrapper that was found.
    pub executable: PathBuf,
    /// For example `3.11.7`.
    pub version: String,
    /// The version of its ipykernel.
    pub ipykernel: String,
    /// The folder of its environment (`sys.prefix`), with its packages.
    pub prefix: PathBuf,
    /// The folder of the Python that the environment was made from (`sys.base_prefix`), with the standard library.
    pub base_prefix: PathBuf,
    /// Where it was found.
    pub origin: Origin,
    /// Whether what it says of itself counts: cells may have written one in their reach.
    pub believed: bool,
}

/// Where a Python was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Asked for with `--python` or `HUSK_PYTHON`.
    Explicit,
    /// `VIRTUAL_ENV` or `CONDA_PREFIX`.
    ActiveEnvironment,
    /// The `.venv` of the project folder.
    ProjectEnvironment,
    /// `python3` or `python` on `PATH`.
    Path,
    /// An environment that husk made.
    Managed,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Explicit => "asked for by name",
            Self::ActiveEnvironment => "the active environment",
            Self::ProjectEnvironment => "the project's environment",
            Self::Path => "on PATH",
            Self::Managed => "husk's own environment",
        })
    }
}

/// One place that was looked at, for `husk doctor`.
#[derive(Debug)]
pub struct Candidate {
    /// Which kind of place.
    pub origin: Origin,
    /// The file, folder or variable.
    pub place: String,
    /// The Python found there, or why there is none that serves.
    pub outcome: Result<Interpreter, Error>,
}

/// Hears what is being done while it takes long: one line at a time, without its newline.
pub trait Progress: Send + Sync {
    /// One line of progress.
    fn line(&self, text: &str);
}

impl<F: Fn(&str) + Send + Sync> Progress for F {
    fn line(&self, text: &str) {
        self(text);
    }
}

/// Why there is no Python to run a kernel on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is nothing at the place.
    #[error(transparent)]
    Search(#[from] search::Error),
    /// There is a Python, but it does not serve.
    #[error(transparent)]
    Probe(#[from] probe::Error),
    /// There is no Python to make an environment from.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// The environment could not be made.
    #[error(transparent)]
    Environment(#[from] environment::Error),
}

/// The first Python that can run a kernel, or else husk's own environment, which is made if it is not there yet.
///
/// A Python that was asked for is taken or refused: its fault is the error, and no other is tried. Making the
/// environment takes about a minute and has no time limit; dropping the future ends it, and the next call starts clean.
pub async fn discover(wanted: &Wanted, progress: &dyn Progress) -> Result<Interpreter, Error> {
    let mut asked = Asked::within(&wanted.reach);
    if let Some(given) = &wanted.explicit {
        let python = search::explicit(given, wanted)?;
        return Ok(asked.ask(&python).await?.interpreter(Origin::Explicit)?);
    }
    for place in search::places(wanted) {
        match serving(&place, &mut asked).await {
            Ok(found) => return Ok(found),
            Err(why) => {
                tracing::debug!(origin = %place.origin, place = place.spot, %why, "this Python does not serve")
            }
        }
    }
    let base = base::choose(&mut asked, wanted, None, None).await?;
    let plan = environment::Plan::default_environment(wanted, base);
    Ok(environment::ready(&plan, wanted, progress).await?)
}

/// Every place that [`discover`] looks at, in its order, with what is there. Makes and changes nothing.
pub async fn candidates(wanted: &Wanted) -> Vec<Candidate> {
    let mut asked = Asked::within(&wanted.reach);
    let mut places = search::places(wanted);
    if let Some(given) = &wanted.explicit {
        places.insert(0, search::Place::explicit(given, wanted));
    }
    let mut all = Vec::new();
    for place in places {
        let outcome = serving(&place, &mut asked).await;
        all.push(Candidate { origin: place.origin, place: place.spot, outcome });
    }
    all.push(managed(wanted, &mut asked).await);
    all
}

async fn serving(place: &search::Place, asked: &mut Asked) -> Result<Interpreter, Error> {
    let python = place.python.as_ref().map_err(Clone::clone)?;
    Ok(asked.ask(python).await?.interpreter(place.origin)?)
}

/// husk's own environment as it stands: ready, not made yet, or impossible.
async fn managed(wanted: &Wanted, asked: &mut Asked) -> Candidate {
    let (place, outcome) = match base::choose(asked, wanted, None, None).await {
        Err(none) => (wanted.data_dir.join("envs"), Err(none.into())),
        Ok(base) => {
            let folder = environment::Plan::default_environment(wanted, base).folder(wanted);
            let outcome = environment::existing(&folder).await.map_err(Error::from);
            (folder, outcome)
        }
    };
    Candidate { origin: Origin::Managed, place: place.display().to_string(), outcome }
}
