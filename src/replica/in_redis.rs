//! Redis counts for all servers: each question is one script, which nothing comes between, by Redis' own
//! clock. All keys are in one slot of a cluster.

use std::{
    path::Path,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, RedisError, Script, aio::MultiplexedConnection, pipe};
use tokio::sync::Semaphore;

use super::{call, limit, millis};
use crate::{
    base::{address::Address, canon::Digest},
    guard::{
        limiter::Settings as Limits,
        shared::counter::{
            Ask, Asking, Counter, End, Key, Known, LEASE, News, Place, Seen, UNTOLD, Unreachable,
            Verdict,
        },
    },
    redis_client::{self, ClientError},
    tls::Cures,
};

const PREFIX: &str = "husk:{shared}:";
const CURES: Cures = Cures {
    authorities: "`shared.redis_ca`",
    address: "`shared.redis_url`",
    client: redis_client::CLIENT,
};
/// The largest number that a script reckons with exactly.
const MOST: u64 = (1 << 53) - 1;
/// What a user's hour is kept for.
const HOUR: Duration = Duration::from_secs(3660);

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/take.lua")));
static HOLD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/hold.lua")));
static LOOK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/look.lua")));
static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/claim.lua")));
static CLOSE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/close.lua")));

/// A Redis.
pub struct InRedis {
    shown: String,
    client: Client,
    patience: Duration,
    /// Whether the tokens of all users are counted.
    counts_all: bool,
    connection: Mutex<Option<Arc<MultiplexedConnection>>>,
    /// One connects, and the others wait for it.
    connects: Semaphore,
}

impl std::fmt::Debug for InRedis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("InRedis").field(&self.shown).finish()
    }
}

/// The connection, which is not used again unless what was asked over it is answered.
struct InUse<'r> {
    redis: &'r InRedis,
    connection: Option<Arc<MultiplexedConnection>>,
}

impl InUse<'_> {
    fn answered(mut self) {
        self.connection = None;
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let mut current = self.redis.current();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &connection)) {
            *current = None;
        }
    }
}

impl InRedis {
    /// The Redis at that address; nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(
        address: &Address,
        ca: Option<&Path>,
        patience: Duration,
        limits: &Limits,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            shown: address.to_string(),
            client: redis_client::client(address, ca)?,
            patience,
            counts_all: limits.total_tokens_per_hour > 0,
            connection: Mutex::default(),
            connects: Semaphore::new(1),
        })
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<MultiplexedConnection>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(&self) -> Result<Arc<MultiplexedConnection>, RedisError> {
        if let Some(connection) = self.current().clone() {
            return Ok(connection);
        }
        // Never closed.
        let _turn = self.connects.acquire().await;
        if let Some(connection) = self.current().clone() {
            return Ok(connection);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.patience))
            .set_response_timeout(Some(self.patience));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Arc::clone(self.current().insert(Arc::new(connection))))
    }

    /// Asks something.
    async fn asked<T>(
        &self,
        ask: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Unreachable> {
        let failed = |error: RedisError| {
            let what = match redis_client::distrust(&error) {
                Some(why) => format!(" {}", why.told(&CURES)),
                None if error.is_timeout() => ": no answer in time".to_owned(),
                None => format!(": {error}"),
            };
            Unreachable(format!("Redis at {}{what}", self.shown))
        };
        let connection = self.connection().await.map_err(failed)?;
        let in_use = InUse { redis: self, connection: Some(Arc::clone(&connection)) };
        match ask((*connection).clone()).await {
            Ok(answer) => {
                in_use.answered();
                Ok(answer)
            }
            Err(error) => Err(failed(error)),
        }
    }
}

fn key(kind: &str, whose: &str) -> String {
    format!("{PREFIX}{kind}:{whose}")
}

fn short(digest: &Digest) -> String {
    let mut hex = digest.hex();
    // Half of it tells as many users apart as there will ever be.
    hex.truncate(32);
    hex
}

/// Where the calls of a session are, and those of all.
fn calls(place: &Place) -> [String; 2] {
    [key("calls", &short(&place.session)), key("calls", "all")]
}

