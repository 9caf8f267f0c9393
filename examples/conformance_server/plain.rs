//! Tools that answer without asking anybody.

use std::time::Duration;

use husk::mcp::guest::{self, stream};
use rmcp::{
    ErrorData,
    model::{
        AudioContent, CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock,
        LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam, ResourceContents,
    },
    service::ServiceError,
};
use serde_json::{Value, json};

use crate::{Changed, Fixtures, Request, tools::bad};

/// A red pixel, as PNG.
pub(crate) const IMAGE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8/5+hHgAHggJ/PchI7wAAAABJRU5ErkJggg==";
/// No sound, as WAV.
const SOUND: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";
/// Between two steps of a tool that has some.
const STEP: Duration = Duration::from_millis(50);

pub(crate) async fn call(
    fixtures: &Fixtures,
    params: CallToolRequestParams,
    request: &Request,
) -> Result<CallToolResponse, ErrorData> {
    let text = |text: &str| vec![ContentBlock::text(text)];
    let content = match &*params.name {
        "test_simple_text" => text("This is a simple text response for testing."),
        "test_image_content" => vec![ContentBlock::image(IMAGE, "image/png")],
        "test_audio_content" => {
            vec![ContentBlock::Audio(AudioContent::new(SOUND, "audio/wav"))]
        }
        "test_embedded_resource" => vec![ContentBlock::resource(ResourceContents::text(
            "This is an embedded resource content.",
            "test://embedded-resource",
        ))],
        "test_multiple_content_types" => vec![
            ContentBlock::text("Multiple content types test:"),
            ContentBlock::image(IMAGE, "image/png"),
            ContentBlock::resource(
                ResourceContents::text(
                    json!({"test": "data", "value": 123}).to_string(),
                    "test://mixed-content-resource",
                )
                .with_mime_type("application/json"),
            ),
        ],
        "who_calls" => text(guest::caller(request).name()),
        "test_error_handling" => {
            let why = text("This tool intentionally returns an error for testing");
            return Ok(CallToolResult::error(why).into());
        }
        "json_schema_2020_12_tool" => text("The schema is what is tested."),
        "test_custom_header" => match params.arguments.as_ref().and_then(|it| it.get("value")) {
            Some(Value::String(value)) => text(value),
            _ => return Err(bad("`value` must be a text")),
        },
        "test_trigger_tool_change" => changed(fixtures, Changed::Tools),
        "test_trigger_prompt_change" => changed(fixtures, Changed::Prompts),
        name => slowly(name, request).await.map_err(gone)?,
    };
    Ok(CallToolResult::success(content).into())
}

/// Tells those who listen; nobody need do so.
fn changed(fixtures: &Fixtures, change: Changed) -> Vec<ContentBlock> {
    let listeners = fixtures.changes.send(change).unwrap_or_default();
    vec![ContentBlock::text(format!("{listeners} listen"))]
}

fn gone(error: ServiceError) -> ErrorData {
    ErrorData::internal_error(format!("the client cannot be told: {error}"), None)
}

/// Tools that tell something while they work.
async fn slowly(name: &str, request: &Request) -> Result<Vec<ContentBlock>, ServiceError> {
    match name {
        "test_tool_with_logging" => {
            for said in
                ["Tool execution started", "Tool processing data", "Tool execution completed"]
            {
                log(request, LoggingLevel::Info, said).await?;
                tokio::time::sleep(STEP).await;
            }
        }
        "test_logging_tool" => {
            if let Some(level) = request.meta.log_level() {
                log(request, level, "A level was asked for").await?;
            }
        }
        "test_tool_with_progress" => {
            for done in [0.0, 50.0, 100.0] {
                if let Some(token) = request.meta.get_progress_token() {
                    let progress = ProgressNotificationParam::new(token, done).with_total(100.0);
                    request.peer.notify_progress(progress).await?;
                }
                tokio::time::sleep(STEP).await;
            }
        }
        _ => {
            // Its client comes back for the answer, if it can.
            stream::let_go(request);
            tokio::time::sleep(STEP * 2).await;
        }
    }
    Ok(vec![ContentBlock::text("done")])
}

async fn log(request: &Request, level: LoggingLevel, said: &str) -> Result<(), ServiceError> {
    let message = LoggingMessageNotificationParam::new(level, json!(said)).with_logger("fixtures");
    request.peer.notify_logging_message(message).await
}
