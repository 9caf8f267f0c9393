//! `notebook_inspect`: looks at variables without running code.

use std::{fmt::Write, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Definition, Hints, Running};
use crate::{
    guard::{Denial, Policy, Repeats},
    kernel::peek::LONGEST_NAME,
    mcp::{Call, Context, ask::Way, attend, identity::Likeness, reply::Reply},
    sandbox::InspectError,
};

/// How long a look may take when the call does not say.
const WAIT: Duration = Duration::from_secs(10);

/// Members that only the text tells.
const LONG: [&str; 3] = ["doc", "repr", "head"];

/// The tool.
pub const TOOL: Definition = Definition {
    name: "notebook_inspect",
    title: "Look at variables",
    description: "List the notebook's variables, or tell about one: type, value, docstring, \
        signature, columns. Runs no code; answers while a cell runs.",
    annotations: Hints { read_only: true, destructive: false, idempotent: true, open_world: false },
    policy: Policy { repeats: Repeats::Judged, breaks: true, limited: true, runs: false },
    likeness: Likeness { ignored: &["wait"], trimmed: &[] },
    in_order: false,
    input: super::input::<Args>,
    output: Some(super::output::<Output>),
    deadline: |context, arguments, _| {
        attend::longest_wait(context, arguments, Way::None) + super::MARGIN
    },
    run,
};

/// Arguments of `notebook_inspect`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    /// The variable, for example "df" or "np.mean".
    #[serde(default)]
    pub name: Option<String>,
    /// The session.
    #[serde(default)]
    pub session: Option<String>,
    /// Seconds to wait for the kernel (default 10).
    #[serde(default)]
    pub wait: Option<f64>,
}

/// Structured answer of `notebook_inspect`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    session: String,
    /// What there is.
    #[serde(flatten)]
    #[schemars(with = "serde_json::Map<String, Value>")]
    found: Value,
}

fn run(context: Arc<Context>, call: Call) -> Running {
    Box::pin(async move {
        let understood = || -> Result<_, Denial> {
            let args: Args = super::arguments(TOOL.name, call.arguments)?;
            let session = super::session(&context, args.session.as_deref())?;
            let wait = super::seconds("wait", args.wait, f64::MIN_POSITIVE)?.unwrap_or(WAIT);
            if args.name.as_ref().is_some_and(|name| name.len() > LONGEST_NAME) {
                return Err(super::bad(format!("name is longer than {LONGEST_NAME} bytes")));
            }
            Ok((session, args.name, wait))
        };
        let (session, name, wait) = match understood() {
            Ok(understood) => understood,
            Err(denial) => return Reply::denied(denial),
        };
        let looked = match context.sandboxes.inspect(&session, name.as_deref(), wait).await {
            Ok(looked) => looked,
            Err(error) => return Reply::no_sandbox(&error),
        };
        match looked {
            Ok(mut found) => {
                let text = told(&found, name.as_deref());
                // What is long stands once, in the text.
                if let Value::Object(members) = &mut found {
                    members.retain(|member, _| !LONG.contains(&member.as_str()));
                }
                Reply::value(text, &Output { session: session.to_string(), found })
            }
            Err(error) => Reply::denied(denial(&error)),
        }
    })
}

fn denial(error: &InspectError) -> Denial {
    let code = match error {
        InspectError::NoKernel(_) => "no_kernel",
        InspectError::Busy { .. } => "kernel_busy",
        InspectError::NoListing(_) => "not_offered",
        InspectError::Late { .. } => "late",
        InspectError::Refused(_) => "refused",
    };
    Denial { by: "kernel", code, reason: error.to_string(), retry_after_s: None, hint: None }
}

/// The answer as text for the model.
fn told(found: &Value, name: Option<&str>) -> String {
    match name {
        Some(name) => one(found, name),
        None => all(found),
    }
}

fn text<'a>(of: &'a Value, member: &str) -> Option<&'a str> {
    of.get(member).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// One line a variable: its name, type, extent and value.
fn all(found: &Value) -> String {
    let mut told = String::new();
    for variable in found.get("variables").and_then(Value::as_array).into_iter().flatten() {
        let (name, kind) = (text(variable, "name"), text(variable, "type"));
        let _ = write!(told, "{}: {}", name.unwrap_or("?"), kind.unwrap_or("?"));
        if let Some(shape) = variable.get("shape").or_else(|| variable.get("length")) {
            let _ = write!(told, " {shape}");
        }
        if let Some(value) = text(variable, "repr") {
            let _ = write!(told, " = {value}");
        }
        told.push('\n');
    }
    for group in ["modules", "functions", "classes"] {
        let names = found.get(group).and_then(Value::as_array).into_iter().flatten();
        let names: Vec<&str> = names.filter_map(Value::as_str).collect();
        if !names.is_empty() {
            let _ = writeln!(told, "{group}: {}", names.join(", "));
        }
    }
    if let Some(more) = found.get("more").and_then(Value::as_u64).filter(|more| *more > 0) {
        let _ = writeln!(told, "and {more} more");
    }
    if told.is_empty() { "no variables".to_owned() } else { told }
}

/// Everything about one, a member a line.
fn one(found: &Value, name: &str) -> String {
    if let Some(error) = text(found, "error") {
        let close = found.get("close").and_then(Value::as_array).into_iter().flatten();
        let close: Vec<&str> = close.filter_map(Value::as_str).collect();
        let close = match close.as_slice() {
            [] => String::new(),
            close => format!("; there is {}", close.join(", ")),
        };
        return format!("{name}: {error}{close}");
    }
    let mut told = format!("{name}: {}\n", text(found, "type").unwrap_or("unknown type"));
    for member in ["shape", "length", "dtype", "size", "signature", "file", "keys", "columns"] {
        match found.get(member) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => {
                let _ = writeln!(told, "{member}: {text}");
            }
            Some(value) => {
                let _ = writeln!(told, "{member}: {value}");
            }
        }
    }
    for member in LONG {
        if let Some(text) = text(found, member) {
            let _ = writeln!(told, "{member}:\n{text}");
        }
    }
    told
}
