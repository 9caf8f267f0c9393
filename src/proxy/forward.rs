//! Plain HTTP: a request that goes to its host, and the answer that comes back.
//!
//! Both are written anew from what was read, without what is meant for this connection alone, and
//! each request has a connection of its own to its host: nothing that one of them holds can be taken
//! for another.

use std::time::Duration;

use hyper::{
    Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    client::conn::http1,
    header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING},
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{
    answer::{self, Content},
    gate::Gate,
};
use crate::base::hosts::Target;

/// What is meant for one connection only, beside what `Connection` itself names.
const OF_ONE_CONNECTION: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How long the head of an answer is waited for.
const ANSWER: Duration = Duration::from_secs(600);
/// The longest head of an answer, in bytes, and its lines.
const HEAD: usize = 64 * 1024;
const HEADERS: usize = 256;

/// The host's answer, or why there is none.
pub(super) async fn answer_of(
    gate: &Gate,
    target: &Target,
    request: Request<Incoming>,
) -> Response<Content> {
    let stream = match gate.open(target).await {
        Ok(stream) => stream,
        Err(closed) => return answer::closed(&closed),
    };
    let Some(request) = onward(request, target) else {
        return answer::misread(super::wish::Misread::Target);
    };
    let mut client = http1::Builder::new();
    client.max_header_size(HEAD).max_headers(HEADERS).max_buf_size(2 * HEAD);
    let (mut sender, connection) = match client.handshake(TokioIo::new(stream)).await {
        Ok(connected) => connected,
        Err(error) => return answer::broken(&error),
    };
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a kernel's connection to a host broke");
        }
    }));
    match timeout(ANSWER, sender.send_request(request)).await {
        Ok(Ok(response)) => back(response, connection),
        Ok(Err(error)) => answer::broken(&error),
        Err(elapsed) => answer::broken(&elapsed),
    }
}

/// The request as its host gets it.
fn onward<B>(request: Request<B>, target: &Target) -> Option<Request<B>> {
    let (mut head, body) = request.into_parts();
    let chunked = head.headers.contains_key(TRANSFER_ENCODING);
    strip(&mut head.headers);
    if chunked {
        // The only one that was let in.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse::<Uri>().ok()?;
    head.version = Version::HTTP_11;
    let host = if target.port == 80 { target.host.to_string() } else { target.to_string() };
    head.headers.insert(HOST, HeaderValue::from_str(&host).ok()?);
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    // What this connection was told by "100 Continue" it need not be told again.
    head.headers.remove("expect");
    head.extensions = hyper::http::Extensions::new();
    Some(Request::from_parts(head, body))
}

/// The answer as the kernel gets it.
fn back(response: Response<Incoming>, connection: AbortOnDropHandle<()>) -> Response<Content> {
    let (mut head, body) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return answer::broken(&Switched);
    }
    strip(&mut head.headers);
    head.version = Version::HTTP_11;
    Response::from_parts(head, Content::Host { body, _connection: connection })
}

#[derive(Debug, thiserror::Error)]
#[error("it switches to another protocol, which nobody has asked for")]
struct Switched;

/// Takes away what is meant for one connection only.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in OF_ONE_CONNECTION {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_on_without_what_is_meant_for_the_proxy() {
        let target = Target::parse("example.com:8080", None).unwrap();
        let request = Request::builder()
            .method("POST")
            .uri("http://EXAMPLE.com:8080/a%20b?c=d")
            .header("host", "EXAMPLE.com:8080")
            .header("connection", "keep-alive, X-Secret")
            .header("x-secret", "1")
            .header("proxy-authorization", "Basic x")
            .header("proxy-connection", "keep-alive")
            .header("te", "trailers")
            .header("upgrade", "h2c")
            .header("expect", "100-continue")
            .header("transfer-encoding", "chunked")
            .header("accept", "*/*")
            .body(())
            .unwrap();
        let request = onward(request, &target).unwrap();
        assert_eq!(request.uri(), "/a%20b?c=d");
        let mut headers: Vec<(&str, &str)> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        headers.sort_unstable();
        let expected = [
            ("accept", "*/*"),
            ("connection", "close"),
            ("host", "example.com:8080"),
            ("transfer-encoding", "chunked"),
        ];
        assert_eq!(headers, expected);
    }
}
