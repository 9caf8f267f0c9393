//! The store against real files: what is added is there ([`sums`]), and whatever is wrong is told,
//! not panicked about and not waited for ([`faults`]).

mod faults;
mod sums;

use std::{path::Path, time::Duration};

use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};

use super::*;

/// The minute that it is in these tests.
const NOW: u64 = 29_000_000;

/// Long enough for a test's own writes, short where a test waits for its end.
const PATIENT: Settings = Settings { patience: Duration::from_secs(20) };
const HASTY: Settings = Settings { patience: Duration::from_millis(30) };

async fn open(folder: &Path) -> Result<Store, StoreError> {
    Store::open(folder, |_| None, PATIENT).await
}

/// Another program that has the file open.
async fn stranger(file: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(file).connect().await.unwrap()
}

async fn run(on: &mut SqliteConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(on).await.unwrap();
}

fn minute(principal: &str, minute: u64, calls: u64, tokens: u64) -> UsageRow {
    UsageRow { principal: principal.to_owned(), minute, calls, tokens }
}

fn total(principal: &str, tool: &str, calls: u64, since: u64) -> TotalRow {
    let (principal, tool) = (principal.to_owned(), tool.to_owned());
    TotalRow { principal, tool, calls, tokens: 10 * calls, faults: 1, denied: 2, joined: 3, since }
}

fn arrival(principal: &str, micros: u64) -> Arrival {
    Arrival { principal: principal.to_owned(), micros }
}

fn calls(principal: &str, number: u64) -> UsageChanges {
    let minutes = vec![minute(principal, NOW, number, 10 * number)];
    UsageChanges { now: NOW, minutes, ..UsageChanges::default() }
}
