//! The server's end, in steps: no new requests, then the calls under way for a while, then all streams.

use std::time::Duration;

use axum::{extract::Request, http::Method};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The header by which a request of the stateless era says what it is.
const METHOD: &str = "mcp-method";
/// The request whose answer never ends.
const LISTEN: &str = "subscriptions/listen";

/// See the module's documentation.
pub(super) struct Ends {
    /// No request is read any more.
    pub(super) last: CancellationToken,
    /// All streams end.
    pub(super) streams: CancellationToken,
    calls: watch::Sender<usize>,
}

/// A call is under way as long as this lives.
pub(super) struct Call(watch::Sender<usize>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls = calls.saturating_sub(1));
    }
}

impl Ends {
    pub(super) fn new() -> Self {
        Self {
            last: CancellationToken::new(),
            streams: CancellationToken::new(),
            calls: watch::Sender::new(0),
        }
    }

    /// How many calls are under way.
    pub(super) fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    pub(super) fn are_near(&self) -> bool {
        self.last.is_cancelled()
    }

    /// A call begins, if the request is one: streams that only wait for news are none.
    pub(super) fn begins(&self, request: &Request) -> Option<Call> {
        let listens = request.headers().get(METHOD).is_some_and(|method| method == LISTEN);
        (request.method() == Method::POST && !listens).then(|| {
            self.calls.send_modify(|calls| *calls += 1);
            Call(self.calls.clone())
        })
    }

    /// Reads no new requests, and resolves when no call is under way, or `most` has passed.
    pub(super) async fn wait(&self, most: Duration) {
        self.last.cancel();
        let mut calls = self.calls.subscribe();
        // The sender lives as long as this.
        if tokio::time::timeout(most, calls.wait_for(|calls| *calls == 0)).await.is_err() {
            tracing::warn!(calls = *calls.borrow(), "calls are under way that are not waited for");
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::FutureExt;

    use super::*;

    fn request(method: Method, name: &str) -> Request {
        Request::builder().method(method).header(METHOD, name).body(Body::empty()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_waited_for_and_streams_are_not() {
        let ends = Ends::new();
        assert!(ends.begins(&request(Method::GET, "")).is_none());
        assert!(ends.begins(&request(Method::POST, LISTEN)).is_none());
        let call = ends.begins(&request(Method::POST, "tools/call")).unwrap();
        let mut wait = std::pin::pin!(ends.wait(Duration::from_secs(10)));
        assert!(wait.as_mut().now_or_never().is_none());
        assert!(ends.are_near() && !ends.streams.is_cancelled());
        drop(call);
        wait.await;
        let _stuck = ends.begins(&request(Method::POST, "tools/call"));
        ends.wait(Duration::from_secs(10)).await;
    }
}
