//! What a kernel's program needs of this machine, and the isolation that it gets.
//!
//! Finds where programs lie and which variables they get; what is opened to them is decided in
//! [`jail::plan`], which level holds here in [`jail::choose`].

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{
    launch::{LaunchError, Launcher},
    plan::{Program, own_python, set},
    python::Interpreter,
    run_folder::Run,
};
use crate::{
    jail::{
        self, Bridge, Ground, Level, Plan, Process,
        choose::{self, Choice},
    },
    kernel::{
        connection::{BRIDGED, Wire},
        spec::Spec,
    },
    proxy::Proxy,
};

/// Where programs are found in a sandbox, beside the kernel's own.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Links that are followed to a program, at most.
const LINKS: usize = 16;

/// What has been found to hold, so that it is tried once.
#[derive(Debug, Default)]
pub struct Tried(Mutex<Option<Held>>);

/// A level that holds for these programs in this workspace.
#[derive(Debug, Clone)]
struct Held {
    workspace: PathBuf,
    programs: Vec<PathBuf>,
    choice: Choice,
}

impl Tried {
    fn known(&self, ground: &Ground) -> Option<Choice> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let same = held.workspace == ground.workspace && held.programs == ground.programs;
        same.then_some(held.choice)
    }

    fn remember(&self, ground: Ground, choice: Choice) {
        let Ground { workspace, programs, .. } = ground;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Held { workspace, programs, choice });
    }
}

impl Launcher {
    /// The level that holds for this program in this workspace.
    pub(super) async fn choice(
        &self,
        program: &Program,
        workspace: &Path,
    ) -> Result<Choice, LaunchError> {
        let run = Run::make().map_err(LaunchError::Run)?;
        let ground = self.ground(program, workspace, &run);
        if let Some(choice) = self.tried.known(&ground) {
            return Ok(choice);
        }
        let chosen = choose::choose(&self.isolation, &ground, self.init.clone()).await;
        let choice = chosen.map_err(LaunchError::Isolation)?;
        self.tried.remember(ground, choice.clone());
        Ok(choice)
    }

    /// What the kernel may touch, and over which transport it is spoken to.
    pub(super) fn confinement(
        &self,
        choice: &Choice,
        program: &Program,
        wire: Wire,
        workspace: &Path,
        run: &Run,
    ) -> Result<(Plan, Wire), LaunchError> {
        let ground = self.ground(program, workspace, run);
        let mut plan =
            Plan::make(&self.isolation, choice.level, &ground).map_err(LaunchError::Refused)?;
        let wire = match wire {
            Wire::Tcp if plan.own_network() => Wire::Bridged,
            Wire::Tcp if plan.offline() => return Err(LaunchError::NoTcp),
            wire => wire,
        };
        if wire == Wire::Bridged {
            let socket = |port: u16| plan.seen_run(&run.outer).join(format!("k-{port}"));
            plan.bridges = BRIDGED.map(|port| Bridge { socket: socket(port), port }).to_vec();
        }
        Ok((plan, wire))
    }

    fn ground(&self, program: &Program, workspace: &Path, run: &Run) -> Ground {
        let home = etcetera::home_dir().ok();
        let mut ground = Ground {
            workspace: workspace.to_owned(),
            run: run.outer.clone(),
            programs: Vec::new(),
            home: home.map(|home| home.canonicalize().unwrap_or(home)),
            state: self.wanted.data_dir.clone(),
            memory: jail::machine_memory(),
            record: self.notebook.folder(),
        };
        ground.programs = match program {
            Program::Python(interpreter, spec) => of_python(interpreter, spec.as_ref(), &ground),
            Program::Other(spec) => of_spec(spec, &ground),
        };
        ground
    }

    /// The variables that a kernel starts with.
    pub(super) fn variables(&self, plan: &Plan) -> Vec<(OsString, OsString)> {
        if plan.level == Level::None {
            return inherited();
        }
        let mut environment = vec![
            ("PATH".into(), SYSTEM_PATH.into()),
            ("HOME".into(), plan.scratch.join("home").into_os_string()),
            ("TMPDIR".into(), plan.scratch.clone().into_os_string()),
            ("USER".into(), "husk".into()),
            ("LOGNAME".into(), "husk".into()),
        ];
        let own = jail::network::variables(plan);
        for (name, value) in jail::plan::environment(&self.isolation, own, std::env::vars_os()) {
            set(&mut environment, &name.to_string_lossy(), value);
        }
        environment
    }
}

