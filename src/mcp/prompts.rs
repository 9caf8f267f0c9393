//! What a user may want to ask for in a host's menu: a file to be analysed, the last error explained,
//! a report of what was done.
//!
//! A prompt is the user's words to the model; it runs nothing.

use rmcp::{
    ErrorData,
    model::{
        ContentBlock, GetPromptResult, JsonObject, Prompt, PromptArgument, PromptMessage,
        ResourceContents, Role,
    },
};
use serde_json::Value;

use super::{Context, resources};
use crate::{
    base::ids::SessionName,
    sandbox::{Phase, Status},
};

/// The longest argument, in bytes.
const LONGEST: usize = 4096;
/// Most of an error's text that goes into a prompt, in bytes.
const SHOWN: usize = 8192;

/// The argument that names a session.
pub(super) const SESSION: &str = "session";
/// The argument that names an installed kernel.
pub(super) const KERNEL: &str = "kernel";
const FILE: &str = "file";

/// All prompts.
pub(super) fn all() -> Vec<Prompt> {
    let session = || {
        PromptArgument::new(SESSION)
            .with_description("The notebook session; without it, the one that calls use")
            .with_required(false)
    };
    let file = PromptArgument::new(FILE)
        .with_description("The file, as a path in the workspace")
        .with_required(true);
    let kernel = PromptArgument::new(KERNEL)
        .with_description("An installed Jupyter kernel; without it, Python")
        .with_required(false);
    let analyse = Some(vec![file, kernel]);
    vec![
        Prompt::new("analyse_file", Some("Look at a data file in the notebook"), analyse)
            .with_title("Analyse a file"),
        Prompt::new(
            "explain_error",
            Some("Why the last cell failed, and what mends it"),
            Some(vec![session()]),
        )
        .with_title("Explain the last error"),
        Prompt::new(
            "make_report",
            Some("A readable report of what the notebook has done and found"),
            Some(vec![session()]),
        )
        .with_title("Make a report of the notebook"),
    ]
}

/// Whether it is one of them.
pub(super) fn is_own(name: &str) -> bool {
    all().iter().any(|prompt| prompt.name == name)
}

/// A prompt with its arguments filled in.
///
/// # Errors
/// What MCP has for a prompt that is not there, or arguments that do not fit.
pub(super) fn get(
    context: &Context,
    name: &str,
    arguments: Option<JsonObject>,
) -> Result<GetPromptResult, ErrorData> {
    let arguments = arguments.unwrap_or_default();
    let text = |name: &str| match arguments.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= LONGEST => Ok(Some(text.as_str())),
        Some(_) => Err(bad(format!("`{name}` must be a text of at most {LONGEST} bytes"))),
    };
    match name {
        "analyse_file" => {
            let file = text(FILE)?.filter(|file| !file.is_empty());
            let file = file.ok_or_else(|| bad(format!("say which `{FILE}`")))?;
            Ok(analyse(file, text(KERNEL)?.filter(|kernel| !kernel.is_empty())))
        }
        "explain_error" => explain(context, &session(context, text(SESSION)?)?),
        "make_report" => report(context, &session(context, text(SESSION)?)?),
        other => {
            let shown: String = other.chars().take(80).collect();
            Err(bad(format!("no prompt named `{shown}`")))
        }
    }
}

fn bad(reason: String) -> ErrorData {
    ErrorData::invalid_params(reason, None)
}

fn session(context: &Context, name: Option<&str>) -> Result<SessionName, ErrorData> {
    match name.filter(|name| !name.is_empty()) {
        None => Ok(context.default_session.clone()),
        Some(name) => SessionName::new(name).map_err(|error| bad(error.to_string())),
    }
}

fn user(text: String) -> PromptMessage {
    PromptMessage::new_text(Role::User, text)
}

fn analyse(file: &str, kernel: Option<&str>) -> GetPromptResult {
    // Names are data: quoted, so that they are not read as more of the request.
    let file = Value::from(file);
    let kernel = kernel.map_or(String::new(), |kernel| {
        format!(
            " Use the kernel {} in a session of its own (argument `{KERNEL}` of notebook_run_cell).",
            Value::from(kernel)
        )
    });
    let text = format!(
        "Analyse the file {file} in the notebook. First look at its size, format and first rows \
         without printing all of it; then say what it holds, what is missing or odd, and what stands \
         out, with a plot where it helps. Keep the data in a variable, so that later cells can go on.{kernel}"
    );
    GetPromptResult::new(vec![user(text)]).with_description("Analyse a file")
}

fn explain(context: &Context, session: &SessionName) -> Result<GetPromptResult, ErrorData> {
    let failed = context.sandboxes.cells(session).into_iter().rev().find_map(|run| {
        let Phase::Over(outcome) = run.phase() else { return None };
        (outcome.status != Status::Ok).then_some(run)
    });
    let Some(run) = failed else {
        return Err(bad(format!("no cell of session `{session}` has failed")));
    };
    let total = run.output.totals().text_bytes;
    let from = total.saturating_sub(SHOWN as u64);
    let (told, _) = run.output.text_range(from, SHOWN as u64);
    let text = format!(
        "Cell {} of the notebook session `{session}` failed. Explain why, in words for whoever wrote \
         it, and propose the smallest change that mends it; run the changed cell if it is safe to. \
         The end of its output:\n\n{told}",
        run.id()
    );
    Ok(GetPromptResult::new(vec![user(text)]).with_description("Explain the last error"))
}

fn report(context: &Context, session: &SessionName) -> Result<GetPromptResult, ErrorData> {
    let notebook = context.sandboxes.notebook(session).map_err(|error| bad(error.to_string()))?;
    let notebook = notebook.ok_or_else(|| bad(format!("nothing is recorded of `{session}`")))?;
    let text = "Write a report of this notebook for somebody who has not seen it: the question, what \
        was done, what was found, with the numbers and plots that show it, and what is still open. Leave \
        out what did not work, unless it matters. Here is the notebook:";
    let uri = resources::notebook_uri(session);
    let contents = ResourceContents::text(notebook, uri).with_mime_type("application/x-ipynb+json");
    let attached = PromptMessage::new(Role::User, ContentBlock::resource(contents));
    Ok(GetPromptResult::new(vec![user(text.to_owned()), attached])
        .with_description("Make a report of the notebook"))
}
