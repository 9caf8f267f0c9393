//! From a session's name to a kernel that answers: interpreter, run folder, process, connection.
//!
//! Every start is bounded by `launch.timeout` and by the death of the process. What a failed kernel
//! had written is in the error.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use super::failure::LaunchError;
use super::{
    LaunchSettings, SessionSettings, Source,
    body::Body,
    census::Census,
    facts::Facts,
    isolate::{self, Tried},
    left::{self, Place},
    plan::{Plan, Program},
    pool::Pool,
    python::{Interpreter, Wanted},
    room::{self, Room},
    run_folder::{Run, RunError},
    servers::Server,
    service::{Gifts, Service},
    state::tenure::Step,
    tenancy::{Held, TenancyError},
    trusted::Trusted,
};
use crate::{
    base::{ids::SessionName, trace_context::TraceContext},
    jail::{self, Process, choose::Choice},
    kernel::{
        Client,
        connection::{Connection, Wire},
        journal::Journal,
        output, relay,
    },
    notebook::record,
    proxy::Proxy,
};

/// How long a kernel that is asked to end may take.
const LEAVING: Duration = Duration::from_millis(500);

/// How long the end of a kernel may be known later than that of its channels.
const DYING: Duration = Duration::from_millis(200);

/// Interpreters by the path that was asked for, and whether a file that cells may have written did.
type Found = BTreeMap<(Option<PathBuf>, bool), Interpreter>;

/// What kernels are started with.
pub struct Launcher {
    /// Bounds and packages.
    pub settings: LaunchSettings,
    /// How long kernels live.
    pub sessions: SessionSettings,
    /// The kernelspec to start instead of Python.
    pub kernel: Option<String>,
    /// Where an interpreter is looked for.
    pub wanted: Wanted,
    /// Caps of what kernels may send.
    pub wire: relay::Settings,
    /// Bounds of what answers hold, and of what is kept.
    pub output: output::Settings,
    /// How sessions are recorded.
    pub notebook: record::Settings,
    /// The server's own folder, in which output is kept.
    pub private: PathBuf,
    /// The binary that becomes each kernel's init.
    pub init: PathBuf,
    /// How kernels are isolated.
    pub isolation: jail::Settings,
    /// The folder of the user's own settings, which no cell may write.
    pub own_settings: Option<PathBuf>,
    /// The interpreters that were found, by who asked for them, so that each is looked for once.
    pub found: Mutex<Found>,
    /// The isolation that was found to hold.
    pub tried: Tried,
    /// Kernels that are ready.
    pub pool: Pool,
    /// How many kernels may run at the same time.
    pub room: Room,
    /// What gives kernels more than their program.
    pub services: Vec<Arc<dyn Service>>,
    /// Counts them.
    pub census: Census,
    /// Where kernels run instead of here.
    #[cfg(feature = "gateway")]
    pub gateway: Option<Arc<super::remote::Provisioner>>,
}

/// A kernel that answers.
pub(super) struct Kernel {
    // Declared in the order in which they must go: channels, process, folder.
    pub(super) client: Client,
    pub(super) body: Body,
    /// What serves it otherwise.
    pub(super) gifts: Gifts,
    /// What serves its way out, where it has one.
    pub(super) _proxy: Option<Proxy>,
    pub(super) facts: Facts,
    /// The kernelspec's name.
    pub(super) name: String,
    /// Whether husk's own launcher runs it.
    pub(super) launched: bool,
    pub(super) interrupts_by_message: bool,
    /// What holds it, where husk started it.
    pub(super) hold: Option<Hold>,
    /// How it is spoken to, where husk started it.
    pub(super) connection: Option<Connection>,
    pub(super) run: Run,
    /// Its place among all that may run.
    pub(super) _place: room::Place,
}

/// What a kernel may touch, and why that level was chosen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hold {
    pub(super) plan: jail::Plan,
    pub(super) choice: Choice,
    pub(super) trusted: Trusted,
}

