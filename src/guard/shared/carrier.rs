//! Tells whoever counts for all servers what became of calls, many at a time and in the background.
//!
//! Corrections of tokens are told once: what was not heard may have been entered all the same, and twice
//! would be wrong. Places of calls that are over, or that go on, are told until they are heard.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::counter::{Counter, LEASE, News, Place};
use crate::base::{backoff::Backoff, canon::Digest};

/// What a call tells of itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told {
    /// It has a place.
    Holds(Place),
    /// It has cost more than it was charged in that minute.
    Settled(Digest, u64, i64),
    /// It is over.
    Left(Place),
}

/// How much is told at once.
const MOST: usize = 1000;
/// The most places of calls that are over which wait to be told: the database forgets them by itself.
const MOST_LEFT: usize = 20_000;
/// Between two tries.
const TRIES: Backoff = Backoff {
    first: Duration::from_millis(250),
    factor: 2.0,
    cap: Duration::from_secs(5),
    jitter: 0.25,
    retries: u32::MAX,
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Carrier {
    counter: Arc<dyn Counter>,
    patience: Duration,
    inbox: mpsc::UnboundedReceiver<Told>,
    back: Arc<Notify>,
    held: HashSet<Place>,
    settled: HashMap<(Digest, u64), i64>,
    left: HashSet<Place>,
    /// When the places that are held are told of next.
    renews: Instant,
}

impl Carrier {
    pub(super) fn new(
        counter: Arc<dyn Counter>,
        patience: Duration,
        inbox: mpsc::UnboundedReceiver<Told>,
        back: Arc<Notify>,
    ) -> Self {
        Self {
            counter,
            patience,
            inbox,
            back,
            held: HashSet::new(),
            settled: HashMap::new(),
            left: HashSet::new(),
            renews: Instant::now() + LEASE / 3,
        }
    }

    /// Carries until `stop`, and once more then.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut failed = 0;
        loop {
            let waits = sleep_until(match failed {
                0 => self.renews,
                more => Instant::now() + TRIES.delay(more - 1, 0.5),
            });
            let mut news = Vec::new();
            let stops = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                // What is told in an outage waits for the next try.
                // With the last of those who tell it is over.
                told = self.inbox.recv_many(&mut news, MOST), if failed == 0 => told == 0,
                () = self.back.notified() => {
                    self.renews = Instant::now();
                    false
                }
                () = waits => false,
            };
            news.into_iter().for_each(|told| self.note(told));
            while let Ok(told) = self.inbox.try_recv() {
                self.note(told);
            }
            failed = if self.tells().await { 0 } else { failed + 1 };
            if stops {
                return;
            }
        }
    }

    fn note(&mut self, told: Told) {
        match told {
            Told::Holds(place) => {
                self.held.insert(place);
            }
            Told::Settled(user, minute, more) => {
                let sum = self.settled.entry((user, minute)).or_default();
                *sum = sum.saturating_add(more);
            }
            Told::Left(place) => {
                self.held.remove(&place);
                if self.left.len() < MOST_LEFT {
                    self.left.insert(place);
                }
            }
        }
    }

    /// Tells what there is; whether it was heard.
    async fn tells(&mut self) -> bool {
        let renews = Instant::now() >= self.renews;
        let settled = self.settled.drain().filter(|(_, more)| *more != 0);
        let news = News {
            settled: settled.map(|((user, minute), more)| (user, minute, more)).collect(),
            left: self.left.iter().copied().collect(),
            held: if renews { self.held.iter().copied().collect() } else { Vec::new() },
        };
        if news != News::default() {
            match timeout(self.patience, self.counter.tell(&news)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(%error, "what calls have cost is not told");
                    return false;
                }
                Err(_elapsed) => return false,
            }
        }
        self.left.clear();
        if renews {
            self.renews = Instant::now() + LEASE / 3;
        }
        true
    }
}
