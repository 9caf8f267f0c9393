//! What servers side by side know together: limits that hold over all of them, and idempotency keys.
//!
//! A call that this server's own accounts let through asks whoever counts for all ([`counter`]).
//! A denial is remembered until it can have changed, and costs no second question. While nobody answers
//! ([`outage`]) calls do not wait: each limit holds here, or not at all, or refuses, as the settings say
//! ([`policy`]). What calls have cost in the end is told in the background ([`carrier`]).

mod carrier;
pub mod counter;
mod denials;
mod lease;
mod outage;
mod policy;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    Denial, Who,
    limiter::{Limit, Over, Settings, Standing, Wanted, left},
};
use crate::base::{
    backoff::{Again, Backoff},
    ids,
};
pub use carrier::Carrier;
use carrier::Told;
use counter::{Ask, Counter, End, Key, Known, Place, Unreachable, Verdict};
use denials::Denials;
pub(in crate::guard) use lease::Lease;
pub use outage::Down;
use outage::Outage;
pub use policy::{OnFailure, Policy};

/// What is counted for all servers, as one of them sees it.
#[derive(Debug)]
pub struct Shared {
    counter: Arc<dyn Counter>,
    on_failure: OnFailure,
    patience: Duration,
    limits: Settings,
    denials: Denials,
    outage: Mutex<Outage>,
    told: mpsc::UnboundedSender<Told>,
    /// Wakes the carrier when somebody answers again.
    back: Arc<Notify>,
    /// What tells calls of this server from those of others.
    nonce: u64,
    server: String,
    calls: AtomicU64,
    /// Those that tell how calls with a key have ended.
    tasks: TaskTracker,
}

impl Shared {
    /// Asks `counter`, which has `patience` to answer, for the server of that name; what carries the rest
    /// to it is to be run.
    #[must_use]
    pub fn new(
        server: &str,
        counter: Arc<dyn Counter>,
        on_failure: OnFailure,
        patience: Duration,
        limits: Settings,
    ) -> (Arc<Self>, Carrier) {
        let (told, inbox) = mpsc::unbounded_channel();
        let back = Arc::new(Notify::new());
        let carrier = Carrier::new(Arc::clone(&counter), patience, inbox, Arc::clone(&back));
        let nonce = ids::random_hex(8);
        let server = format!("{server}#{nonce}");
        let nonce = u64::from_str_radix(&nonce, 16).unwrap_or_default();
        let shared = Self {
            counter,
            on_failure,
            patience,
            limits,
            denials: Denials::default(),
            outage: Mutex::default(),
            told,
            back,
            nonce,
            server,
            calls: AtomicU64::default(),
            tasks: TaskTracker::new(),
        };
        (Arc::new(shared), carrier)
    }

    /// The limits that this server has to mind by itself.
    #[must_use]
    pub fn minded(&self) -> Settings {
        self.on_failure.minded(&self.limits)
    }

    /// Since when nobody has answered, and what was said last; nothing while somebody does.
    #[must_use]
    pub fn down(&self) -> Option<Down> {
        self.outage().down()
    }

