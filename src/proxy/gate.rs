//! From a host that is asked for to a connection: judged, looked up, judged again, connected to.
//!
//! Between the second judgement and the connection nothing is looked up any more: the connection
//! goes to the address that was judged, whatever the name leads to by then.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpStream, sync::Semaphore, time::timeout};

use super::record::Record;
use crate::base::hosts::{Host, Policy, Refusal, Target};

/// Look-ups of one kernel at the same time, each of which may hold a thread for long; a name that is
/// open to cells may belong to somebody who takes his time to answer.
const LOOK_UPS: usize = 4;
/// The same for all kernels together.
static ALL_LOOK_UPS: Semaphore = Semaphore::const_new(64);
/// How long a look-up is waited for, its turn included.
const LOOK_UP: Duration = Duration::from_secs(10);
/// How long each address is tried, and all of them.
const CONNECT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(20));
/// Addresses of a name that are considered.
const ADDRESSES: usize = 16;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    /// It may not be.
    #[error(transparent)]
    Refused(Refusal),
    /// The name leads nowhere.
    #[error("husk cannot look up {host}")]
    NoName {
        /// The name.
        host: Host,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody takes the connection.
    #[error("husk cannot connect to {target}")]
    Unreachable {
        /// The host.
        target: Target,
        /// What the system said of the last address.
        source: io::Error,
    },
    /// It takes too long.
    #[error("{what} took longer than {} s", .limit.as_secs())]
    Slow {
        /// What.
        what: String,
        /// How long is waited.
        limit: Duration,
    },
}

type LookUp = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Where the requests of one kernel are judged.
pub(super) struct Gate {
    policy: Policy,
    record: Arc<Record>,
    turns: Arc<Semaphore>,
    look_up: Arc<LookUp>,
}

impl Gate {
    pub(super) fn new(policy: Policy, record: Arc<Record>) -> Self {
        Self::with(policy, record, Arc::new(by_the_system))
    }

    pub(super) fn with(policy: Policy, record: Arc<Record>, look_up: Arc<LookUp>) -> Self {
        Self { policy, record, turns: Arc::new(Semaphore::new(LOOK_UPS)), look_up }
    }

    /// A connection to that host, if it may be reached.
    pub(super) async fn open(&self, target: &Target) -> Result<TcpStream, Closed> {
        self.policy.admits(target).map_err(|refusal| self.refused(refusal))?;
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.addresses(name, target).await?,
        };
        let open = self.policy.reachable(target, &addresses);
        let open = open.map_err(|refusal| self.refused(refusal))?;
        let limit = CONNECT.1;
        let connected = timeout(limit, first(target, &open)).await;
        connected.unwrap_or_else(|_elapsed| {
            Err(Closed::Slow { what: format!("the connection to {target}"), limit })
        })
    }

    /// Notes what was refused.
    pub(super) fn refused(&self, refusal: Refusal) -> Closed {
        self.record.blocked(&refusal);
        Closed::Refused(refusal)
    }

    async fn addresses(&self, name: &str, target: &Target) -> Result<Vec<IpAddr>, Closed> {
        let found = timeout(LOOK_UP, self.look_up(name.to_owned())).await;
        let found = found.map_err(|_elapsed| Closed::Slow {
            what: format!("the look-up of {name}"),
            limit: LOOK_UP,
        })?;
        let mut found =
            found.map_err(|source| Closed::NoName { host: target.host.clone(), source })?;
        found.dedup();
        found.truncate(ADDRESSES);
        if found.is_empty() {
            let source = io::Error::new(io::ErrorKind::NotFound, "it has no address");
            return Err(Closed::NoName { host: target.host.clone(), source });
        }
        Ok(found)
    }

    async fn look_up(&self, name: String) -> io::Result<Vec<IpAddr>> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(io::Error::other)?;
        let of_all = ALL_LOOK_UPS.acquire().await.map_err(io::Error::other)?;
        let look_up = Arc::clone(&self.look_up);
        // A thread that looks up cannot be stopped: it keeps its turn until it is done, also when
        // nobody waits for it any more.
        let looking = tokio::task::spawn_blocking(move || {
            let _turns = (turn, of_all);
            look_up(&name)
        });
        looking.await.map_err(io::Error::other)?
    }
}

fn by_the_system(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

/// A connection to the first of the addresses that takes it.
async fn first(target: &Target, addresses: &[IpAddr]) -> Result<TcpStream, Closed> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        let address = SocketAddr::new(*address, target.port);
        match timeout(CONNECT.0, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Only slower without.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_elapsed) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(Closed::Unreachable { target: target.clone(), source: last })
}
