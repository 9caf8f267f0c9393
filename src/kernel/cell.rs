//! The one running cell: what has been heard of it, and when it is over.
//!
//! A cell is over when its reply *and* `idle` have come, in either order (the reply usually comes
//! before the output). When one of the two is lost, the other and [`GRACE`] without a further
//! message end it, so that nothing waits for ever. Plain state; `now` is given.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    event::{Event, Failure, Reply},
    journal::Heard,
    output::Output,
};

/// How long after the last message a cell waits for the half of its end that has not come.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// The same for a cell that was interrupted: ipykernel can lose the reply to one.
const GRACE_WHEN_STOPPED: Duration = Duration::from_millis(200);

/// How long after the answer to a later request the end of a cell may still come, on another channel.
#[cfg(feature = "gateway")]
const SEAM: Duration = Duration::from_millis(500);

/// How long output is still waited for after both halves of the end. husk's launcher sees to it that
/// ipykernel needs none of it; other kernels publish after `idle` (Deno in 2 to 3 % of cells).
const AFTERMATH: Duration = Duration::from_millis(20);

/// How a cell ended, beside its [`Output`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its number.
    pub execution_count: Option<u64>,
    /// The exception that ended it.
    pub failure: Option<Failure>,
    /// Whether the end of its output may be missing: the kernel replied and never went idle.
    pub cut: bool,
    /// Whether the cell called `exit()`.
    pub asks_exit: bool,
    /// What of it was seen.
    pub seen: Seen,
}

/// What of a cell was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Seen {
    /// All that its kernel has told.
    #[default]
    All,
    /// The connection to its gateway broke meanwhile and was made anew.
    Interrupted,
    /// The same, and its end did not come: it may have ended meanwhile, or never have begun.
    NoEnd,
}

/// A cell under way.
pub(super) struct Cell {
    /// The id of its `execute_request`.
    pub(super) request: String,
    /// What its streams brought, to be compared with the kernel's journal.
    pub(super) heard: [Heard; 2],
    pub(super) output: Arc<Output>,
    /// The kernel has said something about it.
    pub(super) begun: bool,
    reply: Option<Reply>,
    idle: bool,
    count: Option<u64>,
    error: Option<Failure>,
    last: Instant,
    stopping: bool,
    seen: Seen,
    /// Set when the kernel is known to be done with it: how long its end may still be on its way.
    done_at: Option<Instant>,
}

impl Cell {
    pub(super) fn new(request: String, output: Arc<Output>, now: Instant) -> Self {
        Self {
            request,
            heard: [Heard::default(), Heard::default()],
            output,
            begun: false,
            reply: None,
            idle: false,
            count: None,
            error: None,
            last: now,
            stopping: false,
            seen: Seen::All,
            done_at: None,
        }
    }

    /// Takes a message of this cell in; returns the text that it added.
    pub(super) fn hear(&mut self, event: Event, now: Instant) -> String {
        self.last = now;
        self.begun = true;
        match event {
            Event::Stream { stderr, text } => {
                let [out, err] = &mut self.heard;
                if stderr {
                    err.hear(&text)
                } else {
                    out.hear(&text)
                }
                return self.output.stream(stderr, &text);
            }
            Event::Display(display) | Event::Update(display) => {
                return self.output.display(display);
            }
            Event::Error(failure) => {
                self.error = Some(failure.clipped());
                self.forget_the_second_telling();
                return self.output.failure(failure);
            }
            Event::Clear { wait } => self.output.clear(wait),
            Event::Input { count } => self.count = count.or(self.count),
            Event::Idle => self.idle = true,
            Event::Reply(reply) => {
                self.count = reply.count.or(self.count);
                self.reply = Some(reply);
                self.forget_the_second_telling();
            }
            Event::Busy | Event::Asks(_) | Event::Other => {}
        }
        String::new()
    }

    /// An exception is told twice, and may be long.
    fn forget_the_second_telling(&mut self) {
        if let (Some(_), Some(Reply { failure: Some(failure), .. })) =
            (&self.error, &mut self.reply)
        {
            *failure = failure.clipped();
        }
    }

    /// Whether the kernel has told both halves of the end.
    pub(super) fn over(&self) -> bool {
        self.idle && self.reply.is_some()
    }

    /// When to stop waiting for the other half, or for more; `None` while neither half has come.
    pub(super) fn gives_up_at(&self) -> Option<Instant> {
        let grace = match (self.over(), self.stopping) {
            (true, _) => AFTERMATH,
            (false, true) => GRACE_WHEN_STOPPED,
            (false, false) => GRACE,
        };
        (self.idle || self.reply.is_some()).then(|| self.last + grace).or(self.done_at)
    }

    /// The connection broke, and was made anew.
    #[cfg(feature = "gateway")]
    pub(super) fn seen_again(&mut self) {
        self.seen = Seen::Interrupted;
    }

