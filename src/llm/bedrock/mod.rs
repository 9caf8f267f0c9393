//! Bedrock's `invoke` as a wire: Anthropic's bodies and events, in AWS's frames ([`frames`]) and under
//! AWS's signature ([`signature`]).

pub(super) mod credentials;
pub(super) mod frames;
pub(super) mod signature;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{
    anthropic::{self, of_words},
    draft::Piece,
    error::{Class, Failure},
    request::Request,
};
use frames::{BadFrame, Frame};

/// The version of the body, which Bedrock wants inside it.
const VERSION: &str = "bedrock-2023-05-31";

/// The body that asks for this; model and streaming are in the address.
pub(super) fn body(request: &Request) -> anthropic::Body<'_> {
    let mut body = anthropic::body(request, false);
    body.model = None;
    body.anthropic_version = Some(VERSION);
    body
}

/// The path that asks this model.
pub(super) fn path(model: &str, stream: bool) -> String {
    let with = if stream { "-with-response-stream" } else { "" };
    format!("/model/{}/invoke{with}", signature::encoded(model))
}

/// The pieces in these frames.
pub(super) fn read(frames: Vec<Result<Frame, BadFrame>>) -> Result<Vec<Piece>, Failure> {
    let mut pieces = Vec::new();
    for frame in frames {
        let unreadable = |what: String| Failure::new(Class::Stream, what).in_stream();
        let frame = frame.map_err(|bad| unreadable(bad.to_string()))?;
        let payload: Value = serde_json::from_slice(&frame.payload).unwrap_or(Value::Null);
        match (frame.message_type.as_str(), frame.event_type.as_str()) {
            ("event", "chunk") => {
                let event = payload
                    .get("bytes")
                    .and_then(Value::as_str)
                    .and_then(|text| BASE64_STANDARD.decode(text).ok())
                    .and_then(|json| serde_json::from_slice::<Value>(&json).ok());
                let event = event.ok_or_else(|| unreadable("a chunk holds no event".to_owned()))?;
                pieces.extend(anthropic::read(&event)?);
            }
            ("exception" | "error", kind) => return Err(failure(None, kind, &payload).in_stream()),
            // Other events may come with time.
            _ => {}
        }
    }
    Ok(pieces)
}

/// What an error says; `kind` is its name, where it stands outside of the body.
pub(super) fn failure(status: Option<u16>, kind: &str, body: &Value) -> Failure {
    let text = |name| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let message = [text("message"), text("Message"), body.as_str().unwrap_or_default()];
    let message = message.into_iter().find(|text| !text.is_empty()).unwrap_or(kind);
    let named = if kind.is_empty() { text("__type") } else { kind };
    let named = named.rsplit('#').next().unwrap_or_default().to_lowercase();
    let class = match named.trim_end_matches("exception").trim_end_matches("error") {
        "throttling" | "servicequotaexceeded" | "toomanyrequests" => Class::RateLimited,
        "serviceunavailable" | "modelnotready" => Class::Overloaded,
        "modeltimeout" => Class::of_status(408),
        "internalserver" | "modelstream" => Class::Server,
        "accessdenied" | "unrecognizedclient" | "expiredtoken" | "invalidsignature" => {
            Class::Denied
        }
        "resourcenotfound" => Class::NotFound,
        "validation" => of_words(message),
        _ => match status.map_or(Class::Server, Class::of_status) {
            Class::BadRequest => of_words(message),
            class => class,
        },
    };
    let failure = Failure::new(class, message);
    match status {
        Some(status) => failure.with_status(status),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn colons_of_a_models_name_are_encoded_in_its_path() {
        assert_eq!(
            path("us.anthropic.claude-4-v1:0", true),
            "/model/us.anthropic.claude-4-v1%3A0/invoke-with-response-stream"
        );
    }

    #[test]
    fn the_body_names_the_version_and_neither_model_nor_stream() {
        let mut request = Request::ask("hi");
        request.params.model = Some("m".to_owned());
        let body = serde_json::to_value(body(&request)).unwrap();
        assert_eq!(body["anthropic_version"], VERSION);
        assert_eq!((body.get("model"), body.get("stream")), (None, None));
    }

    #[test]
    fn exceptions_have_the_class_that_their_name_says() {
        for (kind, message, class) in [
            ("throttlingException", "slow", Class::RateLimited),
            ("ThrottlingException", "slow", Class::RateLimited),
            ("serviceUnavailableException", "busy", Class::Overloaded),
            ("modelStreamErrorException", "x", Class::Server),
            ("validationException", "Input is too long for requested model.", Class::ContextLength),
            ("validationException", "malformed", Class::BadRequest),
            ("AccessDeniedException", "no", Class::Denied),
            ("internalServerException", "x", Class::Server),
        ] {
            let failure = failure(None, kind, &json!({"message": message}));
            assert_eq!((failure.class, failure.message.as_str()), (class, message));
        }
        let told = failure(
            Some(400),
            "",
            &json!({"__type": "com.amazon#ValidationException", "message": "m"}),
        );
        assert_eq!((told.class, told.status), (Class::BadRequest, 400));
    }
}
