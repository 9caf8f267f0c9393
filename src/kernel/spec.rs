//! Finds installed kernels: `kernel.json` files in Jupyter's data folders.
//!
//! Source: <https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs> and
//! `jupyter_core.paths`. Reads files; starts nothing.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use jupyter_protocol::JupyterKernelspec;

/// An installed kernel.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name, which is its folder's.
    pub name: String,
    /// The folder with its `kernel.json`.
    pub folder: PathBuf,
    /// What to show.
    pub display_name: String,
    /// Its language.
    pub language: String,
    /// The command line with its placeholders.
    pub argv: Vec<String>,
    /// Variables that it wants set.
    pub environment: BTreeMap<String, String>,
    /// Whether it is interrupted by a message (else by SIGINT).
    pub interrupts_by_message: bool,
}

/// No kernel of that name.
#[derive(Debug, thiserror::Error)]
#[error(
    "no kernel named `{name}`; found {}, looked in {}; install the kernel and see `husk doctor` for the list",
    listed(.available), listed(.searched)
)]
pub struct NotFound {
    /// The name asked for.
    pub name: String,
    /// The names there are.
    pub available: Vec<String>,
    /// The folders that were searched.
    pub searched: Vec<String>,
}

fn listed(all: &[String]) -> String {
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// The folders that hold kernels, best first, from the process's environment. `prefixes` are
/// Python environments whose own kernels count too.
#[must_use]
pub fn folders(prefixes: &[PathBuf]) -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let mut roots: Vec<PathBuf> = variable("JUPYTER_PATH")
        .map(|value| std::env::split_paths(&value).collect())
        .unwrap_or_default();
    roots.extend(variable("JUPYTER_DATA_DIR").map(PathBuf::from));
    if let Ok(home) = etcetera::home_dir() {
        roots.push(if cfg!(target_os = "macos") {
            home.join("Library/Jupyter")
        } else {
            let data =
                variable("XDG_DATA_HOME").map_or_else(|| home.join(".local/share"), PathBuf::from);
            data.join("jupyter")
        });
    }
    roots.extend(prefixes.iter().map(|prefix| prefix.join("share/jupyter")));
    roots.extend(["/usr/local/share/jupyter", "/usr/share/jupyter"].map(PathBuf::from));
    let mut folders = Vec::new();
    for folder in roots.into_iter().map(|root| root.join("kernels")) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// All kernels in `folders`; of two with one name the first counts. A `kernel.json` that cannot be
/// read is told in the log and passed over.
#[must_use]
pub fn list(folders: &[PathBuf]) -> Vec<Spec> {
    let mut found: BTreeMap<String, Spec> = BTreeMap::new();
    for folder in folders {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().to_lowercase();
            let file = entry.path().join("kernel.json");
            if found.contains_key(&name) || !file.is_file() {
                continue;
            }
            match read(name.clone(), &entry.path(), &file) {
                Ok(spec) => drop(found.insert(name, spec)),
                Err(error) => tracing::warn!(file = %file.display(), error, "passed over a kernel"),
            }
        }
    }
    found.into_values().collect()
}

/// The kernel of that name (upper and lower case are the same, as in Jupyter).
///
/// # Errors
/// [`NotFound`], with what there is and where was looked.
pub fn find(name: &str, folders: &[PathBuf]) -> Result<Spec, NotFound> {
    let mut all = list(folders);
    let wanted = name.to_lowercase();
    if let Some(at) = all.iter().position(|spec| spec.name == wanted) {
        return Ok(all.swap_remove(at));
    }
    Err(NotFound {
        name: name.to_owned(),
        available: all.into_iter().map(|spec| spec.name).collect(),
        searched: folders.iter().map(|folder| folder.display().to_string()).collect(),
    })
}

fn read(name: String, folder: &Path, file: &Path) -> Result<Spec, String> {
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    let spec: JupyterKernelspec =
        serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if spec.argv.is_empty() {
        return Err("its argv is empty".to_owned());
    }
    Ok(Spec {
        name,
        folder: folder.to_owned(),
        display_name: spec.display_name,
        language: spec.language,
        argv: spec.argv,
        environment: spec.env.unwrap_or_default().into_iter().collect(),
        interrupts_by_message: spec.interrupt_mode.as_deref() == Some("message"),
    })
}

impl Spec {
    /// The interpreter, where this kernel is ipykernel by its usual command line
    /// (`python -m ipykernel_launcher -f {connection_file}`).
    #[must_use]
    pub fn ipykernel(&self) -> Option<&str> {
        let mut words = self.argv.iter();
        let interpreter = words.next()?;
        let rest: Vec<&str> =
            words.map(String::as_str).filter(|word| !word.starts_with("-X")).collect();
        (rest == ["-m", "ipykernel_launcher", "-f", "{connection_file}"]).then_some(interpreter)
    }

    /// The command line with its placeholders filled in.
    #[must_use]
    pub fn command(&self, connection_file: &Path) -> Vec<OsString> {
        let connection_file = connection_file.to_string_lossy();
        let folder = self.folder.to_string_lossy();
        let fill = |word: &String| {
            word.replace("{connection_file}", &connection_file)
                .replace("{resource_dir}", &folder)
                .into()
        };
        self.argv.iter().map(fill).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(root: &Path, name: &str, json: &str) {
        let folder = root.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("kernel.json"), json).unwrap();
    }

    #[test]
    fn the_first_of_a_name_counts_and_broken_ones_are_passed_over() {
        let (user, system) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let json = |title: &str| {
            format!(
                r#"{{"argv": ["r", "{{resource_dir}}/x", "{{connection_file}}"], "display_name": "{title}", "language": "r"}}"#
            )
        };
        install(user.path(), "IR", &json("mine"));
        install(system.path(), "ir", &json("theirs"));
        install(system.path(), "broken", "{");
        install(system.path(), "empty", r#"{"argv": [], "display_name": "", "language": ""}"#);
        let folders = [user.path().to_owned(), system.path().to_owned()];
        let found = find("ir", &folders).unwrap();
        assert_eq!(found.display_name, "mine");
        let command = found.command(Path::new("/run/c.json"));
        assert_eq!(command[1], user.path().join("IR/x").into_os_string());
        assert_eq!(command[2], "/run/c.json");
        let error = find("julia", &folders).unwrap_err().to_string();
        assert!(error.contains("no kernel named `julia`; found ir, looked in"), "{error}");
    }

    #[test]
    fn ipykernel_is_recognised_by_its_command_line() {
        let check = |argv: &[&str], interpreter: Option<&str>| {
            let spec = Spec {
                name: "n".into(),
                folder: "/".into(),
                display_name: String::new(),
                language: String::new(),
                argv: argv.iter().map(|word| (*word).to_owned()).collect(),
                environment: BTreeMap::new(),
                interrupts_by_message: false,
            };
            assert_eq!(spec.ipykernel(), interpreter);
        };
        check(&["python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"], Some("python3"));
        check(
            &[
                "/x/python",
                "-Xfrozen_modules=off",
                "-m",
                "ipykernel_launcher",
                "-f",
                "{connection_file}",
            ],
            Some("/x/python"),
        );
        check(&["xpython", "-f", "{connection_file}"], None);
    }
}
