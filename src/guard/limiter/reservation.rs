//! What a call has taken from the accounts, until it is settled.

use std::sync::Arc;

use super::accounts::Accounts;
use crate::guard::{Who, shared::Lease};

/// What a call has taken. Dropped without being settled, it gives back what it can: the call was given
/// up, and nothing was answered; a cell that it has begun has run all the same.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    pub(super) accounts: Arc<Accounts>,
    pub(super) who: Who,
    /// Where it was charged; nowhere when only a place was taken, or it is settled.
    pub(super) charged: Option<Charged>,
    /// What it has taken of all servers' limits.
    pub(super) lease: Option<Lease>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Charged {
    /// Since 1970.
    pub(super) minute: u32,
    pub(super) tokens: u64,
    pub(super) cell: bool,
}

impl Reservation {
    /// All servers have counted it, too.
    pub(super) fn shared(mut self, lease: Option<Lease>) -> Self {
        self.lease = lease;
        self
    }

    /// The call is not let through after all, as if it had never come.
    pub(super) fn revoke(mut self) {
        if let Some(charged) = self.charged.take() {
            self.accounts.revoke(&self.who, charged);
        }
    }

    /// The call is over: it has cost so much in truth, and `ran` says whether it was carried out.
    pub fn settle(mut self, tokens: u64, ran: bool) {
        if let Some(charged) = self.charged.take() {
            self.accounts.settle(&self.who, charged, tokens, charged.cell && !ran);
        }
        if let Some(lease) = &mut self.lease {
            lease.settle(tokens);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(charged) = self.charged.take() {
            self.accounts.settle(&self.who, charged, 0, false);
        }
        self.accounts.leave(&self.who);
    }
}
