//! One house for each user: what a user calls can name nothing of another's, since it is not there.
//!
//! Each has its own kernels, notebooks, MCP sessions and subscriptions; only guards are shared, which
//! know callers by their names.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::CancellationToken;

use super::{sessions::Sessions, settings::Settings, sse::Links};
use crate::mcp::{Context, Server, auth::Principal};

/// Most users that are in the house at once; of more, one without a session goes first.
const MOST_TENANTS: usize = 1000;

/// Builds what a user works with. `app` fills it.
pub trait Houses: Send + Sync {
    /// What this user works with; asked once as long as the user stays.
    ///
    /// # Errors
    /// Why there is none.
    fn open(&self, principal: &Principal) -> Result<Arc<Context>, String>;
}

/// What one user reaches.
pub(super) struct Tenant {
    pub(super) server: Server,
    pub(super) mcp: StreamableHttpService<Server, Sessions>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) links: Links,
}

/// Why a user is not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRoom {
    #[error("{MOST_TENANTS} users have sessions, and there is no room for another")]
    Full,
    #[error("the server cannot make a place for this user: {0}")]
    House(String),
}

/// All users who are in the house.
pub(super) struct Tenants {
    houses: Arc<dyn Houses>,
    settings: Settings,
    /// Ends all streams.
    end: CancellationToken,
    /// Held for look-ups, and while a house is built.
    all: Mutex<BTreeMap<Principal, Arc<Tenant>>>,
}

impl Tenants {
    pub(super) fn new(houses: Arc<dyn Houses>, settings: Settings, end: CancellationToken) -> Self {
        Self { houses, settings, end, all: Mutex::default() }
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<Principal, Arc<Tenant>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<(Principal, Arc<Tenant>)> {
        self.locked().iter().map(|(principal, it)| (principal.clone(), Arc::clone(it))).collect()
    }

    /// The user's house, built when it is first asked for.
    pub(super) fn of(&self, principal: &Principal) -> Result<Arc<Tenant>, NoRoom> {
        let mut all = self.locked();
        if let Some(tenant) = all.get(principal) {
            return Ok(Arc::clone(tenant));
        }
        if all.len() >= MOST_TENANTS {
            let idle = all.iter().find(|(_, tenant)| tenant.is_idle());
            let idle = idle.map(|(principal, _)| principal.clone()).ok_or(NoRoom::Full)?;
            all.remove(&idle);
        }
        let context = self.houses.open(principal).map_err(NoRoom::House)?;
        let tenant = Arc::new(self.build(context));
        all.insert(principal.clone(), Arc::clone(&tenant));
        Ok(tenant)
    }

    fn build(&self, context: Arc<Context>) -> Tenant {
        let server = Server::new(context);
        let sessions = Arc::new(Sessions::new(self.settings.max_sessions));
        let json = self.settings.json_response;
        let config = StreamableHttpServerConfig::default()
            .with_cancellation_token(self.end.child_token())
            .with_max_request_body_bytes(self.settings.max_body_bytes)
            .with_json_response(json)
            .with_legacy_session_mode(!json)
            // `Gate` has judged before anything else was done.
            .disable_allowed_hosts();
        let each = server.clone();
        let service = move || Ok(each.for_another());
        let mcp = StreamableHttpService::new(service, Arc::clone(&sessions), config);
        let links = Links::new(self.settings.max_sessions);
        Tenant { server, mcp, sessions, links }
    }

    /// Ends MCP sessions that are not used.
    pub(super) async fn sweep(&self) {
        let age = Duration::from_secs_f64(self.settings.session_seconds);
        for (_, tenant) in self.all() {
            tenant.sessions.end_unused(age).await;
        }
    }

    /// Ends all kernels, but for those that are left to the next server.
    pub(super) async fn close(&self) {
        let all = self.all();
        let close = all.iter().map(|(_, tenant)| tenant.server.context().sandboxes.close());
        futures_util::future::join_all(close).await;
    }
}

impl Tenant {
    fn is_idle(&self) -> bool {
        self.sessions.count() == 0
            && self.links.count() == 0
            && self.server.context().sandboxes.status(None).is_empty()
    }
}
