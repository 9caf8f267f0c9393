//! How a session comes to a kernel, by the one that an earlier server has left or by a start.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Keeper, earlier};
use crate::{
    base::trace_context::TraceContext,
    kernel::Execution,
    sandbox::{
        inspect::Asked,
        launch::{LaunchError, Wish},
        left::LeftCell,
        lodging::Started,
        reaper,
        session::Failed,
        state::Happened,
    },
};

impl Keeper {
    /// Sees to it that a kernel runs, and that it runs nothing; `trace` is the one of the call that
    /// needs it.
    pub(super) async fn ready(&mut self, trace: Option<&TraceContext>) -> Result<(), Failed> {
        // A kernel that was found again may run a cell, and end with it.
        while self.kernel.is_none() {
            let execution = self.start(trace).await?;
            if let Some(execution) = execution {
                self.finish_earlier(execution).await;
            }
        }
        Ok(())
    }

    /// Comes to a kernel; the cell that it runs, if it was found again.
    async fn start(&mut self, trace: Option<&TraceContext>) -> Result<Option<Execution>, Failed> {
        self.happened(Happened::StartBegan);
        let workspace = self.shown.snapshot.borrow().workspace.clone();
        let wish = Wish {
            session: &self.name,
            from: &self.source,
            workspace: &workspace,
            says: &self.shown.says,
            claim: None,
            trace,
        };
        let (name, shown) = (&self.name, &self.shown);
        let follow = |cell: &LeftCell| earlier::follow(name, shown, cell);
        let started = tokio::select! {
            started = self.lodging.start(&self.launcher, wish, &follow) => started,
            () = self.closing.cancelled() => Err(LaunchError::Closing),
        };
        match started {
            Ok(started) => Ok(self.started(started)),
            Err(error) => {
                self.happened(Happened::StartFailed(error.to_string()));
                Err(Failed { session: self.name.clone(), source: Arc::new(error) })
            }
        }
    }

    fn started(&mut self, started: Started) -> Option<Execution> {
        let Started { kernel, generation, found, execution, lost, news } = started;
        self.news.extend(news);
        let age = kernel.facts.started.elapsed().unwrap_or_default();
        let now = Instant::now();
        self.times = (now.checked_sub(age).unwrap_or(now), now);
        self.lodging.kept(&kernel, self.left());
        let facts = kernel.facts.clone();
        self.shown.asked.send_replace(Some(Asked {
            line: kernel.client.line(),
            info: kernel.client.info().clone(),
            launched: kernel.launched,
            own: kernel.body.is_own(),
            generation,
        }));
        if let Some(scribe) = &self.scribe {
            scribe.record().kernel(&kernel.name, kernel.client.info());
        }
        self.late = Some(kernel.client.late());
        self.kernel = Some(kernel);
        if !found {
            self.life.follows(generation.saturating_sub(1), lost);
        }
        if found {
            self.launcher.census.found();
        }
        self.happened(if found { Happened::Found(generation) } else { Happened::Ready });
        let (keep, own) = (self.lodging.keep(), self.lodging.own().map(str::to_owned));
        self.publish(|snapshot| {
            (snapshot.facts, snapshot.keep, snapshot.own) = (Some(facts), keep, own);
        });
        execution
    }

    /// What other programs trust is open to cells once it was replaced: that is told.
    pub(super) fn notice_replaced(&mut self) {
        let hold = self.kernel.as_mut().and_then(|kernel| kernel.hold.as_mut());
        let replaced = hold.map(|hold| hold.trusted.take_replaced()).unwrap_or_default();
        self.news.extend(replaced.iter().map(|path| {
            let path = path.display();
            format!("`{path}` was replaced meanwhile: cells can change it until sandbox_reset")
        }));
    }

    /// How long the kernel may live on.
    pub(super) fn left(&self) -> Option<Duration> {
        let expires = reaper::expires(&self.launcher.sessions, self.times.0)?;
        Some(expires.saturating_duration_since(Instant::now()))
    }
}
