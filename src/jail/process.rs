//! A kernel's process as the server sees it: start, signal, wait for the end, read its log.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{self, Cursor},
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixStream, unix::OwnedWriteHalf},
    process::Child,
    sync::watch,
    task::JoinSet,
};

use super::{
    cgroup::Group,
    exit::Exit,
    first::{self, Said},
    follow::{WORD, follow, over},
    handles::Handles,
    init, lifeline,
    plan::Plan,
    report::Layer,
    settings::Level,
    tree::{self, Usage},
    word::{self, Order},
};

/// How long what a dead kernel had written is waited for.
const LOG_ENDS: Duration = Duration::from_millis(200);
/// How long an init that was told to end is waited for: a little more than it takes at most.
pub(super) const INIT_ENDS: Duration = Duration::from_millis(1200);
/// How much of what a kernel writes to its real stdout and stderr is kept, in bytes.
const LOG: usize = 8 * 1024;

/// What to run.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program; an absolute path or a name on `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// How it is isolated, and where it starts.
    pub plan: Plan,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// A folder that is removed when everything has ended. In its `s`, which only the server's user
    /// may enter, init listens for a server that takes the process over.
    pub run_folder: PathBuf,
    /// The binary that becomes init; it calls [`init::run_if_asked`].
    pub init: PathBuf,
}

/// A signal that husk sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGCONT: a stopped process goes on.
    Continue,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGKILL.
    Kill,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The init itself.
    #[error("cannot start husk's own init `{}`", .path.display())]
    Init {
        /// The binary.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The init could not start the program.
    #[error("cannot start {0}")]
    Program(String),
    /// The isolation could not be made.
    #[error("cannot isolate the kernel at level `{level}`: cannot {why}")]
    Denied {
        /// The level.
        level: Level,
        /// The step, and the cause.
        why: String,
    },
    /// The init ended before it told anything.
    #[error("husk's init ended before the kernel had started")]
    Silent,
}

/// The server's end of the lifeline. Where it is dropped everything ends, whatever was said before;
/// a server that is killed drops nothing.
struct Lifeline {
    writer: OwnedWriteHalf,
    leaves: bool,
}

impl Lifeline {
    fn keep(&self, time: Duration) {
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let word = [&[lifeline::KEEP][..], &seconds.to_le_bytes()].concat();
        if let Err(error) = self.writer.try_write(&word) {
            tracing::debug!(%error, "the kernel's init does not listen");
        }
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        if !self.leaves {
            self.keep(Duration::ZERO);
        }
    }
}

/// A running process and all that descends from it. Dropping it kills them, unless they are
/// [left](Self::leave).
pub struct Process {
    pid: u32,
    handles: Arc<Handles>,
    lifeline: Lifeline,
    layers: Vec<Layer>,
    listener: Option<TcpListener>,
    exit: watch::Receiver<Option<Exit>>,
    log: Arc<Mutex<VecDeque<u8>>>,
    /// Closed when both streams have ended.
    log_ended: watch::Receiver<()>,
    init_ended: watch::Receiver<bool>,
    tasks: JoinSet<()>,
}

