//! Asks a Python what it is and judges whether a kernel can run on it.
//!
//! One short run of the interpreter answers everything. It does not look for Pythons and installs nothing; it names
//! the command that would.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::sandbox::python::command::shell_word;
use crate::sandbox::python::reach::Reach;
use crate::sandbox::python::{Interpreter, Origin};

/// Far above the 60 ms that an answer takes: a cold disk or a loaded machine, but not a program that waits for input.
const LIMIT: Duration = Duration::from_secs(10);
/// More than any honest answer; a program named `python` that prints without end must not fill the memory.
pub(in crate::sandbox) const LONGEST_ANSWER: u64 = 64 * 1024;
const OLDEST_PYTHON: (u32, u32) = (3, 9);
const OLDEST_IPYKERNEL: u32 = 6;

/// Runs on Python 2 as well, so that it can say that it is one. `find_spec` instead of `import`: finding takes 30 ms,
/// importing ipykernel and what it needs 300 ms. A spec without origin is an empty folder that an uninstall left behind.
/// `-I` (see [`ask`]) hides the user's own site-packages, which a kernel in a jail cannot read either; an ipykernel
/// there is reported, because pip would say "already satisfied".
const QUESTION: &str = r#"
import json, os, sys
a = {"executable": sys.executable, "version": list(sys.version_info[:3]), "prefix": sys.prefix,
     "base_prefix": getattr(sys, "base_prefix", sys.prefix), "ipykernel": None, "missing": [], "pip": False, "system": False, "in_user_site": False}
if sys.version_info >= (3, 9):
    import importlib.metadata, importlib.util, site
    def there(name):
        spec = importlib.util.find_spec(name)
        return spec is not None and spec.origin is not None
    a["missing"] = [n for n in ("ipykernel", "zmq", "IPython", "jupyter_client", "tornado", "traitlets") if not there(n)]
    try:
        a["ipykernel"] = importlib.metadata.version("ipykernel")
    except importlib.metadata.PackageNotFoundError:
        pass
    a["pip"] = there("pip")
    a["system"] = sys.prefix == sys.base_prefix and os.path.exists(
        os.path.join(os.path.dirname(os.__file__), "EXTERNALLY-MANAGED"))
    a["in_user_site"] = os.path.isdir(os.path.join(site.getusersitepackages(), "ipykernel"))
print(json.dumps(a))
"#;

/// Why a Python does not serve.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The file could not be run at all.
    #[error("`{}` could not be started", .python.display())]
    Start {
        /// The file.
        python: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// It did not answer.
    #[error("`{}` did not answer within {} s and was killed; is it a Python, and does `{} -I -c 'print(1)'` end?", .python.display(), LIMIT.as_secs(), shell_word(python.as_os_str()))]
    TimedOut {
        /// The file.
        python: PathBuf,
    },
    /// It ended with a failure.
    #[error("`{}` failed when it was asked for its version ({status}): {said}", .python.display())]
    Failed {
        /// The file.
        python: PathBuf,
        /// Its exit status.
        status: ExitStatus,
        /// The end of what it wrote to stderr.
        said: String,
    },
    /// It answered something else.
    #[error("`{}` did not answer as a Python does; it wrote: {said}", .python.display())]
    NotPython {
        /// The file.
        python: PathBuf,
        /// The end of what it wrote.
        said: String,
    },
    /// It is too old for any ipykernel that husk can drive.
    #[error("`{}` is Python {version}; a kernel needs Python 3.9 or newer", .python.display())]
    TooOld {
        /// The file.
        python: PathBuf,
        /// Its version.
        version: String,
    },
    /// Cells may have written it, so it is only run in a sandbox, and there it did not answer.
    #[error("`{}` lies where cells can write, so it is only asked in a sandbox, and that failed: {why}", .python.display())]
    Confined {
        /// The file.
        python: PathBuf,
        /// What failed.
        why: String,
    },
    /// It has no ipykernel.
    #[error("`{}` (Python {version}) has no ipykernel{aside}; {mend}", .python.display())]
    NoIpykernel {
        /// The file.
        python: PathBuf,
        /// Its version.
        version: Version,
        /// What a user may wonder about.
        aside: &'static str,
        /// What to do, with the command.
        mend: String,
    },
    /// Its ipykernel is too old.
    #[error("`{}` (Python {version}) has ipykernel {has}, and husk needs 6 or newer; {mend}", .python.display())]
    OldIpykernel {
        /// The file.
        python: PathBuf,
        /// Its version.
        version: Version,
        /// The version of its ipykernel.
        has: String,
        /// What to do, with the command.
        mend: String,
    },
    /// It has ipykernel, but not all of what that imports.
    #[error("`{}` (Python {version}) has ipykernel, but not {missing}, which it needs; {mend}", .python.display())]
    Incomplete {
        /// The file.
        python: PathBuf,
        /// Its version.
        version: Version,
        /// The modules that are missing.
        missing: String,
        /// What to do, with the command.
        mend: String,
    },
}

