//! Floor 1: the way from a kernel's own network to the hosts that it may reach.
//!
//! A kernel at level `namespaces` reaches nothing outside. In its network one port is served from
//! outside, by the server, with a listener that was opened in there: an HTTP proxy, for plain HTTP
//! ([`forward`]) and for everything else by CONNECT ([`tunnel`]). Each request is judged by the pure
//! heart [`crate::base::hosts`]; the name is looked up here, and the connection goes to the very
//! address that was judged ([`gate`]). A kernel that may reach nothing has the port too: it learns
//! what refused it, and so does the session ([`record`]).
//!
//! Whatever comes in on it is written by who runs in the sandbox. So all is bounded: connections of
//! a kernel, the size of a request's head and the time it takes, look-ups at once, the time to
//! connect, silence on a connection, what is remembered.

mod answer;
mod connection;
mod forward;
mod gate;
mod hello;
mod idle;
mod record;
mod tunnel;
mod wish;

use std::{io, sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinSet};

use crate::base::hosts::Policy;

pub use record::Record;

use gate::Gate;

/// Connections of a kernel at the same time; more wait until one ends.
const CONNECTIONS: usize = 128;
/// The same for a kernel that may reach nothing, and only gets refusals.
const REFUSALS: usize = 16;
/// How long nothing may come or go on a connection.
const SILENCE: Duration = Duration::from_secs(600);
/// How long it is waited when no connection can be taken, for want of open files for example.
const AGAIN: Duration = Duration::from_millis(100);

/// The proxy of one kernel. Dropping it ends all of its connections.
#[derive(Debug)]
pub struct Proxy {
    record: Arc<Record>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Serves what comes to the listener, as the policy says.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn serve(listener: std::net::TcpListener, policy: Policy) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let record = Arc::new(Record::default());
        let most = match policy {
            Policy::Nothing(_) => REFUSALS,
            Policy::Listed(_) => CONNECTIONS,
        };
        let gate = Arc::new(Gate::new(policy, Arc::clone(&record)));
        let mut task = JoinSet::new();
        task.spawn(take(listener, gate, most));
        Ok(Self { record, _task: task })
    }

    /// What it has refused.
    #[must_use]
    pub fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record)
    }
}

/// Takes connections for ever, at most so many at once.
async fn take(listener: TcpListener, gate: Arc<Gate>, most: usize) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = open.join_next() => {}
            taken = listener.accept(), if open.len() < most => match taken {
                Ok((stream, _from)) => {
                    // Only slower without.
                    let _ = stream.set_nodelay(true);
                    open.spawn(connection::serve(stream, Arc::clone(&gate), SILENCE));
                }
                Err(error) => {
                    tracing::debug!(%error, "a kernel's connection cannot be taken");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
