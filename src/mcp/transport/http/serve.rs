//! Listens, serves, and ends.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    Houses,
    connection::{Peer, Serving},
    ends::Ends,
    listen::{Address, ListenError, Listener, Stream},
    origin::Gate,
    pace::Paces,
    route,
    settings::Settings,
    tenants::Tenants,
    tls::{self, TlsError},
};
use crate::mcp::auth::Doorman;

/// How long to wait after a connection that could not be taken (no more open files, for example).
const AGAIN: Duration = Duration::from_millis(200);
/// Between two looks for MCP sessions that nobody uses.
const SWEEPS: Duration = Duration::from_secs(10);
/// How long streams may take to end once they were told.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// It does not listen.
    #[error(transparent)]
    Listen(ListenError),
    /// It has no TLS.
    #[error(transparent)]
    Tls(TlsError),
    /// Anybody could use it.
    #[error(
        "{0} can be reached by others, and nobody would be asked who they are; hand out tokens with \
         `husk token new NAME`, or say `--without-authentication` if that is meant"
    )]
    Open(Address),
    /// Both cannot be meant.
    #[error(
        "`--without-authentication` is given though users are told apart by tokens; leave it away, or \
         remove the file of tokens"
    )]
    Contradiction,
}

/// What all requests pass and reach.
pub(super) struct Door {
    pub(super) settings: Settings,
    pub(super) gate: Gate,
    pub(super) paces: Paces,
    pub(super) doorman: Doorman,
    pub(super) tenants: Tenants,
    pub(super) ends: Ends,
}

impl Door {
    /// The words of `WWW-Authenticate`.
    pub(super) fn challenge(&self, error: Option<&str>, scope: &str) -> String {
        let error = error.map_or(String::new(), |error| format!(", error=\"{error}\""));
        let metadata = self.doorman.oauth.as_ref().map_or(String::new(), |oauth| {
            format!(", resource_metadata=\"{}\"", oauth.metadata_url())
        });
        format!("Bearer realm=\"husk\"{error}, scope=\"{scope}\"{metadata}")
    }
}

/// A server that listens, and serves nobody yet.
pub struct Http {
    listener: Listener,
    address: Address,
    tls: Option<TlsAcceptor>,
    settings: Settings,
    doorman: Doorman,
}

impl Http {
    /// Listens at `address`; whom `doorman` knows is served.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn bind(
        address: &Address,
        settings: Settings,
        doorman: Doorman,
    ) -> Result<Self, HttpError> {
        if doorman.asks() && settings.without_authentication {
            return Err(HttpError::Contradiction);
        }
        if !address.is_local() && !doorman.asks() && !settings.without_authentication {
            return Err(HttpError::Open(address.clone()));
        }
        let tls = tls::acceptor(&settings).map_err(HttpError::Tls)?;
        let listener = Listener::bind(address).await.map_err(HttpError::Listen)?;
        let failed =
            |source| HttpError::Listen(ListenError::Bind { address: address.clone(), source });
        let address = listener.address().map_err(failed)?;
        if !address.is_local() && tls.is_none() && doorman.asks() {
            tracing::warn!(
                "tokens come in the clear, unless a proxy before this server speaks TLS"
            );
        }
        Ok(Self { listener, address, tls, settings, doorman })
    }

    /// Where clients find it.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.address {
            Address::Tcp(address) => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{address}/mcp")
            }
            Address::Unix(path) => format!("unix:{} (path /mcp)", path.display()),
        }
    }

    /// Serves until `stop` fires; then reads no new requests, lets calls end for a while, and ends all
    /// kernels but for those that the next server shall find.
    pub async fn serve(self, houses: Arc<dyn Houses>, stop: CancellationToken) {
        let Self { listener, address, tls, settings, doorman } = self;
        let ends = Ends::new();
        let names = matches!(address, Address::Tcp(_));
        let door = Arc::new(Door {
            gate: Gate::new(&settings, address.is_local(), names),
            paces: Paces::new(settings.requests_per_minute),
            tenants: Tenants::new(houses, settings.clone(), ends.streams.clone()),
            ends,
            doorman,
            settings,
        });
        let serving = Arc::new(Serving {
            router: route::router(&door),
            tls,
            patience: Duration::from_secs_f64(door.settings.patience_seconds),
            last: door.ends.last.clone(),
        });
        let mut connections = accept(&door, &serving, &listener, &stop).await;
        // Nobody reaches it any more: the next server can have the address.
        drop(listener);
        door.ends.wait(Duration::from_secs_f64(door.settings.end_seconds)).await;
        door.ends.streams.cancel();
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
            connections.shutdown().await;
        }
        door.tenants.close().await;
    }
}

/// Takes connections until `stop` fires; those that are open then.
async fn accept(
    door: &Door,
    serving: &Arc<Serving>,
    listener: &Listener,
    stop: &CancellationToken,
) -> JoinSet<Option<IpAddr>> {
    let mut connections = JoinSet::new();
    let mut inside = Inside::new(door.settings.max_connections);
    let mut sweeps = tokio::time::interval(SWEEPS);
    sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(gone) = connections.join_next() => inside.leaves(gone.ok().flatten()),
            _ = sweeps.tick() => door.tenants.sweep().await,
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) if may_enter(door, &stream) && inside.enters(from) => {
                    let serving = Arc::clone(serving);
                    connections.spawn(async move {
                        serving.serve(stream, Peer(from)).await;
                        from
                    });
                }
                // It is closed.
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(AGAIN).await;
                }
            },
        }
    }
    connections
}

/// Whoever has no token enters a unix socket only as this user.
fn may_enter(door: &Door, stream: &Stream) -> bool {
    door.doorman.asks() || door.settings.without_authentication || stream.is_ours() != Some(false)
}

/// Connections, all and of each address: no stranger shall keep all others out.
struct Inside {
    all: usize,
    most: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Inside {
    fn new(most: usize) -> Self {
        Self { all: 0, most, by_address: HashMap::new() }
    }

    /// Counts a connection, unless there are too many; from one address half of all at most, but for
    /// this machine, on which a proxy may stand for all.
    fn enters(&mut self, from: Option<IpAddr>) -> bool {
        let stranger = from.filter(|from| !from.is_loopback());
        let theirs = stranger.and_then(|from| self.by_address.get(&from).copied());
        if self.all >= self.most || theirs.unwrap_or_default() > self.most / 2 {
            tracing::debug!(all = self.all, "refused a connection: there are too many");
            return false;
        }
        self.all += 1;
        if let Some(from) = stranger {
            *self.by_address.entry(from).or_default() += 1;
        }
        true
    }

    fn leaves(&mut self, from: Option<IpAddr>) {
        self.all = self.all.saturating_sub(1);
        if let Some(from) = from
            && let Some(count) = self.by_address.get_mut(&from)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_keeps_no_other_out() {
        let mut inside = Inside::new(10);
        let address = |n: u8| Some(IpAddr::from([10, 0, 0, n]));
        let entered = (0..20).filter(|_| inside.enters(address(1))).count();
        assert_eq!(entered, 6);
        assert_eq!((0..20).filter(|_| inside.enters(address(2))).count(), 4);
        inside.leaves(address(1));
        assert!(inside.enters(Some([127, 0, 0, 1].into())));
        assert!(!inside.enters(None));
        (0..5).for_each(|_| inside.leaves(address(1)));
        assert!(!inside.by_address.contains_key(&address(1).unwrap()));
    }
}
