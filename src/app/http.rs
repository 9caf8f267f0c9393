//! Serves MCP over HTTP: a house for each user, and one end for all.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    AppError, Common, guards, keeping, ledger::Ledger, registry::Opened, services::Services,
    shared::Together, signals, sweeper,
};
use crate::{
    base::ids::SessionName,
    config::Config,
    jail,
    mcp::{
        Context, Server,
        auth::{Doorman, Principal, oauth::verify::Verifier, tokens::TokenFile},
        guest::Guest,
        transport::{
            http::{Houses, listen::Address, serve::Http},
            local::Local,
        },
    },
    sandbox::{Keeping, census::Census, room::Room},
};

/// The session of calls that name none, where no setting gives it a name: each user has one.
const SESSION: &str = "main";
/// The folder below the data folder that cells may enter; no session has a name with `@`.
const WORKSPACES: &str = "workspaces";
/// Seconds without a cell after which the kernel of one of many users ends, where no setting says.
const IDLE: f64 = 3600.0;
/// The folder below the data folder in which users have their places.
const USERS: &str = "users";

/// Who is let in.
fn doorman(config: &Config) -> Result<Doorman, AppError> {
    let file = super::tokens_file(config)?;
    // A file that was named has to be there.
    let tokens = match config.http.tokens.is_some() || file.exists() {
        true => Some(TokenFile::open(file).map_err(AppError::Tokens)?),
        false => None,
    };
    let oauth = Verifier::new(&config.http.oauth).map_err(AppError::Oauth)?;
    Ok(Doorman { tokens, oauth })
}

/// What is the same for all users.
struct Building {
    config: Config,
    keeping: Keeping,
    session: SessionName,
    common: Common,
    services: Arc<Services>,
    guest: Option<Guest>,
}

impl Building {
    /// The house of whoever reaches a server that asks nobody: what a host on standard input has.
    fn open_local(&self) -> Result<Arc<Context>, AppError> {
        let given = self.services.of_this_user();
        let rooms = super::Rooms { given, ..super::rooms(&self.config, &self.session)? };
        Ok(Arc::new(self.furnished(&self.config, rooms)))
    }

    /// The house of a user who was let in: all their own.
    fn open_own(&self, principal: &Principal) -> Result<Arc<Context>, AppError> {
        let data = self.config.data_dir().map_err(AppError::Data)?;
        let folder = principal.folder();
        let own = data.join(USERS).join(&folder);
        let workspace = match &self.config.http.workspaces {
            Some(all) => all.join(&folder),
            None => data.join(WORKSPACES).join(format!("user@{folder}")),
        };
        for place in [&own, &workspace] {
            std::fs::create_dir_all(place).map_err(AppError::Folder)?;
        }
        let mut config = self.config.clone();
        config.workspace = Some(workspace.clone());
        // A kernel that waits for each of them would cost more than it gains.
        config.launch.pool = 0;
        // Nobody is there to see that a kernel of theirs idles, and the room is everybody's.
        config.sessions.idle_timeout.get_or_insert(IDLE);
        // Those are the server's user's own.
        config.launch.attach = false;
        config.connection_file = None;
        let given = self.services.of(principal.name());
        let project = workspace.clone();
        let mut rooms = super::Rooms { project, workspace, data, private: own, given };
        rooms.private.push("outputs");
        let mut context = self.furnished(&config, rooms);
        context.principal = Arc::clone(principal.name());
        Ok(Arc::new(context))
    }

    fn furnished(&self, config: &Config, rooms: super::Rooms) -> Context {
        let mut own = super::furnished(
            config,
            rooms,
            self.session.clone(),
            Some((self.keeping.clone(), None)),
            self.common.clone(),
        );
        own.guest = self.guest.clone();
        own
    }
}

impl Houses for Building {
    fn open(&self, principal: &Principal) -> Result<Arc<Context>, String> {
        let house = match principal.is_local() {
            true => self.open_local(),
            false => self.open_own(principal),
        };
        house.map_err(|error| error.to_string())
    }
}

/// Serves MCP at `address` until a signal comes, with what a guest has beside husk's own.
///
/// # Errors
/// [`AppError`].
pub async fn serve(
    config: &Config,
    address: &Address,
    guest: Option<Guest>,
) -> Result<(), AppError> {
    jail::raise_open_files();
    jail::hide_from_others();
    let data = config.data_dir().map_err(AppError::Data)?;
    let session = match &config.session {
        Some(name) => SessionName::new(name),
        None => SessionName::new(SESSION),
    };
    let session = session.map_err(AppError::Session)?;
    let stop = signals()?;
    let doorman = doorman(config)?;
    let asks = doorman.asks();
    let http = Http::bind(address, config.http.clone(), doorman).await.map_err(AppError::Http)?;
    let opened = Opened::new(data.clone(), config.store.clone());
    let keeping = keeping(config, &data, &opened)?;
    let sweeper = sweeper(config, keeping.clone());
    let together = Together::open(config, &opened)?;
    let guards = guards(config, Some(&together));
    let ledger = Ledger::open(opened.clone(), guards.clone(), guest.clone());
    let room = Room::of(config.http.max_kernels);
    let (audit, writer) = super::audit(config)?;
    let services = Arc::new(Services::open(config)?);
    let kept = Arc::clone(&services);
    let common = Common { guards, room, census: Census::default(), audit };
    let config = config.clone();
    let building = Building { config, keeping, session, common, services, guest };
    serve_in(http, building, asks, stop).await?;
    if let Some(services) = Arc::into_inner(kept) {
        services.close().await;
    }
    sweeper.abort();
    ledger.close().await;
    together.close().await;
    opened.close().await;
    super::written(writer).await;
    Ok(())
}

async fn serve_in(
    http: Http,
    building: Building,
    asks: bool,
    stop: CancellationToken,
) -> Result<(), AppError> {
    tracing::info!("listening at {}", http.url());
    if asks {
        http.serve(Arc::new(building), stop).await;
        return Ok(());
    }
    // `husk sessions` and the like see what the one user has.
    let context = building.open_local()?;
    let local = Local::open(Server::new(Arc::clone(&context)).for_the_user());
    http.serve(Arc::new(Alone(context)), stop).await;
    local.close().await;
    Ok(())
}

/// The one house of a server that asks nobody.
struct Alone(Arc<Context>);

impl Houses for Alone {
    fn open(&self, _principal: &Principal) -> Result<Arc<Context>, String> {
        Ok(Arc::clone(&self.0))
    }
}
