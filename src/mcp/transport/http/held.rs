//! An answer that is a stream, as long as its caller would be let in again: a token that is revoked or
//! expires ends what was opened with it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::header::CONTENT_TYPE,
    response::Response,
};
use hyper::body::{Frame, SizeHint};

use super::Door;
use crate::{
    base::secret::Secret,
    mcp::auth::{Caller, NotAdmitted},
};

/// Between two looks whether the caller would still be let in.
const LOOKS: Duration = Duration::from_secs(5);
/// The kind of answers that are streams.
const EVENTS: &[u8] = b"text/event-stream";

/// The answer, held by `caller`, who came with that `Authorization`; one that is no stream as it is.
pub(super) fn by(
    door: &Arc<Door>,
    caller: Caller,
    authorization: Secret,
    answer: Response,
) -> Response {
    let kind = answer.headers().get(CONTENT_TYPE);
    let streams = kind.is_some_and(|kind| kind.as_bytes().starts_with(EVENTS));
    if !streams || !door.doorman.asks() {
        return answer;
    }
    let door = Arc::clone(door);
    let ends = Box::pin(async move { no_longer(&door, &caller, &authorization).await });
    answer.map(|body| Body::new(Held { body, ends, over: false }))
}

/// Resolves when that caller is not let in any more. One of whom nobody can tell is.
async fn no_longer(door: &Door, caller: &Caller, authorization: &Secret) {
    loop {
        tokio::time::sleep(LOOKS).await;
        match door.doorman.admit(Some(authorization.reveal())).await {
            Ok(now) if now == *caller => {}
            Err(NotAdmitted::Unsure) => {}
            _ => return,
        }
    }
}

struct Held {
    body: Body,
    ends: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.over = self.over || self.ends.as_mut().poll(cx).is_ready();
        match self.over {
            true => Poll::Ready(None),
            false => Pin::new(&mut self.body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
