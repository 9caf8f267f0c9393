//! Where husk is started as the manifests start it: the arguments, settings and secrets are theirs, only the places are
//! other ones.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Examples, container, husk_toml, settings::variables};
use crate::support::{husk, python, web::Served};

/// One of the folders, with its secrets, and where its parts are here.
pub(super) struct Stage {
    pub(super) examples: Examples,
    below: &'static str,
    pub(super) objects: Vec<Value>,
    /// What stands in the manifests, and what stands for it here.
    pub(super) places: Vec<(&'static str, String)>,
    _folder: TempDir,
}

impl Stage {
    pub(super) fn new(below: &'static str) -> Self {
        let examples = Examples::copy();
        examples.make_secrets(below);
        let objects = examples.objects(below);
        let folder = tempfile::tempdir().unwrap();
        let secrets = examples.path(below).join("secrets");
        let at = |path: &Path| path.display().to_string();
        let places = vec![
            ("/etc/husk/tokens", at(&secrets)),
            ("/etc/husk/ca", at(&secrets)),
            ("/workspaces", at(&folder.path().join("workspaces"))),
            ("0.0.0.0:8931", "127.0.0.1:0".to_owned()),
        ];
        Self { examples, below, objects, places, _folder: folder }
    }

    pub(super) fn secrets(&self) -> PathBuf {
        self.examples.path(self.below).join("secrets")
    }

    fn here(&self, text: &str) -> String {
        self.places.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    /// A husk as in the pod of that replica.
    pub(super) fn command(&self, replica: u32) -> Command {
        let toml = self.examples.path("husk.toml");
        fs::write(&toml, self.here(&husk_toml(&self.objects))).unwrap();
        let mut command = husk();
        for (name, value) in variables(&self.examples, self.below, &self.objects) {
            let value = self.here(&value.into_string().unwrap());
            command.env(name, value.replace("husk-0", &format!("husk-{replica}")));
        }
        // On a busy machine the count may take its time.
        command.env("HUSK_PYTHON", python()).env("HUSK_SHARED_TIMEOUT", "10");
        let args = container(&self.objects)["args"].as_array().unwrap();
        for arg in args.iter().map(|arg| arg.as_str().unwrap()) {
            command.arg(self.here(arg).replace("/etc/husk/husk.toml", toml.to_str().unwrap()));
        }
        command
    }

    pub(super) fn replica(&self, number: u32) -> Served {
        Served::of(self.command(number), tempfile::tempdir().unwrap())
    }

    /// A token, as README.md says that they are made.
    pub(super) fn token(&self, user: &str) -> String {
        let file = self.secrets().join("tokens.toml");
        let set = format!("http.tokens={}", file.display());
        let made = husk().args(["--set", &set, "token", "new", user]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    }
}
