//! What pip in a kernel is told of where packages come from.
//!
//! A kernel sees neither the home of the server's user nor his variables, so that what is set there
//! for pip would be lost: the index of a company, for one. What says where packages are is handed
//! on, less every name and password in it: a cell must not learn them. Whoever wants cells to have
//! them sets `PIP_INDEX_URL` and the like in `sandbox.env_set`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use url::Url;

use super::Interpreter;
use crate::jail::{self, Network};

/// pip's settings that say where packages come from.
const HANDED_ON: [&str; 5] = ["index-url", "extra-index-url", "find-links", "trusted-host", "cert"];

/// A file longer than that is none of pip's.
const LONGEST: u64 = 64 * 1024;

type Settings = BTreeMap<String, String>;

/// Sets pip's variables in a kernel's environment, less those that are set there already.
pub(in crate::sandbox) fn configure(
    interpreter: &Interpreter,
    plan: &jail::Plan,
    environment: &mut Vec<(OsString, OsString)>,
) {
    let files = files(interpreter).into_iter().filter_map(|file| read(&file));
    let server = std::env::vars().filter(|(name, _)| name.starts_with("PIP_"));
    let seen = |path: &Path| plan.grants.iter().any(|grant| path.starts_with(&grant.seen));
    let settings = gathered(files, server).into_iter().filter_map(|(key, value)| {
        let value = harmless(&key, &value, &seen)?;
        Some((variable(&key), value))
    });
    for (name, value) in own(plan.network).into_iter().chain(settings) {
        if !environment.iter().any(|(known, _)| *known == *name) {
            environment.push((name.into(), value.into()));
        }
    }
}

/// How pip is to behave where nobody can answer it and nothing stays.
fn own(network: Network) -> Vec<(String, String)> {
    let mut own =
        vec![("DISABLE_PIP_VERSION_CHECK", "1"), ("NO_CACHE_DIR", "1"), ("NO_INPUT", "1")];
    match network {
        Network::Full => {}
        // What was refused once is refused again.
        Network::Allowlist => own.push(("RETRIES", "2")),
        Network::None | Network::Loopback => own.push(("RETRIES", "0")),
    }
    own.into_iter().map(|(name, value)| (format!("PIP_{name}"), value.to_owned())).collect()
}

fn variable(key: &str) -> String {
    format!("PIP_{}", key.to_uppercase().replace('-', "_"))
}

/// pip's configuration files, the weakest first.
fn files(interpreter: &Interpreter) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/etc/xdg/pip/pip.conf"), "/etc/pip.conf".into()];
    if let Ok(home) = etcetera::home_dir() {
        let set = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty());
        let folder = set.map_or_else(|| home.join(".config"), PathBuf::from);
        files.extend([home.join(".pip/pip.conf"), folder.join("pip/pip.conf")]);
    }
    files.push(interpreter.prefix.join("pip.conf"));
    files.extend(std::env::var_os("PIP_CONFIG_FILE").map(PathBuf::from));
    files
}

fn read(file: &Path) -> Option<String> {
    let about = std::fs::metadata(file).ok()?;
    (about.is_file() && about.len() <= LONGEST).then(|| std::fs::read_to_string(file).ok())?
}

/// What is set, a later file and then the variables over an earlier one.
fn gathered(
    files: impl Iterator<Item = String>,
    variables: impl Iterator<Item = (String, String)>,
) -> Settings {
    let mut all = Settings::new();
    for file in files {
        let (global, install) = sections(&file);
        all.extend(global.into_iter().chain(install));
    }
    let key = |name: &str| name.trim_start_matches("PIP_").to_lowercase().replace('_', "-");
    all.extend(variables.map(|(name, value)| (key(&name), value)));
    all.retain(|key, value| HANDED_ON.contains(&key.as_str()) && !value.trim().is_empty());
    all
}

