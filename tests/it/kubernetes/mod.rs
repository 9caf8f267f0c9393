//! The manifests of `examples/kubernetes`: that the API takes them, that what they name is there, and that husk serves
//! with the settings in them.

mod databases;
mod image;
mod manifests;
mod pods;
mod serving;
mod settings;
mod stage;

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{kubernetes, repository};

/// The folders that are applied, each a whole.
pub(super) const WHOLE: [&str; 2] = ["kernels-in-pods", "kernels-in-husk"];

/// A copy of `examples/kubernetes`, without what a user has made in it.
pub(super) struct Examples(TempDir);

impl Examples {
    pub(super) fn copy() -> Self {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&folder(), copy.path());
        Self(copy)
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    /// Puts another text in the place of one that is there.
    pub(super) fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.path(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// What the judge of manifests says of one of its folders.
    pub(super) fn judged(&self, options: &[&str], below: &str) -> Output {
        let mut judge = Command::new(kubernetes().join("bin/python"));
        judge.arg("-B").arg(repository().join("tests/clients/manifests.py")).args(options);
        judge.arg(self.path(below)).output().unwrap()
    }

    /// The objects of one of its folders.
    pub(super) fn objects(&self, below: &str) -> Vec<Value> {
        let shown = self.judged(&["--show"], below);
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        let mut all: Value = serde_json::from_slice(&shown.stdout).unwrap();
        serde_json::from_value(all["objects"].take()).unwrap()
    }

    /// Makes the secrets of one of its folders.
    pub(super) fn make_secrets(&self, below: &str) {
        let made = Command::new(self.path("make-secrets"))
            .arg(self.path(below))
            .arg("husk.example.com")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        assert!(made.stdout.is_empty() && made.stderr.is_empty(), "{made:?}");
    }
}

pub(super) fn folder() -> PathBuf {
    repository().join("examples/kubernetes")
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if !path.is_dir() {
            fs::copy(path, copy).unwrap();
        } else if entry.file_name() != "secrets" {
            fs::create_dir(&copy).unwrap();
            copy_folder(&path, &copy);
        }
    }
}

/// The object of that kind and name.
pub(super) fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let fits = |it: &&Value| it["kind"] == kind && it["metadata"]["name"] == name;
    objects.iter().find(fits).unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// The container in which husk runs.
pub(super) fn container(objects: &[Value]) -> &Value {
    &object(objects, "StatefulSet", "husk")["spec"]["template"]["spec"]["containers"][0]
}

/// The `husk.toml` that the manifests have.
pub(super) fn husk_toml(objects: &[Value]) -> String {
    object(objects, "ConfigMap", "husk")["data"]["husk.toml"].as_str().unwrap().to_owned()
}

/// Waits until something listens there: a program that starts tells it to nobody but who tries.
pub(super) fn listens(port: u16, program: &mut Child) {
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(program.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(Duration::from_millis(10));
    }
}
