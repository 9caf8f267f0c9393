//! What the proxy itself answers: that it does not do what was asked, and why, in the line that
//! clients show as well as in the text that they may not.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    ext::ReasonPhrase,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio_util::task::AbortOnDropHandle;

use super::{gate::Closed, wish::Misread};
use crate::base::causes;

/// The body of an answer.
pub(super) enum Content {
    /// husk's own text.
    Own(Full<Bytes>),
    /// What the host says; its connection ends with it.
    Host { body: Incoming, _connection: AbortOnDropHandle<()> },
}

impl Body for Content {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(text) => {
                Pin::new(text).poll_frame(cx).map(|frame| {
                    // Nothing can fail there.
                    frame.and_then(Result::ok).map(Ok)
                })
            }
            Self::Host { body, .. } => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(text) => text.is_end_stream(),
            Self::Host { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(text) => text.size_hint(),
            Self::Host { body, .. } => body.size_hint(),
        }
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Content> {
    let mut response = Response::new(Content::Own(Full::default()));
    *response.status_mut() = status;
    response
}

/// The answer to a request that cannot be read.
pub(super) fn misread(misread: Misread) -> Response<Content> {
    told(StatusCode::BAD_REQUEST, &misread.to_string())
}

/// The answer where there is no connection.
pub(super) fn closed(closed: &Closed) -> Response<Content> {
    let status = match closed {
        Closed::Refused(_) => StatusCode::FORBIDDEN,
        Closed::NoName { .. } | Closed::Unreachable { .. } => StatusCode::BAD_GATEWAY,
        Closed::Slow { .. } => StatusCode::GATEWAY_TIMEOUT,
    };
    told(status, &causes::told(closed, ": "))
}

/// The answer where the host does not speak as it should.
pub(super) fn broken(error: &dyn Error) -> Response<Content> {
    told(
        StatusCode::BAD_GATEWAY,
        &format!("the host does not answer as it should: {}", causes::told(error, ": ")),
    )
}

fn told(status: StatusCode, text: &str) -> Response<Content> {
    let line: String = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    let mut response = empty(status);
    // It has only such characters.
    if let Ok(reason) = ReasonPhrase::try_from(line.into_bytes()) {
        response.extensions_mut().insert(reason);
    }
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    *response.body_mut() = Content::Own(Full::from(format!("{text}\n")));
    response
}