/// What is to be started.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) session: &'a SessionName,
    pub(super) from: &'a Source,
    pub(super) workspace: &'a Path,
    /// What takes long is said here.
    pub(super) says: &'a watch::Sender<String>,
    /// Under which claim, where others may want the session.
    pub(super) claim: Option<Claim<'a>>,
    /// The trace that the start belongs to.
    pub(super) trace: Option<&'a TraceContext>,
}

/// The claim under which a kernel is started, and whose it is.
#[derive(Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) held: &'a Held,
    pub(super) server: &'a Server,
}

impl Claim<'_> {
    /// Writes down where the kernel will be, before there is any.
    pub(super) async fn placed(&self, run: &Run) -> Result<(), LaunchError> {
        let failed = |source| RunError { path: run.folder.clone(), source };
        left::own(run, &self.server.file()).map_err(failed).map_err(LaunchError::Run)?;
        let site = self.server.site().cloned();
        let place = Place { run: run.folder.clone(), init: None, site };
        match self.held.step(Step::Placed(place.text())).await {
            Ok(false) => Err(LaunchError::Tenancy(TenancyError::Overtaken)),
            // A store that fails is told when the kernel is ready.
            Ok(true) | Err(_) => {
                jail::fault_point("placed");
                Ok(())
            }
        }
    }
}

impl Launcher {
    /// Whether kernels run somewhere else.
    pub(super) fn is_elsewhere(&self) -> bool {
        #[cfg(feature = "gateway")]
        return self.gateway.is_some();
        #[cfg(not(feature = "gateway"))]
        false
    }

    /// Starts a kernel, as it is wished.
    pub(super) async fn start_anew(&self, wish: &Wish<'_>) -> Result<Kernel, LaunchError> {
        let name = match wish.from {
            Source::File(file) => return self.attach(file).await,
            Source::Spec(name) => Some(name),
            Source::Settings => self.kernel.as_ref(),
        };
        let started = self.start_named(name, wish).await;
        self.census.started(started.is_ok());
        started
    }

    /// Starts a kernel of that name, or the Python of the settings.
    async fn start_named(
        &self,
        name: Option<&String>,
        wish: &Wish<'_>,
    ) -> Result<Kernel, LaunchError> {
        #[cfg(feature = "gateway")]
        if let Some(gateway) = &self.gateway {
            return self.start_at(gateway, name, wish).await;
        }
        let Wish { workspace, says, .. } = *wish;
        let place = self.room.place()?;
        let program = match self.spec(name)? {
            Some(spec) if spec.ipykernel().is_none() => Program::Other(spec),
            spec => {
                let python = self.interpreter(spec.as_ref(), workspace, says).await?;
                Program::Python(python, spec)
            }
        };
        std::fs::create_dir_all(workspace)
            .map_err(|source| LaunchError::Workspace { path: workspace.to_owned(), source })?;
        let choice = self.choice(&program, workspace).await?;
        let (first, second) = program.wires();
        let started = self.attempt(&program, &choice, first, wish).await;
        let started = match (started, second) {
            (Err(LaunchError::Died { .. }), Some(second)) => {
                self.attempt(&program, &choice, second, wish).await
            }
            (started, _) => started,
        };
        started.map(|kernel| Kernel { _place: place, ..kernel })
    }

    /// One start over one transport.
    async fn attempt(
        &self,
        program: &Program,
        choice: &Choice,
        wire: Wire,
        wish: &Wish<'_>,
    ) -> Result<Kernel, LaunchError> {
        let Wish { session, workspace, trace, .. } = *wish;
        record::make_folder(&self.notebook, workspace);
        let run = Run::make().map_err(LaunchError::Run)?;
        if let Some(claim) = &wish.claim {
            claim.placed(&run).await?;
        }
        let (jail, wire) = self.confinement(choice, program, wire, workspace, &run)?;
        let seen = jail.seen_run(&run.outer);
        let connection = Connection::prepare(&run.outer, &seen, &run.inner, wire)
            .map_err(LaunchError::Connection)?;
        let mut environment = self.variables(&jail, program, trace);
        let gifts = self.given(&run, &jail, &mut environment).await?;
        let plan = program.plan(&run, &jail, environment).map_err(LaunchError::Run)?;
        tracing::debug!(%session, ?wire, level = %jail.level, command = ?plan.command, "starting a kernel");
        let started = self.start(plan, jail, choice, run, connection).await?;
        Ok(Kernel { gifts, ..started })
    }

