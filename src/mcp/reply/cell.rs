//! The answer about a cell: what it put out since it was last asked for, and where it is.

use std::sync::Arc;

use rmcp::model::ContentBlock;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Reply, images, notes};
use crate::{
    guard::{Denial, Ending},
    kernel::output::{Item, Room, View},
    sandbox::{CellRun, Outcome, Phase, Sandboxes, Status},
};

/// The longest name or message of an exception in `structuredContent`, in characters.
const LONGEST_ERROR: usize = 1000;

/// Of an answer's text, one part in so many is kept free for late output of other cells.
const LATE_SHARE: usize = 8;

/// The exception that ended a cell.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Failure {
    name: String,
    value: String,
}

/// What the answer holds of the cell's output.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Totals {
    /// Bytes of text the cell has put out, shown or not.
    text_bytes: u64,
    /// Images the cell has put out, shown or not.
    images: u64,
    /// Whether something new is left out of this answer.
    truncated: bool,
    /// Where the next part begins (`from` of notebook_wait_cell).
    next: u64,
}

// Where a cell is, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StatusWord {
    Ok,
    Error,
    Timeout,
    Interrupted,
    Cancelled,
    KernelDied,
    // No server saw its end.
    Unseen,
    // It goes on.
    Running,
    // It waits for its turn or for its kernel.
    Queued,
}

/// Structured answer about a cell; every outcome fits it.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct CellOutput {
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cell: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusWord>,
    /// Cells that run before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// Number of the session's kernel, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    /// Variables of earlier cells are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    state_lost: Option<bool>,
    error: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Totals>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Set when another call has begun the cell: the code ran once.
    #[serde(skip_serializing_if = "Option::is_none")]
    deduplicated: Option<bool>,
    /// Set when the call was not carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<Denial>,
}

impl Reply {
    /// The answer about a cell: what came since the offset `from`, or since the last answer.
    pub async fn cell(sandboxes: &Sandboxes, run: &Arc<CellRun>, from: Option<u64>) -> Self {
        // The phase first: a cell that ends in between is asked for once more, and loses nothing.
        let phase = run.phase();
        if let Some(error) = CellRun::not_run(&phase) {
            return Self::no_sandbox(&error);
        }
        let late = sandboxes.late(run);
        let whole = run.output.room();
        let kept_free = if late.is_empty() { 0 } else { whole.text / LATE_SHARE };
        let view = run.output.show_within(from, Room { text: whole.text - kept_free, ..whole });
        let room = whole.beside(&view);
        let (view, mut notes) = images::fitting(run, view).await;
        let mut output = CellOutput {
            session: Some(run.session.to_string()),
            cell: Some(run.id()),
            output: Some(Totals {
                text_bytes: view.totals.text_bytes,
                images: view.totals.images,
                truncated: view.omitted > 0 || !view.partly.is_empty(),
                next: view.next,
            }),
            ..CellOutput::default()
        };
        let (mut failed, mut ending) = (false, Ending::Done);
        match &phase {
            Phase::Over(outcome) => {
                let lost = run.tells_loss(|| sandboxes.tells_loss(run, outcome));
                run.end_is_told();
                notes.splice(0..0, notes::of_outcome(outcome, lost));
                output.tell_outcome(outcome, lost);
                failed = outcome.status != Status::Ok;
                ending = ended(outcome, &notes);
            }
            Phase::Running { since, question } => {
                output.status = Some(StatusWord::Running);
                output.duration_ms = u64::try_from(since.elapsed().as_millis()).ok();
                notes.push(notes::running(run, since.elapsed(), question.is_some()));
            }
            _ => {
                let ahead = sandboxes.ahead(run);
                output.status = Some(StatusWord::Queued);
                output.ahead = Some(ahead);
                notes.push(notes::queued(run, ahead));
            }
        }
        notes.extend(notes::of_output(run, &view));
        let mut content = blocks(view);
        content.extend(told_late(late, whole.text, room, &mut notes).await);
        let said = content.len();
        if content.is_empty() && matches!(phase, Phase::Over(_)) {
            content.push(ContentBlock::text("(no output)"));
        }
        output.hint = (!notes.is_empty()).then(|| notes.join("; "));
        content.extend(output.hint.iter().map(|hint| ContentBlock::text(format!("[{hint}]"))));
        let words = content.len() - said;
        let structured = serde_json::to_value(output).unwrap_or(Value::Null);
        Self { words, ..Self::new(content, Some(structured), failed, ending) }
    }
}

/// What the end of a cell is to the guards.
fn ended(outcome: &Outcome, notes: &[String]) -> Ending {
    match outcome.status {
        Status::Ok => Ending::Done,
        Status::Error | Status::Interrupted | Status::Unseen => Ending::Raised,
        Status::Timeout => Ending::TimedOut,
        Status::Cancelled => Ending::GivenUp,
        Status::KernelDied => Ending::Fault(notes.first().cloned().unwrap_or_default()),
    }
}

/// What other cells have put out late, as far as there is room; the rest is told by the next answer.
async fn told_late(
    late: Vec<Arc<CellRun>>,
    whole: usize,
    mut room: Room,
    notes: &mut Vec<String>,
) -> Vec<ContentBlock> {
    let mut content = Vec::new();
    for cell in late {
        if room.text < whole / (2 * LATE_SHARE) {
            break;
        }
        content.push(ContentBlock::text(format!("[late output of {}]", cell.id())));
        let view = cell.output.show_within(None, room);
        room = room.beside(&view);
        let (view, more) = images::fitting(&cell, view).await;
        notes.extend(notes::of_output(&cell, &view).into_iter().chain(more));
        content.extend(blocks(view));
    }
    content
}

impl CellOutput {
    fn tell_outcome(&mut self, outcome: &Outcome, lost: bool) {
        let finished = outcome.finished.as_ref();
        let died = || Failure {
            name: "KernelDied".to_owned(),
            value: outcome.exit.map(|exit| exit.to_string()).unwrap_or_default(),
        };
        let failure = finished.and_then(|finished| finished.failure.as_ref());
        let error = failure.map(|it| Failure { name: short(&it.name), value: short(&it.value) });
        self.status = Some(word(outcome.status));
        self.execution_count = finished.and_then(|finished| finished.execution_count);
        self.duration_ms = u64::try_from(outcome.duration.as_millis()).ok();
        self.generation = Some(outcome.generation);
        self.state_lost = Some(lost);
        self.error = error.or_else(|| (outcome.status == Status::KernelDied).then(died));
    }
}

/// An exception's text as far as a program needs it; the whole stands in the output.
fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST_ERROR) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The word for it.
pub(in crate::mcp) fn status(status: Status) -> String {
    let word = serde_json::to_value(word(status)).unwrap_or_default();
    word.as_str().unwrap_or_default().to_owned()
}

fn word(status: Status) -> StatusWord {
    match status {
        Status::Ok => StatusWord::Ok,
        Status::Error => StatusWord::Error,
        Status::Timeout => StatusWord::Timeout,
        Status::Interrupted => StatusWord::Interrupted,
        Status::Cancelled => StatusWord::Cancelled,
        Status::KernelDied => StatusWord::KernelDied,
        Status::Unseen => StatusWord::Unseen,
    }
}

fn blocks(view: View) -> Vec<ContentBlock> {
    let block = |item| match item {
        Item::Text(text) => ContentBlock::text(text),
        Item::Image(image) => ContentBlock::image(image.base64, image.mime),
    };
    view.items.into_iter().map(block).collect()
}
