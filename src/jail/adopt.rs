//! What another server has started: taken over, or ended.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::watch,
    task::JoinSet,
};

use super::{
    cgroup::Group,
    first,
    handles::Handles,
    identity::Identity,
    lifeline,
    plan::Plan,
    process::{INIT_ENDS, Process},
};

/// Why a process could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// Its init does not run any more.
    #[error("it has ended")]
    Gone,
    /// Its init does not answer.
    #[error("its init does not answer at `{}`", .path.display())]
    Init {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A later server has it.
    #[error("a later server has taken it over")]
    Refused,
}

impl Process {
    /// Takes over a process that another server has started, in that run folder and with that plan:
    /// the other one is cut off. `init` is its init, and `epoch` must be newer than that of the last
    /// who took it over.
    ///
    /// # Errors
    /// [`AdoptError`]; then it is left as it was.
    pub async fn adopt(
        run_folder: &Path,
        init: &Identity,
        plan: &Plan,
        epoch: u64,
    ) -> Result<Self, AdoptError> {
        if !init.lives() {
            return Err(AdoptError::Gone);
        }
        let socket = run_folder.join(lifeline::NAME);
        let failed = |source| AdoptError::Init { path: socket.clone(), source };
        let mut stream = UnixStream::connect(&socket).await.map_err(failed)?;
        // Who listens is who the system says: the socket may be another's.
        if stream.peer_cred().map_err(failed)?.pid().is_some_and(|pid| pid != init.pid) {
            return Err(AdoptError::Gone);
        }
        stream.write_all(&epoch.to_le_bytes()).await.map_err(failed)?;
        let said = first::words(&stream, plan.level).await.map_err(|_| AdoptError::Refused)?;
        let log = (Arc::default(), watch::channel(()).1);
        Ok(Self::of((stream, said), (Some(init.pid), None), plan, log, JoinSet::new()))
    }
}

/// Ends what an earlier server has left in that run folder, if it still runs.
pub async fn dismiss(run_folder: &Path, init: Option<&Identity>) {
    let asked = async {
        let mut stream = UnixStream::connect(run_folder.join(lifeline::NAME)).await?;
        stream.write_all(&u64::MAX.to_le_bytes()).await?;
        stream.write_all(&[&[lifeline::KEEP][..], &[0; 4]].concat()).await?;
        stream.shutdown().await?;
        // Closed when everything has ended.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await
    };
    if !matches!(tokio::time::timeout(INIT_ENDS, asked).await, Ok(Ok(_)))
        && let Some(init) = init
    {
        let handles = Handles::hold(Some(init.pid), 0, Group::default());
        // Held first: whoever has the number now keeps it.
        if init.lives() {
            handles.destroy();
        }
    }
    // Its init removes it too; one that was killed does not.
    let _ = tokio::fs::remove_dir_all(run_folder).await;
}
