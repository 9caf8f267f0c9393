//! What a call has taken of all servers' limits, until it is settled.

use tokio::sync::mpsc;

use super::{carrier::Told, counter::Place};
use crate::guard::limiter::signed;

/// What a call has taken. Dropped, it gives back its place, and what it was charged unless it is settled.
#[derive(Debug)]
#[must_use]
pub(in crate::guard) struct Lease {
    place: Place,
    /// In which minute, and how many tokens.
    charged: Option<(u64, u64)>,
    told: mpsc::UnboundedSender<Told>,
}

impl Lease {
    pub(super) fn new(place: Place, told: mpsc::UnboundedSender<Told>) -> Self {
        let lease = Self { place, charged: None, told };
        lease.tell(Told::Holds(place));
        lease
    }

    pub(super) fn charge(&mut self, minute: u64, tokens: u64) {
        self.charged = Some((minute, tokens));
    }

    /// The call has cost so much in truth.
    pub(in crate::guard) fn settle(&mut self, tokens: u64) {
        if let Some((minute, charged)) = self.charged.take() {
            let more = signed(tokens).saturating_sub(signed(charged));
            self.tell(Told::Settled(self.place.user, minute, more));
        }
    }

    /// Without a carrier there is nobody left to tell: the server is at its end.
    fn tell(&self, told: Told) {
        let _ = self.told.send(told);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.settle(0);
        self.tell(Told::Left(self.place));
    }
}