impl Process {
    /// Starts `command` under an init of its own.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub async fn spawn(command: &Command) -> Result<Self, SpawnError> {
        let failed = |source| SpawnError::Init { path: command.init.clone(), source };
        let (mut child, mut lifeline) = start(command).map_err(failed)?;
        let order = Order { plan: command.plan.clone(), environment: command.environment.clone() };
        lifeline.write_all(&word::sent(&order).map_err(failed)?).await.map_err(failed)?;
        let init = child.id().and_then(|pid| i32::try_from(pid).ok());
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (reading, log_ended) = watch::channel(());
        let mut tasks = JoinSet::new();
        if let Some(out) = child.stdout.take() {
            tasks.spawn(keep(out, Arc::clone(&log), reading.clone()));
        }
        if let Some(err) = child.stderr.take() {
            tasks.spawn(keep(err, Arc::clone(&log), reading));
        }
        let said = first::words(&lifeline, command.plan.level).await?;
        let (log, child) = ((log, log_ended), Some(child));
        Ok(Self::of((lifeline, said), (init, child), &command.plan, log, tasks))
    }

    /// What an init has started, which is this server's child, or was another's. What the kernel writes
    /// to its real stdout and stderr reaches the server that started it alone.
    pub(super) fn of(
        (lifeline, said): (UnixStream, Said),
        (init, child): (Option<i32>, Option<Child>),
        plan: &Plan,
        (log, log_ended): (Arc<Mutex<VecDeque<u8>>>, watch::Receiver<()>),
        mut tasks: JoinSet<()>,
    ) -> Self {
        let Said { pid, layers, group, listener, rest } = said;
        let (reader, writer) = lifeline.into_split();
        let lines = BufReader::new(Cursor::new(rest).chain(reader));
        let pid = outside(plan, init, pid);
        let (exit_tx, exit) = watch::channel(None);
        let (ended, init_ended) = watch::channel(false);
        let handles = Arc::new(Handles::hold(init, pid, group));
        let over = over(init, plan.clone(), Arc::clone(&handles));
        let most = plan.limits.memory_together;
        tasks.spawn(follow(lines, child, exit_tx, ended, Arc::clone(&handles), over, most));
        let lifeline = Lifeline { writer, leaves: false };
        Self { pid, handles, lifeline, layers, listener, exit, log, log_ended, init_ended, tasks }
    }

    /// How long everything goes on when this server has died: until another takes it over, or that
    /// time is over.
    pub fn keep(&self, time: Duration) {
        self.lifeline.keep(time);
    }

    /// Leaves it running, as long as it is [kept](Self::keep).
    pub async fn leave(mut self) {
        // Else they would see the lifeline close, and destroy what is left.
        self.tasks.shutdown().await;
        self.lifeline.leaves = true;
    }

    /// The listener of the port that is the one way out of the kernel's own network; there once.
    pub fn take_listener(&mut self) -> Option<TcpListener> {
        self.listener.take()
    }

    /// The control group that it is in.
    pub(super) fn group(&self) -> &Group {
        &self.handles.group
    }

    /// What its sandbox says of itself.
    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The kernel's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Signals the kernel and its process group. A process that has ended is not signalled.
    pub fn signal(&self, signal: Signal) {
        let number = match signal {
            Signal::Continue => rustix::process::Signal::CONT,
            Signal::Interrupt => rustix::process::Signal::INT,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        // Numbers of signals are small.
        let byte = number.as_raw().to_le_bytes();
        if let Err(error) = self.lifeline.writer.try_write(byte.get(..1).unwrap_or_default()) {
            tracing::debug!(%error, "the kernel's init does not listen");
        }
    }

    /// Resolves when the process has ended. Cancel-safe.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        ended.ok().and_then(|exit| *exit).unwrap_or(Exit::Unknown)
    }

    /// Kills the process, and resolves when it has ended. Cells can stop or kill their init: an
    /// init that keeps silent is killed with everything below it.
    pub async fn killed(&self) -> Exit {
        self.signal(Signal::Kill);
        if let Ok(exit) = tokio::time::timeout(WORD, self.exited()).await {
            return exit;
        }
        self.handles.destroy();
        tokio::time::timeout(WORD, self.exited()).await.unwrap_or(Exit::Unknown)
    }

    /// Resolves when nothing writes to the log any more: the process and all that it has started
    /// are gone. Bounded, since a daemon can hold the pipe for ever.
    pub async fn log_ended(&self) {
        let mut ended = self.log_ended.clone();
        let closed = async { while ended.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(LOG_ENDS, closed).await;
    }

    /// Ends everything, and resolves when init, which ends last, is gone.
    pub async fn all_ended(self) {
        let Self { lifeline, mut init_ended, handles, .. } = self;
        drop(lifeline);
        let ended = tokio::time::timeout(INIT_ENDS, init_ended.wait_for(|ended| *ended)).await;
        if ended.is_err() {
            handles.destroy();
        }
    }

    /// The end of what the process wrote to its real stdout and stderr.
    #[must_use]
    pub fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&log.iter().copied().collect::<Vec<u8>>()).into_owned()
    }

    /// The process id of its init, below which everything runs (see [`Usage::below`]).
    #[must_use]
    pub fn init_pid(&self) -> Option<i32> {
        self.handles.init
    }
}

impl Usage {
    /// What everything below that init uses now; `None` where the system does not tell.
    #[must_use]
    pub fn below(init: i32) -> Option<Self> {
        tree::usage_below(init)
    }
}

fn start(command: &Command) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let theirs = theirs.into_std()?;
    theirs.set_nonblocking(false)?;
    let child = tokio::process::Command::new(&command.init)
        .arg(init::WORD)
        .arg(&command.run_folder)
        .arg(&command.program)
        .args(&command.args)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    Ok((child, ours))
}

/// The process id of this machine for the one of the sandbox; 0, which no process has, for a kernel
/// that has ended at once.
#[cfg(target_os = "linux")]
fn outside(plan: &Plan, init: Option<i32>, inside: u32) -> u32 {
    match plan.level {
        Level::Namespaces => init.and_then(|init| tree::outside(init, inside)).unwrap_or(0),
        _ => inside,
    }
}

#[cfg(not(target_os = "linux"))]
fn outside(_plan: &Plan, _init: Option<i32>, inside: u32) -> u32 {
    inside
}

/// Keeps the end of a stream, and keeps reading so that the writer never waits.
async fn keep(
    mut stream: impl AsyncRead + Unpin,
    log: Arc<Mutex<VecDeque<u8>>>,
    _reading: watch::Sender<()>,
) {
    let mut chunk = vec![0u8; 4096];
    while let Ok(read @ 1..) = stream.read(&mut chunk).await {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend(chunk.iter().take(read));
        let excess = log.len().saturating_sub(LOG);
        log.drain(..excess);
    }
}

/// The path by which this process can run itself again, even when its file has been replaced.
#[must_use]
pub fn own_binary() -> PathBuf {
    let link = Path::new("/proc/self/exe");
    if link.exists() {
        return link.to_owned();
    }
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("husk"))
}