/// The version of a Python, without what comes after the third number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What a Python said about itself.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Report {
    pub(super) executable: PathBuf,
    pub(super) version: Version,
    prefix: PathBuf,
    base_prefix: PathBuf,
    ipykernel: Option<String>,
    missing: Vec<String>,
    pip: bool,
    system: bool,
    in_user_site: bool,
    /// Whether it was asked as it is, not in a sandbox.
    #[serde(skip)]
    pub(super) believed: bool,
}

impl Report {
    /// This Python as one that runs kernels, or why it cannot.
    pub(super) fn interpreter(&self, origin: Origin) -> Result<Interpreter, Error> {
        self.is_new_enough()?;
        let ipykernel = self.new_enough_ipykernel()?;
        if self.missing.is_empty() {
            return Ok(Interpreter {
                executable: self.executable.clone(),
                version: self.version.to_string(),
                ipykernel,
                prefix: self.prefix.clone(),
                base_prefix: self.base_prefix.clone(),
                origin,
                believed: self.believed,
            });
        }
        let packages: Vec<_> = self.missing.iter().map(|module| package_of(module)).collect();
        Err(Error::Incomplete {
            python: self.executable.clone(),
            version: self.version,
            missing: self.missing.join(", "),
            mend: self.mend(&packages),
        })
    }

    fn new_enough_ipykernel(&self) -> Result<String, Error> {
        let (python, version) = (self.executable.clone(), self.version);
        let importable = !self.missing.iter().any(|module| module == "ipykernel");
        let Some(has) = self.ipykernel.clone().filter(|_| importable) else {
            let aside = if self.in_user_site {
                " (the one in your own site-packages does not count: a kernel cannot read your home)"
            } else {
                ""
            };
            let mend = self.mend(&["ipykernel"]);
            return Err(Error::NoIpykernel { python, version, aside, mend });
        };
        if major(&has) < OLDEST_IPYKERNEL {
            let mend = self.mend(&["--upgrade", "ipykernel"]);
            return Err(Error::OldIpykernel { python, version, has, mend });
        }
        Ok(has)
    }

    /// Whether an environment for kernels can be made from it.
    pub(super) fn is_new_enough(&self) -> Result<(), Error> {
        if (self.version.0, self.version.1) >= OLDEST_PYTHON {
            return Ok(());
        }
        Err(Error::TooOld { python: self.executable.clone(), version: self.version.to_string() })
    }

    /// What brings these packages into this Python: a plain `pip install` fails in a system's own Python and in an
    /// environment that uv made.
    fn mend(&self, packages: &[&str]) -> String {
        let python = shell_word(self.executable.as_os_str());
        let packages = packages.join(" ");
        if self.system {
            return format!(
                "it belongs to the system, which lets nothing be installed into it, so make an environment with \
                 `{python} -m venv .venv && .venv/bin/python -m pip install ipykernel` and give it with `--python .venv`"
            );
        }
        if !self.pip {
            return format!(
                "install it with `uv pip install --python {python} {packages}` (it has no pip; \
                 `{python} -m ensurepip` would bring it)"
            );
        }
        let isolated = if self.in_user_site { "-I " } else { "" };
        format!("install it with `{python} {isolated}-m pip install {packages}`")
    }
}

