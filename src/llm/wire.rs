//! From a request to what goes over the wire, and from what comes back to pieces of an answer,
//! whichever provider it is.
//!
//! Pure but for the time that Bedrock's signature holds.

use std::time::SystemTime;

use serde_json::Value;

use super::{
    anthropic, bedrock,
    draft::Piece,
    endpoint::{Access, Endpoint},
    error::{Class, Failure},
    message::Block,
    openai,
    request::Request,
    route::Kind,
    sse,
};

/// A request as it is sent: always a POST of JSON.
pub(super) struct Post {
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// Writes a request.
///
/// # Errors
/// A failure of class `bad_request` when it lacks what the wire needs.
pub(super) fn post(
    endpoint: &Endpoint,
    request: &Request,
    stream: bool,
    now: SystemTime,
) -> Result<Post, Failure> {
    let Some(model) = request.params.model.as_deref() else {
        let missing =
            "no model is named, neither in the target's override_params nor in the request";
        return Err(Failure::new(Class::BadRequest, missing));
    };
    let body = match endpoint.target.kind {
        Kind::Anthropic | Kind::BedrockMessages => json(&anthropic::body(request, stream)),
        Kind::OpenAi => json(&openai::body(request, stream, endpoint.is_usual())),
        Kind::Bedrock => json(&bedrock::body(request)),
    }?;
    let url = endpoint.url(model, stream);
    let mut headers: Vec<(String, String)> =
        vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(endpoint.target.headers.clone());
    match &endpoint.access {
        Access::None => {}
        Access::ApiKey(key) => headers.push(("x-api-key".to_owned(), key.reveal().to_owned())),
        Access::Bearer(key) => {
            headers.push(("authorization".to_owned(), format!("Bearer {}", key.reveal())));
        }
        Access::Signed(signer) => headers.extend(signer.sign(&url, &body, now)),
    }
    if matches!(endpoint.target.kind, Kind::Anthropic | Kind::BedrockMessages) {
        headers.push(("anthropic-version".to_owned(), anthropic::VERSION.to_owned()));
    }
    Ok(Post { url, headers, body })
}

fn json(body: &impl serde::Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(body).map_err(|error| Failure::new(Class::BadRequest, error))
}

/// The request without what this kind of provider would refuse: thoughts that no provider has
/// signed.
pub(super) fn fitted(mut request: Request) -> Request {
    for message in &mut request.messages {
        message.content.retain(|block| match block {
            Block::Thinking { signature, .. } => !signature.is_empty(),
            Block::Text { text, .. } => !text.is_empty(),
            _ => true,
        });
    }
    request.messages.retain(|message| !message.content.is_empty());
    request
}

/// What an answer that is no success says.
pub(super) fn failure(kind: Kind, status: u16, body: &[u8]) -> Failure {
    let text = || Value::from(String::from_utf8_lossy(body).into_owned());
    let value = serde_json::from_slice(body).unwrap_or_else(|_| text());
    match kind {
        Kind::OpenAi => openai::failure(Some(status), &value),
        Kind::Anthropic | Kind::BedrockMessages => anthropic::failure(Some(status), &value),
        Kind::Bedrock => bedrock::failure(Some(status), "", &value),
    }
}

/// The pieces of an answer that came whole.
pub(super) fn whole(kind: Kind, body: &[u8]) -> Result<Vec<Piece>, Failure> {
    let value = parsed(body)?;
    let mut pieces = match kind {
        Kind::OpenAi => openai::read(&value, &mut Vec::new())?,
        Kind::Anthropic | Kind::BedrockMessages | Kind::Bedrock => anthropic::read(&value)?,
    };
    pieces.push(Piece::Ended);
    Ok(pieces)
}

fn parsed(json: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(json).map_err(|error| {
        Failure::new(Class::Stream, format!("the answer is no JSON: {error}")).in_stream()
    })
}

/// Reads a stream.
pub(super) enum Feed {
    /// Server-sent events of Anthropic's form.
    Anthropic(sse::Decoder),
    /// Server-sent events of OpenAI's form, and the calls that have begun.
    OpenAi(sse::Decoder, Vec<u64>),
    /// Bedrock's own frames.
    Bedrock(bedrock::frames::Decoder),
}

impl Feed {
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::OpenAi => Self::OpenAi(sse::Decoder::default(), Vec::new()),
            Kind::Anthropic | Kind::BedrockMessages => Self::Anthropic(sse::Decoder::default()),
            Kind::Bedrock => Self::Bedrock(bedrock::frames::Decoder::default()),
        }
    }

    /// Takes bytes, and gives what they complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, Failure> {
        let unreadable = |error: sse::TooLong| Failure::new(Class::Stream, error).in_stream();
        match self {
            Self::Anthropic(decoder) => {
                of_events(decoder.push(bytes).map_err(unreadable)?, anthropic::read)
            }
            Self::OpenAi(decoder, open) => {
                of_events(decoder.push(bytes).map_err(unreadable)?, |it| openai::read(it, open))
            }
            Self::Bedrock(decoder) => bedrock::read(decoder.push(bytes)),
        }
    }

    /// What the end of the bytes completes. `stopped`: the model has said why it stops.
    pub(super) fn end(&mut self, stopped: bool) -> Result<Vec<Piece>, Failure> {
        match self {
            Self::Anthropic(decoder) => of_events(decoder.end(), anthropic::read),
            Self::OpenAi(decoder, open) => {
                let mut pieces = of_events(decoder.end(), |it| openai::read(it, open))?;
                // Not all compatible servers send the end mark; the reason is said last.
                let stopped =
                    stopped || pieces.iter().any(|piece| matches!(piece, Piece::Stopped(_)));
                pieces.extend(stopped.then_some(Piece::Ended));
                Ok(pieces)
            }
            Self::Bedrock(_) => Ok(Vec::new()),
        }
    }

    /// Whether an answer may count as whole though its end mark does not come.
    pub(super) fn may_end_unmarked(&self) -> bool {
        matches!(self, Self::OpenAi(..))
    }
}

fn of_events(
    events: impl IntoIterator<Item = sse::Event>,
    mut read: impl FnMut(&Value) -> Result<Vec<Piece>, Failure>,
) -> Result<Vec<Piece>, Failure> {
    let mut pieces = Vec::new();
    for event in events {
        match event.data.trim() {
            "" => {}
            "[DONE]" => pieces.push(Piece::Ended),
            data => pieces.extend(read(&parsed(data.as_bytes())?)?),
        }
    }
    Ok(pieces)
}
