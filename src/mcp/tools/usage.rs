//! `usage`: how much was called, in this minute, this hour, and in all.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Definition, Hints, Running};
use crate::{
    guard::usage::{self, Summary},
    mcp::{Call, Context, LOOKING, reply::Reply},
};

/// The tool.
pub const TOOL: Definition = Definition {
    name: "usage",
    title: "Usage",
    description: "Calls and estimated tokens of this server: last minute, last hour, totals by tool.",
    annotations: Hints { read_only: true, destructive: false, idempotent: true, open_world: false },
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

/// Counts of calls.
#[derive(Debug, Serialize, JsonSchema)]
struct Counts {
    calls: u64,
    /// Estimated.
    tokens: u64,
    /// Calls in which the kernel or husk failed.
    faults: u64,
}

/// Counts of one tool since the start.
#[derive(Debug, Serialize, JsonSchema)]
struct ToolCounts {
    tool: &'static str,
    calls: u64,
    tokens: u64,
    faults: u64,
}

/// Structured answer of `usage`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    minute: Counts,
    hour: Counts,
    total: Counts,
    by_tool: Vec<ToolCounts>,
}

fn run(context: Arc<Context>, call: Call) -> Running {
    Box::pin(async move {
        if let Err(denial) = super::arguments::<Args>(TOOL.name, call.arguments) {
            return Reply::denied(denial);
        }
        let output = told(&context.meter.summary(Instant::now()));
        let line = |name: &str, counts: &Counts| {
            format!(
                "{name}: {} calls, {} tokens, {} faults",
                counts.calls, counts.tokens, counts.faults
            )
        };
        let mut lines = vec![
            line("last minute", &output.minute),
            line("last hour", &output.hour),
            line("total", &output.total),
        ];
        let by_tool = output.by_tool.iter();
        lines.extend(by_tool.map(|one| {
            format!(
                "- {}: {} calls, {} tokens, {} faults",
                one.tool, one.calls, one.tokens, one.faults
            )
        }));
        Reply::value(lines.join("\n"), &output)
    })
}

fn told(summary: &Summary) -> Output {
    let counts = |counts: usage::Counts| Counts {
        calls: counts.calls,
        tokens: counts.tokens,
        faults: counts.faults,
    };
    let all = summary.by_tool.values();
    let total = all.fold(Counts { calls: 0, tokens: 0, faults: 0 }, |sum, one| Counts {
        calls: sum.calls + one.calls,
        tokens: sum.tokens + one.tokens,
        faults: sum.faults + one.faults,
    });
    let by_tool = summary
        .by_tool
        .iter()
        .map(|(tool, one)| ToolCounts {
            tool,
            calls: one.calls,
            tokens: one.tokens,
            faults: one.faults,
        })
        .collect();
    Output { minute: counts(summary.minute), hour: counts(summary.hour), total, by_tool }
}
