//! `usage`: what the caller has used, what is left, and what the guards have seen.

mod told;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Definition, Hints, Running};
use crate::{
    guard::{Policy, Repeats},
    mcp::{Call, Context, LOOKING, identity::Likeness, reply::Reply},
};

pub use told::Output;

/// The tool.
pub const TOOL: Definition = Definition {
    name: "usage",
    title: "Usage and limits",
    description: "What you have used and what is left: calls and estimated tokens of this minute and \
        hour, limits, repeated calls, tools not tried for a while, totals by tool.",
    annotations: Hints { read_only: true, destructive: false, idempotent: true, open_world: false },
    policy: Policy { repeats: Repeats::Exempt, breaks: false, limited: false, runs: false },
    likeness: Likeness::EXACT,
    in_order: false,
    input: super::input::<Args>,
    output: Some(super::output::<Output>),
    deadline: |_, _, _| LOOKING,
    run,
};

/// Arguments of `usage`: none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {}

/// What the user of that context is told, as this server knows it.
pub(in crate::mcp) fn of(context: &Context) -> Output {
    Output::of(&context.guards, &context.principal, None, Instant::now())
}

fn run(context: Arc<Context>, call: Call) -> Running {
    Box::pin(async move {
        if let Err(denial) = super::arguments::<Args>(TOOL.name, call.arguments) {
            return Reply::denied(denial);
        }
        let for_all = match &context.guards.shared {
            Some(shared) => shared.standing(&context.principal).await,
            None => None,
        };
        let output = Output::of(&context.guards, &context.principal, for_all, Instant::now());
        Reply::value(output.text(), &output)
    })
}
