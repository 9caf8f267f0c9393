//! One tool call, from the request to its answer: whose tool it is, when it is its turn, and through the
//! layers of [`crate::guard`].

use std::{future::Future, pin::Pin, sync::Arc};

use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolRequestParams, CallToolResponse, InputResponses, JsonObject},
    service::RequestContext,
};
use tower::{Service, ServiceExt};
use tracing::Instrument;

use super::{
    Context, Server,
    guest::Guest,
    identity,
    order::Ticket,
    reply::Reply,
    tools::{self, Definition},
    trace,
};
use crate::{
    guard::{Answer, ToolCall, dedup::once::Identity},
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
}

/// What the innermost service gets of a call.
pub(super) enum Payload {
    Own(&'static Definition, Box<Call>),
    Guest(Guest, Box<(CallToolRequestParams, RequestContext<RoleServer>)>),
}

impl Payload {
    /// The code that it shall run.
    fn code(&self) -> Option<&str> {
        match self {
            Self::Own(_, call) => call.arguments.get("code")?.as_str(),
            Self::Guest(..) => None,
        }
    }

    /// Calls the tool.
    pub(super) fn run(
        self,
        context: &Arc<Context>,
    ) -> Pin<Box<dyn Future<Output = Result<Reply, ErrorData>> + Send>> {
        match self {
            Self::Own(tool, call) => {
                let reply = (tool.run)(Arc::clone(context), *call);
                let form = Arc::clone(&context.results.own);
                Box::pin(async move { Ok(reply.await.compared_by(form)) })
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
        let guest = self.context.guest.as_ref();
        let theirs = || guest.and_then(|guest| Some((guest, guest.tool(&params.name)?)));
        let waits = own.is_some_and(|tool| tool.in_order) && params.request_state.is_none();
        in_turn(waits, &request).await;
        match (own, theirs()) {
            (Some(tool), _) => self.call_own(tool, params, request).await,
            (None, Some((guest, name))) => self.call_guest(guest, name, params, request).await,
            (None, None) => Err(unknown_tool(&params.name)),
        }
    }

    async fn call_own(
        &self,
        tool: &'static Definition,
        params: CallToolRequestParams,
        request: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = params.arguments.unwrap_or_default();
        let responses = params.input_responses.unwrap_or_default();
        let resumed = params.request_state.map(|state| (state, responses));
        let traced = Traced::of(tool.name, &request);
        match identity::tool_call(&self.context, tool, arguments, request, resumed) {
            Ok(call) => self.guarded(call, traced).await,
            Err(denial) => Reply::denied(denial).response(),
        }
    }

    async fn call_guest(
        &self,
        guest: &Guest,
        name: &'static str,
        params: CallToolRequestParams,
        request: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let traced = Traced::of(name, &request);
        let call = identity::guest_call(&self.context, guest, name, params, request);
        self.guarded(call, traced).await
    }

    /// Sends a call through the layers, and writes it down.
    async fn guarded(
        &self,
        call: ToolCall<Payload>,
        Traced { span, trace }: Traced,
    ) -> Result<CallToolResponse, ErrorData> {
        let (audit, tool, code) =
            (self.context.audit.as_ref(), call.signature.tool, call.payload.code());
        let mut entry = audit.map(|audit| audit.begin(&call.who, tool, code, trace.as_ref()));
        let mut stack = self.stack.clone();
        let reply = stack.ready().await?.call(call).instrument(span).await?;
        if let Some(entry) = &mut entry {
            entry.ends(reply.ending(), reply.denied_by());
        }
        reply.response()
    }
}

/// The trace to which a call belongs.
struct Traced {
    span: tracing::Span,
    trace: Option<trace::TraceId>,
}

impl Traced {
    fn of(tool: &str, request: &RequestContext<RoleServer>) -> Self {
        let trace = trace::TraceId::of(request);
        Self { span: trace::span(tool, request, trace.as_ref()), trace }
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
