//! The cell under way, who waits for it, and how long its last messages are waited for once the kernel
//! is dead.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::{
    cell::{Cell, Finished},
    client::Watch,
    event::Event,
    journal::Journal,
};

/// How long a dead kernel's last messages are waited for when the relay cannot tell their end.
const DRAIN: Duration = Duration::from_millis(60);
/// How long the drain of a large backlog may go on in all.
const DRAIN_AT_MOST: Duration = Duration::from_secs(1);

pub(super) struct Running {
    pub(super) cell: Cell,
    watch: Option<Arc<dyn Watch>>,
    done: oneshot::Sender<Finished>,
    /// It waits for an answer to what it asked.
    pub(super) asks: bool,
    /// Set when the kernel is dead.
    drain: Option<Drain>,
}

/// When waiting for last messages ends: soon after the newest, and however much still comes.
#[derive(Clone, Copy)]
struct Drain {
    until: Instant,
    at_most: Instant,
}

impl Running {
    pub(super) fn new(
        cell: Cell,
        watch: Option<Arc<dyn Watch>>,
        done: oneshot::Sender<Finished>,
    ) -> Self {
        Self { cell, watch, done, asks: false, drain: None }
    }

    /// When it ends though nothing more comes.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.drain.map(|drain| drain.until).or(self.cell.gives_up_at())
    }

    /// Whether the kernel is dead, and only its last messages are waited for.
    pub(super) fn drains(&self) -> bool {
        self.drain.is_some()
    }

    /// The kernel is dead; `all` says that all of its messages are here.
    pub(super) fn drain(&mut self, all: bool) {
        let now = Instant::now();
        let until = if all { now } else { now + DRAIN };
        self.drain = Some(Drain { until, at_most: now + DRAIN_AT_MOST });
    }

    /// A message about it; whether it asks though it was interrupted, and no user is asked any more.
    pub(super) fn hear(&mut self, event: Event) -> bool {
        let now = Instant::now();
        if let Some(drain) = &mut self.drain {
            drain.until = drain.at_most.min(now + DRAIN);
        }
        let mut asks_in_vain = false;
        if let Event::Asks(question) = &event {
            self.asks = true;
            asks_in_vain = self.cell.is_stopping();
            if let Some(watch) = self.watch.as_ref().filter(|_| !asks_in_vain) {
                watch.asks(question.clone());
            }
        }
        let text = self.cell.hear(event, now);
        self.show(&text);
        asks_in_vain
    }

    /// Tells who waits. What a dead kernel had written and not sent is in its journal.
    pub(super) fn finish(mut self, journal: Option<&Journal>) {
        let mut text = String::new();
        if let Some(journal) = journal.filter(|_| self.drains()) {
            text = self.unsent(journal);
        }
        let Self { cell, watch, done, .. } = self;
        let (finished, more) = cell.finish();
        text.push_str(&more);
        if let Some(watch) = watch.filter(|_| !text.is_empty()) {
            watch.text(&text);
        }
        // The caller may have gone; then nobody wants to know.
        let _ = done.send(finished);
    }

    fn show(&self, text: &str) {
        if let Some(watch) = self.watch.as_ref().filter(|_| !text.is_empty()) {
            watch.text(text);
        }
    }

    /// Adds what the kernel had written and not sent; returns the text.
    fn unsent(&mut self, journal: &Journal) -> String {
        let mut text = String::new();
        for stderr in [false, true] {
            let [out, err] = &self.cell.heard;
            let heard = if stderr { err } else { out };
            let unsent = journal.unsent(u64::from(stderr), &self.cell.request, heard);
            if !unsent.is_empty() {
                text += &self.cell.hear(Event::Stream { stderr, text: unsent }, Instant::now());
            }
        }
        text
    }
}