    /// The kernel has answered what it was asked after this cell.
    #[cfg(feature = "gateway")]
    pub(super) fn is_done(&mut self, now: Instant) {
        self.done_at = Some(now + SEAM);
    }

    /// The cell is being interrupted.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Ends the cell; also returns the text that its end added.
    pub(super) fn finish(self) -> (Finished, String) {
        let cut = !self.idle && self.reply.is_some();
        let ends = self.idle || self.reply.is_some();
        let seen = if !ends && self.done_at.is_some() { Seen::NoEnd } else { self.seen };
        let asks_exit = self.reply.as_ref().is_some_and(|reply| reply.asks_exit);
        let pages = self.reply.iter().flat_map(|reply| &reply.pages);
        let pages = pages.filter(|page| !page.is_empty());
        let mut text: String = pages.map(|page| self.output.page(page)).collect();
        let failure = match self.reply {
            // An exception whose message was lost is still shown.
            Some(Reply { failure: Some(failure), .. }) => {
                let told = self.error.is_some();
                let error = self.error.unwrap_or_else(|| failure.clipped());
                if !told {
                    text.push_str(&self.output.failure(failure));
                }
                Some(error)
            }
            Some(_) => None,
            None => self.error.or_else(|| self.idle.then(no_reply)),
        };
        (Finished { execution_count: self.count, failure, cut, asks_exit, seen }, text)
    }
}

/// Idle without a reply: nobody can say that the cell succeeded.
fn no_reply() -> Failure {
    Failure {
        name: "NoReply".to_owned(),
        value: "the kernel went idle and never replied; whether the cell succeeded is unknown"
            .to_owned(),
        traceback: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::output::{self, Item, Spool};

    fn cell() -> Cell {
        let spool = Arc::new(Spool::new(std::env::temp_dir(), 1 << 20));
        let output = Arc::new(Output::new(output::Settings::default(), spool));
        Cell::new("r".into(), output, Instant::now())
    }

    fn reply(failure: Option<Failure>) -> Event {
        Event::Reply(Reply { count: Some(3), failure, ..Reply::default() })
    }

    #[test]
    fn both_halves_end_it_in_either_order() {
        for halves in [[Event::Idle, reply(None)], [reply(None), Event::Idle]] {
            let mut cell = cell();
            assert_eq!(cell.gives_up_at(), None);
            for half in halves {
                assert!(!cell.over());
                cell.hear(half, Instant::now());
            }
            assert!(cell.over());
            let (finished, _) = cell.finish();
            assert!(!finished.cut);
            assert_eq!((finished.execution_count, finished.failure), (Some(3), None));
        }
    }

    #[test]
    fn output_after_the_reply_moves_the_time_of_giving_up() {
        let start = Instant::now();
        let mut cell = cell();
        cell.hear(reply(None), start);
        assert_eq!(cell.gives_up_at(), Some(start + GRACE));
        let later = start + Duration::from_secs(1);
        cell.hear(Event::Stream { stderr: false, text: "x".into() }, later);
        assert_eq!(cell.gives_up_at(), Some(later + GRACE));
    }

    #[test]
    fn half_an_end_is_no_success() {
        let mut unanswered = cell();
        unanswered.hear(Event::Idle, Instant::now());
        assert_eq!(
            unanswered.finish().0.failure.map(|failure| failure.name),
            Some("NoReply".into())
        );
        let mut cut = cell();
        cut.hear(reply(None), Instant::now());
        assert!(cut.finish().0.cut);
    }

    #[cfg(feature = "gateway")]
    #[test]
    fn a_cell_whose_end_was_lost_with_a_connection_did_not_succeed() {
        let start = Instant::now();
        let mut lost = cell();
        lost.seen_again();
        assert_eq!(lost.gives_up_at(), None, "it may go on");
        lost.is_done(start);
        assert_eq!(lost.gives_up_at(), Some(start + SEAM));
        assert_eq!(lost.finish().0.seen, Seen::NoEnd);
        let mut ended = cell();
        ended.seen_again();
        ended.is_done(start);
        ended.hear(reply(None), start);
        ended.hear(Event::Idle, start);
        assert_eq!(ended.finish().0.seen, Seen::Interrupted);
    }

    #[test]
    fn the_reply_decides_what_failed() {
        let failure = Failure { name: "E".into(), value: "v".into(), traceback: String::new() };
        let mut lost_message = cell();
        let output = Arc::clone(&lost_message.output);
        lost_message.hear(reply(Some(failure.clone())), Instant::now());
        assert_eq!(lost_message.finish().0.failure, Some(failure.clone()));
        assert_eq!(output.show(None).items, vec![Item::Text("E: v".into())]);
        // A thread's traceback does not make a cell fail that the kernel calls ok.
        let mut thread = cell();
        thread.hear(Event::Error(failure), Instant::now());
        thread.hear(reply(None), Instant::now());
        assert_eq!(thread.finish().0.failure, None);
    }
}
