//! A tool that takes a while (pip, venv, uv): runs it with its lines as progress, and shows it as a user would type it.
//!
//! It does not know what the tools do, and it gives them no time limit: they end, or the caller drops the future.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::sandbox::python::{Progress, Surroundings};

/// Enough for pip's error with what led to it.
const TAIL: usize = 12;

/// Settings of the user's own pip and Python that would send the packages somewhere else, or colours into the progress.
const NOT_FOR_TOOLS: [&str; 9] = [
    "PYTHONHOME",
    "PYTHONPATH",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "FORCE_COLOR",
    "CLICOLOR_FORCE",
];

/// Why a tool did not do its work.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// It could not be run at all.
    #[error("`{command}` could not be started")]
    Start {
        /// The command line.
        command: String,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// It ended with a failure.
    #[error("`{command}` failed ({status}); it said last:\n{}", .tail.join("\n"))]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: ExitStatus,
        /// The end of what it wrote, to stdout and then to stderr.
        tail: Vec<String>,
    },
}

/// A command line.
#[derive(Debug)]
pub(super) struct Command {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shell_word(self.program.as_os_str()))?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {}", shell_word(argument)))
    }
}

impl Command {
    pub(super) fn new(program: &Path) -> Self {
        Self { program: program.to_path_buf(), arguments: Vec::new() }
    }

    pub(super) fn with<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Runs it in `folder` to its end. It is killed when the future is dropped.
    pub(super) async fn run(
        &self,
        folder: &Path,
        surroundings: &Surroundings,
        stdin: Stdio,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let start = |source| Error::Start { command: self.to_string(), source: Arc::new(source) };
        let mut child = self.prepared(folder, surroundings, stdin).spawn().map_err(start)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (mut tail, errors) = tokio::join!(follow(stdout, progress), follow(stderr, progress));
        let status = child.wait().await.map_err(start)?;
        if status.success() {
            return Ok(());
        }
        tail.extend(errors);
        let tail = tail.split_off(tail.len().saturating_sub(TAIL)).into();
        Err(Error::Failed { command: self.to_string(), status, tail })
    }

    fn prepared(
        &self,
        folder: &Path,
        surroundings: &Surroundings,
        stdin: Stdio,
    ) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.arguments).current_dir(folder).kill_on_drop(true);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in NOT_FOR_TOOLS {
            command.env_remove(name);
        }
        // Unbuffered, or pip's lines come all at once at its end; `PIP_USER` in a pip.conf fails in an environment.
        command.env("PYTHONUNBUFFERED", "1").env("NO_COLOR", "1").env("PIP_USER", "0");
        if let Some(path) = &surroundings.path {
            command.env("PATH", path);
        }
        command
    }
}

/// Hands each line on and keeps the last ones. Tools write other encodings and `\r`, so lines are taken as bytes.
async fn follow(
    stream: Option<impl AsyncRead + Unpin>,
    progress: &dyn Progress,
) -> VecDeque<String> {
    let mut tail = VecDeque::new();
    let Some(stream) = stream else { return tail };
    let mut lines = BufReader::new(stream).split(b'\n');
    while let Ok(Some(bytes)) = lines.next_segment().await {
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim_end().rsplit('\r').next().unwrap_or_default().trim_end();
        if line.is_empty() {
            continue;
        }
        progress.line(line);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
    }
    tail
}

/// `word` as it is typed in a shell.
pub(super) fn shell_word(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
