//! Which passwords an account has, as it is written down at Redis: who holds each, and its digest.

use std::collections::{BTreeMap, HashMap};

/// The field that says whose account it is.
const USER: &str = "user";
/// The field that says since when (seconds since 1970) the account is on its way out.
const CLOSING: &str = "closing";
/// What the fields begin with that say who holds a password.
const HOLDER: &str = "holder:";
/// After how many seconds nobody closes it any more who said so.
const CLOSES: u64 = 60;

/// Passwords of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    pub(super) user: String,
    /// Digests (SHA-256, hex) by who holds the password.
    pub(super) holders: BTreeMap<String, String>,
    closing: Option<u64>,
}

impl Ledger {
    /// That of a user to whom nobody has given anything.
    pub(super) fn of(user: &str) -> Self {
        Self { user: user.to_owned(), ..Self::default() }
    }

    /// A ledger as it is kept; of one that is not there, an empty one.
    pub(super) fn read(user: &str, fields: HashMap<String, String>) -> Self {
        let mut ledger = Self::of(user);
        for (name, value) in fields {
            match (name.as_str(), name.strip_prefix(HOLDER)) {
                (USER, _) => ledger.user = value,
                (CLOSING, _) => ledger.closing = value.parse().ok(),
                (_, Some(holder)) => drop(ledger.holders.insert(holder.to_owned(), value)),
                // Of a newer husk.
                _ => {}
            }
        }
        ledger
    }

    /// As it is kept.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        let holders = self
            .holders
            .iter()
            .map(|(holder, digest)| (format!("{HOLDER}{holder}"), digest.clone()));
        let closing = self.closing.map(|at| (CLOSING.to_owned(), at.to_string()));
        let user = (USER.to_owned(), self.user.clone());
        [user].into_iter().chain(closing).chain(holders).collect()
    }

    pub(super) fn digests(&self) -> Vec<String> {
        self.holders.values().cloned().collect()
    }

    /// With a password for that holder and for no one who is gone.
    pub(super) fn with(mut self, holder: &str, digest: &str, gone: &dyn Fn(&str) -> bool) -> Self {
        self.holders.retain(|holder, _| !gone(holder));
        self.holders.insert(holder.to_owned(), digest.to_owned());
        self.closing = None;
        self
    }

    pub(super) fn without(mut self, holder: &str) -> Self {
        self.holders.remove(holder);
        self
    }

    /// On its way out: nobody holds a password any more.
    pub(super) fn closed(self, now: u64) -> Self {
        Self { holders: BTreeMap::new(), closing: Some(now), ..self }
    }

    /// Whether nothing is left of the account.
    pub(super) fn is_over(&self) -> bool {
        self.holders.is_empty() && self.closing.is_none()
    }

    /// Whether somebody is about to delete what belongs to it.
    pub(super) fn is_closing(&self, now: u64) -> bool {
        self.closing.is_some_and(|at| now < at + CLOSES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let nobody = |_: &str| false;
        let ledger = Ledger::read("a\nb", HashMap::new()).with("k1", "d1", &nobody);
        let ledger = ledger.with("k 2", "d2", &nobody);
        let again = |ledger: &Ledger| Ledger::read("", ledger.fields().into_iter().collect());
        assert_eq!(again(&ledger), ledger);
        let closed = ledger.closed(100);
        assert_eq!(again(&closed), closed);
        assert!(closed.is_closing(159) && !closed.is_closing(160));
        assert!(!closed.with("k", "d", &nobody).is_closing(101));
    }

    #[test]
    fn who_is_gone_holds_nothing_any_more() {
        let ledger = Ledger::default().with("old", "d1", &|_| false);
        let ledger = ledger.with("new", "d2", &|holder| holder == "old");
        assert_eq!(ledger.digests(), ["d2"]);
        assert_eq!(ledger.without("new").digests(), Vec::<String>::new());
    }
}
