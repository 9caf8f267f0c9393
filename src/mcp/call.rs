//! A tool call on its way: in its turn, written down, through the guards.

use std::time::Duration;

use rmcp::{ErrorData, RoleServer, model::JsonObject, service::RequestContext};
use serde_json::Value;
use tower::{Service, ServiceExt};
use tracing::Instrument;

use super::{
    Payload, Server, audit,
    order::Ticket,
    reply::Reply,
    tools::{self, Definition},
    trace::Traced,
};
use crate::{
    base::trace_context::TraceContext,
    guard::{Denial, ToolCall, usage::Counts},
};

impl Server {
    /// The line of a call that begins, where calls are written down.
    pub(super) fn written_down(
        &self,
        tool: &Definition,
        arguments: &JsonObject,
        traced: &Traced,
    ) -> Option<audit::Entry> {
        let code = arguments.get("code").and_then(Value::as_str);
        let trace = traced.context.as_ref().and_then(TraceContext::trace_id);
        let audit = self.context.audit.as_ref()?;
        Some(audit.begin(&self.context.principal, tool.name, code, trace))
    }

    /// A call passes the guards, and its tool does what it asks for.
    pub(super) async fn carry_out(
        &self,
        mut call: ToolCall<Payload>,
        traced: &Traced,
    ) -> Result<Reply, ErrorData> {
        traced.of(&call.who);
        call.payload.call.trace.clone_from(&traced.context);
        let mut stack = self.stack.clone();
        let answer = stack.ready().await?.call(call).instrument(traced.span.clone());
        answer.await.inspect_err(|error| traced.refused(error))
    }

    /// A call that names nothing that can be called: no guard sees it, and it is counted here.
    pub(super) fn not_understood(&self, tool: &Definition, denial: Denial) -> Reply {
        let denied = Counts { denied: 1, ..Counts::default() };
        self.context.guards.tally.record(tool.name, denied, Some(denial.by), Duration::ZERO);
        Reply::denied(denial)
    }
}

/// Waits until a call that has to come in order may go on; lets the others pass one that has no place,
/// or whose tool needs none.
pub(super) async fn in_turn(
    tool: &Definition,
    resumed: bool,
    context: &RequestContext<RoleServer>,
) {
    let Some(ticket) = context.extensions.get::<Ticket>() else { return };
    if !tool.in_order || resumed {
        ticket.pass();
        return;
    }
    tokio::select! {
        () = ticket.turn() => {}
        () = context.ct.cancelled() => {}
    }
}

pub(super) fn unknown_tool(name: &str) -> ErrorData {
    let known: Vec<&str> = tools::ALL.iter().map(|tool| tool.name).collect();
    let name: String = name.chars().take(80).collect();
    ErrorData::invalid_params(
        format!("no tool named `{name}`; there are {}", known.join(", ")),
        None,
    )
}
