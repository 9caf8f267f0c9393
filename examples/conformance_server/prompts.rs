//! The suite's prompts.

use rmcp::{
    ErrorData,
    model::{
        ContentBlock, GetPromptRequestParams, GetPromptResponse, GetPromptResult, JsonObject,
        Prompt, PromptArgument, PromptMessage, ResourceContents, Role,
    },
};
use serde_json::Value;

use crate::{plain::IMAGE, rounds, tools::bad};

pub(crate) fn all() -> Vec<Prompt> {
    let prompt = |name: &str, about: &str, arguments: &[&str]| {
        let required =
            |name: &&str| PromptArgument::new(*name).with_description("A text").with_required(true);
        let arguments: Vec<_> = arguments.iter().map(required).collect();
        Prompt::new(name, Some(about), (!arguments.is_empty()).then_some(arguments))
    };
    vec![
        prompt("test_simple_prompt", "A text", &[]),
        prompt("test_prompt_with_arguments", "A text with two others in it", &["arg1", "arg2"]),
        prompt("test_prompt_with_embedded_resource", "A resource", &["resourceUri"]),
        prompt("test_prompt_with_image", "An image", &[]),
        prompt("test_input_required_result_prompt", "Asks the user first", &[]),
    ]
}

pub(crate) fn get(params: GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    if params.name == "test_input_required_result_prompt" {
        return rounds::prompt(params.input_responses.as_ref());
    }
    let arguments = params.arguments.unwrap_or_default();
    let user = |block: ContentBlock| PromptMessage::new(Role::User, block);
    let text = |said: String| user(ContentBlock::text(said));
    let messages = match params.name.as_str() {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.".to_owned())],
        "test_prompt_with_arguments" => {
            let (one, two) = (argument(&arguments, "arg1")?, argument(&arguments, "arg2")?);
            vec![text(format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
        }
        "test_prompt_with_embedded_resource" => {
            let uri = argument(&arguments, "resourceUri")?;
            let contents = ResourceContents::text("Embedded resource content for testing.", uri);
            let asks = text("Please process the embedded resource above.".to_owned());
            vec![user(ContentBlock::resource(contents)), asks]
        }
        "test_prompt_with_image" => {
            let asks = text("Please analyze the image above.".to_owned());
            vec![user(ContentBlock::image(IMAGE, "image/png")), asks]
        }
        other => return Err(bad(format!("no prompt named `{other}`"))),
    };
    Ok(GetPromptResult::new(messages).into())
}

fn argument<'a>(arguments: &'a JsonObject, name: &str) -> Result<&'a str, ErrorData> {
    let given = arguments.get(name).and_then(Value::as_str);
    given.ok_or_else(|| bad(format!("`{name}` must be given, a text")))
}
