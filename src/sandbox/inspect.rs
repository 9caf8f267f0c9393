//! Looks at a session's variables, also while a cell runs.
//!
//! An idle kernel answers on its main shell; one that is busy on a subshell, where it offers them and
//! husk's own launcher started it (elsewhere the hooks that run after a request would disturb the
//! running cell's figures). A subshell that has hung is never deleted, which would end the kernel, and
//! not asked again
//! before it has answered.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{cell::CellRun, facts::Facts};
use crate::kernel::{Info, Line, Request, peek};

/// What husk knows of the kernel that it asks.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) line: Line,
    pub(super) info: Info,
    /// Whether husk's launcher runs it.
    pub(super) launched: bool,
    /// Whether it is husk's own: what keeps another's busy may be somebody else's cell.
    pub(super) own: bool,
    /// Which kernel of the session it is.
    pub(super) generation: u64,
}

/// Why there is no look.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No kernel runs.
    #[error("session `{0}` has no kernel that runs: there are no variables")]
    NoKernel(String),
    /// A cell runs, and the kernel has no shell beside it.
    #[error("the kernel is busy with cell {cell}, and {why}; wait for it or interrupt it")]
    Busy {
        /// The cell under way.
        cell: String,
        /// Why the kernel cannot answer beside it.
        why: &'static str,
    },
    /// The kernel has no way to do it.
    #[error("the kernel `{0}` cannot list variables; ask for one by its name")]
    NoListing(String),
    /// The answer did not come in time.
    #[error("the kernel did not answer within {seconds} s{}", .hint)]
    Late {
        /// How long was waited.
        seconds: f64,
        /// What was done about it.
        hint: &'static str,
    },
    /// The kernel refused.
    #[error("{0}")]
    Refused(String),
}

/// The subshell of the present kernel; clones are one.
#[derive(Default, Clone)]
pub(super) struct Subshell(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    generation: u64,
    id: Option<String>,
    hung: bool,
}

impl Subshell {
    /// The state for the kernel of that generation; that of an earlier one is forgotten.
    fn with<T>(&self, generation: u64, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.generation != generation {
            *state = State { generation, ..State::default() };
        }
        change(&mut state)
    }
}

/// Looks at one variable, or at all.
pub(super) async fn look(
    asked: &Asked,
    facts: &Facts,
    running: Option<&CellRun>,
    subshell: &Subshell,
    name: Option<&str>,
    wait: Duration,
) -> Result<Value, InspectError> {
    if name.is_none() && !peek::lists(&asked.info) {
        return Err(InspectError::NoListing(facts.kernel.clone()));
    }
    match running {
        None => on_main(asked, name, wait).await,
        Some(run) => {
            let busy = |why| InspectError::Busy { cell: run.id(), why };
            if !asked.launched || !asked.info.features.iter().any(|one| one == "kernel subshells") {
                return Err(busy("it has no subshells to answer beside it"));
            }
            if subshell.with(asked.generation, |state| state.hung) {
                return Err(busy("its subshell hangs"));
            }
            let (asked, generation) = (asked.clone(), asked.generation);
            let (shared, name) = (subshell.clone(), name.map(str::to_owned));
            let stdin = run.cell.asks;
            let look = async move { on_subshell(&asked, stdin, &shared, name.as_deref()).await };
            let mut look = Box::pin(look);
            if let Ok(looked) = timeout(wait, &mut look).await {
                return looked;
            }
            subshell.with(generation, |state| state.hung = true);
            let subshell = subshell.clone();
            // Ends with the kernel at the latest.
            tokio::spawn(async move {
                let _ = look.await;
                subshell.with(generation, |state| state.hung = false);
            });
            Err(late(wait, ""))
        }
    }
}

/// On the main shell: whatever takes too long there is interrupted, or the next cell would wait for it.
async fn on_main(asked: &Asked, name: Option<&str>, wait: Duration) -> Result<Value, InspectError> {
    let question = peek::Question { name, subshell: None, stdin: false, own: asked.own };
    let Ok(answer) = timeout(wait, asked.line.ask(question.request(&asked.info))).await else {
        if !asked.own {
            return Err(late(wait, ": it may be busy for somebody else"));
        }
        let content = json!({});
        let interrupt =
            Request { control: true, subshell: None, kind: "interrupt_request", content };
        // Whether it helps is seen by the next cell.
        let _ = timeout(Duration::from_secs(1), asked.line.ask(interrupt)).await;
        return Err(late(wait, " and was interrupted"));
    };
    read(answer)
}

async fn on_subshell(
    asked: &Asked,
    stdin: bool,
    subshell: &Subshell,
    name: Option<&str>,
) -> Result<Value, InspectError> {
    let id = match subshell.with(asked.generation, |state| state.id.clone()) {
        Some(id) => id,
        None => {
            let id = created(asked).await?;
            // Two looks at once may make two; either will do.
            subshell.with(asked.generation, |state| state.id = Some(id.clone()));
            id
        }
    };
    let question = peek::Question { name, subshell: Some(&id), stdin, own: false };
    read(asked.line.ask(question.request(&asked.info)).await)
}

async fn created(asked: &Asked) -> Result<String, InspectError> {
    let request = Request {
        control: true,
        subshell: None,
        kind: "create_subshell_request",
        content: json!({}),
    };
    let reply = asked.line.ask(request).await.ok_or_else(gone)?;
    let content: Value = serde_json::from_slice(&reply.content).unwrap_or_default();
    let id = content.get("subshell_id").and_then(Value::as_str).map(str::to_owned);
    id.ok_or_else(|| InspectError::Refused("the kernel made no subshell".to_owned()))
}

fn read(answer: Option<crate::kernel::wire::Message>) -> Result<Value, InspectError> {
    peek::read(&answer.ok_or_else(gone)?).map_err(InspectError::Refused)
}

fn gone() -> InspectError {
    InspectError::Refused("the kernel is gone".to_owned())
}

fn late(wait: Duration, hint: &'static str) -> InspectError {
    InspectError::Late { seconds: wait.as_secs_f64(), hint }
}
