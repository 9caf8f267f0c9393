//! A map of bounded size that is shared by tasks: the least recently used entry goes first.
//!
//! What a stranger can make the server remember (one entry a principal, a session, a key) lives in
//! one of these. Its lock is held for one look at one entry.

use std::{
    borrow::Borrow,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;

/// Entries by key, each made when it is first asked for.
#[derive(Debug)]
pub(crate) struct Keyed<K: Hash + Eq, V> {
    entries: Mutex<LruCache<K, V>>,
}

impl<K: Hash + Eq + Clone, V: Default> Keyed<K, V> {
    /// No entry yet, and never more than `most`.
    pub(crate) fn new(most: NonZeroUsize) -> Self {
        // A cache of a given size takes all its room at once: this one grows.
        let mut entries = LruCache::unbounded();
        entries.resize(most);
        Self { entries: Mutex::new(entries) }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the entry of `key`.
    pub(crate) fn with<R>(&self, key: &K, work: impl FnOnce(&mut V) -> R) -> R {
        work(self.lock().get_or_insert_mut_ref(key, V::default))
    }

    /// Looks at the entry of `key` if there is one, which leaves its age as it is.
    pub(crate) fn peek<Q, R>(&self, key: &Q, look: impl FnOnce(&V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.lock().peek(key).map(look)
    }

    /// Looks at every entry, the one used last first.
    pub(crate) fn each(&self, mut look: impl FnMut(&K, &V)) {
        self.lock().iter().for_each(|(key, value)| look(key, value));
    }

    /// Forgets the entries of these keys; how many there were.
    pub(crate) fn forget(&self, mut these: impl FnMut(&K, &V) -> bool) -> usize {
        let mut entries = self.lock();
        let keys = entries.iter().filter(|(key, value)| these(key, value));
        let keys: Vec<K> = keys.map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| drop(entries.pop(key)));
        keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let keyed: Keyed<u32, u32> = Keyed::new(NonZeroUsize::new(2).unwrap());
        keyed.with(&1, |it| *it = 10);
        keyed.with(&2, |it| *it = 20);
        keyed.with(&1, |_| ());
        keyed.with(&3, |it| *it = 30);
        assert_eq!(keyed.peek(&1, |it| *it), Some(10));
        assert_eq!(keyed.peek(&2, |it| *it), None);
        assert_eq!(keyed.forget(|key, _| *key == 3), 1);
        let mut left = Vec::new();
        keyed.each(|key, value| left.push((*key, *value)));
        assert_eq!(left, [(1, 10)]);
    }
}
