//! The command line and the environment by which a kernel is started. Decides; starts nothing.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{
    python::{Interpreter, pip},
    run_folder::{Run, RunError},
};
use crate::{
    jail::{self, Level},
    kernel::{
        connection::{Connection, Wire},
        journal::Journal,
        spec::Spec,
    },
};

const LAUNCHER: &str = include_str!("../kernel/launcher.py");

/// Kernels that cannot listen on unix sockets (measured): a word of their command line.
const TCP_ONLY: [&str; 2] = ["deno", "tslab"];

/// The command line of a kernel and what goes with it.
pub(super) struct Plan {
    pub(super) command: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) journal: Option<Journal>,
    pub(super) interrupts_by_message: bool,
    /// The kernelspec's name, by which other programs find the kernel.
    pub(super) name: String,
}

/// What is started.
pub(super) enum Program {
    /// ipykernel on an interpreter, by husk's own launcher; what a kernelspec adds.
    Python(Interpreter, Option<Spec>),
    /// Any other kernel, by its own command line.
    Other(Spec),
}

impl Program {
    /// The transport, and the one to try when the kernel dies over the first. ipykernel serves unix
    /// sockets; other kernels that are known not to get TCP at once, and other ports when another
    /// process has taken one.
    pub(super) fn wires(&self) -> (Wire, Option<Wire>) {
        match self {
            Self::Python(..) => (Wire::Ipc, None),
            Self::Other(spec) if tcp_only(spec) => (Wire::Tcp, Some(Wire::Tcp)),
            Self::Other(_) => (Wire::Ipc, Some(Wire::Tcp)),
        }
    }

    /// How it is started in `run`, held by `jail`, with the variables of `environment`.
    pub(super) fn plan(
        &self,
        run: &Run,
        jail: &jail::Plan,
        environment: Vec<(OsString, OsString)>,
    ) -> Result<Plan, RunError> {
        match self {
            Self::Python(interpreter, spec) => {
                for_python(interpreter, spec.as_ref(), run, jail, environment)
            }
            Self::Other(spec) => Ok(for_spec(spec, &jail.seen_run(&run.outer), environment)),
        }
    }
}

fn tcp_only(spec: &Spec) -> bool {
    let mut names = spec.argv.iter().filter_map(|word| Path::new(word).file_name());
    names.any(|name| TCP_ONLY.iter().any(|known| name == *known))
}

fn for_python(
    interpreter: &Interpreter,
    spec: Option<&Spec>,
    run: &Run,
    jail: &jail::Plan,
    mut environment: Vec<(OsString, OsString)>,
) -> Result<Plan, RunError> {
    let failed = |source| RunError { path: run.outer.clone(), source };
    let seen = jail.seen_run(&run.outer);
    std::fs::write(run.outer.join("launcher.py"), LAUNCHER).map_err(failed)?;
    let journal = Journal::create(&run.outer.join("journal")).map_err(failed)?;
    // Who gave isolation up installs where the user does.
    let packages = (jail.level != Level::None).then(|| jail.scratch.join("env"));
    let command = [
        interpreter.executable.clone().into_os_string(),
        // As the interpreter was probed: without the packages in the user's home.
        "-s".into(),
        seen.join("launcher.py").into_os_string(),
        seen.join(Connection::FILE).into_os_string(),
        seen.join("journal").into_os_string(),
        packages.clone().map_or_else(|| "-".into(), PathBuf::into_os_string),
        // History is the user's file, and writing it costs a millisecond a cell.
        "--HistoryManager.enabled=False".into(),
    ];
    set(&mut environment, "IPYTHONDIR", jail.scratch.join("ipython").into_os_string());
    activate(interpreter, packages.as_deref(), &mut environment);
    if packages.is_some() {
        pip::configure(interpreter, jail, &mut environment);
    }
    for (name, value) in spec.iter().flat_map(|spec| &spec.environment) {
        set(&mut environment, name, value.into());
    }
    Ok(Plan {
        command: command.to_vec(),
        environment,
        journal: Some(journal),
        interrupts_by_message: true,
        name: spec.map_or_else(|| "python3".to_owned(), |spec| spec.name.clone()),
    })
}

