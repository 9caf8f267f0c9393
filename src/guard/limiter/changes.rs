//! What is added to the accounts, to be kept outside this process.

use std::{collections::HashMap, sync::Arc};

/// What has changed since it was last asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Calls and tokens by principal and minute since 1970, of calls that are over.
    pub used: HashMap<(Arc<str>, u32), (u64, u64)>,
    /// The time, in microseconds since 1970, at which each principal's requests have caught up.
    pub arrivals: HashMap<Arc<str>, i64>,
}

/// The most entries that wait for whoever keeps them: beyond, all but the newest minute go.
const MOST: usize = 20_000;

impl Changes {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used.is_empty() && self.arrivals.is_empty()
    }

    pub(super) fn note(&mut self, principal: &Arc<str>, minute: u32, calls: u64, tokens: u64) {
        let entry = self.used.entry((Arc::clone(principal), minute)).or_default();
        *entry = (entry.0 + calls, entry.1.saturating_add(tokens));
    }

    pub(super) fn arrives(&mut self, principal: &Arc<str>, arrival: i64) {
        let entry = self.arrivals.entry(Arc::clone(principal)).or_insert(arrival);
        *entry = (*entry).max(arrival);
    }

    /// Takes back what could not be kept.
    pub(super) fn restore(&mut self, lost: Self) {
        for ((principal, minute), (calls, tokens)) in lost.used {
            self.note(&principal, minute, calls, tokens);
        }
        for (principal, arrival) in lost.arrivals {
            self.arrives(&principal, arrival);
        }
        if self.used.len() > MOST {
            let newest = self.used.keys().map(|(_, minute)| *minute).max().unwrap_or_default();
            self.used.retain(|(_, minute), _| *minute == newest);
            self.arrivals.clear();
        }
    }
}
