//! Tools that ask the client by a request of their own, as the revisions with a handshake have it.

use rmcp::{
    ErrorData,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientResult, ContentBlock,
        CreateMessageRequestParams, ElicitRequest, ElicitRequestParams, ElicitationSchema,
        SamplingMessage, ServerRequest,
    },
    service::ServiceError,
};
use serde_json::{Value, json};

use crate::{Request, tools::bad};

pub(crate) async fn call(
    params: CallToolRequestParams,
    request: &Request,
) -> Result<CallToolResponse, ErrorData> {
    let argument = |name: &str| {
        let given = params.arguments.as_ref().and_then(|all| all.get(name)?.as_str());
        given.ok_or_else(|| bad(format!("`{name}` must be a text")))
    };
    let said = match &*params.name {
        "test_sampling" => model(request, argument("prompt")?).await,
        "test_elicitation" => user(request, argument("message")?, names()).await,
        "test_elicitation_sep1034_defaults" => user(request, "All have defaults", defaults()).await,
        _ => user(request, "Choose", choices()).await,
    };
    let result = match said {
        Ok(said) => CallToolResult::success(vec![ContentBlock::text(said)]),
        Err(error) => CallToolResult::error(vec![ContentBlock::text(error.to_string())]),
    };
    Ok(result.into())
}

async fn model(request: &Request, prompt: &str) -> Result<String, ServiceError> {
    let asked = CreateMessageRequestParams::new(vec![SamplingMessage::user_text(prompt)], 100);
    let answer = request.peer.create_message(asked).await?;
    let text = answer.message.content.first().and_then(|block| block.as_text());
    Ok(format!("LLM response: {}", text.map_or("no text", |text| &*text.text)))
}

async fn user(request: &Request, message: &str, schema: Value) -> Result<String, ServiceError> {
    let asked = ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: message.to_owned(),
        requested_schema: form(schema).map_err(ServiceError::McpError)?,
    };
    let asked = ServerRequest::ElicitRequest(ElicitRequest::new(asked));
    let ClientResult::ElicitResult(answer) = request.peer.send_request(asked).await? else {
        return Err(ServiceError::UnexpectedResponse);
    };
    let content = answer.content.unwrap_or_default();
    Ok(format!("User response: action={:?}, content={content}", answer.action).to_lowercase())
}

/// A form of these fields.
pub(crate) fn form(schema: Value) -> Result<ElicitationSchema, ErrorData> {
    let broken = |error| ErrorData::internal_error(format!("this is no form: {error}"), None);
    serde_json::from_value(schema).map_err(broken)
}

fn names() -> Value {
    json!({"type": "object", "properties": {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }, "required": ["username", "email"]})
}

fn defaults() -> Value {
    json!({"type": "object", "properties": {
        "name": {"type": "string", "description": "Name", "default": "John Doe"},
        "age": {"type": "integer", "description": "Age", "default": 30},
        "score": {"type": "number", "description": "Score", "default": 95.5},
        "status": {"type": "string", "description": "Status",
            "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "description": "Verified", "default": true},
    }, "required": []})
}

fn choices() -> Value {
    let titled = |word: &str| {
        json!([
            {"const": "value1", "title": format!("First {word}")},
            {"const": "value2", "title": format!("Second {word}")},
            {"const": "value3", "title": format!("Third {word}")},
        ])
    };
    let plain = json!(["option1", "option2", "option3"]);
    json!({"type": "object", "properties": {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
    }, "required": []})
}
