//! Asks the user what a cell asks (`input()`, `getpass`), through the host.
//!
//! A host of the handshake era is asked by a request of its own (elicitation) while the call waits. A
//! host of the stateless era gets the question as the call's result, and calls again with the answer
//! (multi-round-trip): [`Pending`] knows which cell that answer is for. What the user answers is
//! neither logged nor put into an output by husk.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use rmcp::{
    Peer, RoleServer,
    model::{
        ClientResult, ElicitRequest, ElicitRequestParams, ElicitResult, ElicitationAction,
        ElicitationSchema, InputRequest, InputRequests, InputRequiredResult, InputResponses,
        ServerRequest,
    },
    service::{PeerRequestOptions, RequestContext, RequestHandle},
};

use crate::{
    base::ids,
    kernel::event::Question,
    sandbox::{CellRun, PATIENCE},
};

/// How often one call may ask in the stateless era: clients give up after ten rounds.
const MOST_ROUNDS: u32 = 8;
/// Most questions that wait for an answer; the oldest go.
const MOST_PENDING: usize = 100;
/// The field of the form.
const FIELD: &str = "value";

/// How a call's host can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Not at all.
    None,
    /// By a request while the call waits.
    Request,
    /// By the call's result.
    Rounds,
}

impl Way {
    pub(super) fn of(request: &RequestContext<RoleServer>) -> Self {
        let elicits = request.client_capabilities().and_then(|client| client.elicitation);
        if !elicits.is_some_and(|elicits| elicits.form.is_some() || elicits.url.is_none()) {
            return Self::None;
        }
        if is_stateless(request) { Self::Rounds } else { Self::Request }
    }
}

/// Whether the request is of a revision without a handshake.
pub(super) fn is_stateless(request: &RequestContext<RoleServer>) -> bool {
    request.protocol_version().is_some_and(|version| !version.has_initialize())
}

/// What the user said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Text(String),
    /// The user did not want to answer, or nobody did.
    Declined,
}

impl Answer {
    fn of(result: &ElicitResult) -> Self {
        let text = result.content.as_ref().and_then(|content| content.get(FIELD)?.as_str());
        match (&result.action, text) {
            (ElicitationAction::Accept, Some(text)) => Self::Text(text.to_owned()),
            _ => Self::Declined,
        }
    }
}

/// Asks a host of the handshake era. Dropping the future takes the question back.
pub(super) async fn ask(peer: &Peer<RoleServer>, question: &Question) -> Answer {
    let Some(request) = form(question) else { return Answer::Declined };
    let request = ServerRequest::ElicitRequest(request);
    let options = PeerRequestOptions::no_options();
    let Ok(handle) = peer.send_cancellable_request(request, options).await else {
        return Answer::Declined;
    };
    let mut asked = Asked(Some(handle));
    let Some(handle) = asked.0.as_mut() else { return Answer::Declined };
    let Ok(answer) = tokio::time::timeout(PATIENCE, &mut handle.rx).await else {
        return Answer::Declined;
    };
    asked.0 = None;
    match answer {
        Ok(Ok(ClientResult::ElicitResult(result))) => Answer::of(&result),
        _ => Answer::Declined,
    }
}

/// A question that is taken back when it is dropped unanswered: rmcp does not do so.
struct Asked(Option<RequestHandle<RoleServer>>);

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(handle) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(handle.cancel(Some("the cell does not ask any more".to_owned())));
        }
    }
}

fn form(question: &Question) -> Option<ElicitRequest> {
    let prompt = match question.prompt.trim() {
        "" => "The code in the notebook asks for a line of text.".to_owned(),
        prompt => format!("The code in the notebook asks: {prompt}"),
    };
    let message = match question.password {
        true => {
            format!("{prompt}\n(It asks for a secret, which goes to the code and is not recorded.)")
        }
        false => prompt,
    };
    let schema =
        ElicitationSchema::builder().required_string_with(FIELD, |field| field.title("Answer"));
    Some(ElicitRequest::new(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message,
        requested_schema: schema.build().ok()?,
    }))
}

/// Questions that hosts of the stateless era were given, the oldest first.
#[derive(Default)]
pub struct Pending(Mutex<VecDeque<Round>>);

/// One question of a call.
struct Round {
    /// What the host brings back; it cannot be guessed.
    state: String,
    run: Arc<CellRun>,
    number: u64,
    rounds: u32,
    question: Question,
}

/// A call that comes back with an answer.
pub(super) struct Resumed {
    pub(super) run: Arc<CellRun>,
    pub(super) rounds: u32,
}

impl Pending {
    fn with<T>(&self, change: impl FnOnce(&mut VecDeque<Round>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The result that asks; nothing when the call has asked too often already.
    pub(super) fn ask(
        &self,
        run: &Arc<CellRun>,
        number: u64,
        question: Question,
        rounds: u32,
    ) -> Option<InputRequiredResult> {
        if rounds >= MOST_ROUNDS {
            return None;
        }
        let request = InputRequest::Elicitation(form(&question)?);
        let requests = InputRequests::from([(key(number), request)]);
        let state = ids::random_hex(16);
        let round = Round {
            state: state.clone(),
            run: Arc::clone(run),
            number,
            rounds: rounds + 1,
            question,
        };
        self.with(|pending| {
            pending.retain(|round| !round.run.is_over());
            if pending.len() >= MOST_PENDING {
                pending.pop_front();
            }
            pending.push_back(round);
        });
        Some(InputRequiredResult::new(Some(requests), Some(state)))
    }

    /// Gives the cell the answer that a call came back with; nothing where nobody asked. A call
    /// without the answer is asked again by whoever attends the cell.
    pub(super) fn resume(&self, state: &str, responses: InputResponses) -> Option<Resumed> {
        let round = self.with(|pending| {
            let at = pending.iter().position(|round| round.state == state)?;
            pending.remove(at)
        })?;
        let response = responses.into_iter().find(|(name, _)| *name == key(round.number));
        if let Some((_, response)) = response {
            let answer = serde_json::from_value::<ElicitResult>(response)
                .map_or(Answer::Declined, |result| Answer::of(&result));
            give(&round.run, round.number, answer);
        } else {
            tracing::debug!(prompt = round.question.prompt, "a call came back without an answer");
        }
        Some(Resumed { run: round.run, rounds: round.rounds })
    }
}

/// What the question is called in a call's result.
pub(super) fn key(number: u64) -> String {
    format!("input-{number}")
}

/// The question of a task's cell, as its host is told.
pub(super) fn requests(number: u64, question: &Question) -> InputRequests {
    form(question)
        .map(|form| InputRequests::from([(key(number), InputRequest::Elicitation(form))]))
        .unwrap_or_default()
}

/// Gives a task's cell the answer to its question of that number, if it is among the responses.
pub(super) fn give_response(run: &CellRun, number: u64, responses: InputResponses) {
    for (name, response) in responses {
        if name == key(number) {
            let answer = serde_json::from_value::<ElicitResult>(response)
                .map_or(Answer::Declined, |result| Answer::of(&result));
            give(run, number, answer);
        }
    }
}

/// Tells the cell; one whose user declined is interrupted.
pub(super) fn give(run: &CellRun, number: u64, answer: Answer) {
    match answer {
        Answer::Text(text) => run.answer(number, text),
        Answer::Declined => run.decline(number),
    }
}
