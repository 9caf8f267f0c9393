//! The cell that an earlier server had begun in a kernel that is found again: the cell `c0`.
//!
//! It is followed like any other. What it displayed while no server listened is lost; its text is read
//! from the kernel's journal. One that ended meanwhile has told its end to nobody.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::json;
use tokio::time::Instant;

use super::Keeper;
use crate::{
    base::ids::SessionName,
    kernel::{Adopt, Execution, Line, Request, Watch},
    sandbox::{
        cell::{Cell, CellRun, Phase},
        course::{self, End, Status},
        launch::Kernel,
        left::LeftCell,
        shown::Shown,
        state::Happened,
    },
};

/// How long its end is waited for when the kernel is known to be idle: as long as two messages may be
/// apart.
const SEAM: Duration = Duration::from_millis(500);

/// What is told of one whose end nobody saw.
const UNSEEN: &str = "the cell ended while no server listened: whether it succeeded is not known; what \
    it printed is shown as far as its kernel's journal has it (the last 64 KB), what it displayed is lost";
/// What is told of one whose end was seen.
const FOLLOWED: &str = "an earlier server had begun this cell: what it displayed before this one came \
    is lost, and of what it printed then the last 64 KB are shown";

/// What is left of a cell for a later server.
pub(super) fn left(run: &CellRun, request: String, began: SystemTime) -> LeftCell {
    LeftCell {
        id: run.id(),
        request,
        code: run.cell.code.clone(),
        description: run.cell.description.clone(),
        began,
        timeout: run.cell.timeout,
    }
}

/// Makes the cell `c0` of what was left.
pub(super) fn follow(session: &SessionName, shown: &Shown, left: &LeftCell) -> Adopt {
    let ran = left.began.elapsed().unwrap_or_default();
    let cell = Cell {
        code: left.code.clone(),
        description: left.description.clone(),
        timeout: left.timeout.saturating_sub(ran),
        asks: true,
        budgeted: false,
        trace: None,
    };
    let run = Arc::new(CellRun::new(session.clone(), 0, cell, shown));
    shown.earlier.send_replace(Some(Arc::clone(&run)));
    let watch = Some(Arc::clone(&run) as Arc<dyn Watch>);
    Adopt { request: left.request.clone(), output: Arc::clone(&run.output), watch }
}

impl Keeper {
    /// Follows it to its end.
    pub(super) async fn finish_earlier(&mut self, execution: Execution) {
        let Some(run) = self.shown.earlier.borrow().clone() else { return };
        let Some(kernel) = self.kernel.as_ref() else { return };
        // Nobody can stop it before it is known to run.
        if !run.begins(kernel.client.line()) {
            return run.ends(Phase::Dropped);
        }
        self.cells += 1;
        self.happened(Happened::CellBegan);
        let Some(kernel) = self.kernel.as_ref() else { return };
        self.lodging.goes_on(self.cells);
        let begun = (Instant::now(), SystemTime::now());
        let mut end = followed(kernel, execution, self.bounds(&run)).await;
        if end.status == Status::Ok && end.finished.as_ref().is_none_or(|end| end.cut) {
            // It was idle before anybody asked.
            end = End { cause: Some(UNSEEN.to_owned()), status: Status::Unseen, ..end };
        }
        let told = std::mem::take(&mut self.news);
        let mut outcome = self.ended(end, begun);
        if outcome.status != Status::Unseen {
            outcome.news.push(FOLLOWED.to_owned());
        }
        self.news.extend(told);
        self.conclude(&run, outcome).await;
    }
}

/// Its end, or that it has ended before.
async fn followed(kernel: &Kernel, execution: Execution, bounds: course::Bounds<'_>) -> End {
    tokio::select! {
        biased;
        end = course::until_the_end(kernel, execution, bounds) => end,
        () = is_idle(kernel.client.line()) => {
            kernel.client.conclude(false);
            End::unseen(UNSEEN)
        }
    }
}

/// Resolves when the kernel runs nothing and has said all: it takes one request after the other.
async fn is_idle(line: Line) {
    let content = json!({});
    let asked = Request { control: false, subshell: None, kind: "kernel_info_request", content };
    if line.ask(asked).await.is_none() {
        // The kernel is gone, which is told in another way.
        return std::future::pending().await;
    }
    tokio::time::sleep(SEAM).await;
}
