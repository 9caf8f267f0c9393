//! `sandbox_status`: what each session is and what it uses.

use std::{sync::Arc, time::SystemTime};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Definition, Hints, Running};
use crate::{
    base::ids::SessionName,
    guard::{Denial, Policy, Repeats},
    jail::Report,
    mcp::{Call, Context, LOOKING, identity::Likeness, reply::Reply},
    sandbox::{Snapshot, facts::Facts, state::State},
};

/// The tool.
pub const TOOL: Definition = Definition {
    name: "sandbox_status",
    title: "Sandbox status",
    description: "State of each session's kernel, with memory, CPU, workspace and isolation. Answers \
        while a cell runs.",
    annotations: Hints { read_only: true, destructive: false, idempotent: true, open_world: false },
    policy: Policy { repeats: Repeats::Exempt, breaks: false, limited: false, runs: false },
    likeness: Likeness::EXACT,
    in_order: false,
    input: super::input::<Args>,
    output: Some(super::output::<Output>),
    deadline: |_, _, _| LOOKING,
    run,
};

/// Arguments of `sandbox_status`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Args {
    #[serde(default)]
    session: Option<String>,
}

// One session. What says itself is not described: lists of tools are paid for in every conversation.
#[derive(Debug, Serialize, JsonSchema)]
struct Session {
    session: String,
    state: &'static str,
    // Why the last start failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<String>,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_s: Option<u64>,
    cells: u64,
    queued: usize,
    // Kernel and all its processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<usize>,
    workspace: String,
    // Where the session is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    notebook: Option<String>,
    // Optional features of the kernel.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    features: Vec<String>,
    // The cell under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<String>,
    // Seconds that the kernel outlives this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_s: Option<u64>,
    // Why it is this server's own, where others may want the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    own: Option<String>,
    /// Level in force; `none`: cells can do what this user can.
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation: Option<&'static str>,
    /// Hosts that cells did not reach, and what opens them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blocked: Vec<String>,
    /// Layers as seen from outside, and gaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    sandbox: Option<Report>,
}

/// Structured answer of `sandbox_status`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    sessions: Vec<Session>,
    // Process ids of the kernels that wait for a session.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ready: Vec<u32>,
}

/// What is told of all sessions.
pub(in crate::mcp) fn all(context: &Context) -> Output {
    let sessions = context.sandboxes.status(None).into_iter().map(told).collect();
    Output { sessions, ready: context.sandboxes.ready() }
}

fn run(context: Arc<Context>, call: Call) -> Running {
    Box::pin(async move {
        let args: Args = match super::arguments(TOOL.name, call.arguments) {
            Ok(args) => args,
            Err(denial) => return Reply::denied(denial),
        };
        let found = match &args.session {
            None => context.sandboxes.status(None),
            Some(name) => match named(&context, name) {
                Ok(snapshot) => vec![snapshot],
                Err(denial) => return Reply::denied(denial),
            },
        };
        let output = Output {
            sessions: found.into_iter().map(told).collect(),
            ready: context.sandboxes.ready(),
        };
        let lines: Vec<String> = output.sessions.iter().map(line).collect();
        let text = if lines.is_empty() { "no session yet".to_owned() } else { lines.join("\n") };
        Reply::value(text, &output)
    })
}

fn named(context: &Context, name: &str) -> Result<Snapshot, Denial> {
    let unknown = || {
        let open: Vec<String> = context
            .sandboxes
            .status(None)
            .iter()
            .map(|snapshot| snapshot.session.to_string())
            .collect();
        Denial {
            by: "arguments",
            code: "no_such_session",
            reason: format!(
                "no session named `{}`; open: {}",
                name.escape_debug(),
                open.join(", ")
            ),
            retry_after_s: None,
            hint: Some("a session begins with its first notebook_run_cell".to_owned()),
        }
    };
    let name = SessionName::new(name).map_err(|_| unknown())?;
    context.sandboxes.status(Some(&name)).pop().ok_or_else(unknown)
}

fn told(snapshot: Snapshot) -> Session {
    let since = |then: SystemTime| then.elapsed().map_or(0, |elapsed| elapsed.as_secs());
    let (facts, usage) = (snapshot.facts, snapshot.usage);
    let report = facts.as_ref().and_then(|facts| facts.isolation.as_deref().cloned());
    Session {
        session: snapshot.session.to_string(),
        state: snapshot.state.word(),
        error: match snapshot.state {
            State::Error(why) => Some(why),
            _ => None,
        },
        kernel: facts.as_ref().map(|facts| facts.kernel.clone()),
        language: facts.as_ref().map(|facts| facts.language.clone()),
        program: facts.as_ref().map(|facts| facts.program.display().to_string()),
        generation: snapshot.generation,
        pid: facts.as_ref().and_then(|facts| facts.pid),
        uptime_s: facts.as_ref().map(|facts| since(facts.started)),
        idle_s: snapshot.last_activity.map(since),
        cells: snapshot.cells,
        queued: snapshot.queued,
        memory_bytes: usage.map(|usage| usage.memory_bytes),
        cpu_s: usage.map(|usage| usage.cpu_seconds),
        processes: usage.map(|usage| usage.processes),
        workspace: snapshot.workspace.display().to_string(),
        notebook: snapshot.notebook.map(|path| path.display().to_string()),
        blocked: facts.as_ref().map(Facts::blocked).unwrap_or_default(),
        features: facts.map(|facts| facts.features).unwrap_or_default(),
        running: snapshot.running,
        kept_s: Some(snapshot.keep.as_secs()).filter(|seconds| *seconds > 0),
        own: snapshot.own,
        isolation: report.as_ref().map(|report| report.effective),
        sandbox: report,
    }
}

fn line(session: &Session) -> String {
    let mut text = format!("{}: {}", session.session, session.state);
    if let Some(error) = &session.error {
        text.push_str(&format!(" ({error})"));
    }
    if let (Some(kernel), Some(language)) = (&session.kernel, &session.language) {
        text.push_str(&format!(", {kernel} on {language}, generation {}", session.generation));
    }
    if let (Some(memory), Some(cpu)) = (session.memory_bytes, session.cpu_s) {
        text.push_str(&format!(", {} MB, {cpu:.1} s CPU", memory / 1_000_000));
    }
    text.push_str(&format!(", {} cells", session.cells));
    if session.queued > 0 {
        text.push_str(&format!(", {} waiting", session.queued));
    }
    text.push_str(&format!(", workspace {}", session.workspace));
    if let Some(own) = &session.own {
        text.push_str(&format!(" ({own})"));
    }
    if let Some(report) = &session.sandbox {
        text.push_str(&format!(", isolation: {}, network: {}", report.effective, report.network));
    }
    for blocked in &session.blocked {
        text.push_str(&format!("\n  {blocked}"));
    }
    text
}
