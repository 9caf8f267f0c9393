//! The connection to a server, which is made anew once it has ended.
//!
//! A call that was under way when a server ended is not sent again, for it may have been carried out:
//! the model is told. The next call starts the server anew, and says so with its answer.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rmcp::{Peer, RoleClient, service::RunningService};
use tokio::{process::Child, sync::Semaphore};

use super::{Handler, ServerError, config::Wanted, start};

/// How long a server may take to end when its input has ended.
const ENDS: Duration = Duration::from_secs(3);

/// How often in a row a server is started anew without having answered a call.
const STARTS: u32 = 3;

/// A server's connection.
pub(super) struct Connection {
    wanted: Wanted,
    handler: Handler,
    ready: Duration,
    link: Mutex<Link>,
    /// Of several calls that find it ended, one starts it.
    starting: Semaphore,
}

struct Link {
    service: RunningService<RoleClient, Handler>,
    process: Option<Child>,
    /// Starts since it last answered a call.
    starts: u32,
}

/// A connection that stands.
pub(super) struct Standing {
    pub(super) peer: Peer<RoleClient>,
    /// Whether the server was started anew just now.
    pub(super) anew: bool,
}

impl Connection {
    pub(super) async fn new(
        wanted: Wanted,
        handler: Handler,
        ready: Duration,
    ) -> Result<Self, ServerError> {
        let (service, process) = start::connect(&wanted, handler.clone(), ready).await?;
        let link = Mutex::new(Link { service, process, starts: 0 });
        Ok(Self { wanted, handler, ready, link, starting: Semaphore::new(1) })
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, unless it has ended.
    fn peer(&self) -> Option<Peer<RoleClient>> {
        let peer = self.link().service.peer().clone();
        (!peer.is_transport_closed()).then_some(peer)
    }

    /// The connection, made anew where it has ended.
    pub(super) async fn standing(&self) -> Result<Standing, ServerError> {
        // The semaphore is never closed.
        let _turn = self.starting.acquire().await.ok();
        if let Some(peer) = self.peer() {
            return Ok(Standing { peer, anew: false });
        }
        let name = &self.wanted.name;
        if self.link().starts >= STARTS {
            return Err(ServerError::Ends { name: name.clone(), starts: STARTS });
        }
        self.link().starts += 1;
        let started = start::connect(&self.wanted, self.handler.clone(), self.ready).await;
        let (service, process) = started?;
        let peer = service.peer().clone();
        let ended = {
            let mut link = self.link();
            link.service = service;
            std::mem::replace(&mut link.process, process)
        };
        self.handler.set_changed();
        // One that only closed its output is still there.
        end(ended, name).await;
        Ok(Standing { peer, anew: true })
    }

    /// It has answered a call.
    pub(super) fn answered(&self) {
        self.link().starts = 0;
    }

    /// Ends the server: its input ends, and if it does not go by itself it is killed.
    pub(super) async fn close(self) {
        let link = self.link.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = link.service.cancel().await {
            tracing::debug!(%error, server = self.wanted.name, "the connection ended badly");
        }
        end(link.process, &self.wanted.name).await;
    }
}

async fn end(process: Option<Child>, server: &str) {
    if let Some(mut process) = process
        && tokio::time::timeout(ENDS, process.wait()).await.is_err()
        && let Err(error) = process.kill().await
    {
        tracing::debug!(%error, server, "the server could not be killed");
    }
}
