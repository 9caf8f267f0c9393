//! How many requests one address may send before it is asked who it is.
//!
//! Whoever guesses tokens, or floods, is slowed down before anything is computed for it. What is
//! remembered is bounded.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroUsize,
    time::Duration,
};

use tokio::time::Instant;

use crate::guard::{keyed::Keyed, limiter::pace::Pace};

/// Most addresses that are remembered.
const MOST: usize = 10_000;

/// The addresses.
pub(super) struct Paces {
    limit: u32,
    start: Instant,
    known: Keyed<Option<IpAddr>, Pace>,
}

impl Paces {
    /// For `limit` requests a minute; 0 is no limit.
    pub(super) fn new(limit: u32) -> Self {
        let most = NonZeroUsize::new(MOST).unwrap_or(NonZeroUsize::MIN);
        Self { limit, start: Instant::now(), known: Keyed::new(most) }
    }

    /// Enters a request.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn take(&self, from: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        if self.limit == 0 {
            return Ok(());
        }
        let micros = now.saturating_duration_since(self.start).as_micros();
        let micros = i64::try_from(micros).unwrap_or(i64::MAX);
        self.known.with(&from.map(network), |pace| match pace.wait(self.limit, micros) {
            None => {
                pace.take(self.limit, micros);
                Ok(())
            }
            Some(wait) => Err(Duration::from_micros(u64::try_from(wait).unwrap_or_default())),
        })
    }
}

/// Who has one IPv6 address has the 2^64 beside it.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_is_slowed_down_and_others_are_not() {
        let paces = Paces::new(60);
        let take = |from: &str| paces.take(Some(from.parse().unwrap()), Instant::now());
        for _ in 0..60 {
            take("10.0.0.1").unwrap();
        }
        assert_eq!(take("10.0.0.1"), Err(Duration::from_secs(1)));
        take("10.0.0.2").unwrap();
        for n in 0..60 {
            take(&format!("2001:db8::{n}")).unwrap();
        }
        assert!(take("2001:db8::ffff:1").is_err());
        take("2001:db8:0:1::1").unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        take("10.0.0.1").unwrap();
        assert!(Paces::new(0).take(None, Instant::now()).is_ok());
    }
}
