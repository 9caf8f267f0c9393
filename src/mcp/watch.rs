//! What is to be seen of sessions without a call: their cells as they are at this moment, and what is used of
//! which limit. To look runs nothing, and counts as no call: no guard sees it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Context, tools::usage};
use crate::{
    base::{clock::iso, ids::SessionName},
    guard::Who,
    notebook::whole,
    sandbox::{CellRun, Phase, Snapshot},
};

/// Most cells of a list.
const LISTED: usize = 200;
/// Most bytes of a cell's text, and of each exception's.
const TEXT: usize = 64 << 10;
/// Most bytes of a cell's outputs, as JSON.
const CELL: usize = 4 << 20;

/// The newest cells of a session.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cells {
    session: String,
    /// How many cells came before these; the notebook has them.
    earlier: usize,
    /// Newest last.
    cells: Vec<Glance>,
}

/// A cell in a list.
#[derive(Debug, Serialize, JsonSchema)]
struct Glance {
    /// Its id; `husk://sessions/{session}/cells/{cell}` has all of it.
    cell: String,
    /// `queued`, `running`, `ok`, `error`, `timeout`, `interrupted`, `cancelled`, `kernel_died`, `unseen`,
    /// `failed` (its kernel did not start) or `withdrawn` (before it began).
    status: &'static str,
    /// What it does, in its author's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// When the kernel began with it (ISO 8601, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    /// For how long it has run.
    duration_ms: u64,
    /// What it asks its user, who has not answered yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    asks: Option<String>,
    /// Another one whenever there is something new to see of it.
    version: String,
}

/// What is used of which limit.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Limits {
    /// What the tool `usage` tells.
    #[serde(flatten)]
    usage: usage::Output,
    /// Each session that is open.
    sessions: Vec<Budget>,
}

/// What a session has used.
#[derive(Debug, Serialize, JsonSchema)]
struct Budget {
    session: String,
    /// Cells that calls have begun.
    cells: Share<u64>,
    /// Seconds for which its cells have run, all together.
    seconds: Share<f64>,
    /// Tokens of its calls, estimated.
    tokens: Share<u64>,
    /// Bytes of memory of the kernel and all its processes; none while there is no kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<Share<u64>>,
}

/// What is used, and the most of it that may be; without a limit none is told.
#[derive(Debug, Serialize, JsonSchema)]
struct Share<T> {
    used: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<T>,
}

/// The newest cells of a session; none of one that is not open.
pub(super) fn cells(context: &Context, session: &SessionName) -> Cells {
    let all = context.sandboxes.cells(session);
    let earlier = all.len().saturating_sub(LISTED);
    let cells = all.iter().skip(earlier).map(|run| glance(run)).collect();
    Cells { session: session.to_string(), earlier, cells }
}

fn glance(run: &CellRun) -> Glance {
    let asks = match run.phase() {
        Phase::Running { question: Some((_, asked)), .. } => Some(asked.prompt),
        _ => None,
    };
    let status = run.word();
    let asked = if asks.is_some() { "?" } else { "" };
    Glance {
        cell: run.id(),
        status,
        description: run.cell.description.clone(),
        started: run.started().map(iso),
        duration_ms: u64::try_from(run.ran().as_millis()).unwrap_or(u64::MAX),
        version: format!("{status}{asked}{}", run.output.version()),
        asks,
    }
}

/// A cell as a notebook has it, also while it runs. May read from disk.
pub(super) fn cell(context: &Context, run: &CellRun, uri: &str) -> Value {
    let mut document = run.document(TEXT as u64, CELL as u64);
    if !run.is_over() {
        let session = context.sandboxes.status(Some(&run.session)).pop();
        document.generation = session.map_or(0, |session| session.generation);
    }
    whole::cell(document, TEXT, CELL, &format!("the whole is the resource {uri}/output"))
}

/// What is used of which limit, by the caller and in their sessions.
pub(super) fn limits(context: &Context) -> Limits {
    let sessions = context.sandboxes.status(None);
    Limits {
        usage: usage::of(context),
        sessions: sessions.iter().map(|snapshot| budget(context, snapshot)).collect(),
    }
}

fn budget(context: &Context, snapshot: &Snapshot) -> Budget {
    let name = &snapshot.session;
    let who = Who { principal: context.principal.clone(), session: name.as_str().into() };
    let (cells, tokens) = context.guards.accounts.of_session(&who);
    let most = &context.guards.accounts.settings().session;
    let isolation = snapshot.facts.as_ref().and_then(|facts| facts.isolation.as_ref());
    let memory = snapshot.usage.map(|usage| Share {
        used: usage.memory_bytes,
        limit: isolation.and_then(|report| report.memory_bytes),
    });
    Budget {
        session: name.to_string(),
        cells: Share { used: cells, limit: most.max_cells },
        seconds: Share { used: context.sandboxes.ran(name).as_secs_f64(), limit: most.max_seconds },
        tokens: Share { used: tokens, limit: most.max_tokens },
        memory_bytes: memory,
    }
}
