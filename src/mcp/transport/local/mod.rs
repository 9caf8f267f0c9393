//! MCP over a unix socket, for this user's other processes: `husk sessions`, `husk run --attach`.
//!
//! Each connection is served by the very server that the host talks to, so it sees the same
//! sessions. Nobody but this user can reach it: the folder is private ([`folder`]), and the other
//! end of each connection is asked for its user. A kernel runs as this user as long as there is no
//! isolation, and so can connect; it gains nothing that it could not do by ending the server or
//! starting one of its own. With isolation the folder has to stay outside what the kernel can see.
//!
//! A server that cannot have the socket serves on without it, and says so once.

mod folder;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::lines;
use crate::{jail, kernel::connection::MAX_SOCKET_PATH, mcp::Server};

use folder::FolderError;
pub use folder::{Found, find};

/// Most connections at once. One more is closed as soon as it comes.
const MOST_CONNECTIONS: usize = 16;
/// How long to wait after a connection that could not be taken (no more open files, for example).
const AGAIN: Duration = Duration::from_millis(200);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
enum LocalError {
    #[error(transparent)]
    Folder(FolderError),
    #[error(
        "the path `{}` is too long for a socket ({MAX_SOCKET_PATH} bytes); set XDG_RUNTIME_DIR to a shorter one",
        .0.display()
    )]
    TooLong(PathBuf),
    #[error(
        "another server answers at `{}` (one in a container with the same process id?); give this one an XDG_RUNTIME_DIR of its own",
        .0.display()
    )]
    Taken(PathBuf),
    #[error("cannot listen at `{}`; remove what is there, or set XDG_RUNTIME_DIR to another folder", path.display())]
    Bind { path: PathBuf, source: io::Error },
}

/// The task that listens; its owner ends it.
pub struct Local {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Local {
    /// Begins to listen, in the background: a host that waits for its server does not wait for this.
    #[must_use]
    pub fn open(server: Server) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(listen(server, stop.clone()));
        Self { stop, task }
    }

    /// Ends all connections, whatever they wait for, and removes the socket.
    pub async fn close(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the task of the local socket broke");
        }
    }
}

async fn listen(server: Server, stop: CancellationToken) {
    let opened = match folder::make() {
        Ok(folder) => Socket::bind(&folder, std::process::id()).await,
        Err(error) => Err(LocalError::Folder(error)),
    };
    match opened {
        Ok(socket) => socket.serve(&server, &stop).await,
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "`husk sessions` and `husk run --attach` will not find this server"
        ),
    }
}

/// A socket that listens; its name goes when it is dropped.
struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens as process `pid`, in place of what a dead process of that number has left.
    async fn bind(folder: &Path, pid: u32) -> Result<Self, LocalError> {
        let path = folder::socket(folder, pid);
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(LocalError::TooLong(path));
        }
        if UnixStream::connect(&path).await.is_ok() {
            return Err(LocalError::Taken(path));
        }
        // The name appears when the socket listens: nobody can find it dead before.
        let fresh = path.with_extension("new");
        let _ = std::fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh)
            .and_then(|listener| std::fs::rename(&fresh, &path).map(|()| listener));
        match listener {
            Ok(listener) => Ok(Self { listener, path }),
            Err(source) => Err(LocalError::Bind { path, source }),
        }
    }

    async fn serve(self, server: &Server, stop: &CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) if may_enter(&stream, connections.len()) => {
                    connections.spawn(converse(server.for_the_user(), stream, stop.clone()));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection to the local socket");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        // Nobody finds the server any more, and each connection has been told to end.
        drop(self);
        while connections.join_next().await.is_some() {}
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that somebody has removed already is as wanted.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn may_enter(stream: &UnixStream, inside: usize) -> bool {
    let ours = stream.peer_cred().is_ok_and(|other| other.uid() == jail::user_id());
    if !ours {
        tracing::warn!("refused a connection of another user to the local socket");
    } else if inside >= MOST_CONNECTIONS {
        tracing::debug!("refused a connection to the local socket: there are {inside}");
    }
    ours && inside < MOST_CONNECTIONS
}

async fn converse(server: Server, stream: UnixStream, stop: CancellationToken) {
    if let Err(error) = lines::serve(server, stream.into_split(), stop).await {
        tracing::debug!(%error, "a connection to the local socket ended badly");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_replaces_a_dead_one_and_never_a_live_one() {
        let folder = tempfile::tempdir().unwrap();
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        let dead = folder::socket(folder.path(), 7);
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let socket = Socket::bind(folder.path(), 7).await.unwrap();
        let second = Socket::bind(folder.path(), 7).await;
        assert!(matches!(second, Err(LocalError::Taken(_))));
        UnixStream::connect(&dead).await.unwrap();
        drop(socket);
        assert_eq!(names(), 0);
    }

    #[tokio::test]
    async fn a_path_that_no_socket_can_have_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(100));
        std::fs::create_dir(&deep).unwrap();
        assert!(matches!(Socket::bind(&deep, 7).await, Err(LocalError::TooLong(_))));
    }
}
