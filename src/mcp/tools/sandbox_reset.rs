//! `sandbox_reset`: a new kernel for a session, on the same workspace; also another one.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Definition, Hints, Running, interrupt::Output};
use crate::{
    guard::{Policy, Repeats},
    mcp::{Call, Context, identity::Likeness, reply::Reply},
    sandbox::Source,
};

/// The longest that the end of a kernel and a fresh start may take.
const LONGEST: Duration = Duration::from_secs(900);

/// The tool.
pub const TOOL: Definition = Definition {
    name: "sandbox_reset",
    title: "Reset the sandbox",
    description: "A new kernel: variables, processes and /tmp are gone, the workspace stays.",
    annotations: Hints {
        read_only: false,
        destructive: true,
        idempotent: false,
        open_world: false,
    },
    policy: Policy { repeats: Repeats::Noted, breaks: false, limited: false, runs: false },
    likeness: Likeness::EXACT,
    in_order: false,
    input: super::input::<Args>,
    // It answers as notebook_interrupt does.
    output: None,
    deadline: |_, _, _| LONGEST,
    run,
};

/// Arguments of `sandbox_reset`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    #[serde(default)]
    session: Option<String>,
    /// Installed Jupyter kernel for the session.
    #[serde(default)]
    kernel: Option<String>,
}

fn run(context: Arc<Context>, call: Call) -> Running {
    Box::pin(async move {
        let understood = super::arguments::<Args>(TOOL.name, call.arguments)
            .and_then(|args| Ok((super::session(&context, args.session.as_deref())?, args.kernel)));
        let (session, kernel) = match understood {
            Ok(understood) => understood,
            Err(denial) => return Reply::denied(denial),
        };
        match context.sandboxes.reset(&session, kernel.map(Source::Spec)).await {
            Ok(generation) => {
                let text = format!(
                    "a new kernel runs (generation {generation}); variables and imports are gone, the workspace is as it was"
                );
                Reply::value(text, &Output::restarted(&session, generation))
            }
            Err(error) => Reply::no_sandbox(&error),
        }
    })
}
