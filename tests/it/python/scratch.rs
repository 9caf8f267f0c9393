//! A machine of its own for one test: folders for Pythons, a project and data, and interpreters to put there.
//!
//! The real Python comes from HUSK_TEST_PYTHON; the made-up ones are shell scripts that answer as one would.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use husk::sandbox::python::{Progress, Surroundings, Wanted, reach::Reach};
use tokio::sync::mpsc;

/// A Python with ipykernel.
pub(super) fn real_python() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-env/bin/python");
    std::env::var_os("HUSK_TEST_PYTHON").map_or_else(usual, PathBuf::from)
}

pub(super) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(super) fn new() -> Self {
        let scratch = Self(tempfile::tempdir().unwrap());
        for name in ["bin", "project", "data"] {
            std::fs::create_dir(scratch.path(name)).unwrap();
        }
        scratch
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `bin` is all of PATH (with the shell's tools), and nothing else is set.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            explicit: None,
            project: self.path("project"),
            data_dir: self.path("data"),
            packages: vec!["ipykernel".into()],
            surroundings: Surroundings {
                path: Some(std::env::join_paths([self.path("bin"), self.path("tools")]).unwrap()),
                ..Surroundings::default()
            },
            reach: Reach::default(),
        }
    }

    pub(super) fn asking_for(&self, explicit: impl AsRef<Path>) -> Wanted {
        Wanted { explicit: Some(explicit.as_ref().to_path_buf()), ..self.wanted() }
    }

    /// An executable written by a child, so that no process that another test starts meanwhile holds it open (ETXTBSY).
    pub(super) fn script(&self, name: &str, text: &str) -> PathBuf {
        let file = self.path(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let write = "printf '#!/bin/sh\n%s\n' \"$1\" > \"$2\" && chmod +x \"$2\"";
        run(
            "/bin/sh",
            [OsStr::new("-c"), write.as_ref(), "sh".as_ref(), text.as_ref(), file.as_os_str()],
        );
        file
    }

    /// A shim, as pyenv's: another file that runs `python`.
    pub(super) fn shim(&self, name: &str, python: &Path) -> PathBuf {
        self.script(name, &format!("exec '{}' \"$@\"", python.display()))
    }

    /// A real virtual environment with nothing in it, not even pip.
    pub(super) fn bare_environment(&self, name: &str) -> PathBuf {
        let folder = self.path(name);
        run(
            real_python(),
            [OsStr::new("-m"), "venv".as_ref(), "--without-pip".as_ref(), folder.as_os_str()],
        );
        folder
    }

    /// Answers the probe with these fields over those of a good Python 3.11.7.
    pub(super) fn answering(&self, name: &str, fields: serde_json::Value) -> PathBuf {
        let mut answer = serde_json::json!({
            "executable": "/opt/py/bin/python", "version": [3, 11, 7], "prefix": "/opt/py", "base_prefix": "/usr",
            "ipykernel": "7.0.0", "missing": [], "pip": true, "system": false, "in_user_site": false,
        });
        answer.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.script(name, &format!("echo '{answer}'"))
    }

    /// A Python of this version without ipykernel that can make environments. Its pip says "Downloading ipykernel",
    /// then does what the file `pip` in the scratch folder says.
    pub(super) fn maker(&self, name: &str, version: &str) -> PathBuf {
        let text = r#"PATH=/usr/bin:/bin
if [ -e "$0.installed" ]; then has='"7.0.0"' missing=; else has=null missing='"ipykernel"'; fi
case "$*" in
"-I -c "*) echo "{\"executable\":\"$0\",\"version\":[VERSION],\"prefix\":\"/\",\"base_prefix\":\"/\",\"ipykernel\":$has,
\"missing\":[$missing],\"pip\":true,\"system\":false,\"in_user_site\":false}" | tr -d '\n' ;;
"-m venv "*) mkdir "$3" "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip install "*) echo "Downloading ipykernel"; [ -e SCRATCH/pip ] && . SCRATCH/pip; touch "$0.installed" ;;
esac"#;
        let text = text.replace("VERSION", &version.replace('.', ","));
        self.script(name, &text.replace("SCRATCH", &self.0.path().display().to_string()))
    }

    /// What stands in the folder of environments, sorted.
    pub(super) fn environments(&self) -> Vec<String> {
        let Ok(all) = std::fs::read_dir(self.path("data/envs")) else {
            return Vec::new();
        };
        let mut names: Vec<_> =
            all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Runs a program, which has to go well.
pub(super) fn run<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = A>,
) {
    assert!(Command::new(program).args(arguments).status().unwrap().success());
}

/// Keeps the lines and hands them on as they come.
#[derive(Clone)]
pub(super) struct Lines(Arc<Mutex<Vec<String>>>, mpsc::UnboundedSender<String>);

impl Lines {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<String>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(Arc::default(), sender), receiver)
    }

    pub(super) fn all(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

impl Progress for Lines {
    fn line(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
        // Nobody may be listening any more.
        let _ = self.1.send(text.to_owned());
    }
}

/// The error with its causes, as `main` prints it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
