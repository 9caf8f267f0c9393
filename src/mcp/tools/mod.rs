//! The tools, one file each: its arguments, its output, its deed.

pub mod inspect;
pub mod interrupt;
pub mod run_cell;
pub mod sandbox_reset;
pub mod sandbox_status;
pub mod usage;
pub mod wait_cell;

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use rmcp::{
    handler::server::common::{schema_for_input, schema_for_output},
    model::{JsonObject, Tool, ToolAnnotations},
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Call, Context, ask::Way, identity::Likeness, reply::Reply};
use crate::{
    base::ids::SessionName,
    guard::{Denial, Policy},
    sandbox::MAX_TIMEOUT,
};

/// What a call may take beside its waiting: large answers, scaled images.
const MARGIN: Duration = Duration::from_secs(30);

/// A tool's future.
pub(super) type Running = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// One tool.
pub struct Definition {
    /// Its name.
    pub name: &'static str,
    title: &'static str,
    description: &'static str,
    annotations: Hints,
    /// Which guards its calls pass.
    pub(super) policy: Policy,
    /// What does not count when they are compared.
    pub(super) likeness: Likeness,
    /// Whether calls must reach the tool in the order in which they came.
    pub(super) in_order: bool,
    input: fn() -> Arc<JsonObject>,
    /// Where another tool answers in the same way, its schema is not listed twice.
    output: Option<fn() -> Arc<JsonObject>>,
    /// The longest that a call with these arguments may take.
    pub(super) deadline: fn(&Context, &JsonObject, Way) -> Duration,
    pub(super) run: fn(Arc<Context>, Call) -> Running,
}

struct Hints {
    read_only: bool,
    destructive: bool,
    idempotent: bool,
    open_world: bool,
}

/// All tools, in the order in which they are listed.
pub const ALL: [&Definition; 7] = [
    &run_cell::TOOL,
    &wait_cell::TOOL,
    &interrupt::TOOL,
    &inspect::TOOL,
    &sandbox_status::TOOL,
    &sandbox_reset::TOOL,
    &usage::TOOL,
];

impl Definition {
    /// Whether it changes nothing.
    pub(super) fn only_looks(&self) -> bool {
        self.annotations.read_only
    }

    /// The tool as MCP lists it.
    #[must_use]
    pub fn describe(&self) -> Tool {
        let hints = &self.annotations;
        let annotations = ToolAnnotations::new()
            .read_only(hints.read_only)
            .destructive(hints.destructive)
            .idempotent(hints.idempotent)
            .open_world(hints.open_world);
        let tool = Tool::new(self.name, self.description, (self.input)())
            .with_title(self.title)
            .with_annotations(annotations);
        match self.output {
            Some(output) => tool.with_raw_output_schema(output()),
            None => tool,
        }
    }
}

/// The schema of arguments, without what says nothing to a model.
fn input<T: JsonSchema + 'static>() -> Arc<JsonObject> {
    // Every tool's arguments are an object, which is all that can be wrong here.
    schema_for_input::<T>().map_or_else(|_| Arc::default(), slim)
}

/// The schema of an output.
fn output<T: JsonSchema + 'static>() -> Arc<JsonObject> {
    slim(schema_for_output::<T>())
}

fn slim(schema: Arc<JsonObject>) -> Arc<JsonObject> {
    let mut schema = Value::Object(Arc::unwrap_or_clone(schema));
    prune(&mut schema);
    match schema {
        Value::Object(schema) => Arc::new(schema),
        _ => Arc::default(),
    }
}

/// Takes away titles (they repeat names), number formats (JSON has none) and bounds that only
/// mirror Rust's integer types. Tool lists are paid for in every conversation.
fn prune(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for noise in ["title", "format", "$schema"] {
                if members.get(noise).is_some_and(Value::is_string) {
                    members.remove(noise);
                }
            }
            if members.get("minimum") == Some(&Value::from(0)) {
                members.remove("minimum");
            }
            optional(members);
            members.values_mut().for_each(prune);
        }
        Value::Array(all) => all.iter_mut().for_each(prune),
        _ => {}
    }
}