fn for_spec(spec: &Spec, seen: &Path, mut environment: Vec<(OsString, OsString)>) -> Plan {
    for (name, value) in &spec.environment {
        set(&mut environment, name, value.into());
    }
    let interrupts_by_message = spec.interrupts_by_message;
    let mut command = spec.command(&seen.join(Connection::FILE));
    if let (Some(first), Some(python)) = (command.first_mut(), own_python(spec)) {
        *first = python.into_os_string();
    }
    Plan { command, environment, journal: None, interrupts_by_message, name: spec.name.clone() }
}

/// What activating the interpreter's environment does, and the one over it that is the kernel's own:
/// `!pip` and `!python` in a cell mean them.
fn activate(
    interpreter: &Interpreter,
    packages: Option<&Path>,
    environment: &mut Vec<(OsString, OsString)>,
) {
    if let Some(bin) = interpreter.executable.parent() {
        let known = environment.iter().find(|(name, _)| name == "PATH");
        let path = known.map(|(_, path)| path.clone()).unwrap_or_default();
        let own = packages.map(|packages| packages.join("bin"));
        let first = own.into_iter().chain([bin.to_owned()]);
        let folders = first.chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(folders) {
            set(environment, "PATH", path);
        }
    }
    environment.retain(|(name, _)| name != "PYTHONHOME" && name != "VIRTUAL_ENV");
    let prefix = (interpreter.prefix != interpreter.base_prefix).then_some(&*interpreter.prefix);
    if let Some(prefix) = packages.or(prefix) {
        set(environment, "VIRTUAL_ENV", prefix.as_os_str().to_owned());
    }
}

pub(super) fn set(environment: &mut Vec<(OsString, OsString)>, name: &str, value: OsString) {
    environment.retain(|(known, _)| known != name);
    environment.push((name.into(), value));
}

/// A command line that begins with a bare `python` means the Python that the kernel is installed
/// in, as in Jupyter: `PREFIX/share/jupyter/kernels/NAME` tells it.
pub(super) fn own_python(spec: &Spec) -> Option<PathBuf> {
    let word = spec.argv.first()?;
    let version = word.strip_prefix("python")?;
    let bare = version.chars().all(|c| c.is_ascii_digit() || c == '.');
    let python = spec.folder.ancestors().nth(4)?.join("bin/python");
    (bare && python.exists()).then_some(python)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn spec(folder: &Path, program: &str) -> Spec {
        Spec {
            name: "k".into(),
            folder: folder.to_owned(),
            display_name: String::new(),
            language: String::new(),
            argv: vec![program.into(), "-f".into(), "{connection_file}".into()],
            environment: BTreeMap::new(),
            interrupts_by_message: false,
        }
    }

    #[test]
    fn a_bare_python_is_the_one_that_the_kernel_is_installed_in() {
        let prefix = tempfile::tempdir().unwrap();
        let python = prefix.path().join("bin/python");
        std::fs::create_dir(prefix.path().join("bin")).unwrap();
        std::fs::write(&python, "").unwrap();
        let folder = prefix.path().join("share/jupyter/kernels/k");
        let check = |program: &str, expected: Option<&PathBuf>| {
            assert_eq!(own_python(&spec(&folder, program)).as_ref(), expected, "{program}");
        };
        check("python", Some(&python));
        check("python3.11", Some(&python));
        check("pythonish", None);
        check("/usr/bin/python3", None);
        check("R", None);
        assert_eq!(own_python(&spec(Path::new("/elsewhere/kernels/k"), "python")), None);
    }

    #[test]
    fn kernels_that_cannot_do_unix_sockets_get_tcp() {
        let folder = Path::new("/k");
        let check = |program: &str, expected| {
            assert_eq!(Program::Other(spec(folder, program)).wires(), expected, "{program}");
        };
        check("/opt/bin/deno", (Wire::Tcp, Some(Wire::Tcp)));
        check("R", (Wire::Ipc, Some(Wire::Tcp)));
        let mut by_path = spec(folder, "node");
        by_path.argv.splice(1..1, ["/opt/node_modules/.bin/tslab".to_owned()]);
        assert_eq!(Program::Other(by_path).wires(), (Wire::Tcp, Some(Wire::Tcp)));
    }
}
