//! The layer that bounds use: calls a minute, tokens an hour, calls at the same time, and what one
//! session may cost.
//!
//! A call reserves what it will surely cost ([`accounts`]) and settles what it really has cost. Calls a
//! minute go by an even pace with a minute's burst ([`pace`]), tokens an hour by a sliding window. A
//! denial says which limit, how much of it is used, and when it frees ([`over`]); it is not charged.

mod accounts;
mod changes;
mod over;
mod pace;
mod reservation;
pub mod settings;

use std::{
    future::ready,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::time::Instant;
use tower::{Layer, Service};

use super::{Answer, Answering, Ending, ToolCall};
pub use accounts::{Accounts, Standing, Wanted};
pub use changes::Changes;
pub use over::{CODES, Limit, Over};
pub use reservation::Reservation;
pub use settings::{Budget, Settings};

/// Puts [`Limiter`] around a service.
#[derive(Debug, Clone)]
pub struct LimiterLayer {
    accounts: Arc<Accounts>,
}

impl LimiterLayer {
    /// A layer that charges these accounts.
    #[must_use]
    pub fn new(accounts: Arc<Accounts>) -> Self {
        Self { accounts }
    }
}

impl<S> Layer<S> for LimiterLayer {
    type Service = Limiter<S>;

    fn layer(&self, inner: S) -> Limiter<S> {
        Limiter { inner, accounts: Arc::clone(&self.accounts) }
    }
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Limiter<S> {
    inner: S,
    accounts: Arc<Accounts>,
}

impl<S, P> Service<ToolCall<P>> for Limiter<S>
where
    S: Service<ToolCall<P>>,
    S::Response: Answer,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: ToolCall<P>) -> Self::Future {
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
        let answer = self.inner.call(call);
        Box::pin(async move {
            let answer = answer.await?;
            match answer.ending() {
                // Dropping the reservation gives back what it can.
                Ending::GivenUp => {}
                _ if answer.deduplicated() => reservation.settle(0, false),
                ending => {
                    reservation.settle(arguments + answer.cost(), *ending != Ending::Denied);
                }
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests;
