//! Tools that ask by their result, and are called again with the answers (multi-round-trip), as the
//! stateless revisions have it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use husk::base::ids;
use rmcp::{
    ErrorData,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
        CreateMessageRequest, CreateMessageRequestParams, ElicitRequest, ElicitRequestParams,
        GetPromptResponse, GetPromptResult, InputRequest, InputRequests, InputRequiredResult,
        InputResponses, ListRootsRequest, PromptMessage, Role, SamplingMessage,
    },
};
use serde_json::{Value, json};

use crate::{Fixtures, Request, asks, tools::bad};

/// States that were given out, and in which round the call was: what a client brings is not trusted.
#[derive(Default)]
pub(crate) struct States(Mutex<BTreeMap<String, u32>>);

impl States {
    fn give(&self, round: u32) -> String {
        let state = ids::random_hex(16);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(state.clone(), round);
        state
    }

    /// The round of that state, which is then over; 0 where a call begins.
    fn take(&self, state: Option<&str>) -> Result<u32, ErrorData> {
        let Some(state) = state else { return Ok(0) };
        let round = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(state);
        round.ok_or_else(|| bad("this state was not given out"))
    }
}

pub(crate) fn call(
    fixtures: &Fixtures,
    params: CallToolRequestParams,
    request: &Request,
) -> Result<CallToolResponse, ErrorData> {
    let round = fixtures.rounds.take(params.request_state.as_deref())?;
    let responses = params.input_responses.as_ref();
    let has = |keys: &[&str]| keys.iter().all(|key| response(responses, key).is_some());
    let kind = params.name.strip_prefix("test_input_required_result_").unwrap_or(&params.name);
    let state = |round| Some(fixtures.rounds.give(round));
    match kind {
        "elicitation" => match field(responses, "user_name", "name") {
            Some(name) => done(format!("Hello, {name}!")),
            None => ask([name_of_user()?], None),
        },
        "sampling" => match response(responses, "capital_question") {
            Some(answer) => done(format!("The model says: {}", told(answer, "/content/text"))),
            None => ask([model("capital_question", "What is the capital of France?")], None),
        },
        "list_roots" => match response(responses, "client_roots") {
            Some(answer) => done(format!("Roots: {}", told(answer, "/roots"))),
            None => ask([roots()], None),
        },
        "request_state" | "tampered_state" => match round {
            0 => ask([confirmation()?], state(1)),
            _ => done("state-ok".to_owned()),
        },
        "multiple_inputs" if round > 0 && has(&["user_name", "greeting", "client_roots"]) => {
            done("All inputs are there".to_owned())
        }
        "multiple_inputs" => {
            ask([name_of_user()?, model("greeting", "Greet"), roots()], state(round + 1))
        }
        "multi_round" => match round {
            0 => ask([user("step1", "What is your name?", "name")?], state(1)),
            1 => ask([user("step2", "Which colour?", "color")?], state(2)),
            _ => done("Both rounds are over".to_owned()),
        },
        "capabilities" => capable(responses, request),
        "test_missing_capability" => {
            let needed = ClientCapabilities::builder().enable_sampling().build();
            match request.client_capabilities().and_then(|client| client.sampling) {
                Some(_) => done("The client has a model".to_owned()),
                None => Err(ErrorData::missing_required_client_capability(needed)),
            }
        }
        _ => ask([user("value", "A value, please", "value")?], None),
    }
}

/// Asks only for what the client can give.
fn capable(
    responses: Option<&InputResponses>,
    request: &Request,
) -> Result<CallToolResponse, ErrorData> {
    if responses.is_some() {
        return done("What could be given is there".to_owned());
    }
    let client = request.client_capabilities().unwrap_or_default();
    let questions = [
        client.elicitation.is_some().then(name_of_user).transpose()?,
        client.sampling.is_some().then(|| model("greeting", "Greet")),
        client.roots.is_some().then(roots),
    ];
    let questions: Vec<_> = questions.into_iter().flatten().collect();
    match questions.is_empty() {
        true => done("The client can give nothing".to_owned()),
        false => ask(questions, None),
    }
}

/// A prompt that needs something of the user's.
pub(crate) fn prompt(responses: Option<&InputResponses>) -> Result<GetPromptResponse, ErrorData> {
    let Some(context) = field(responses, "user_context", "context") else {
        let question = user("user_context", "Which context?", "context")?;
        return Ok(InputRequiredResult::from_input_requests(InputRequests::from([question])).into());
    };
    let message = PromptMessage::new_text(Role::User, format!("The context is {context}"));
    Ok(GetPromptResult::new(vec![message]).into())
}

fn done(said: String) -> Result<CallToolResponse, ErrorData> {
    Ok(CallToolResult::success(vec![ContentBlock::text(said)]).into())
}

/// A question with its name.
type Question = (String, InputRequest);

fn ask(
    questions: impl IntoIterator<Item = Question>,
    state: Option<String>,
) -> Result<CallToolResponse, ErrorData> {
    Ok(InputRequiredResult::new(Some(questions.into_iter().collect()), state).into())
}

/// What the client says to a question; what is no object is no answer.
pub(crate) fn response<'a>(responses: Option<&'a InputResponses>, name: &str) -> Option<&'a Value> {
    responses?.get(name).filter(|answer| answer.is_object())
}

/// What is at that place of an answer.
pub(crate) fn told<'a>(answer: &'a Value, place: &str) -> &'a Value {
    answer.pointer(place).unwrap_or(&Value::Null)
}

/// A field of the form that the user has filled in.
pub(crate) fn field<'a>(
    responses: Option<&'a InputResponses>,
    name: &str,
    field: &str,
) -> Option<&'a str> {
    response(responses, name)?.get("content")?.get(field)?.as_str()
}

/// A question to the user, of one field.
pub(crate) fn user(name: &str, message: &str, field: &str) -> Result<Question, ErrorData> {
    question(name, message, json!({field: {"type": "string"}}), field)
}

fn name_of_user() -> Result<Question, ErrorData> {
    user("user_name", "What is your name?", "name")
}

/// A question with yes or no.
pub(crate) fn confirmation() -> Result<Question, ErrorData> {
    question("confirm", "Please confirm", json!({"ok": {"type": "boolean"}}), "ok")
}

fn question(
    name: &str,
    message: &str,
    properties: Value,
    field: &str,
) -> Result<Question, ErrorData> {
    let schema = json!({"type": "object", "properties": properties, "required": [field]});
    let request = ElicitRequest::new(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: message.to_owned(),
        requested_schema: asks::form(schema)?,
    });
    Ok((name.to_owned(), InputRequest::Elicitation(request)))
}

fn model(name: &str, prompt: &str) -> Question {
    let asked = CreateMessageRequestParams::new(vec![SamplingMessage::user_text(prompt)], 100);
    (name.to_owned(), InputRequest::CreateMessage(CreateMessageRequest::new(asked)))
}

fn roots() -> Question {
    ("client_roots".to_owned(), InputRequest::ListRoots(ListRootsRequest::default()))
}
