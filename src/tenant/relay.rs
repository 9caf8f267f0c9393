//! A kernel's way to Redis: a socket in its run folder, whose connections go on to Redis as they are.
//!
//! So the kernel needs no network, whatever its isolation, and TLS and a private authority are husk's
//! business. What goes through is not read: who a connection belongs to is between the kernel and Redis,
//! whose rules hold it. Bounded are the connections at once and the time to connect.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

use super::upstream::Upstream;

/// The socket's name in the run folder.
pub(super) const SOCKET: &str = "redis";

/// Connections of a kernel at the same time; more wait until one ends.
const CONNECTIONS: usize = 64;
/// How long Redis may take to be reached.
const REACHED: Duration = Duration::from_secs(10);
/// How long it is waited when no connection can be taken, for want of open files for example.
const AGAIN: Duration = Duration::from_millis(100);

/// Serves a kernel. Dropping it ends all of its connections.
#[derive(Debug)]
pub(super) struct Relay {
    _task: JoinSet<()>,
}

impl Relay {
    /// Listens in the kernel's folder. The socket is made in the server's own and moved there, for in the
    /// kernel's folder a cell could put something else under its name before its mode is set.
    pub(super) fn serve(inner: &Path, outer: &Path, upstream: Upstream) -> io::Result<Self> {
        let draft = inner.join(SOCKET);
        // Of an earlier server.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&draft)?;
        // The kernel may run as another user; nobody else enters its folder.
        fs::set_permissions(&draft, Permissions::from_mode(0o666))?;
        fs::rename(&draft, outer.join(SOCKET))?;
        let mut task = JoinSet::new();
        task.spawn(take(listener, upstream));
        Ok(Self { _task: task })
    }
}

/// Takes connections for ever.
async fn take(listener: UnixListener, upstream: Upstream) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = open.join_next() => {}
            taken = listener.accept(), if open.len() < CONNECTIONS => match taken {
                Ok((kernel, _from)) => drop(open.spawn(pass(kernel, upstream.clone()))),
                Err(error) => {
                    tracing::debug!(%error, "a kernel's connection to Redis cannot be taken");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

async fn pass(mut kernel: UnixStream, upstream: Upstream) {
    let passed = async {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let mut redis = tokio::time::timeout(REACHED, upstream.connect()).await.map_err(late)??;
        tokio::io::copy_bidirectional(&mut kernel, &mut redis).await
    };
    // The kernel sees its connection end; why, only the server can know.
    if let Err(error) = passed.await {
        tracing::debug!(%error, "a kernel's connection to Redis ended");
    }
}
