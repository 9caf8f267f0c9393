//! Carries what was used between the guards, which count, and the store, which outlives the server.
//!
//! What was used before is loaded at the start; what is used is written every two seconds, in one
//! transaction, and once more at the end. A server that is killed loses the last two seconds. One that
//! cannot use its store says so, and serves on: it then counts from its own start.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::registry::Opened;
use crate::{
    base::backoff::Backoff,
    guard::{Guards, usage::Counts},
    mcp::{guest::Guest, tools},
    store::{Arrival, Store, StoreError, TotalRow, UsageChanges, UsageRow},
};

/// Between two flushes; after one that failed, the waits grow.
pub(super) const FLUSHES: Backoff = Backoff {
    first: Duration::from_secs(2),
    factor: 2.0,
    cap: Duration::from_secs(60),
    jitter: 0.0,
    retries: u32::MAX,
};

/// The task that carries; its owner closes it.
pub(super) struct Ledger {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Ledger {
    /// Begins to carry, in the background: a host that waits for its server does not wait for a disk.
    pub(super) fn open(opened: Opened, guards: Guards, guest: Option<Guest>) -> Self {
        // What is used from here on is collected.
        guards.accounts.load([]);
        guards.meter.load([]);
        let stop = CancellationToken::new();
        let task = tokio::spawn(carry(opened, guards, guest, stop.clone()));
        Self { stop, task }
    }

    /// Writes what was used last.
    pub(super) async fn close(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the task that keeps what was used broke");
        }
    }
}

async fn carry(opened: Opened, guards: Guards, guest: Option<Guest>, stop: CancellationToken) {
    let Some(store) = opens(&opened, &stop).await else { return };
    if let Err(error) = load(store, &guards, guest.as_ref()).await {
        warn(&error);
    }
    let mut failed = 0;
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(FLUSHES.delay(failed, 0.5)) => {}
        }
        match flush(store, &guards).await {
            Ok(()) => failed = 0,
            Err(error) => {
                if failed == 0 {
                    warn(&error);
                }
                failed += 1;
            }
        }
    }
}

/// The store, as soon as it can be opened; nothing where it cannot, or this server ends before.
async fn opens<'o>(opened: &'o Opened, stop: &CancellationToken) -> Option<&'o Store> {
    let mut failed = 0;
    loop {
        let error = match opened.get().await {
            Ok(store) => return Some(store),
            Err(error) => error,
        };
        if failed == 0 {
            warn(&error);
        }
        if !error.passes() || stop.is_cancelled() {
            return None;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(FLUSHES.delay(failed, 0.5)) => {}
        }
        failed += 1;
    }
}

fn warn(error: &StoreError) {
    tracing::warn!(error = error as &dyn std::error::Error, "what is used is not kept");
}

/// What was used before.
async fn load(store: &Store, guards: &Guards, guest: Option<&Guest>) -> Result<(), StoreError> {
    let minute = guards.accounts.minute(Instant::now());
    let used = store.usage_since(u64::from(minute.saturating_sub(59))).await?;
    guards.accounts.load(used.into_iter().filter_map(|row| {
        let minute = u32::try_from(row.minute).ok()?;
        Some((row.principal.into(), minute, signed(row.calls), signed(row.tokens)))
    }));
    let arrivals = store.arrivals().await?.into_iter();
    guards.accounts.load_arrivals(
        arrivals.map(|arrival| (Arc::from(arrival.principal), signed(arrival.micros))),
    );
    let totals = store.totals().await?.into_iter();
    guards.meter.load(totals.filter_map(|row| {
        // Else a tool that there is no more.
        let own = tools::ALL.iter().find(|tool| tool.name == row.tool).map(|tool| tool.name);
        let tool = own.or_else(|| guest?.tool(&row.tool))?;
        let TotalRow { calls, tokens, faults, denied, joined, .. } = row;
        let counts = Counts { calls, tokens, faults, denied, joined };
        Some((row.principal.into(), tool, counts))
    }));
    Ok(())
}

/// What was used since the last flush.
async fn flush(store: &Store, guards: &Guards) -> Result<(), StoreError> {
    let now = u64::from(guards.accounts.minute(Instant::now()));
    let (changes, counted) = (guards.accounts.changes(), guards.meter.take());
    let minutes = changes.used.iter().map(|((principal, minute), (calls, tokens))| UsageRow {
        principal: principal.to_string(),
        minute: u64::from(*minute),
        calls: *calls,
        tokens: *tokens,
    });
    let totals = counted.iter().map(|((principal, tool), counts)| TotalRow {
        principal: principal.to_string(),
        tool: (*tool).to_owned(),
        calls: counts.calls,
        tokens: counts.tokens,
        faults: counts.faults,
        denied: counts.denied,
        joined: counts.joined,
        since: now,
    });
    let arrivals = changes.arrivals.iter().map(|(principal, micros)| Arrival {
        principal: principal.to_string(),
        micros: u64::try_from(*micros).unwrap_or_default(),
    });
    let (minutes, totals, arrivals) = (minutes.collect(), totals.collect(), arrivals.collect());
    let added = store.add(&UsageChanges { now, minutes, totals, arrivals }).await;
    if added.is_err() {
        guards.accounts.restore(changes);
        guards.meter.restore(counted);
    }
    added
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
