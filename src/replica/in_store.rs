//! The database of the store counts for all servers.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use serde_json::json;

use super::{call, limit, millis};
use crate::{
    base::{canon::Digest, causes},
    guard::{
        limiter::Settings as Limits,
        shared::counter::{
            Ask, Asking, Counter, End, Key, Known, LEASE, News, Seen, UNTOLD, Unreachable, Verdict,
        },
    },
    store::{Store, StoreError, shared::Take},
};

/// The store, or why it cannot be opened.
pub type Asked = Pin<Box<dyn Future<Output = Result<Store, Arc<StoreError>>> + Send>>;

/// Opens the store, which is open from then on.
pub type Opening = Box<dyn Fn() -> Asked + Send + Sync>;

/// A store that counts.
pub struct InStore {
    open: Opening,
    /// Whether the tokens of all users are counted.
    counts_all: bool,
}

impl std::fmt::Debug for InStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InStore").finish_non_exhaustive()
    }
}

impl InStore {
    /// The store that is opened so, when it is first needed.
    #[must_use]
    pub fn new(open: Opening, limits: &Limits) -> Self {
        Self { open, counts_all: limits.total_tokens_per_hour > 0 }
    }

    async fn store(&self) -> Result<Store, Unreachable> {
        (self.open)().await.map_err(|error| unreachable(&error))
    }
}

fn unreachable(error: &StoreError) -> Unreachable {
    Unreachable(causes::told(error, ": "))
}

impl Counter for InStore {
    fn take<'a>(&'a self, ask: Ask<'a>) -> Asking<'a, Verdict> {
        Box::pin(async move {
            let Ask { place, tokens, free, limits } = ask;
            let take = Take {
                user: &place.user.hex(),
                session: &place.session.hex(),
                call: &call(&place),
                free,
                tokens,
                requests: [
                    limits.requests_per_minute.into(),
                    limits.total_requests_per_minute.into(),
                ],
                hourly: [limits.tokens_per_hour, limits.total_tokens_per_hour],
                at_once: [limits.concurrent_per_session as u64, limits.concurrent_total as u64],
                lease: millis(LEASE),
            };
            let taken =
                self.store().await?.shared_take(take).await.map_err(|error| unreachable(&error))?;
            let taken = taken.ok_or_else(|| Unreachable("the database says nothing".into()))?;
            let Some((limit, most)) = limit(taken.reached, limits) else {
                return Ok(Verdict::Taken(taken.minute));
            };
            let retry_after = taken.wait.map(Duration::from_micros);
            Ok(Verdict::Over(limit.over(taken.used, most, retry_after)))
        })
    }

    fn tell<'a>(&'a self, news: &'a News) -> Asking<'a, ()> {
        Box::pin(async move {
            let settled = news.settled.iter();
            let told = json!({
                "settled": settled
                    .map(|(user, minute, more)| json!([user.hex(), minute, more]))
                    .collect::<Vec<_>>(),
                "left": news.left.iter().map(call).collect::<Vec<_>>(),
                "held": news
                    .held
                    .iter()
                    .map(|place| json!([call(place), place.session.hex()]))
                    .collect::<Vec<_>>(),
            });
            let told = told.to_string();
            let told = self.store().await?.shared_tell(&told, self.counts_all, millis(LEASE)).await;
            told.map_err(|error| unreachable(&error))
        })
    }

    fn look(&self, user: Digest) -> Asking<'_, Seen> {
        Box::pin(async move {
            let seen = self.store().await?.shared_look(&user.hex()).await;
            let (ahead, hour_calls, hour_tokens) = seen.map_err(|error| unreachable(&error))?;
            let ahead = i64::try_from(ahead).unwrap_or(i64::MAX);
            Ok(Seen { ahead, hour_calls, hour_tokens })
        })
    }

    fn claim<'a>(&'a self, claimed: &'a Key) -> Asking<'a, Known> {
        Box::pin(async move {
            let (key, call) = (claimed.digest.hex(), claimed.call.hex());
            let store = self.store().await?;
            let row = store.shared_claim(&key, &call, &claimed.server, millis(UNTOLD)).await;
            Ok(match row.map_err(|error| unreachable(&error))? {
                None => Known::New,
                Some(row) => claimed.known(Some(row.call), Some(row.server), row.answer),
            })
        })
    }

    fn close<'a>(&'a self, closed: &'a Key, end: &'a End) -> Asking<'a, ()> {
        Box::pin(async move {
            let (key, call) = (closed.digest.hex(), closed.call.hex());
            let (answer, remembered) = match end {
                End::Over(answer, remembered) => (Some(answer.as_str()), millis(*remembered)),
                End::NeverBegan => (None, 0),
            };
            let store = self.store().await?;
            let told = store.shared_close((&key, &call, &closed.server), answer, remembered).await;
            told.map_err(|error| unreachable(&error))
        })
    }
}