/// The sections `[global]` and `[install]` of a file; a line that is indented goes on with the one
/// before it.
fn sections(text: &str) -> (Settings, Settings) {
    let (mut global, mut install) = (Settings::new(), Settings::new());
    let (mut section, mut key) = (String::new(), String::new());
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        let into = match section.as_str() {
            "global" => Some(&mut global),
            "install" => Some(&mut install),
            _ => None,
        };
        if let Some(name) = line.trim().strip_prefix('[') {
            (section, key) = (name.trim_end_matches(']').to_owned(), String::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some(value) = into.and_then(|into| into.get_mut(&key)) {
                value.push_str(&format!(" {}", line.trim()));
            }
        } else if let (Some((name, value)), Some(into)) = (line.split_once(['=', ':']), into) {
            key = name.trim().to_lowercase().replace('_', "-");
            into.insert(key.clone(), value.trim().to_owned());
        }
    }
    (global, install)
}

/// The value as a cell may read it; nothing where nothing of use is left.
fn harmless(key: &str, value: &str, seen: &dyn Fn(&Path) -> bool) -> Option<String> {
    let word = |word: &str| match Url::parse(word) {
        Ok(mut url) if url.has_host() => {
            // A URL with a host can have neither, and both be taken away.
            let _ = url.set_username("").and_then(|()| url.set_password(None));
            Some(url.to_string())
        }
        _ if key == "trusted-host" => Some(word.to_owned()),
        // A path, which is of use only where it can be seen.
        _ if Path::new(word).is_absolute() && seen(Path::new(word)) => Some(word.to_owned()),
        _ => None,
    };
    let words: Vec<String> = value.split_whitespace().filter_map(word).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "# mine
[global]
index-url = https://user:word@index.example/simple
timeout = 60
extra-index-url =
    https://a.example/simple
    https://token@b.example/simple
[install]
trusted_host: index.example other.example:8443
[list]
find-links = /usr/share/wheels
";

    fn of(files: &[&str], variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let files = files.iter().map(|file| (*file).to_owned());
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let all = gathered(files, variables).into_iter();
        let seen = |path: &Path| path.starts_with("/usr");
        all.filter_map(|(key, value)| Some((variable(&key), harmless(&key, &value, &seen)?)))
            .collect()
    }

    #[test]
    fn where_packages_come_from_is_handed_on_without_passwords() {
        let check = |files: &[&str], variables: &[(&str, &str)], expected: &[(&str, &str)]| {
            let got = of(files, variables);
            let got: Vec<(&str, &str)> =
                got.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(got, expected);
        };
        check(
            &[USER],
            &[("PIP_CERT", "/usr/share/ca.pem"), ("PIP_TIMEOUT", "5")],
            &[
                ("PIP_CERT", "/usr/share/ca.pem"),
                ("PIP_EXTRA_INDEX_URL", "https://a.example/simple https://b.example/simple"),
                ("PIP_INDEX_URL", "https://index.example/simple"),
                ("PIP_TRUSTED_HOST", "index.example other.example:8443"),
            ],
        );
        check(
            &[
                "[global]\nindex-url=https://a.example/\n",
                "[install]\nindex-url=https://b.example/\n",
            ],
            &[],
            &[("PIP_INDEX_URL", "https://b.example/")],
        );
        check(
            &[USER],
            &[
                ("PIP_INDEX_URL", "http://127.0.0.1:8080/simple"),
                ("PIP_EXTRA_INDEX_URL", ""),
                ("PIP_TRUSTED_HOST", "x"),
                ("PIP_FIND_LINKS", "/home/me/wheels /usr/wheels https://:word@c.example/"),
            ],
            &[
                ("PIP_FIND_LINKS", "/usr/wheels https://c.example/"),
                ("PIP_INDEX_URL", "http://127.0.0.1:8080/simple"),
                ("PIP_TRUSTED_HOST", "x"),
            ],
        );
        check(&["no section\n[global\n=\n[]\nx"], &[("PIP_CERT", "relative")], &[]);
    }

    #[test]
    fn nothing_that_was_refused_is_tried_for_long() {
        let retries = |network| {
            let own = own(network);
            own.into_iter().find(|(name, _)| name == "PIP_RETRIES").map(|(_, value)| value)
        };
        assert_eq!(retries(Network::None).as_deref(), Some("0"));
        assert_eq!(retries(Network::Allowlist).as_deref(), Some("2"));
        assert_eq!(retries(Network::Full), None);
    }
}
