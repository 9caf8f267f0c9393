//! `GET /view`: the page on which a human watches sessions.
//!
//! The page is the same for everybody and holds nothing of anybody: it asks for a token, and with that it
//! speaks MCP at `/mcp`, as every client does. What it may do is bounded by its own header: no script but
//! the one that it comes with, no connections but to this server.

use std::sync::{Arc, LazyLock};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use ring::digest::{SHA256, digest};
use tokio::time::Instant;

use super::{
    Door,
    checks::{self, refuse},
    connection::Peer,
};
use crate::mcp::view::PAGE;

/// The headers of the page.
static HEADERS: LazyLock<HeaderMap> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types inert",
        hash("script"),
        hash("style"),
    );
    let pairs = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The next server may have another page.
        (header::CACHE_CONTROL, "no-cache"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    // Each is plain text.
    let valid =
        |(name, value): (HeaderName, &str)| Some((name, HeaderValue::from_str(value).ok()?));
    pairs.into_iter().filter_map(valid).collect()
});

/// What stands in the page's only element of that name, as a policy names it.
fn hash(element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let inside = PAGE.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
    let digest = digest(&SHA256, inside.map_or("", |(inside, _)| inside).as_bytes());
    format!("'sha256-{}'", BASE64_STANDARD.encode(digest))
}

/// The page, under the names and within the pace that hold for everything.
pub(super) async fn view(State(door): State<Arc<Door>>, request: Request) -> Response {
    if let Err(refused) = door.gate.judge(checks::text(request.headers(), header::HOST), None) {
        return refuse(StatusCode::FORBIDDEN, refused);
    }
    let from = request.extensions().get::<Peer>().and_then(|from| from.0);
    match door.paces.take(from, Instant::now()) {
        Ok(()) => (HEADERS.clone(), PAGE.as_str()).into_response(),
        Err(wait) => checks::too_many(wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_one_script_and_one_style_and_the_policy_names_them() {
        for element in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "{element}");
            assert_eq!(PAGE.matches(&format!("</{element}")).count(), 1, "{element}");
        }
        let policy = HEADERS[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
        assert_ne!(hash("script"), hash("nothing"));
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn the_page_is_small_and_whole() {
        assert!(PAGE.len() < 32_000, "{} bytes", PAGE.len());
        for outside in ["http://", "https://", "innerHTML", "document.write", "eval(", " style="] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
    }
}
