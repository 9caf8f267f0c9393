//! A call as a part of a trace that its caller has begun: the span that goes with it, and what of the
//! trace goes on to the kernel.
//!
//! `_meta` counts more than headers, which a proxy may have written. The names of the fields are those
//! of OpenTelemetry's conventions for MCP and for agents; arguments and answers are in none of them.
//! Source: <https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/mcp.md>.

#[cfg(feature = "otel")]
mod exported;

use rmcp::{ErrorData, RoleServer, model::RequestId, service::RequestContext};
use serde_json::Value;
use tracing::{Span, field::Empty};

use super::reply::Reply;
use crate::{
    base::trace_context::{NAMES, TraceContext},
    guard::{Answer, Who},
};

/// The longest id of a request that is told, in characters: a caller writes it.
const LONGEST_ID: usize = 64;

/// The one method that has a span.
const METHOD: &str = "tools/call";

/// By what way a call came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Way {
    /// `pipe`, `unix` or `tcp`.
    transport: &'static str,
    /// Whether HTTP is spoken.
    http: bool,
    client: Option<String>,
    session: Option<String>,
}

/// A call that is traced.
pub(super) struct Traced {
    /// Its span.
    pub(super) span: Span,
    /// What goes on: the caller's trace, below the span where that is exported.
    pub(super) context: Option<TraceContext>,
}

impl Traced {
    /// A call begins; `tool` is one of husk's. `by_user` says that it comes over this user's own socket.
    pub(super) fn begin(
        tool: Option<&'static str>,
        request: &RequestContext<RoleServer>,
        by_user: bool,
    ) -> Self {
        let span = span(tool, request, &way(request, by_user));
        let said = in_meta(request);
        let around = in_headers(request);
        #[cfg(feature = "otel")]
        let context = exported::placed(&span, said, around);
        #[cfg(not(feature = "otel"))]
        let context = said.or(around);
        if let Some(trace) = context.as_ref().and_then(TraceContext::trace_id) {
            span.record("trace_id", trace);
        }
        Self { span, context }
    }

    /// Whose call it is.
    pub(super) fn of(&self, who: &Who) {
        self.span.record("husk.session", &*who.session);
    }

    /// It is answered.
    pub(super) fn answered(&self, reply: &Reply) {
        if let Some(by) = reply.denied_by() {
            self.span.record("husk.denied_by", by);
        }
        if reply.failed() {
            self.failed("tool_error");
        }
    }

    /// It is answered with an error of the protocol.
    pub(super) fn refused(&self, error: &ErrorData) {
        let code = error.code.0.to_string();
        self.span.record("rpc.response.status_code", code.as_str());
        self.failed(&code);
    }

    fn failed(&self, kind: &str) {
        self.span.record("error.type", kind);
        if cfg!(feature = "otel") {
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

fn span(tool: Option<&'static str>, request: &RequestContext<RoleServer>, way: &Way) -> Span {
    let name = tool.map_or_else(|| METHOD.to_owned(), |tool| format!("{METHOD} {tool}"));
    // What only an exporter reads is in no log.
    let exported = cfg!(feature = "otel");
    tracing::info_span!(
        "tools/call",
        otel.name = exported.then_some(name),
        otel.kind = exported.then_some("server"),
        otel.status_code = Empty,
        mcp.method.name = METHOD,
        mcp.protocol.version = request.protocol_version().map(|it| it.as_str().to_owned()),
        mcp.session.id = way.session,
        jsonrpc.request.id = id(&request.id),
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = tool,
        network.transport = way.transport,
        network.protocol.name = way.http.then_some("http"),
        network.protocol.version = way.http.then_some("1.1"),
        client.address = way.client,
        error.type = Empty,
        rpc.response.status_code = Empty,
        husk.session = Empty,
        husk.denied_by = Empty,
        trace_id = Empty,
    )
}

fn id(id: &RequestId) -> String {
    id.to_string().chars().take(LONGEST_ID).collect()
}

/// The trace that the caller tells of.
fn in_meta(request: &RequestContext<RoleServer>) -> Option<TraceContext> {
    TraceContext::read(NAMES.map(|name| request.meta.0.get(name).and_then(Value::as_str)))
}

/// The trace of the request of HTTP.
#[cfg(feature = "http")]
fn in_headers(request: &RequestContext<RoleServer>) -> Option<TraceContext> {
    let headers = &request.extensions.get::<axum::http::request::Parts>()?.headers;
    // Two `traceparent` name no trace; lists may come in parts.
    let all = NAMES.map(|name| {
        let values = headers.get_all(name).iter().map(|value| value.to_str().ok());
        values.collect::<Option<Vec<&str>>>().filter(|values| !values.is_empty())
    });
    let joined = all.map(|values| values.map(|values| values.join(",")));
    TraceContext::read(joined.each_ref().map(|value| value.as_deref()))
}

#[cfg(not(feature = "http"))]
fn in_headers(_: &RequestContext<RoleServer>) -> Option<TraceContext> {
    None
}

#[cfg(feature = "http")]
fn way(request: &RequestContext<RoleServer>, by_user: bool) -> Way {
    use super::transport::http::connection::Peer;

    let Some(parts) = request.extensions.get::<axum::http::request::Parts>() else {
        return plain(by_user);
    };
    let client = parts.extensions.get::<Peer>().and_then(|from| from.0);
    let header = parts.headers.get("mcp-session-id").and_then(|id| id.to_str().ok());
    let link = parts.uri.query().and_then(|query| query.strip_prefix("sessionId="));
    Way {
        transport: if client.is_some() { "tcp" } else { "unix" },
        http: true,
        client: client.map(|client| client.to_string()),
        session: header.or(link).map(|id| id.chars().take(LONGEST_ID).collect()),
    }
}

#[cfg(not(feature = "http"))]
fn way(_: &RequestContext<RoleServer>, by_user: bool) -> Way {
    plain(by_user)
}

fn plain(by_user: bool) -> Way {
    Way { transport: if by_user { "unix" } else { "pipe" }, ..Way::default() }
}