fn major(version: &str) -> u32 {
    version.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn package_of(module: &str) -> &str {
    match module {
        "zmq" => "pyzmq",
        "IPython" => "ipython",
        other => other,
    }
}

/// The Pythons asked so far, so that none is started twice in one search.
#[derive(Debug, Default)]
pub(super) struct Asked {
    reach: Reach,
    answers: BTreeMap<PathBuf, Result<Report, Error>>,
}

impl Asked {
    pub(super) fn within(reach: &Reach) -> Self {
        Self { reach: reach.clone(), answers: BTreeMap::new() }
    }

    pub(super) async fn ask(&mut self, python: &Path) -> Result<&Report, Error> {
        let answer = match self.answers.entry(python.to_path_buf()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) if self.reach.holds(python) => {
                new.insert(ask_confined(python, &self.reach).await)
            }
            Entry::Vacant(new) => new.insert(ask(python).await),
        };
        answer.as_ref().map_err(|why| why.clone())
    }
}

/// Asks a Python that cells may have written. It answers into a file.
async fn ask_confined(python: &Path, reach: &Reach) -> Result<Report, Error> {
    let failed = |why: String| Error::Confined { python: python.to_path_buf(), why };
    let asks = reach.asks.as_ref().ok_or_else(|| failed("there is none".to_owned()))?;
    let question = format!("import sys\nsys.stdout = open(sys.argv[1], 'w'){QUESTION}");
    let answer = tokio::time::timeout(LIMIT, asks.answer(python, &["-I", "-c", &question])).await;
    let Ok(answer) = answer else {
        return Err(Error::TimedOut { python: python.to_path_buf() });
    };
    let answer = answer.map_err(failed)?;
    serde_json::from_str(&answer)
        .map_err(|_| Error::NotPython { python: python.to_path_buf(), said: end_of(&answer) })
}

/// Runs `python` once. `-I` keeps what a project or a user put in the way (`PYTHONPATH`, a local `json.py`) out of it.
pub(super) async fn ask(python: &Path) -> Result<Report, Error> {
    let start = |source| Error::Start { python: python.to_path_buf(), source: Arc::new(source) };
    let mut child = tokio::process::Command::new(python)
        .args(["-I", "-c", QUESTION])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let answer = tokio::time::timeout(LIMIT, async {
        let (stdout, stderr) = tokio::join!(bounded(stdout), bounded(stderr));
        (child.wait().await, stdout, stderr)
    });
    match answer.await {
        Ok((status, stdout, stderr)) => {
            understood(python, status.map_err(start)?, &stdout, &stderr)
        }
        Err(_) => {
            // The error is what matters; a child that cannot be killed is gone already.
            let _ = child.kill().await;
            Err(Error::TimedOut { python: python.to_path_buf() })
        }
    }
}

/// Reads to the end or to the cap, and closes its end, so that a writer that goes on is stopped by its broken pipe.
async fn bounded(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What could not be read is missing from the answer, and shows there.
        let _ = stream.take(LONGEST_ANSWER).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The answer is the last line: a `sitecustomize` may print before it.
fn understood(
    python: &Path,
    status: ExitStatus,
    stdout: &str,
    stderr: &str,
) -> Result<Report, Error> {
    let python = python.to_path_buf();
    if stderr.contains("Unknown option: -I") {
        return Err(Error::TooOld { python, version: "2".into() });
    }
    if !status.success() {
        return Err(Error::Failed { python, status, said: end_of(stderr) });
    }
    let last = stdout.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let report = serde_json::from_str::<Report>(last)
        .map_err(|_| Error::NotPython { python, said: end_of(&format!("{stdout}{stderr}")) })?;
    Ok(Report { believed: true, ..report })
}

fn end_of(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines.iter().rev().take(6).rev().copied().collect::<Vec<_>>().join(" / ");
    let cut =
        last.chars().rev().take(600).collect::<Vec<_>>().into_iter().rev().collect::<String>();
    if cut.is_empty() { "nothing".into() } else { cut }
}
