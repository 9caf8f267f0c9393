//! What a cell asks its user (`input()`), and what comes of it.

use std::sync::atomic::Ordering;

use super::{CellRun, Phase, Stop};
use crate::kernel::event::Question;

impl CellRun {
    /// Tells it what it asked.
    pub fn answer(&self, number: u64, text: String) {
        if self.stops_asking(number)
            && let Some(line) = self.line.get()
        {
            line.input(text);
        }
    }

    /// It gets no answer: it is interrupted.
    pub fn decline(&self, number: u64) {
        if self.stops_asking(number) {
            self.stop(Stop::Declined);
        }
    }

    /// Whether that was its question until now.
    fn stops_asking(&self, number: u64) -> bool {
        let stops = self.phase.send_if_modified(|phase| match phase {
            Phase::Running { question, .. } => {
                question.take_if(|(asked, _)| *asked == number).is_some()
            }
            _ => false,
        });
        if stops {
            self.announce();
        }
        stops
    }

    pub(super) fn begins_to_ask(&self, asked: Question) {
        let number = self.questions.fetch_add(1, Ordering::Relaxed) + 1;
        self.phase.send_modify(|phase| {
            if let Phase::Running { question, .. } = phase {
                *question = Some((number, asked));
            }
        });
        self.announce();
    }
}