    async fn start(
        &self,
        plan: Plan,
        jail: jail::Plan,
        choice: &Choice,
        run: Run,
        connection: Connection,
    ) -> Result<Kernel, LaunchError> {
        let mut words = plan.command.into_iter();
        let program = words.next().unwrap_or_default();
        let command = jail::Command {
            program: program.clone(),
            args: words.collect(),
            plan: jail,
            environment: plan.environment,
            run_folder: run.folder.clone(),
            init: self.init.clone(),
        };
        let limit = Duration::from_secs_f64(self.settings.timeout);
        let mut process = match tokio::time::timeout(limit, Process::spawn(&command)).await {
            Ok(spawned) => spawned.map_err(LaunchError::Spawn)?,
            Err(_elapsed) => return Err(LaunchError::Spawn(jail::SpawnError::Silent)),
        };
        jail::fault_point("spawned");
        let proxy = isolate::way_out(&mut process, &command.plan)?;
        let isolation = choice.report(&command.plan, &process);
        let launched = plan.journal.is_some();
        let client = self.connected(&connection, plan.journal, &process, &program).await?;
        // One that died at once could not be looked at; of that its end is told.
        let isolation = isolation.map_err(LaunchError::Unproven)?;
        let facts = Facts {
            pid: Some(process.pid()),
            init_pid: process.init_pid(),
            isolation: Some(Arc::new(isolation)),
            refused: proxy.as_ref().map(Proxy::record),
            ..Facts::of(client.info(), program.into())
        };
        Ok(Kernel {
            client,
            body: Body::Own(process),
            gifts: Gifts::new(),
            _proxy: proxy,
            facts,
            name: plan.name,
            launched,
            interrupts_by_message: plan.interrupts_by_message,
            hold: Some(Hold {
                trusted: Trusted::of(&command.plan),
                plan: command.plan,
                choice: choice.clone(),
            }),
            connection: Some(connection),
            run,
            _place: room::Place::default(),
        })
    }

    /// The kernel's answer, raced against its death and the bound.
    async fn connected(
        &self,
        connection: &Connection,
        journal: Option<Journal>,
        process: &Process,
        program: &OsString,
    ) -> Result<Client, LaunchError> {
        let program = || program.to_string_lossy().into_owned();
        let seconds = self.settings.timeout;
        tokio::select! {
            client = Client::connect(connection, self.wire, journal) => {
                let source = match client {
                    Ok(client) => return Ok(client),
                    Err(source) => source,
                };
                // A kernel that dies closes its channels a moment before its end is known.
                let Ok(exit) = tokio::time::timeout(DYING, process.exited()).await else {
                    return Err(LaunchError::Connect { program: program(), source });
                };
                process.log_ended().await;
                Err(LaunchError::Died { program: program(), exit, log: process.log() })
            }
            exit = process.exited() => {
                process.log_ended().await;
                Err(LaunchError::Died { program: program(), exit, log: process.log() })
            }
            () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => {
                Err(LaunchError::Late { program: program(), seconds, log: process.log() })
            }
        }
    }
}

impl Kernel {
    /// Ends the kernel: asks it, and kills it when it does not go at once. One that husk did not
    /// start is left alone.
    pub(super) async fn end(self) {
        if self.body.is_own() {
            self.left().await;
            self.body.all_ended().await;
        }
    }

    /// The process asked to go, or killed when it does not go at once. A gateway would start one anew that
    /// goes by itself, so that it is asked.
    pub(super) async fn left(&self) -> jail::Exit {
        if self.body.is_remote() {
            return self.body.killed().await;
        }
        self.client.shutdown();
        match tokio::time::timeout(LEAVING, self.body.exited()).await {
            Ok(exit) => exit,
            Err(_elapsed) => self.body.killed().await,
        }
    }
}
