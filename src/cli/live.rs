//! The servers of this user that answer, their sessions, and the one that is meant by a name.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;

use crate::mcp::{
    client::{Client, ClientError, Print},
    transport::local::{self, Found},
};

/// How long a server may take to tell its sessions. One that was stopped never does.
const ANSWERS: Duration = Duration::from_secs(5);

/// A server that answers.
pub(super) struct Live {
    /// Its process.
    pub(super) pid: u32,
    /// A connection to it.
    pub(super) client: Client,
    /// Its sessions, as `sandbox_status` tells them.
    pub(super) sessions: Vec<Value>,
}

/// A session that cannot be told from its name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOne {
    #[error("no husk is serving; `husk sessions` lists the sessions of those that do")]
    NobodyServes,
    #[error("no husk serves as process {pid}; there are {pids}")]
    NoServer { pid: u32, pids: String },
    #[error("no session named `{name}`; live: {live}")]
    Unknown { name: String, live: String },
    #[error("{count} servers have a session named `{name}`; choose one with --server: {pids}")]
    Several { name: String, count: usize, pids: String },
}

impl Live {
    /// The names of its sessions.
    pub(super) fn names(&self) -> Vec<&str> {
        self.sessions.iter().filter_map(name).collect()
    }
}

fn name(session: &Value) -> Option<&str> {
    session.get("session")?.as_str()
}

/// All servers that answer, by process id. What cells print that are run there goes to `print`.
pub(super) async fn servers(print: &Print) -> Vec<Live> {
    let asked = local::find().await.into_iter().map(|found| asked(found, print));
    join_all(asked).await.into_iter().flatten().collect()
}

async fn asked(found: Found, print: &Print) -> Option<Live> {
    let Found { pid, stream } = found;
    let told = async {
        let client = Client::connect(stream, print.clone()).await?;
        let sessions = client.sessions().await?;
        Ok::<_, ClientError>(Live { pid, client, sessions })
    };
    match tokio::time::timeout(ANSWERS, told).await {
        Ok(Ok(live)) => Some(live),
        Ok(Err(error)) => {
            tracing::warn!("the server {pid} does not tell its sessions: {error}");
            None
        }
        Err(_) => {
            tracing::warn!("the server {pid} says nothing for {} s", ANSWERS.as_secs());
            None
        }
    }
}

/// The server that has the session `name`.
///
/// # Errors
/// [`NotOne`].
pub(super) fn having(name: &str, server: Option<u32>, servers: Vec<Live>) -> Result<Live, NotOne> {
    let names: Vec<(u32, Vec<&str>)> =
        servers.iter().map(|live| (live.pid, live.names())).collect();
    let chosen = choose(name, server, &names)?;
    servers.into_iter().find(|live| live.pid == chosen).ok_or(NotOne::NobodyServes)
}

/// The process id of the server that is meant, out of those with these sessions.
fn choose(name: &str, server: Option<u32>, all: &[(u32, Vec<&str>)]) -> Result<u32, NotOne> {
    let pids = |all: &[&(u32, Vec<&str>)]| {
        all.iter().map(|(pid, _)| pid.to_string()).collect::<Vec<_>>().join(", ")
    };
    if all.is_empty() {
        return Err(NotOne::NobodyServes);
    }
    let asked: Vec<_> = all.iter().filter(|(pid, _)| server.is_none_or(|it| it == *pid)).collect();
    if let (Some(pid), true) = (server, asked.is_empty()) {
        return Err(NotOne::NoServer { pid, pids: pids(&all.iter().collect::<Vec<_>>()) });
    }
    let with: Vec<_> = asked.iter().copied().filter(|(_, names)| names.contains(&name)).collect();
    match with.as_slice() {
        [(pid, _)] => Ok(*pid),
        [] => {
            let of = |(pid, names): &&(u32, Vec<&str>)| {
                names.iter().map(|name| format!("{name} (server {pid})")).collect::<Vec<_>>()
            };
            let live: Vec<String> = asked.iter().flat_map(of).collect();
            let name = name.escape_debug().to_string();
            Err(NotOne::Unknown { name, live: live.join(", ") })
        }
        several => Err(NotOne::Several {
            name: name.to_owned(),
            count: several.len(),
            pids: pids(several),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_session_or_the_error_says_what_to_do() {
        let all = [(7, vec!["main", "extra"]), (9, vec!["main"])];
        let check = |name: &str, server: Option<u32>, expected: Result<u32, &str>| {
            let chosen = choose(name, server, &all).map_err(|error| error.to_string());
            assert_eq!(chosen, expected.map_err(str::to_owned), "{name} {server:?}");
        };
        check("extra", None, Ok(7));
        check("main", Some(9), Ok(9));
        let several = "2 servers have a session named `main`; choose one with --server: 7, 9";
        check("main", None, Err(several));
        check("main", Some(8), Err("no husk serves as process 8; there are 7, 9"));
        let unknown = "live: main (server 7), extra (server 7), main (server 9)";
        check("x", None, Err(&format!("no session named `x`; {unknown}")));
        check("extra", Some(9), Err("no session named `extra`; live: main (server 9)"));
        assert_eq!(choose("main", None, &[]), Err(NotOne::NobodyServes));
    }
}
