//! What a kernel's proxy has refused: the newest hosts, each once.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use lru::LruCache;

use crate::base::hosts::{Refusal, Target};

/// How many hosts are remembered.
const KEPT: usize = 32;

/// See the module's documentation.
#[derive(Debug)]
pub struct Record(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    /// Refusals so far.
    count: u64,
    /// The last refusal of a host that is not remembered any more.
    forgotten: u64,
    hosts: LruCache<Target, Blocked>,
}

#[derive(Debug)]
struct Blocked {
    refusal: Refusal,
    times: u64,
    /// The number of the last refusal.
    last: u64,
}

impl Default for Record {
    fn default() -> Self {
        let kept = NonZeroUsize::new(KEPT).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(Kept { count: 0, forgotten: 0, hosts: LruCache::new(kept) }))
    }
}

impl Record {
    /// Notes a refusal.
    pub(super) fn blocked(&self, refusal: &Refusal) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count += 1;
        let last = kept.count;
        if let Some(known) = kept.hosts.get_mut(&refusal.target) {
            known.refusal = refusal.clone();
            known.times += 1;
            known.last = last;
            return;
        }
        let blocked = Blocked { refusal: refusal.clone(), times: 1, last };
        if let Some((_, gone)) = kept.hosts.push(refusal.target.clone(), blocked) {
            kept.forgotten = kept.forgotten.max(gone.last);
        }
    }

    /// How many refusals there were so far: what a later [`Self::since`] begins behind.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// The refusals behind the first `count`, a host a line, the newest `most` hosts in their order.
    #[must_use]
    pub fn since(&self, count: u64, most: usize) -> Vec<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The newest comes first.
        let newer = kept.hosts.iter().filter(|(_, blocked)| blocked.last > count);
        let all: Vec<&Blocked> = newer.map(|(_, blocked)| blocked).collect();
        let more = all.len() > most || kept.forgotten > count;
        let mut lines: Vec<String> = all.iter().take(most).rev().map(|each| each.line()).collect();
        if more {
            lines.insert(0, "blocked: more hosts than are told here".to_owned());
        }
        lines
    }
}

impl Blocked {
    fn line(&self) -> String {
        match self.times {
            1 => self.refusal.to_string(),
            times => format!("{} ({times} times)", self.refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hosts::Policy;

    fn refusal(host: &str) -> Refusal {
        let target = Target::parse(host, Some(443)).unwrap();
        Policy::Listed(Vec::new()).admits(&target).unwrap_err()
    }

    fn hosts(lines: &[String]) -> Vec<&str> {
        lines.iter().map(|line| line.split([';', ',']).next().unwrap()).collect()
    }

    #[test]
    fn each_host_is_told_once_and_only_what_came_since() {
        let record = Record::default();
        record.blocked(&refusal("a.test"));
        record.blocked(&refusal("b.test"));
        let count = record.count();
        assert_eq!(record.since(count, 9), [""; 0]);
        record.blocked(&refusal("a.test"));
        assert_eq!(hosts(&record.since(count, 9)), ["blocked: a.test:443"]);
        assert!(record.since(count, 9)[0].ends_with("(2 times)"));
        assert_eq!(hosts(&record.since(0, 9)), ["blocked: b.test:443", "blocked: a.test:443"]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_rest_is_told_as_such() {
        let record = Record::default();
        for n in 0..10_000 {
            record.blocked(&refusal(&format!("host{n}.test")));
        }
        let told = record.since(0, 100);
        assert_eq!(told.len(), 1 + KEPT);
        assert_eq!(told[0], "blocked: more hosts than are told here");
        assert!(told[KEPT].starts_with("blocked: host9999.test"), "{told:?}");
        assert_eq!(record.since(record.count() - 2, 100).len(), 2);
        assert_eq!(record.since(0, 3).len(), 4);
    }
}
