//! The layer that bounds use: calls a minute, tokens an hour, calls at the same time, and what one
//! session may cost.
//!
//! A call reserves what it will surely cost ([`accounts`]) and settles what it really has cost. Calls a
//! minute go by an even pace with a minute's burst ([`pace`]), tokens an hour by a sliding window. A
//! denial says which limit, how much of it is used, and when it frees ([`over`]); it is not charged.
//! Servers side by side can count together ([`super::shared`]).

mod accounts;
mod changes;
mod over;
pub(crate) mod pace;
mod reservation;
pub mod settings;

use std::{future::ready, mem, sync::Arc};

use tokio::time::Instant;

use super::{Answer, Answering, Ending, Guard, Tool, ToolCall, shared::Shared};
pub(in crate::guard) use accounts::signed;
pub use accounts::{Accounts, Standing, Wanted};
pub use changes::Changes;
pub use over::{CODES, Limit, Over};
pub(in crate::guard) use pace::left;
pub use reservation::Reservation;
pub use settings::{Budget, Settings};

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Limiter {
    accounts: Arc<Accounts>,
    shared: Option<Arc<Shared>>,
}

impl Limiter {
    /// A guard that charges these accounts.
    #[must_use]
    pub fn new(accounts: Arc<Accounts>) -> Self {
        Self { accounts, shared: None }
    }

    /// The same, which asks whoever counts for all servers, too.
    #[must_use]
    pub fn sharing(self, shared: Option<Arc<Shared>>) -> Self {
        Self { shared, ..self }
    }
}

impl Guard for Limiter {
    fn call<S, P>(&self, call: ToolCall<P>, inner: &mut S) -> Answering<S::Response, S::Error>
    where
        S: Tool<P>,
        P: Send + 'static,
    {
        let wanted = Wanted {
            tokens: call.cost,
            cell: call.policy.runs,
            ran: call.ran,
            refusable: call.policy.limited,
            free: call.attends || !call.policy.limited,
        };
        let reservation = match self.accounts.take(&call.who, wanted, Instant::now()) {
            Ok(reservation) => reservation,
            Err(over) => return Box::pin(ready(Ok(S::Response::denied(over.denial())))),
        };
        let arguments = call.cost;
        let Some(shared) = self.shared.clone().filter(|_| wanted.refusable) else {
            let answer = inner.call(call);
            return Box::pin(async move { Ok(settled(answer.await?, reservation, arguments)) });
        };
        let next = inner.clone();
        let mut inner = mem::replace(inner, next);
        Box::pin(async move {
            let lease = match shared.take(&call.who, wanted).await {
                Ok(lease) => lease,
                Err(denial) => {
                    reservation.revoke();
                    return Ok(S::Response::denied(denial));
                }
            };
            let reservation = reservation.shared(lease);
            Ok(settled(inner.call(call).await?, reservation, arguments))
        })
    }
}

/// The answer, and what it has cost is entered.
fn settled<A: Answer>(answer: A, reservation: Reservation, arguments: u64) -> A {
    match answer.ending() {
        // Dropping the reservation gives back what it can.
        Ending::GivenUp => {}
        _ if answer.deduplicated() => reservation.settle(0, false),
        ending => reservation.settle(arguments + answer.cost(), *ending != Ending::Denied),
    }
    answer
}

#[cfg(test)]
mod tests;
