//! What a model must know beside a cell's output, in words.

use std::time::Duration;

use crate::{
    jail::Exit,
    kernel::{Seen, output::View},
    sandbox::{CellRun, Outcome, Status, Stopped},
};

/// About a cell that has ended; `lost` says that this answer tells of lost variables.
pub(super) fn of_outcome(outcome: &Outcome, lost: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let seconds = outcome.duration.as_secs_f64();
    let how = match outcome.stopped {
        Some(Stopped::Interrupt) => "an interrupt".to_owned(),
        Some(Stopped::Signal) => "SIGINT, after it ignored an interrupt".to_owned(),
        Some(Stopped::Kill) => match &outcome.cause {
            Some(cause) => format!("ending the kernel: {cause}"),
            None => "killing the kernel, after it ignored an interrupt and SIGINT".to_owned(),
        },
        Some(Stopped::LeftBehind) => {
            "nothing: the kernel is not husk's; it may still be busy with the cell, or run it later"
                .to_owned()
        }
        None => String::new(),
    };
    match outcome.status {
        Status::Ok => {}
        Status::Error => notes.extend(of_failure(outcome).map(str::to_owned)),
        Status::Timeout => {
            notes.push(format!("timeout: the cell was stopped after {seconds:.1} s by {how}"));
        }
        Status::Interrupted if how.is_empty() => {
            notes.push(format!("the cell was interrupted after {seconds:.1} s"));
        }
        Status::Interrupted => {
            let why = outcome.cause.as_ref().filter(|_| outcome.exit.is_none());
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            notes.push(format!("the cell was interrupted after {seconds:.1} s by {how}{why}"));
        }
        Status::Cancelled => {
            notes.push(format!("cancelled: the cell was stopped after {seconds:.1} s by {how}"));
        }
        Status::KernelDied => notes.push(death(outcome)),
        Status::Unseen => notes.push(outcome.cause.clone().unwrap_or_default()),
    }
    if outcome.status == Status::Ok && outcome.cause.is_some() {
        notes.push(death(outcome));
    }
    if outcome.exit.is_some() && outcome.foreign {
        notes.push("husk was only attached to it, and starts no other in its place".to_owned());
    } else if outcome.exit.is_some() {
        notes.push(
            "all variables and imports are lost; the next call runs in a fresh kernel".to_owned(),
        );
    } else if lost {
        notes.push(format!(
            "this is a fresh kernel (generation {}): variables and imports of earlier cells are gone",
            outcome.generation
        ));
    } else if outcome.stopped.is_some_and(|stopped| stopped != Stopped::LeftBehind) {
        notes.push("variables are kept".to_owned());
    }
    notes.extend(outcome.blocked.iter().chain(&outcome.news).cloned());
    if let Some(why) = &outcome.unrecorded {
        notes.push(format!("not recorded in the notebook: {why}"));
    }
    notes.extend(of_seen(outcome));
    notes
}

/// About what of it was not seen.
fn of_seen(outcome: &Outcome) -> Vec<String> {
    let mut notes = Vec::new();
    let seen = outcome.finished.as_ref().map_or(Seen::All, |finished| finished.seen);
    if seen == Seen::Interrupted {
        notes.push(
            "the connection to the gateway broke meanwhile and was made anew: what the gateway did not \
             keep of the output until then is missing"
                .to_owned(),
        );
    }
    if outcome.finished.as_ref().is_some_and(|finished| finished.cut) {
        notes.push("the kernel did not tell the end of the output: some may be missing".to_owned());
    }
    notes
}

/// About an exception that has its cause outside the code.
fn of_failure(outcome: &Outcome) -> Option<&'static str> {
    let failure = outcome.finished.as_ref()?.failure.as_ref()?;
    (failure.name == "StdinNotImplementedError")
        .then_some("nobody can be asked through this client: put the values into the code instead")
}

fn death(outcome: &Outcome) -> String {
    let Some(exit) = outcome.exit else { return "the kernel died".to_owned() };
    match &outcome.cause {
        Some(cause) if outcome.foreign || exit == Exit::Elsewhere => {
            format!("the kernel is gone: {cause}")
        }
        Some(cause) => format!("the kernel was ended: {cause}"),
        None => format!("the kernel died: {exit}, {}", exit.meaning()),
    }
}

/// About a cell that goes on.
pub(super) fn running(run: &CellRun, since: Duration, asks: bool) -> String {
    let what = if asks { "waits for input" } else { "goes on" };
    let id = run.id();
    format!(
        "still running after {:.0} s: the cell {what}; notebook_wait_cell with cell {id:?} waits for \
         what comes next, notebook_interrupt stops it",
        since.as_secs_f64()
    )
}

/// About a cell that has not begun.
pub(super) fn queued(run: &CellRun, ahead: usize) -> String {
    let why = match ahead {
        0 => "its kernel is still starting".to_owned(),
        1 => "1 cell runs first".to_owned(),
        _ => format!("{ahead} cells run first"),
    };
    format!("not begun: {why}; notebook_wait_cell with cell {:?} waits for it", run.id())
}

/// About what an answer leaves out.
pub(super) fn of_output(run: &CellRun, view: &View) -> Vec<String> {
    let mut notes = Vec::new();
    let (session, cell) = (&run.session, run.id());
    if view.omitted > 0 {
        notes.push(format!(
            "output is shortened: the whole is the resource husk://sessions/{session}/cells/{cell}/output; \
             better print less, or write to a file and look at parts"
        ));
    }
    let uri = |number: &u64| format!("husk://sessions/{session}/cells/{cell}/outputs/{number}");
    match view.partly.as_slice() {
        [] => {}
        [one] => notes.push(format!("more of it is the resource {}", uri(one))),
        [first, .., last] => {
            notes.push(format!("more of it are the resources {} to {}", uri(first), uri(last)));
        }
    }
    if view.totals.dropped_bytes > 0 {
        notes.push(format!(
            "the first {} bytes of output are not kept any more",
            view.totals.dropped_bytes
        ));
    }
    if view.totals.flattened > 0 {
        notes.push(format!("{} displays are kept as text only", view.totals.flattened));
    }
    if let Some(fault) = run.output.fault() {
        notes.push(format!("output is kept in memory only, the newest 1 MiB: {fault}"));
    }
    notes
}
