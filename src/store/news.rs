//! Tells that something was committed, by whichever process: a task that looks or listens, for as long as
//! somebody may want to know.

use std::{future::Future, sync::Arc};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

/// The task; it ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct News(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    commits: watch::Sender<u64>,
    wanted: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl News {
    /// What is told by a task that counts up with each commit, and is notified whenever somebody begins
    /// to want to know.
    pub(super) fn of<Task>(task: impl FnOnce(watch::Sender<u64>, Arc<Notify>) -> Task) -> Self
    where
        Task: Future<Output = ()> + Send + 'static,
    {
        let (commits, wanted) = (watch::Sender::new(0), Arc::new(Notify::new()));
        let task = tokio::spawn(task(commits.clone(), Arc::clone(&wanted)));
        Self(Arc::new(Inner { commits, wanted, task }))
    }

    /// Changes after each commit from here on.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        let commits = self.0.commits.subscribe();
        self.0.wanted.notify_one();
        commits
    }

    /// Ends the task, though there are clones.
    #[cfg(feature = "postgres")]
    pub(super) fn close(&self) {
        self.0.task.abort();
    }
}