    /// This server as [`Key`]s have it.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Those that tell how calls with a key have ended; their owner waits for them.
    #[must_use]
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn outage(&self) -> MutexGuard<'_, Outage> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call for all servers.
    ///
    /// # Errors
    /// [`Denial`]: a limit that would be exceeded, or that cannot be checked and must be.
    pub(in crate::guard) async fn take(
        self: &Arc<Self>,
        who: &Who,
        wanted: Wanted,
    ) -> Result<Option<Lease>, Denial> {
        if !policy::any(&self.limits, wanted.free) {
            return Ok(None);
        }
        if let Some(over) = self.denials.known(who, wanted, Instant::now()) {
            return Err(denied(over));
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let place = Place::of(who, u128::from(self.nonce) << 64 | u128::from(call));
        // Whatever becomes of this call, its place is given back.
        let mut lease = Lease::new(place, self.told.clone());
        let ask = Ask { place, tokens: wanted.tokens, free: wanted.free, limits: &self.limits };
        match self.asked(self.counter.take(ask)).await {
            Ok(Verdict::Taken(minute)) => {
                if !wanted.free {
                    lease.charge(minute, wanted.tokens);
                }
                Ok(Some(lease))
            }
            Ok(Verdict::Over(over)) => {
                self.denials.remember(who, wanted, over, Instant::now());
                Err(denied(over))
            }
            Err(down) => match self.on_failure.closed(&self.limits, wanted.free) {
                Some(limit) => Err(unchecked(limit, &down)),
                None => Ok(Some(lease)),
            },
        }
    }

    /// How a user stands with all servers; nothing where nobody tells.
    pub async fn standing(&self, principal: &str) -> Option<Standing> {
        let seen = self.asked(self.counter.look(counter::user(principal))).await.ok()?;
        let (requests, tokens) = (self.limits.requests_per_minute, self.limits.tokens_per_hour);
        Some(Standing {
            requests_left: (requests > 0).then(|| left(seen.ahead, requests)),
            hour_calls: seen.hour_calls,
            hour_tokens: seen.hour_tokens,
            tokens_left: (tokens > 0).then(|| tokens.saturating_sub(seen.hour_tokens)),
        })
    }

    /// What is known of a call's idempotency key; from now on it is known to all servers. Where nobody
    /// tells, it is as new as this server knows.
    ///
    /// # Errors
    /// [`Denial`] when nobody tells and the settings say that it must be known.
    pub async fn claim(&self, key: &Key) -> Result<Known, Denial> {
        let closed = self.on_failure.idempotency_keys == Policy::Closed;
        match self.asked(self.counter.claim(key)).await {
            Ok(known) => Ok(known),
            Err(down) if closed => Err(unknown_key(&down)),
            Err(_) => Ok(Known::New),
        }
    }

    /// The call that has the key is over. It is told until it is heard, but not for ever: then others
    /// are told that its end is not known.
    pub async fn close(&self, key: &Key, end: &End) {
        for number in 0.. {
            let cause = match timeout(self.patience, self.counter.close(key, end)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => format!("no answer in {:?}", self.patience),
            };
            let Some(wait) = TELLS.next(number, Again::Yes, 0.5) else {
                tracing::warn!(cause, "other servers do not learn how a call with a key has ended");
                return;
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// The answer, unless nobody has answered lately or does so in time.
    async fn asked<T>(
        &self,
        asking: impl Future<Output = Result<T, Unreachable>>,
    ) -> Result<T, Down> {
        self.outage().passes(Instant::now(), self.patience)?;
        let answered = match timeout(self.patience, asking).await {
            Ok(answered) => answered,
            Err(_elapsed) => Err(Unreachable(format!("no answer in {:?}", self.patience))),
        };
        match answered {
            Ok(answer) => {
                if self.outage().ends() {
                    tracing::info!("limits hold over all servers again");
                    self.back.notify_one();
                }
                Ok(answer)
            }
            Err(error) => {
                let (down, is_new) = self.outage().begins(error, Instant::now());
                if is_new {
                    tracing::warn!(
                        cause = down.cause,
                        "nobody counts for all servers; limits hold as `shared.on_failure` says"
                    );
                }
                Err(down)
            }
        }
    }
}

/// What is said about a limit that all servers together have reached.
fn denied(over: Over) -> Denial {
    let mut denial = over.denial();
    denial.reason.push_str("; all servers count together");
    denial
}

/// The code of a denial for a limit that cannot be checked.
pub(in crate::guard) const UNCHECKED: &str = "limit_unchecked";

/// How often the end of a call is told.
const TELLS: Backoff = Backoff {
    first: Duration::from_millis(250),
    factor: 2.0,
    cap: Duration::from_secs(30),
    jitter: 0.25,
    retries: 12,
};

/// What is said about a key of which nobody can tell.
fn unknown_key(down: &Down) -> Denial {
    Denial {
        by: "dedup",
        code: "key_unchecked",
        reason: format!(
            "whether another server has had a call with this idempotency key cannot be checked ({}), and \
             none is let through then (setting `shared.on_failure.idempotency_keys`); the call was not \
             carried out",
            down.cause
        ),
        retry_after_s: Some(down.retry_after.as_secs_f64().max(0.1)),
        hint: Some("send it again later, with the same key".to_owned()),
    }
}

/// What is said about such a limit.
fn unchecked(limit: Limit, down: &Down) -> Denial {
    let setting = limit.setting();
    Denial {
        by: "limiter",
        code: UNCHECKED,
        reason: format!(
            "limit `limits.{setting}` cannot be checked ({}), and nothing is let through then (setting \
             `shared.on_failure.{setting}`); the call was not carried out and is not counted",
            down.cause
        ),
        retry_after_s: Some(down.retry_after.as_secs_f64().max(0.1)),
        hint: Some("wait, and try again; if it goes on, tell the user".to_owned()),
    }
}

#[cfg(test)]
mod tests;
