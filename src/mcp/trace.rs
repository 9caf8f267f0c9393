//! A call as a part of a trace that its caller has begun: what `traceparent` says, in `_meta` or in the
//! header of that name, and the span that goes with it.
//!
//! The names of the fields are those of OpenTelemetry's conventions for MCP and for agents.

#[cfg(feature = "http")]
use axum::http::request::Parts;
use rmcp::{RoleServer, service::RequestContext};
use serde_json::Value;
use tracing::Span;

/// The member of `_meta`, and the header.
const NAME: &str = "traceparent";

/// The trace that a call belongs to: 32 hexadecimal digits, as the W3C has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TraceId(String);

impl TraceId {
    /// What a `traceparent` names; one that is not as the W3C has it is none.
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, parent, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, length: usize| {
            part.len() == length
                && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let fits = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
        // The first version has no more parts; of later ones nobody knows.
        let known = version != "ff" && (version != "00" || parts.next().is_none());
        let named = |part: &str| part.bytes().any(|b| b != b'0');
        (fits && known && named(trace) && named(parent)).then(|| Self(trace.to_owned()))
    }

    /// The trace of a request: `_meta` counts more than the header, which a proxy may have written.
    pub(super) fn of(request: &RequestContext<RoleServer>) -> Option<Self> {
        let meta = request.meta.0.get(NAME).and_then(Value::as_str).and_then(Self::read);
        meta.or_else(|| Self::read(header(request)?))
    }

    /// Its digits.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(feature = "http")]
fn header(request: &RequestContext<RoleServer>) -> Option<&str> {
    request.extensions.get::<Parts>()?.headers.get(NAME)?.to_str().ok()
}

#[cfg(not(feature = "http"))]
fn header(_: &RequestContext<RoleServer>) -> Option<&str> {
    None
}

/// The span of a tool call.
pub(super) fn span(
    tool: &str,
    request: &RequestContext<RoleServer>,
    trace: Option<&TraceId>,
) -> Span {
    tracing::debug_span!(
        "tools/call",
        mcp.method.name = "tools/call",
        mcp.protocol.version = request.protocol_version().map(|it| it.as_str().to_owned()),
        jsonrpc.request.id = %request.id,
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = tool,
        trace_id = trace.map(TraceId::as_str),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_w3c_has_is_a_trace() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let good = format!("00-{trace}-00f067aa0b1902b7-01");
        assert_eq!(TraceId::read(&good).unwrap().as_str(), trace);
        assert!(TraceId::read(&format!("01-{trace}-00f067aa0b1902b7-01-more")).is_some());
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "00",
            &format!("{good}-more"),
            &format!("ff-{trace}-00f067aa0b1902b7-01"),
            &format!("00-{zeros}-00f067aa0b1902b7-01"),
            &format!("00-{trace}-0000000000000000-01"),
            &good.to_uppercase(),
            &good.replace('-', "_"),
            &good[1..],
        ] {
            assert_eq!(TraceId::read(bad), None, "{bad}");
        }
    }
}
