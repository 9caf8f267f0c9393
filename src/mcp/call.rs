//! One tool call, from the request to its answer: whose tool it is, when it is its turn, and through the
//! layers of [`crate::guard`]. Told to its trace and to the audit log.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolRequestParams, CallToolResponse, InputResponses, JsonObject},
    service::RequestContext,
};
use serde_json::Value;
use tower::{Service, ServiceExt};
use tracing::Instrument;

use super::{
    Context, Server, audit,
    guest::Guest,
    identity,
    order::Ticket,
    reply::Reply,
    tools::{self, Definition},
    trace::Traced,
};
use crate::{
    base::trace_context::TraceContext,
    guard::{Answer, Denial, ToolCall, dedup::once::Identity, usage::Counts},
    sandbox::Attended,
};

/// A tool call as husk's own tools get it.
pub(super) struct Call {
    pub(super) arguments: JsonObject,
    pub(super) request: RequestContext<RoleServer>,
    /// Set when the call comes back with the answer to a question.
    pub(super) resumed: Option<(String, InputResponses)>,
    /// How it is known again.
    pub(super) identity: Identity,
    /// The cell of the call that it repeats.
    pub(super) twin: Option<Attended>,
    /// The trace that it belongs to.
    pub(super) trace: Option<TraceContext>,
}

/// What the innermost service gets of a call.
pub(super) enum Payload {
    Own(&'static Definition, Box<Call>),
    Guest(Guest, Box<(CallToolRequestParams, RequestContext<RoleServer>)>),
}

impl Payload {
    /// The trace that goes on to the kernel.
    fn belongs_to(&mut self, trace: Option<&TraceContext>) {
        if let Self::Own(_, call) = self {
            call.trace = trace.cloned();
        }
    }

    /// Calls the tool.
    pub(super) fn run(
        self,
        context: &Arc<Context>,
    ) -> Pin<Box<dyn Future<Output = Result<Reply, ErrorData>> + Send>> {
        match self {
            Self::Own(tool, call) => {
                let context = Arc::clone(context);
                Box::pin(async move {
                    let form = Arc::clone(&context.results.own);
                    Ok(run_own(context, tool, *call).await.compared_by(form))
                })
            }
            Self::Guest(guest, asked) => {
                let form = Arc::clone(&context.results.guest);
                Box::pin(async move {
                    let (params, request) = *asked;
                    let answered = guest.handler().call_tool(params, request).await;
                    Ok(Reply::of_guest(answered).compared_by(form))
                })
            }
        }
    }
}

/// A call of husk's own tool, unless its session is another machine's.
async fn run_own(context: Arc<Context>, tool: &Definition, call: Call) -> Reply {
    if let Some(session) = tools::asks_about(&context, tool, &call.arguments)
        && let Some(error) = context.sandboxes.elsewhere(&session).await
    {
        return Reply::no_sandbox(&error);
    }
    (tool.run)(context, call).await
}

/// Who hears of a call: its trace, and its line in the audit log.
struct Witness {
    traced: Traced,
    entry: Option<audit::Entry>,
}

impl Witness {
    /// It is answered.
    fn answered(mut self, reply: Reply) -> Result<CallToolResponse, ErrorData> {
        self.traced.answered(&reply);
        if let Some(entry) = &mut self.entry {
            entry.ends(reply.ending(), reply.denied_by());
        }
        reply.response().inspect_err(|error| self.traced.refused(error))
    }
}

impl Server {
    /// Carries out a tool call.
    ///
    /// # Errors
    /// The caller's own faults, and what a guest answers instead of a result.
    pub(super) async fn call(
        &self,
        params: CallToolRequestParams,
        request: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let own = tools::ALL.into_iter().find(|tool| tool.name == params.name);
        let guest = self.context.guest.as_ref().filter(|_| own.is_none());
        let theirs = guest.and_then(|guest| Some((guest, guest.tool(&params.name)?)));
        let name = own.map(|tool| tool.name).or(theirs.map(|(_, name)| name));
        let traced = Traced::begin(name, &request, self.is_user);
        let waits = own.is_some_and(|tool| tool.in_order) && params.request_state.is_none();
        in_turn(waits, &request).await;
        match (own, theirs) {
            (Some(tool), _) => self.call_own(tool, params, request, traced).await,
            (None, Some((guest, name))) => {
                let witness = self.witness(name, None, traced);
                let call = identity::guest_call(&self.context, guest, name, params, request);
                self.guarded(call, witness).await
            }
            (None, None) => {
                let error = unknown_tool(&params.name);
                traced.refused(&error);
                Err(error)
            }
        }
    }

    async fn call_own(
        &self,
        tool: &'static Definition,
        params: CallToolRequestParams,
        request: RequestContext<RoleServer>,
        traced: Traced,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = params.arguments.unwrap_or_default();
        let responses = params.input_responses.unwrap_or_default();
        let resumed = params.request_state.map(|state| (state, responses));
        let code = arguments.get("code").and_then(Value::as_str);
        let witness = self.witness(tool.name, code, traced);
        match identity::tool_call(&self.context, tool, arguments, request, resumed) {
            Ok(call) => self.guarded(call, witness).await,
            Err(denial) => witness.answered(self.not_understood(tool, denial)),
        }
    }

    /// Who hears of a call that begins.
    fn witness(&self, tool: &'static str, code: Option<&str>, traced: Traced) -> Witness {
        let trace = traced.context.as_ref().and_then(TraceContext::trace_id);
        let audit = self.context.audit.as_ref();
        let entry = audit.map(|audit| audit.begin(&self.context.principal, tool, code, trace));
        Witness { traced, entry }
    }

    /// Sends a call through the layers.
    async fn guarded(
        &self,
        mut call: ToolCall<Payload>,
        mut witness: Witness,
    ) -> Result<CallToolResponse, ErrorData> {
        let traced = &witness.traced;
        traced.of(&call.who);
        if let Some(entry) = &mut witness.entry {
            entry.of(&call.who.session);
        }
        call.payload.belongs_to(traced.context.as_ref());
        let mut stack = self.stack.clone();
        let answer = stack.ready().await?.call(call).instrument(traced.span.clone());
        let reply = answer.await.inspect_err(|error| traced.refused(error))?;
        witness.answered(reply)
    }

    /// A call that names nothing that can be called: no guard sees it, and it is counted here.
    fn not_understood(&self, tool: &Definition, denial: Denial) -> Reply {
        let denied = Counts { denied: 1, ..Counts::default() };
        self.context.guards.tally.record(tool.name, denied, Some(denial.by), Duration::ZERO);
        Reply::denied(denial)
    }
}

/// Waits until a call that has to come in order may go on; lets the others pass one that has no place,
/// or whose tool needs none.
async fn in_turn(waits: bool, request: &RequestContext<RoleServer>) {
    let Some(ticket) = request.extensions.get::<Ticket>() else { return };
    if !waits {
        ticket.pass();
        return;
    }
    tokio::select! {
        () = ticket.turn() => {}
        () = request.ct.cancelled() => {}
    }
}

fn unknown_tool(name: &str) -> ErrorData {
    let known: Vec<&str> = tools::ALL.iter().map(|tool| tool.name).collect();
    let name: String = name.chars().take(80).collect();
    ErrorData::invalid_params(
        format!("no tool named `{name}`; there are {}", known.join(", ")),
        None,
    )
}
