//! Calls reach their session in the order in which they came.
//!
//! rmcp runs each request in a task of its own, and tasks start in any order: two cells that a host
//! sends at once would run the wrong way round. So the transport gives each tool call a [`Ticket`]
//! as it reads it, and a call that enters a queue waits for its [`Ticket::turn`]. Calls that need no
//! order pass at once; a ticket that is dropped has passed.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use rmcp::{
    RoleServer,
    model::{ClientRequest, GetExtensions, JsonRpcMessage},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::sync::watch;

/// A call's place among those that came over one transport. Clones are one place.
#[derive(Debug, Clone)]
pub(super) struct Ticket(Arc<Place>);

#[derive(Debug)]
struct Place {
    number: u64,
    gate: Arc<Gate>,
}

/// Tells which place may pass.
#[derive(Debug)]
struct Gate {
    /// Places that passed before one that came earlier.
    early: Mutex<BTreeSet<u64>>,
    next: watch::Sender<u64>,
}

impl Gate {
    fn pass(&self, number: u64) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        early.insert(number);
        self.next.send_if_modified(|next| {
            let before = *next;
            while early.remove(next) {
                *next += 1;
            }
            *next != before
        });
    }
}

impl Ticket {
    /// Resolves when every call that came earlier has passed.
    pub(super) async fn turn(&self) {
        let mut next = self.0.gate.next.subscribe();
        // The gate lives as long as this ticket: the wait can only end well.
        let _ = next.wait_for(|next| *next >= self.0.number).await;
    }

    /// Lets the next call pass.
    pub(super) fn pass(&self) {
        if *self.0.gate.next.borrow() <= self.0.number {
            self.0.gate.pass(self.0.number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if *self.gate.next.borrow() <= self.number {
            self.gate.pass(self.number);
        }
    }
}

/// A transport that gives every tool call a ticket.
pub(super) struct Ordered<T> {
    inner: T,
    gate: Arc<Gate>,
    given: u64,
}

impl<T> Ordered<T> {
    pub(super) fn new(inner: T) -> Self {
        let gate = Gate { early: Mutex::default(), next: watch::Sender::new(0) };
        Self { inner, gate: Arc::new(gate), given: 0 }
    }

    fn ticket(&mut self) -> Ticket {
        let number = self.given;
        self.given += 1;
        Ticket(Arc::new(Place { number, gate: Arc::clone(&self.gate) }))
    }
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for Ordered<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        let mut message = self.inner.receive().await?;
        if let JsonRpcMessage::Request(request) = &mut message
            && let ClientRequest::CallToolRequest(_) = &request.request
        {
            let ticket = self.ticket();
            request.request.extensions_mut().insert(ticket);
        }
        Some(message)
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.inner.close().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_passes_after_those_before_it_and_a_dropped_one_counts() {
        let mut ordered = Ordered::new(());
        let [one, two, three] = [ordered.ticket(), ordered.ticket(), ordered.ticket()];
        let may_pass = |ticket: &Ticket| ticket.turn().now_or_never().is_some();
        assert_eq!([&one, &two, &three].map(may_pass), [true, false, false]);
        two.pass();
        assert!(!may_pass(&three));
        drop(one);
        assert!(may_pass(&three));
        two.pass();
        three.pass();
        assert!(may_pass(&ordered.ticket()));
    }
}
