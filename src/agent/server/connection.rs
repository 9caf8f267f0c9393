//! The connection to a server, which is made anew once it has ended.
//!
//! A call that was under way when a server ended is not sent again, for it may have been carried out:
//! the model is told. The next call starts the server anew, and says so with its answer.

use std::time::Duration;

use rmcp::{Peer, RoleClient, service::RunningService};
use tokio::{process::Child, sync::Mutex};

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
        Ok(Self { wanted, handler, ready, link })
    }

    /// The connection, made anew where it has ended.
    pub(super) async fn standing(&self) -> Result<Standing, ServerError> {
        let mut link = self.link.lock().await;
        let anew = link.service.peer().is_transport_closed();
        if anew {
            if link.starts >= STARTS {
                return Err(ServerError::Ends { name: self.wanted.name.clone(), starts: STARTS });
            }
            link.starts += 1;
            let (service, process) =
                start::connect(&self.wanted, self.handler.clone(), self.ready).await?;
            let ended = std::mem::replace(&mut link.process, process);
            link.service = service;
            // One that only closed its output is still there.
            end(ended, &self.wanted.name).await;
            self.handler.set_changed();
        }
        Ok(Standing { peer: link.service.peer().clone(), anew })
    }

    /// It has answered a call.
    pub(super) async fn answered(&self) {
        self.link.lock().await.starts = 0;
    }

    /// Ends the server: its input ends, and if it does not go by itself it is killed.
    pub(super) async fn close(self) {
        let Link { service, process, .. } = self.link.into_inner();
        if let Err(error) = service.cancel().await {
            tracing::debug!(%error, server = self.wanted.name, "the connection ended badly");
        }
        end(process, &self.wanted.name).await;
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
