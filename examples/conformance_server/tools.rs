//! The list of the suite's tools, and who answers each.

use rmcp::{
    ErrorData,
    model::{CallToolRequestParams, CallToolResponse, Tool},
};
use serde_json::{Value, json};

use crate::{Fixtures, Request, asks, object, plain, rounds, tasks};

/// All tools.
pub(crate) fn all() -> Vec<Tool> {
    let nothing = json!({"type": "object", "properties": {}});
    let without = WITHOUT_ARGUMENTS.iter().map(|&(name, about)| (name, about, nothing.clone()));
    let text = |name: &str| json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]});
    let with = [
        ("test_sampling", "Asks the client's model", text("prompt")),
        ("test_elicitation", "Asks the user", text("message")),
        (
            "json_schema_2020_12_tool",
            "Has a schema with all of JSON Schema 2020-12",
            all_of_schema(),
        ),
        ("test_custom_header", "Has a parameter that goes in a header, too", custom_header()),
        ("greet", "Greets at once, never as a task", text("name")),
        ("slow_compute", "Takes `seconds`, as a task", slow()),
        ("confirm_delete", "Asks before it would delete, as a task", text("filename")),
    ];
    without
        .chain(with)
        .map(|(name, about, schema)| Tool::new(name, about, object(schema)))
        .collect()
}

const WITHOUT_ARGUMENTS: &[(&str, &str)] = &[
    ("test_simple_text", "Answers with a text"),
    // The suite knows nothing of users; husk's own tests do.
    ("who_calls", "Tells who calls"),
    ("test_image_content", "Answers with an image"),
    ("test_audio_content", "Answers with sound"),
    ("test_embedded_resource", "Answers with a resource"),
    ("test_multiple_content_types", "Answers with a text, an image and a resource"),
    ("test_error_handling", "Fails"),
    ("test_tool_with_logging", "Logs three times"),
    ("test_logging_tool", "Logs if the request asks for it"),
    ("test_tool_with_progress", "Tells its progress three times"),
    ("test_reconnection", "Lets its client go, and takes a moment"),
    ("test_trigger_tool_change", "Tells that the list of tools has changed"),
    ("test_trigger_prompt_change", "Tells that the list of prompts has changed"),
    ("test_missing_capability", "Needs a client with a model"),
    ("test_elicitation_sep1034_defaults", "Asks the user, with defaults"),
    ("test_elicitation_sep1330_enums", "Asks the user to choose"),
    ("test_streaming_elicitation", "Asks by its result"),
    ("test_input_required_result_elicitation", "Asks the user by its result"),
    ("test_input_required_result_sampling", "Asks the model by its result"),
    ("test_input_required_result_list_roots", "Asks for roots by its result"),
    ("test_input_required_result_request_state", "Asks, and knows the call again"),
    ("test_input_required_result_tampered_state", "Asks, and knows a forged state"),
    ("test_input_required_result_multiple_inputs", "Asks for three things at once"),
    ("test_input_required_result_multi_round", "Asks twice"),
    ("test_input_required_result_capabilities", "Asks for what the client can give"),
    ("failing_job", "Fails, as a task"),
    ("protocol_error_job", "Breaks, as a task"),
    ("multi_input", "Asks for two things at once, as a task"),
    ("test_tool_with_task", "Asks by its result, and then becomes a task"),
];

/// Calls a tool.
pub(crate) async fn call(
    fixtures: &Fixtures,
    params: CallToolRequestParams,
    request: Request,
) -> Result<CallToolResponse, ErrorData> {
    match &*params.name {
        "test_sampling"
        | "test_elicitation"
        | "test_elicitation_sep1034_defaults"
        | "test_elicitation_sep1330_enums" => asks::call(params, &request).await,
        "test_streaming_elicitation" | "test_missing_capability" => {
            rounds::call(fixtures, params, &request)
        }
        name if name.starts_with("test_input_required_result_") => {
            rounds::call(fixtures, params, &request)
        }
        "greet"
        | "slow_compute"
        | "confirm_delete"
        | "failing_job"
        | "protocol_error_job"
        | "multi_input"
        | "test_tool_with_task" => tasks::call(fixtures, params, &request).await,
        _ => plain::call(fixtures, params, &request).await,
    }
}

/// What a tool says that it was not called as its schema has it.
pub(crate) fn bad(why: impl Into<String>) -> ErrorData {
    ErrorData::invalid_params(why.into(), None)
}

fn slow() -> Value {
    json!({"type": "object", "properties": {
        "seconds": {"type": "number", "minimum": 0},
        "label": {"type": "string"},
    }, "required": ["seconds"]})
}

fn custom_header() -> Value {
    json!({"type": "object", "properties": {
        "value": {"type": "string", "x-mcp-header": "Value"},
    }, "required": ["value"]})
}

fn all_of_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}
