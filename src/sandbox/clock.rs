//! The time that a cell may run: it stands still while a user thinks about what the cell asks.

use std::time::Duration;

use tokio::{
    sync::watch::Receiver,
    time::{Instant, timeout},
};

use super::{PATIENCE, cell::Phase};

/// Resolves when a cell that runs has run for `limit`. The time of a question does not count, until
/// its answer or for [`PATIENCE`]: one that nobody puts to a user must not keep the cell for ever.
pub(super) async fn has_run_for(mut phase: Receiver<Phase>, limit: Duration) {
    let (mut left, mut ignored) = (limit, 0);
    loop {
        let asked = phase.borrow().asks().filter(|asked| *asked > ignored);
        if let Some(asked) = asked {
            let answered = phase.wait_for(|phase| phase.asks() != Some(asked));
            if !matches!(timeout(PATIENCE, answered).await, Ok(Ok(_))) {
                ignored = asked;
            }
            continue;
        }
        let begun = Instant::now();
        let asks = phase.wait_for(|phase| phase.asks().is_some_and(|asked| asked > ignored));
        match timeout(left, asks).await {
            Ok(Ok(_)) => left = left.saturating_sub(begun.elapsed()),
            // Its time is over; or nobody holds the cell any more.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch::Sender;

    use super::*;
    use crate::kernel::event::Question;

    fn running(question: Option<u64>) -> Phase {
        let question = question.map(|number| (number, Question::default()));
        Phase::Running { since: Instant::now(), question }
    }

    /// After how many seconds a cell has run for ten that asks a question each time when it has run
    /// for two, and gets each answer as many seconds later as `answered` says.
    async fn ten_are_over_after(answered: &[u64]) -> u64 {
        let cell = Sender::new(running(None));
        let begun = Instant::now();
        let course = async {
            for (number, seconds) in (1..).zip(answered) {
                tokio::time::sleep(Duration::from_secs(2)).await;
                cell.send_replace(running(Some(number)));
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
                cell.send_replace(running(None));
            }
            std::future::pending().await
        };
        tokio::select! {
            () = has_run_for(cell.subscribe(), Duration::from_secs(10)) => begun.elapsed().as_secs(),
            () = course => 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_cell_stands_still_while_its_user_thinks() {
        assert_eq!(ten_are_over_after(&[]).await, 10);
        assert_eq!(ten_are_over_after(&[100, 200, 300]).await, 610);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_nobody_answers_does_not_keep_a_cell_for_ever() {
        let patience = PATIENCE.as_secs();
        assert_eq!(ten_are_over_after(&[10_000]).await, 10 + patience);
        // It is the question that is given up, not those that follow it.
        assert_eq!(ten_are_over_after(&[patience + 1, 100]).await, 10 + patience + 100);
    }
}