/// What may be left out need not say that it may be null as well.
fn optional(schema: &mut JsonObject) {
    let Some(Value::Array(kinds)) = schema.get_mut("type") else { return };
    kinds.retain(|kind| kind != "null");
    if let [kind] = kinds.as_slice() {
        let kind = kind.clone();
        schema.insert("type".to_owned(), kind);
    }
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
}

/// Reads a call's arguments.
fn arguments<T: DeserializeOwned>(tool: &str, arguments: JsonObject) -> Result<T, Denial> {
    serde_json::from_value(Value::Object(arguments)).map_err(|error| Denial {
        hint: Some("see the tool's input schema".to_owned()),
        ..bad(format!("{tool} cannot be called like this: {error}"))
    })
}

/// Arguments that cannot be obeyed.
pub(super) fn bad(reason: String) -> Denial {
    Denial { by: "arguments", code: "bad_arguments", reason, retry_after_s: None, hint: None }
}

/// The session that a call names, or the one of calls that name none.
pub(super) fn session(context: &Context, name: Option<&str>) -> Result<SessionName, Denial> {
    let Some(name) = name else { return Ok(context.default_session.clone()) };
    match connection_file(name) {
        Some(file) => Ok(SessionName::of_file(&file)),
        None => SessionName::new(name).map_err(|error| bad(error.to_string())),
    }
}

/// The session whose kernel a call asks about: not one that it would start.
pub(super) fn asks_about(
    context: &Context,
    tool: &Definition,
    arguments: &JsonObject,
) -> Option<SessionName> {
    let named = arguments.get("session").and_then(Value::as_str);
    let asks = match tool.name {
        name if name == run_cell::TOOL.name || name == usage::TOOL.name => false,
        // Without a name it shows all that are here.
        name if name == sandbox_status::TOOL.name => named.is_some(),
        _ => true,
    };
    session(context, named).ok().filter(|_| asks)
}

/// The same; `file:PATH` names the session of a kernel that somebody else started, and its
/// connection file, where the settings allow it.
fn session_or_file(
    context: &Context,
    name: Option<&str>,
) -> Result<(SessionName, Option<PathBuf>), Denial> {
    let file = name.and_then(connection_file);
    if file.is_some() && !context.allow_attach {
        return Err(Denial {
            hint: Some(
                "the user can set `launch.attach = true`, or start husk with --connection-file"
                    .to_owned(),
            ),
            ..bad("sessions of connection files are not allowed here".to_owned())
        });
    }
    Ok((session(context, name)?, file))
}

/// The connection file that a session's name means: one path, however it is written. The file
/// itself may be gone, as its kernel takes it along.
fn connection_file(name: &str) -> Option<PathBuf> {
    let file = Path::new(name.strip_prefix("file:")?);
    let whole = || {
        let folder = match file.parent()? {
            here if here.as_os_str().is_empty() => Path::new("."),
            folder => folder,
        };
        Some(folder.canonicalize().ok()?.join(file.file_name()?))
    };
    Some(whole().or_else(|| std::path::absolute(file).ok()).unwrap_or_else(|| file.to_owned()))
}

/// A number of seconds that a call gives.
fn seconds(name: &str, given: Option<f64>, least: f64) -> Result<Option<Duration>, Denial> {
    let Some(seconds) = given else { return Ok(None) };
    if (least..=MAX_TIMEOUT).contains(&seconds) {
        return Ok(Some(Duration::from_secs_f64(seconds)));
    }
    let least = if least > 0.0 { "more than 0" } else { "at least 0" };
    Err(bad(format!("{name} {seconds} is out of range: {least}, at most {MAX_TIMEOUT} seconds")))
}
