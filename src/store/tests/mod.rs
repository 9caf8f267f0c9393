//! The store against real databases: what is added is there ([`sums`]), a session has one holder
//! ([`sessions`]), and whatever is wrong is told, not panicked about and not waited for ([`faults`]
//! for a file, [`postgres`] for a database).
//!
//! [`on_both`] runs a test on each of them. PostgreSQL's are there with the feature `postgres`.

#[cfg(feature = "postgres")]
#[path = "../../../tests/it/support/postgres.rs"]
pub(crate) mod cluster;
mod faults;
mod file;
#[cfg(feature = "postgres")]
mod postgres;
mod sessions;
mod sums;

use std::path::Path;

use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};

use super::*;

/// The minute that it is in these tests.
const NOW: u64 = 29_000_000;

/// Long enough for a test's own writes.
fn patient() -> Settings {
    Settings { timeout: 20.0, ..Settings::default() }
}

/// Short, where a test waits for its end.
fn hasty() -> Settings {
    Settings { timeout: 0.03, ..Settings::default() }
}

async fn open(folder: &Path) -> Result<Store, StoreError> {
    Store::open(folder, |_| None, &patient()).await
}

/// What a test has for itself: a folder, and a database if its store is one.
pub(crate) struct Home {
    folder: tempfile::TempDir,
    settings: Settings,
}

impl Home {
    /// A folder for a file.
    pub(crate) fn of_a_file() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), settings: patient() }
    }

    /// A database; nothing where there can be none.
    #[cfg(feature = "postgres")]
    pub(crate) fn of_a_database() -> Option<Self> {
        let url = cluster::Cluster::shared()?.database();
        let settings = Settings { url: Some(settings::Url::new(url)), ..patient() };
        Some(Self { settings, ..Self::of_a_file() })
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings.clone()
    }

    /// The store as a process opens it.
    pub(crate) async fn open(&self) -> Store {
        Store::open(self.folder(), |_| None, &self.settings).await.unwrap()
    }

    /// What another program does to it.
    pub(crate) async fn run(&self, sql: &'static str) {
        #[cfg(feature = "postgres")]
        if let Some(url) = &self.settings.url {
            use sqlx::Connection;
            let mut other = sqlx::PgConnection::connect(url.reveal()).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
            return;
        }
        run(&mut stranger(&self.folder().join(FILE)).await, sql).await;
    }
}

/// Tests of a store in a home of its own, on each database.
macro_rules! on_both {
    ($(async fn $name:ident($home:ident) $body:block)*) => {
        mod in_a_file {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $name() {
                    let $home = Home::of_a_file();
                    $body
                }
            )*
        }

        #[cfg(feature = "postgres")]
        mod in_a_database {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $name() {
                    let Some($home) = Home::of_a_database() else { return };
                    $body
                }
            )*
        }
    };
}
use on_both;

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
