//! Whether whoever counts for all servers answers: after a failure only one call at a time finds out, and
//! the others do not wait for it.

use std::time::Duration;

use tokio::time::Instant;

use super::counter::Unreachable;
use crate::base::backoff::Backoff;

/// Between two tries.
const TRIES: Backoff = Backoff {
    first: Duration::from_millis(250),
    factor: 2.0,
    cap: Duration::from_secs(5),
    jitter: 0.0,
    retries: u32::MAX,
};

/// An outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// Why.
    pub cause: String,
    /// When it is tried again.
    pub retry_after: Duration,
}

#[derive(Debug)]
struct Gone {
    cause: String,
    tries: u32,
    next: Instant,
}

/// The outage under way, if there is one.
#[derive(Debug, Default)]
pub(super) struct Outage(Option<Gone>);

impl Gone {
    fn told(&self, now: Instant) -> Down {
        let retry_after = self.next.saturating_duration_since(now);
        Down { cause: self.cause.clone(), retry_after }
    }
}

impl Outage {
    pub(super) fn down(&self) -> Option<Down> {
        self.0.as_ref().map(|gone| gone.told(Instant::now()))
    }

    /// Whether a call may ask. Of those that come in an outage the first one after each wait may, and has
    /// `patience` for it.
    pub(super) fn passes(&mut self, now: Instant, patience: Duration) -> Result<(), Down> {
        match &mut self.0 {
            Some(gone) if now < gone.next => Err(gone.told(now)),
            Some(gone) => {
                gone.next = now + patience;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Nobody has answered; what is said of it, and whether it is news.
    pub(super) fn begins(&mut self, error: Unreachable, now: Instant) -> (Down, bool) {
        let tries = self.0.as_ref().map_or(0, |gone| gone.tries.saturating_add(1));
        let next = now + TRIES.delay(tries, 0.5);
        let gone = self.0.insert(Gone { cause: error.0, tries, next });
        (gone.told(now), tries == 0)
    }

    /// Somebody has answered; whether nobody had before.
    pub(super) fn ends(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_call_at_a_time_finds_out() {
        let patience = Duration::from_secs(1);
        let (mut outage, mut now) = (Outage::default(), Instant::now());
        assert_eq!(outage.passes(now, patience), Ok(()));
        let (down, is_new) = outage.begins(Unreachable("gone".into()), now);
        assert_eq!(
            (down.cause.as_str(), down.retry_after.as_millis(), is_new),
            ("gone", 250, true)
        );
        assert!(outage.passes(now, patience).is_err());
        now += down.retry_after;
        assert_eq!(outage.passes(now, patience), Ok(()));
        assert!(outage.passes(now, patience).is_err());
        let (down, is_new) = outage.begins(Unreachable("gone".into()), now);
        assert_eq!((down.retry_after.as_millis(), is_new), (500, false));
        for _ in 0..10 {
            now += outage.down().unwrap().retry_after;
            outage.begins(Unreachable("gone".into()), now);
        }
        assert_eq!(outage.begins(Unreachable("gone".into()), now).0.retry_after.as_secs(), 5);
        assert!(outage.ends() && !outage.ends());
        assert_eq!(outage.passes(now, patience), Ok(()));
    }
}
