//! What a request to the proxy asks for: a connection to a host, or one answer of it.
//!
//! Pure. A request that says two things about where it goes is refused, so that no one on the way
//! can read another than the one that was judged.

use hyper::{
    Method, Request, Uri,
    header::{HOST, HeaderMap},
};

use crate::base::hosts::Target;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// A connection, over which anything may go.
    Tunnel(Target),
    /// An answer over plain HTTP.
    Answer(Target),
}

/// A request that no client of a proxy sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misread {
    /// It is for a server, not for a proxy.
    #[error(
        "this is husk's proxy, not a server; ask for a whole URL (http://host/path) or CONNECT, as \
         clients do that heed HTTP_PROXY and HTTPS_PROXY"
    )]
    Origin,
    /// It asks for another scheme.
    #[error("only http:// goes through the proxy as it is; for anything else use CONNECT")]
    Scheme,
    /// Where it goes cannot be read.
    #[error("the request does not say where it goes as `host` or `host:port`")]
    Target,
    /// It says two things.
    #[error("the request's Host is another than the one it asks for")]
    Host,
}

/// Reads the head of a request.
pub(super) fn read<B>(request: &Request<B>) -> Result<Wish, Misread> {
    let uri = request.uri();
    if request.method() == Method::CONNECT {
        let target = target(uri, None)?;
        let port = target.port;
        agrees(request.headers(), &target, port)?;
        return Ok(Wish::Tunnel(target));
    }
    match uri.scheme_str() {
        None => Err(Misread::Origin),
        Some("http") => {
            let target = target(uri, Some(80))?;
            agrees(request.headers(), &target, 80)?;
            Ok(Wish::Answer(target))
        }
        Some(_) => Err(Misread::Scheme),
    }
}

fn target(uri: &Uri, port: Option<u16>) -> Result<Target, Misread> {
    // With a name and password before the host it is no target: they belong into a header, and are
    // mostly a disguise.
    let authority = uri.authority().map(|authority| authority.as_str());
    authority.and_then(|authority| Target::parse(authority, port)).ok_or(Misread::Target)
}

/// Whether the header, where there is one, names the same target.
fn agrees(headers: &HeaderMap, target: &Target, port: u16) -> Result<(), Misread> {
    let mut hosts = headers.get_all(HOST).iter();
    let Some(host) = hosts.next() else { return Ok(()) };
    let said = host.to_str().ok().and_then(|host| Target::parse(host, Some(port)));
    if said.as_ref() == Some(target) && hosts.next().is_none() {
        return Ok(());
    }
    Err(Misread::Host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(method: &str, uri: &str, hosts: &[&str]) -> Result<String, Misread> {
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        read(&request.body(()).unwrap()).map(|wish| match wish {
            Wish::Tunnel(target) => format!("tunnel to {target}"),
            Wish::Answer(target) => format!("answer of {target}"),
        })
    }

    #[test]
    fn a_request_goes_where_all_of_it_says() {
        let check = |method: &str, uri: &str, hosts: &[&str], expected: Result<&str, Misread>| {
            let got = wish(method, uri, hosts);
            assert_eq!(got.as_deref().map_err(|misread| *misread), expected, "{method} {uri}");
        };
        check("CONNECT", "example.com:443", &[], Ok("tunnel to example.com:443"));
        check("CONNECT", "EXAMPLE.com:443", &["example.com"], Ok("tunnel to example.com:443"));
        check("CONNECT", "[::1]:443", &["[::1]:443"], Ok("tunnel to [::1]:443"));
        check("CONNECT", "example.com", &[], Err(Misread::Target));
        check("CONNECT", "a@example.com:443", &[], Err(Misread::Target));
        check("CONNECT", "example.com:443", &["other.test:443"], Err(Misread::Host));
        check("CONNECT", "example.com:443", &["example.com:80"], Err(Misread::Host));
        check("GET", "http://example.com/a?b", &["example.com"], Ok("answer of example.com:80"));
        check(
            "GET",
            "http://example.com:8080/",
            &["example.com:8080"],
            Ok("answer of example.com:8080"),
        );
        check("GET", "http://example.com/", &[], Ok("answer of example.com:80"));
        check("GET", "http://0x7f.1/", &["127.0.0.1"], Ok("answer of 127.0.0.1:80"));
        check("GET", "http://example.com/", &["other.test"], Err(Misread::Host));
        check("GET", "http://example.com/", &["example.com", "other.test"], Err(Misread::Host));
        check("GET", "http://example.com/", &["example.com", "example.com"], Err(Misread::Host));
        check("GET", "http://example.com:8080/", &["example.com"], Err(Misread::Host));
        check("GET", "http://user:word@example.com/", &["example.com"], Err(Misread::Target));
        check("GET", "http://example.com@other.test/", &["other.test"], Err(Misread::Target));
        check("GET", "https://example.com/", &["example.com"], Err(Misread::Scheme));
        check("GET", "ftp://example.com/", &["example.com"], Err(Misread::Scheme));
        check("GET", "/", &["example.com"], Err(Misread::Origin));
        check("OPTIONS", "*", &["example.com"], Err(Misread::Origin));
    }
}
