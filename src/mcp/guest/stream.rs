//! The stream on which a call's answer goes out, let go before the answer is there (SEP-1699).
//!
//! Proxies cut what is silent for long. In revisions with sessions a client whose stream has ended comes back
//! after a while (`retry`), says what it saw last, and gets the answer then: the call goes on meanwhile.

use axum::http::request::Parts;
use rmcp::{RoleServer, service::RequestContext};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::mcp::ask;

/// The header by which a request belongs to a session, to which its client can come back.
const SESSION: &str = "mcp-session-id";

/// Ends the stream of one request. Clones are one.
#[derive(Debug, Clone, Default)]
pub(in crate::mcp) struct Stream(CancellationToken);

impl Stream {
    /// Resolves when it is let go.
    pub(in crate::mcp) fn ended(&self) -> WaitForCancellationFutureOwned {
        self.0.clone().cancelled_owned()
    }
}

/// Ends the stream of a request whose client can come back for the answer. Whether it did: not over standard
/// input, not for one of a revision without sessions, and not where answers are plain JSON.
pub fn let_go(request: &RequestContext<RoleServer>) -> bool {
    let Some(parts) = request.extensions.get::<Parts>() else { return false };
    let stream = parts.extensions.get::<Stream>();
    let comes_back = parts.headers.contains_key(SESSION) && !ask::is_stateless(request);
    match stream.filter(|_| comes_back) {
        Some(stream) => {
            stream.0.cancel();
            true
        }
        None => false,
    }
}
