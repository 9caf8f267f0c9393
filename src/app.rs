//! Builds the parts in order, serves, and ends them in reverse order.

#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "http")]
pub mod http;
mod kept;
mod ledger;
pub mod registry;
pub mod services;
pub mod shared;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use kept::{keeping, sweeper};
use ledger::Ledger;
use registry::Opened;
use services::{Given, Services};
use shared::{NotShared, Together};

pub use kept::tenancy;

use crate::{
    base::ids::{BadSessionName, SessionName},
    config::{self, Config, Fault},
    guard::{self, Guards},
    jail,
    mcp::{
        Context, Server,
        audit::{Audit, AuditError, Writer},
        auth::tokens,
        guest::Guest,
        transport::{local::Local, stdio},
    },
    sandbox::{
        Keeping, Sandboxes,
        asking::Asking,
        census::Census,
        isolate::Tried,
        launch::Launcher,
        pool::Pool,
        python::{Surroundings, Wanted, reach::Reach},
        room::Room,
        servers,
    },
    store,
};

/// How long the last lines of the audit log may take.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Why husk could not serve.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// There is no place for data.
    #[error("cannot tell where to keep data")]
    Data(#[source] Fault),
    /// The default session's name.
    #[error(transparent)]
    Session(BadSessionName),
    /// The current folder is gone.
    #[error("cannot tell the current folder; start husk in one that exists")]
    Folder(#[source] io::Error),
    /// Nothing can be written there.
    #[error(transparent)]
    Server(servers::NoServer),
    /// Signals cannot be watched.
    #[error("cannot watch for SIGTERM")]
    Signals(#[source] io::Error),
    /// Serving failed.
    #[error(transparent)]
    Stdio(stdio::StdioError),
    /// The store is none that this husk can use.
    #[error(transparent)]
    Store(store::StoreError),
    /// Calls cannot be written down.
    #[error(transparent)]
    Audit(AuditError),
    /// Kernels cannot get accounts.
    #[cfg(feature = "redis")]
    #[error("kernels cannot get accounts at Redis")]
    Tenant(#[source] crate::tenant::error::TenantError),
    /// Nobody counts for all servers.
    #[error("nobody can count for all servers")]
    Shared(#[source] NotShared),
    /// Kernels cannot be had from a gateway.
    #[cfg(feature = "gateway")]
    #[error("no kernel can run at the gateway")]
    Gateway(#[source] gateway::NoGateway),
    /// Nobody can be told apart.
    #[error("cannot tell users apart")]
    Tokens(#[source] tokens::TokenError),
    /// No tokens can be taken.
    #[cfg(feature = "http")]
    #[error(transparent)]
    Oauth(crate::mcp::auth::oauth::verify::OauthError),
    /// There is no HTTP server.
    #[cfg(feature = "http")]
    #[error(transparent)]
    Http(crate::mcp::transport::http::serve::HttpError),
}

/// Everything that a server works with, from the settings; the services are closed when it is done.
///
/// # Errors
/// [`AppError`] when a setting cannot be obeyed.
pub fn context(config: &Config) -> Result<(Arc<Context>, Services), AppError> {
    let services = Services::open(config)?;
    let guards = guards(config, None);
    let context = context_that(config, guards, None, None, &services, None)?;
    Ok((context, services))
}

/// The same, with sessions that are kept for later servers, if they are.
fn context_that(
    config: &Config,
    guards: Guards,
    keeping: Option<Keeping>,
    audit: Option<Audit>,
    services: &Services,
    guest: Option<Guest>,
) -> Result<Arc<Context>, AppError> {
    let session = match &config.session {
        Some(name) => SessionName::new(name).map_err(AppError::Session)?,
        None => SessionName::fresh(),
    };
    let rooms = Rooms { given: services.of_this_user(), ..rooms(config, &session)? };
    let unnamed = config.session.is_none().then(|| session.clone());
    let keeping = keeping.map(|keeping| (keeping, unnamed));
    let common = Common { guards, room: Room::default(), census: Census::default(), audit };
    let mut own = furnished(config, rooms, session, keeping, common);
    own.guest = guest;
    Ok(Arc::new(own))
}

/// What all users of a server have in common.
#[derive(Clone)]
struct Common {
    guards: Guards,
    /// For the kernels of all.
    room: Room,
    census: Census,
    audit: Option<Audit>,
}

/// What sessions work with.
struct Rooms {
    /// Where an interpreter is looked for.
    project: PathBuf,
    /// Where kernels start.
    workspace: PathBuf,
    /// husk's own.
    data: PathBuf,
    /// Where output is kept.
    private: PathBuf,
    /// What kernels get.
    given: Given,
}

/// The folders of this process' user.
fn rooms(config: &Config, session: &SessionName) -> Result<Rooms, AppError> {
    let folder = std::env::current_dir().map_err(AppError::Folder)?;
    let data = config.data_dir().map_err(AppError::Data)?;
    let workspace = match &config.workspace {
        Some(workspace) => workspace.clone(),
        None => default_workspace(&folder, &data, session),
    };
    let project = config.workspace.clone().unwrap_or(folder);
    let private = data.join("outputs");
    Ok(Rooms { project, workspace, data, private, given: Given::default() })
}

/// What a server works with, in those folders; kept are all sessions but the one that is named.
fn furnished(
    config: &Config,
    rooms: Rooms,
    session: SessionName,
    keeping: Option<(Keeping, Option<SessionName>)>,
    common: Common,
) -> Context {
    let Rooms { project, workspace, data, private, given } = rooms;
    let mut launcher = launcher(config, project, data);
    given.to(&mut launcher);
    launcher.private = private;
    (launcher.room, launcher.census) = (common.room, common.census);
    let mut sandboxes = Sandboxes::new(launcher, config.cells.clone(), workspace);
    if let Some(file) = &config.connection_file {
        sandboxes = sandboxes.attached(session.clone(), file.clone());
    }
    if let Some((keeping, unnamed)) = keeping {
        sandboxes = sandboxes.keeping(keeping, unnamed);
    }
    let mut context = Context::new(sandboxes, session, common.guards);
    context.audit = common.audit;
    context.allow_attach = config.launch.attach;
    context
}

/// The guards, from the settings.
fn guards(config: &Config, together: Option<&Together>) -> Guards {
    let settings = guard::Settings {
        dedup: config.dedup.clone(),
        breaker: config.breaker.clone(),
        limits: config.limits.clone(),
    };
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let micros = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
    let shared = together.and_then(|together| together.shared.clone());
    Guards::sharing(settings, micros, Instant::now(), shared)
}

/// What kernels are started with, from the settings.
#[must_use]
pub fn launcher(config: &Config, project: PathBuf, data_dir: PathBuf) -> Launcher {
    let private = data_dir.join("outputs");
    let reach = reach(config, &project, &data_dir);
    let mut surroundings = Surroundings::of_this_process();
    surroundings.path = reach.without(surroundings.path);
    Launcher {
        settings: config.launch.clone(),
        sessions: config.sessions.clone(),
        kernel: config.kernel.clone(),
        wanted: Wanted {
            explicit: config.python.clone(),
            project,
            data_dir,
            packages: config.launch.packages.clone(),
            surroundings,
            reach,
        },
        wire: config.wire,
        output: config.output,
        notebook: config.notebook.clone(),
        private,
        init: jail::own_binary(),
        isolation: config.sandbox.clone(),
        own_settings: config::user_file().and_then(|file| file.parent().map(Path::to_owned)),
        found: Mutex::default(),
        tried: Tried::default(),
        pool: Pool::default(),
        room: Room::default(),
        services: Vec::new(),
        census: Census::default(),
        #[cfg(feature = "gateway")]
        gateway: None,
    }
}

/// Where cells may write, unless agents are kept out of it.
fn reach(config: &Config, project: &Path, data_dir: &Path) -> Reach {
    let mut folders = config.sandbox.fs_write.clone();
    if !is_no_workspace(project) {
        folders.push(project.to_owned());
    }
    let asking = Asking {
        isolation: config.sandbox.clone(),
        init: jail::own_binary(),
        state: data_dir.to_owned(),
        folders: folders.clone(),
    };
    Reach { folders, everywhere: false, asks: Some(Arc::new(asking)) }
}

/// The current folder, unless that is `/` or the home, where a host leaves a server that it gives
/// no folder: an agent must not work there.
fn default_workspace(folder: &Path, data: &Path, session: &SessionName) -> PathBuf {
    if is_no_workspace(folder) {
        return data.join("workspaces").join(session.as_str());
    }
    folder.to_owned()
}

fn is_no_workspace(folder: &Path) -> bool {
    let home = etcetera::home_dir().ok();
    let same = |other: &Path| folder.canonicalize().ok() == other.canonicalize().ok();
    folder == Path::new("/") || home.as_deref().is_some_and(same)
}

/// Serves MCP over standard input and output until the host goes or a signal comes, with what a guest has
/// beside husk's own.
///
/// # Errors
/// [`AppError`].
pub async fn serve(config: &Config, guest: Option<Guest>) -> Result<(), AppError> {
    jail::raise_open_files();
    jail::hide_from_others();
    let data = config.data_dir().map_err(AppError::Data)?;
    let opened = Opened::new(data.clone(), config.store.clone());
    let keeping = keeping(config, &data, &opened)?;
    let (audit, writer) = audit(config)?;
    let services = Services::open(config)?;
    let together = Together::open(config, &opened)?;
    let guards = guards(config, Some(&together));
    let kept = Some(keeping.clone());
    let context = context_that(config, guards, kept, audit, &services, guest.clone())?;
    let stop = signals()?;
    // The first cell shall find a warm kernel; a start that fails is told by the first call.
    if let Err(error) = context.sandboxes.warm(&context.default_session) {
        tracing::warn!(%error, "cannot start the first kernel");
    }
    let sweeper = sweeper(config, keeping);
    let ledger = Ledger::open(opened.clone(), context.guards.clone(), guest);
    let server = Server::new(Arc::clone(&context));
    let local = Local::open(server.for_the_user());
    let served = stdio::serve(server, stop).await;
    local.close().await;
    context.sandboxes.close().await;
    sweeper.abort();
    ledger.close().await;
    together.close().await;
    opened.close().await;
    drop(context);
    services.close().await;
    written(writer).await;
    served.map_err(AppError::Stdio)
}

/// Where calls are written down, and who writes.
fn audit(config: &Config) -> Result<(Option<Audit>, Option<Writer>), AppError> {
    let opened = Audit::open(&config.audit).map_err(AppError::Audit)?;
    Ok(opened.map_or((None, None), |(audit, writer)| (Some(audit), Some(writer))))
}

/// Waits until all calls are written down: the writer ends when nobody can tell it more.
async fn written(writer: Option<Writer>) {
    let Some(writer) = writer else { return };
    let waits = tokio::task::spawn_blocking(|| writer.wait());
    if tokio::time::timeout(LAST_LINES, waits).await.is_err() {
        tracing::warn!("a call is under way that the audit log will not tell of");
    }
}

/// Where tokens are kept.
///
/// # Errors
/// [`AppError::Data`].
pub fn tokens_file(config: &Config) -> Result<PathBuf, AppError> {
    match &config.http.tokens {
        Some(file) => Ok(file.clone()),
        None => Ok(config.data_dir().map_err(AppError::Data)?.join("tokens.toml")),
    }
}

/// Fires at SIGTERM, SIGINT or SIGHUP.
///
/// # Errors
/// [`AppError::Signals`].
pub fn signals() -> Result<CancellationToken, AppError> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        let mut signal = signal(kind).map_err(AppError::Signals)?;
        let stop = stop.clone();
        // Ends with the runtime: a signal can come at any time.
        tokio::spawn(async move {
            signal.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_not_let_loose_in_the_root_or_the_home() {
        let name = SessionName::new("s").unwrap();
        let data = Path::new("/data");
        let own = data.join("workspaces/s");
        assert_eq!(default_workspace(Path::new("/"), data, &name), own);
        assert_eq!(default_workspace(&etcetera::home_dir().unwrap(), data, &name), own);
        assert_eq!(default_workspace(Path::new("/srv"), data, &name), Path::new("/srv"));
    }
}