/// Serves the one way out of the kernel's own network, if it has one.
pub(super) fn way_out(process: &mut Process, plan: &Plan) -> Result<Option<Proxy>, LaunchError> {
    let listener = process.take_listener();
    let served = listener.map(|listener| Proxy::serve(listener, plan.policy()));
    served.transpose().map_err(LaunchError::Proxy)
}

/// The server's environment without what is husk's own, and without what would make ipykernel
/// watch a parent that is not its parent.
fn inherited() -> Vec<(OsString, OsString)> {
    let kept = |name: &OsString| {
        let name = name.to_string_lossy();
        !name.starts_with("HUSK_") && name != "JPY_PARENT_PID" && name != "PYTHONSTARTUP"
    };
    std::env::vars_os().filter(|(name, _)| kept(name)).collect()
}

fn of_python(interpreter: &Interpreter, spec: Option<&Spec>, ground: &Ground) -> Vec<PathBuf> {
    let Interpreter { executable, prefix, base_prefix, .. } = interpreter;
    let mut found = vec![prefix.clone(), base_prefix.clone()];
    found.extend(spec.map(|spec| spec.folder.clone()));
    found.extend(roots(executable, ground));
    tidy(found)
}

fn of_spec(spec: &Spec, ground: &Ground) -> Vec<PathBuf> {
    let first = own_python(spec).or_else(|| spec.argv.first().and_then(|word| program(word)));
    let words = spec.argv.iter().skip(1).map(PathBuf::from).filter(|word| word.is_absolute());
    let mut found = vec![spec.folder.clone()];
    for path in first.into_iter().chain(words).filter(|path| path.exists()) {
        found.extend(roots(&path, ground));
    }
    tidy(found)
}

/// The file that runs when this word is a command.
fn program(word: &str) -> Option<PathBuf> {
    if word.contains('/') {
        return Some(word.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(word)).find(|file| file.is_file())
}

/// The folders that a program is installed in: its own, those of what it is a link to, and that of
/// the Python which its virtual environment was made from.
fn roots(program: &Path, ground: &Ground) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut file = program.to_owned();
    for _ in 0..LINKS {
        let root = root_of(&file, ground);
        if let Some(home) = root.as_deref().and_then(made_from) {
            found.extend(root_of(&home.join("python"), ground));
        }
        found.extend(root);
        let Ok(target) = std::fs::read_link(&file) else { break };
        file = normal(&file.parent().unwrap_or(Path::new("/")).join(target));
    }
    found
}

/// `PREFIX` for `PREFIX/bin/program`, where that may be opened; else the program's own folder.
fn root_of(file: &Path, ground: &Ground) -> Option<PathBuf> {
    let folder = file.parent()?;
    let of_programs = ["bin", "sbin", ".bin"].iter().any(|name| folder.ends_with(name));
    let prefix = folder.parent().filter(|prefix| of_programs && ground.allows(prefix));
    Some(prefix.unwrap_or(folder).to_owned())
}

/// The `home` of a virtual environment.
fn made_from(prefix: &Path) -> Option<PathBuf> {
    let told = std::fs::read_to_string(prefix.join("pyvenv.cfg")).ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("home"))?;
    Some(line.trim_start().strip_prefix('=')?.trim().into())
}

/// A path without `..`, by its words alone.
fn normal(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part.as_os_str() == OsStr::new("..") {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// Each once, also by its real name, and only what is there.
fn tidy(found: Vec<PathBuf>) -> Vec<PathBuf> {
    let real = found.iter().filter_map(|path| path.canonicalize().ok()).collect::<Vec<_>>();
    let mut all: Vec<PathBuf> =
        found.into_iter().chain(real).filter(|path| path.exists()).collect();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_program_is_found_with_all_that_it_leads_to() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for folder in ["venv/bin", "pythons/3.12.1/bin", "bin"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::fs::write(at("pythons/3.12.1/bin/python3"), "").unwrap();
        symlink("3.12.1", at("pythons/3.12")).unwrap();
        symlink("../../pythons/3.12/bin/python3", at("venv/bin/python")).unwrap();
        let of = format!("home = {}\nversion = 3", at("pythons/3.12.1/bin").display());
        std::fs::write(at("venv/pyvenv.cfg"), of).unwrap();
        symlink("../venv/bin/python", at("bin/python")).unwrap();
        let ground = Ground {
            workspace: "/w".into(),
            run: "/r".into(),
            programs: Vec::new(),
            home: Some(home.path().into()),
            state: "/s".into(),
            memory: 0,
            record: None,
        };
        let found = tidy(roots(&at("bin/python"), &ground));
        // The folder itself, not the home that it lies in.
        let expected = ["bin", "pythons/3.12", "pythons/3.12.1", "venv"].map(at);
        assert_eq!(found, expected);
    }
}
