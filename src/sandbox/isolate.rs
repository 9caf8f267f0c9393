//! What a kernel's program needs of this machine, and the isolation that it gets.
//!
//! Says which variables programs get; where they lie is found in [`programs`], what is opened to them
//! is decided in [`jail::plan`], which level holds here in [`jail::choose`].

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{
    launch::{LaunchError, Launcher},
    plan::{Program, set},
    programs,
    python::reach::Reach,
    run_folder::Run,
};
use crate::{
    base::trace_context::TraceContext,
    jail::{
        self, Bridge, Ground, Level, Plan, Process,
        choose::{self, Choice},
    },
    kernel::connection::{BRIDGED, Wire},
    proxy::Proxy,
};

/// Where programs are found in a sandbox, beside the kernel's own.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables that say how many threads a library starts, and how many processors Python counts.
const THREADS: [&str; 5] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "PYTHON_CPU_COUNT",
];

/// Variables by which husk itself is given secrets: keys of model providers, of who takes its traces, and of
/// the database that its store may be.
const SECRETS: [&str; 12] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "OPENAI_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSSLKEY",
];

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
            settings: self.own_settings.clone(),
            record: self.notebook.folder(),
        };
        ground.programs = match program {
            Program::Python(interpreter, spec) => {
                programs::of_python(interpreter, spec.as_ref(), &ground, &self.reach(workspace))
            }
            Program::Other(spec) => programs::of_spec(spec, &ground, &self.reach(workspace)),
        };
        ground
    }

    /// Where cells may write when they work in `workspace`.
    pub(super) fn reach(&self, workspace: &Path) -> Reach {
        let mut reach = self.wanted.reach.clone();
        if !reach.folders.iter().any(|folder| folder == workspace) {
            reach.folders.push(workspace.to_owned());
        }
        reach
    }

    /// The variables that a kernel starts with.
    pub(super) fn variables(
        &self,
        plan: &Plan,
        program: &Program,
        trace: Option<&TraceContext>,
    ) -> Vec<(OsString, OsString)> {
        let mut environment = match plan.level {
            Level::None => self.inherited(),
            _ => self.composed(plan),
        };
        // husk's launcher tells each cell's; other kernels know that of the call that starts them.
        if let (Program::Other(_), Some(trace)) = (program, trace) {
            trace.variables().for_each(|(name, value)| set(&mut environment, name, value.into()));
        }
        environment
    }

    /// From empty: only what is allowed, and what husk itself says.
    fn composed(&self, plan: &Plan) -> Vec<(OsString, OsString)> {
        let mut environment = vec![
            ("PATH".into(), SYSTEM_PATH.into()),
            ("HOME".into(), plan.scratch.join("home").into_os_string()),
            ("TMPDIR".into(), plan.scratch.clone().into_os_string()),
            ("USER".into(), "husk".into()),
            ("LOGNAME".into(), "husk".into()),
        ];
        if let Some(thousandths) = plan.limits.processors {
            // Libraries start as many threads as there are processors, unless they are told.
            let threads = thousandths.div_ceil(1000).to_string();
            environment.extend(THREADS.map(|name| (name.into(), threads.clone().into())));
        }
        let own = jail::network::variables(plan);
        for (name, value) in jail::plan::environment(&self.isolation, own, std::env::vars_os()) {
            set(&mut environment, &name.to_string_lossy(), value);
        }
        environment
    }

    /// The server's environment without what is husk's own, without what would make ipykernel watch a
    /// parent that is not its parent, and without the secrets that husk works with, unless the setting
    /// names them.
    fn inherited(&self) -> Vec<(OsString, OsString)> {
        let kept = |name: &str| {
            let ours =
                name.starts_with("HUSK_") || ["JPY_PARENT_PID", "PYTHONSTARTUP"].contains(&name);
            let secret = SECRETS.contains(&name) && !self.isolation.allows(name);
            !ours && !secret
        };
        std::env::vars_os().filter(|(name, _)| kept(&name.to_string_lossy())).collect()
    }
}

/// Serves the one way out of the kernel's own network, if it has one.
pub(super) fn way_out(process: &mut Process, plan: &Plan) -> Result<Option<Proxy>, LaunchError> {
    let listener = process.take_listener();
    let served = listener.map(|listener| Proxy::serve(listener, plan.policy()));
    served.transpose().map_err(LaunchError::Proxy)
}
