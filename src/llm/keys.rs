//! Where keys of providers are kept: under names, never in a configuration of routes.
//!
//! A name is looked up in the environment (`HUSK_KEY_` and the name in capitals), then in the key
//! file, then in this desktop's keyring. A key file is TOML, one `name = "key"` a line, and only this
//! user may read it.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::base::secret::Secret;

/// Finds keys, variables and files; a test puts its own in its place.
pub trait Surroundings: Send + Sync {
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
    /// The text of a file, if it is there.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    fn file(&self, path: &Path) -> io::Result<Option<String>>;
    /// The file's permissions.
    fn mode(&self, path: &Path) -> Option<u32>;
    /// A key in the keyring.
    fn keyring(&self, name: &str) -> Option<String>;
}

/// This process's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Here;

impl Surroundings for Here {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<Option<String>> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        Some(std::fs::metadata(path).ok()?.permissions().mode())
    }

    /// `secret-tool` is what desktops have for this; where it is not, there is no keyring.
    fn keyring(&self, name: &str) -> Option<String> {
        let output = Command::new("secret-tool")
            .args(["lookup", "service", "husk", "key", name])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let key = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        Some(key.trim().to_owned()).filter(|key| !key.is_empty())
    }
}

/// Why a key cannot be had. None of these shows a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none of this name.
    #[error(
        "no key named `{name}`: set {variable}, add it to the key file{}, or keep it with `secret-tool store --label husk service husk key {name}`",
        .file.as_ref().map(|file| format!(" `{}`", file.display())).unwrap_or_default()
    )]
    Missing {
        /// The name.
        name: String,
        /// The variable that would hold it.
        variable: String,
        /// The key file.
        file: Option<PathBuf>,
    },
    /// Others may read the file.
    #[error("others may read the key file `{}`; `chmod 600` it", .0.display())]
    Open(PathBuf),
    /// The file cannot be read.
    #[error("cannot read the key file `{}`: {source}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what it should be; what it holds is not shown.
    #[error("the key file `{}` is not TOML with one `name = \"key\"` a line", .0.display())]
    Malformed(PathBuf),
}

/// The keys of this user.
pub struct Keys<'a> {
    here: &'a dyn Surroundings,
    file: Option<PathBuf>,
}

impl<'a> Keys<'a> {
    /// Keys in these surroundings and this file.
    #[must_use]
    pub fn new(here: &'a dyn Surroundings, file: Option<PathBuf>) -> Self {
        Self { here, file }
    }

    pub(super) fn here(&self) -> &'a dyn Surroundings {
        self.here
    }

    /// The key of this name.
    ///
    /// # Errors
    /// [`KeyError`] says where was looked.
    pub fn find(&self, name: &str) -> Result<Secret, KeyError> {
        let variable = variable(name);
        let set = self.here.variable(&variable).filter(|key| !key.is_empty());
        let key = match set {
            Some(key) => Some(key),
            None => self.in_file(name)?.or_else(|| self.here.keyring(name)),
        };
        key.map(Secret::new).ok_or_else(|| KeyError::Missing {
            name: name.to_owned(),
            variable,
            file: self.file.clone(),
        })
    }

    fn in_file(&self, name: &str) -> Result<Option<String>, KeyError> {
        let Some(file) = self.file.clone() else { return Ok(None) };
        let text = match self.here.file(&file) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(None),
            Err(source) => return Err(KeyError::Unreadable { file, source }),
        };
        if self.here.mode(&file).is_some_and(|mode| mode & 0o077 != 0) {
            return Err(KeyError::Open(file));
        }
        // The parser's own error would show the line, and with it a key.
        let Ok(mut keys) = toml::from_str::<BTreeMap<String, String>>(&text) else {
            return Err(KeyError::Malformed(file));
        };
        Ok(keys.remove(name))
    }
}

/// The variable that holds the key of this name. Only variables that begin so are looked at: a
/// configuration must not be able to send others to its hosts.
fn variable(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("HUSK_KEY_{}", name.chars().map(fits).collect::<String>())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Surroundings that a test writes down.
    #[derive(Default)]
    pub(in crate::llm) struct Written {
        pub(in crate::llm) variables: BTreeMap<&'static str, &'static str>,
        pub(in crate::llm) file: Option<&'static str>,
        pub(in crate::llm) mode: u32,
        pub(in crate::llm) keyring: Option<&'static str>,
    }

    impl Surroundings for Written {
        fn variable(&self, name: &str) -> Option<String> {
            self.variables.get(name).map(|value| (*value).to_owned())
        }

        fn file(&self, path: &Path) -> io::Result<Option<String>> {
            let there = path == Path::new("/keys.toml");
            Ok(self.file.filter(|_| there).map(str::to_owned))
        }

        fn mode(&self, _: &Path) -> Option<u32> {
            Some(self.mode)
        }

        fn keyring(&self, _: &str) -> Option<String> {
            self.keyring.map(str::to_owned)
        }
    }

    fn find(written: &Written, name: &str) -> Result<String, String> {
        let keys = Keys::new(written, Some(PathBuf::from("/keys.toml")));
        let key = keys.find(name).map(|key| key.reveal().to_owned());
        key.map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_comes_first_then_the_file_then_the_keyring() {
        let mut written = Written { keyring: Some("ring"), ..Written::default() };
        assert_eq!(find(&written, "my-key"), Ok("ring".to_owned()));
        written.file = Some("my-key = \"file\"");
        assert_eq!(find(&written, "my-key"), Ok("file".to_owned()));
        written.variables.insert("HUSK_KEY_MY_KEY", "env");
        assert_eq!(find(&written, "my-key"), Ok("env".to_owned()));
        assert_eq!(find(&written, "other"), Ok("ring".to_owned()));
    }

    #[test]
    fn a_name_reaches_no_variable_that_is_no_key() {
        let variables = BTreeMap::from([("GITHUB_TOKEN", "secret"), ("AWS_KEY", "secret")]);
        let written = Written { variables, ..Written::default() };
        let error = find(&written, "github-token").unwrap_err();
        assert!(error.contains("HUSK_KEY_GITHUB_TOKEN"), "{error}");
    }

    #[test]
    fn a_file_that_others_may_read_or_that_is_malformed_is_refused_without_showing_it() {
        let open = Written { file: Some("k = \"x\""), mode: 0o644, ..Written::default() };
        assert!(find(&open, "k").unwrap_err().contains("chmod 600"));
        let malformed = Written { file: Some("k: sk-secret"), ..Written::default() };
        let error = find(&malformed, "k").unwrap_err();
        assert!(error.contains("is not TOML") && !error.contains("sk-secret"), "{error}");
    }
}