impl Counter for InRedis {
    fn take<'a>(&'a self, ask: Ask<'a>) -> Asking<'a, Verdict> {
        Box::pin(async move {
            let limits = ask.limits;
            let (user, calls) = (short(&ask.place.user), calls(&ask.place));
            let mut script = TAKE.prepare_invoke();
            for kind in ["pace", "hour"] {
                script.key(key(kind, &user)).key(key(kind, "all"));
            }
            let [of_session, of_all] = calls;
            script.key(of_session).key(of_all);
            script.arg(call(&ask.place)).arg(u8::from(ask.free)).arg(ask.tokens.min(MOST));
            script.arg(limits.requests_per_minute).arg(limits.total_requests_per_minute);
            script.arg(limits.tokens_per_hour.min(MOST));
            script.arg(limits.total_tokens_per_hour.min(MOST));
            script.arg(limits.concurrent_per_session).arg(limits.concurrent_total);
            script.arg(millis(LEASE));
            let (reached, used, wait, minute): (u64, u64, i64, u64) = self
                .asked(async move |mut connection| script.invoke_async(&mut connection).await)
                .await?;
            let Some((limit, most)) = limit(reached, limits) else {
                return Ok(Verdict::Taken(minute));
            };
            let retry_after = u64::try_from(wait).ok().map(Duration::from_micros);
            Ok(Verdict::Over(limit.over(used, most, retry_after)))
        })
    }

    fn tell<'a>(&'a self, news: &'a News) -> Asking<'a, ()> {
        Box::pin(async move {
            let mut told = pipe();
            for (user, minute, more) in &news.settled {
                let all = self.counts_all.then(|| key("hour", "all"));
                for hour in [Some(key("hour", &short(user))), all].into_iter().flatten() {
                    told.cmd("HINCRBY").arg(&hour).arg(format!("t{minute}")).arg(*more).ignore();
                    told.cmd("PEXPIRE").arg(&hour).arg(millis(HOUR)).ignore();
                }
            }
            for place in &news.left {
                for calls in calls(place) {
                    told.cmd("ZREM").arg(calls).arg(call(place)).ignore();
                }
            }
            let mut held = HOLD.prepare_invoke();
            held.arg(millis(LEASE));
            for place in &news.held {
                let [of_session, _] = calls(place);
                held.key(of_session).arg(call(place));
            }
            held.key(key("calls", "all"));
            self.asked(async move |mut connection| {
                if !told.is_empty() {
                    told.query_async::<()>(&mut connection).await?;
                }
                if !news.held.is_empty() {
                    held.invoke_async::<()>(&mut connection).await?;
                }
                Ok(())
            })
            .await
        })
    }

    fn look(&self, user: Digest) -> Asking<'_, Seen> {
        Box::pin(async move {
            let user = short(&user);
            let mut script = LOOK.key(key("pace", &user));
            script.key(key("hour", &user));
            let (ahead, hour_calls, hour_tokens) = self
                .asked(async move |mut connection| script.invoke_async(&mut connection).await)
                .await?;
            Ok(Seen { ahead, hour_calls, hour_tokens })
        })
    }

    fn claim<'a>(&'a self, claimed: &'a Key) -> Asking<'a, Known> {
        Box::pin(async move {
            let mut script = CLAIM.key(key("key", &claimed.digest.hex()));
            script.arg(claimed.call.hex()).arg(&claimed.server).arg(millis(UNTOLD));
            let known: Vec<Option<String>> = self
                .asked(async move |mut connection| script.invoke_async(&mut connection).await)
                .await?;
            let mut known = known.into_iter();
            let mut next = || known.next().flatten();
            Ok(claimed.known(next(), next(), next()))
        })
    }

    fn close<'a>(&'a self, closed: &'a Key, end: &'a End) -> Asking<'a, ()> {
        Box::pin(async move {
            let mut script = CLOSE.key(key("key", &closed.digest.hex()));
            script.arg(closed.call.hex()).arg(&closed.server);
            if let End::Over(answer, remembered) = end {
                // Redis has no key that is gone at once.
                script.arg(answer).arg(millis(*remembered).max(1));
            }
            self.asked(async move |mut connection| script.invoke_async::<()>(&mut connection).await)
                .await
        })
    }
}
