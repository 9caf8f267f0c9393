//! What the guards are told of a call: who makes it, what it is, whether it is one that came before.

use std::time::Duration;

use rmcp::{
    RoleServer,
    model::{CallToolRequestParams, InputResponses, JsonObject},
    service::RequestContext,
};
use serde_json::{Value, json};

use super::{
    Context,
    ask::Way,
    call::{Call, Payload},
    guest::Guest,
    tools::{self, Definition},
};
use crate::{
    base::{
        budget,
        canon::{Digest, Form},
    },
    guard::{Denial, Policy, Repeats, Signature, ToolCall, Who, dedup::once::Identity},
};

/// What of a tool's arguments does not count when calls are compared.
pub(super) struct Likeness {
    /// Members that say nothing about what is done.
    pub(super) ignored: &'static [&'static str],
    /// Texts whose trailing white space says nothing.
    pub(super) trimmed: &'static [&'static str],
}

impl Likeness {
    /// Every member counts.
    pub(super) const EXACT: Self = Self { ignored: &[], trimmed: &[] };
}

/// The member of `_meta` by which a host says that two calls are one.
const KEY: &str = "idempotencyKey";
/// The member of `_meta` by which a host says that a call may be repeated.
pub(super) const REPEAT: &str = "allow_repeat";
/// The longest key, in bytes.
const LONGEST_KEY: usize = 256;

/// A call as the layers get it.
///
/// # Errors
/// [`Denial`] for a session or an idempotency key that cannot be one.
pub(super) fn tool_call(
    context: &Context,
    tool: &'static Definition,
    arguments: JsonObject,
    request: RequestContext<RoleServer>,
    resumed: Option<(String, InputResponses)>,
) -> Result<ToolCall<Payload>, Denial> {
    let may_repeat = request.meta.0.get(REPEAT) == Some(&Value::Bool(true));
    let signature = Signature { tool: tool.name, arguments: digest(tool, &arguments) };
    let key = request.meta.0.get(KEY).map(key).transpose()?;
    let identity = Identity { signature, key, may_join: !may_repeat };
    let named = arguments.get("session").and_then(Value::as_str);
    let session = tools::session(context, named)?;
    let who = Who { principal: context.principal.clone(), session: session.as_str().into() };
    let budgeted = context.guards.accounts.settings().session.max_seconds.is_some();
    let ran = if budgeted { context.sandboxes.ran(&session) } else { Duration::ZERO };
    let looks = tool.policy.runs && resumed.is_none();
    let twin = if looks { context.sandboxes.twin(&session, &identity) } else { None };
    Ok(ToolCall {
        who,
        signature,
        policy: tool.policy,
        attends: twin.is_some() || resumed.is_some(),
        may_repeat,
        ran,
        cost: arguments.values().map(|value| budget::tokens(&value.to_string())).sum(),
        deadline: (tool.deadline)(context, &arguments, Way::of(&request)),
        cancelled: request.ct.clone(),
        payload: Payload::Own(
            tool,
            Box::new(Call { arguments, request, resumed, identity, twin, trace: None }),
        ),
    })
}

/// Which guards the calls of a guest's tool pass: all.
const OF_GUESTS: Policy =
    Policy { repeats: Repeats::Judged, breaks: true, limited: true, runs: false };

/// A call of a guest's tool as the layers get it. It belongs to the session of calls that name none: what
/// its arguments mean only the guest knows.
pub(super) fn guest_call(
    context: &Context,
    guest: &Guest,
    tool: &'static str,
    params: CallToolRequestParams,
    request: RequestContext<RoleServer>,
) -> ToolCall<Payload> {
    let session = context.default_session.as_str().into();
    // One that comes back with answers is another call than the one that was asked for them.
    let said = json!({
        "tool": tool,
        "arguments": params.arguments,
        "responses": params.input_responses,
        "state": params.request_state,
    });
    let form = Form::without(&[]).keeping("arguments").keeping("responses");
    ToolCall {
        who: Who { principal: context.principal.clone(), session },
        signature: Signature { tool, arguments: form.digest(&said) },
        policy: OF_GUESTS,
        attends: false,
        may_repeat: request.meta.0.get(REPEAT) == Some(&Value::Bool(true)),
        ran: Duration::ZERO,
        cost: budget::tokens(&json!([params.arguments, params.input_responses]).to_string()),
        deadline: guest.deadline(),
        cancelled: request.ct.clone(),
        payload: Payload::Guest(guest.clone(), Box::new((params, request))),
    }
}

/// The digest of a call's arguments. Its session is no part of it: calls are compared within one.
fn digest(tool: &Definition, arguments: &JsonObject) -> Digest {
    let likeness = &tool.likeness;
    let mut counted = JsonObject::new();
    for (name, value) in arguments {
        if name == "session" || likeness.ignored.contains(&name.as_str()) {
            continue;
        }
        let value = match value {
            Value::String(text) if likeness.trimmed.contains(&name.as_str()) => {
                Value::from(text.trim_end())
            }
            value => value.clone(),
        };
        counted.insert(name.clone(), value);
    }
    let form = Form::without(&[]).keeping("arguments");
    form.digest(&json!({ "tool": tool.name, "arguments": counted }))
}

fn key(key: &Value) -> Result<Digest, Denial> {
    match key {
        Value::String(key) if (1..=LONGEST_KEY).contains(&key.len()) => {
            Ok(Digest::of_bytes(key.as_bytes()))
        }
        _ => Err(tools::bad(format!(
            "`_meta.{KEY}` must be a text of 1 to {LONGEST_KEY} bytes; the call was not carried out"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(tool: &Definition, arguments: Value) -> Digest {
        digest(tool, arguments.as_object().unwrap())
    }

    #[test]
    fn what_does_not_change_what_is_done_does_not_count() {
        let run = &tools::run_cell::TOOL;
        let code = of(run, json!({ "code": "x = 1" }));
        for same in [
            json!({ "code": "x = 1", "description": "sets x" }),
            json!({ "code": "x = 1 \n\n" }),
            json!({ "code": "x = 1", "session": "main" }),
            json!({ "wait": 3, "code": "x = 1" }),
        ] {
            assert_eq!(of(run, same.clone()), code, "{same}");
        }
        for other in [
            json!({ "code": "x = 2" }),
            json!({ "code": " x = 1" }),
            json!({ "code": "x = 1", "timeout": 5 }),
            json!({ "code": "x = 1", "kernel": "bash" }),
            json!({ "code": "x = 1", "timestamp": 5 }),
        ] {
            assert_ne!(of(run, other.clone()), code, "{other}");
        }
    }

    #[test]
    fn a_key_is_a_short_text() {
        assert!(key(&json!("a")).is_ok());
        for bad in [json!(""), json!(7), json!("x".repeat(LONGEST_KEY + 1)), json!(null)] {
            assert_eq!(key(&bad).unwrap_err().code, "bad_arguments", "{bad}");
        }
    }
}
