//! What can be wrong with a database, and with the way to it: each is made to happen.

use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::{
    cluster::{Carries, Cluster, PASSWORD, Wire},
    *,
};
use crate::base::causes;
use settings::Url;

/// How long a test waits for what must come; a hang is what it catches.
const SOON: Duration = Duration::from_secs(60);

fn at(url: &str, timeout: f64) -> Settings {
    Settings { url: Some(Url::new(url.to_owned())), timeout, connections: 2 }
}

async fn open_at(settings: &Settings) -> Result<Store, StoreError> {
    Store::open(Path::new("/nowhere"), |_| None, settings).await
}

/// The same for who has little patience, on a machine that may be busy.
async fn opened_at(settings: &Settings) -> Store {
    let opening = async {
        loop {
            match open_at(settings).await {
                Ok(store) => return store,
                Err(error) => assert!(told(error).passes()),
            }
        }
    };
    tokio::time::timeout(SOON, opening).await.unwrap()
}

/// What it comes to, which never tells the password.
fn told(error: StoreError) -> PostgresError {
    let text = format!("{} {error:?}", causes::told(&error, ": "));
    assert!(!text.contains(PASSWORD), "{text}");
    assert!(text.contains("postgres://"), "names the database: {text}");
    match error {
        StoreError::Postgres(error) => error,
        other => panic!("{other:?}"),
    }
}

async fn run_at(url: &str, sql: &'static str) {
    let mut other = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut other).await.unwrap();
}

#[tokio::test]
async fn who_is_not_let_in_is_told_without_a_password() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database();
    let wrong = |from: &str, to: &str| url.replace(from, to);
    for url in [
        wrong(PASSWORD, "hunter22"),
        wrong("husk:", "nobody:"),
        wrong("localhost/t", "localhost/no"),
    ] {
        let error = told(open_at(&at(&url, 20.0)).await.unwrap_err());
        assert!(matches!(error, PostgresError::Refused { .. }), "{error:?}");
        assert!(error.passes());
    }
}

#[tokio::test]
async fn a_database_that_is_not_there_is_waited_for_and_then_told() {
    let nowhere = format!("postgres://husk:{PASSWORD}@127.0.0.1:9/husk");
    let error = told(open_at(&at(&nowhere, 0.2)).await.unwrap_err());
    assert!(error.passes(), "{error:?}");
    let socket = format!("postgres://husk:{PASSWORD}@localhost/husk?host=/nowhere");
    let error = told(open_at(&at(&socket, 0.2)).await.unwrap_err());
    assert!(matches!(error, PostgresError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_store_that_husk_may_not_change_is_told() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database();
    let store = open_at(&at(&url, 20.0)).await.unwrap();
    let read_only = format!("{url}&options=-c%20default_transaction_read_only%3Don");
    let error = told(open_at(&at(&read_only, 20.0)).await.unwrap_err());
    assert!(matches!(error, PostgresError::ReadOnly { .. }), "{error:?}");
    // Roles are the whole cluster's.
    run_at(&url, "DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD 'hunter2'").await;
    let guest = url.replace("husk:", "guest:");
    let error = told(open_at(&at(&guest, 20.0)).await.unwrap_err());
    assert!(matches!(error, PostgresError::NoRights { .. }), "{error:?}");
    store.add(&calls("a", 1)).await.unwrap();
}

#[tokio::test]
async fn tables_of_a_later_husk_or_of_somebody_else_are_not_touched() {
    let Some(cluster) = Cluster::shared() else { return };
    let check = async |sql, fits: fn(&PostgresError) -> bool| {
        let url = cluster.database();
        open_at(&at(&url, 20.0)).await.unwrap().close().await;
        run_at(&url, sql).await;
        let error = told(open_at(&at(&url, 20.0)).await.unwrap_err());
        assert!(fits(&error) && !error.passes(), "{sql}: {error:?}");
    };
    let newer = |error: &PostgresError| {
        matches!(error, PostgresError::Newer { version: 9999, known: 3, .. })
    };
    check(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (9999, 'the future', true, '', 0)",
        newer,
    )
    .await;
    let foreign = |error: &PostgresError| matches!(error, PostgresError::Foreign { .. });
    check("UPDATE _sqlx_migrations SET checksum = ''", foreign).await;
    check("DELETE FROM _sqlx_migrations", foreign).await;
}

#[tokio::test]
async fn a_lock_that_is_not_given_back_is_waited_for_and_then_told() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database();
    let patient = open_at(&at(&url, 20.0)).await.unwrap();
    let store = opened_at(&at(&url, 0.3)).await;
    let mut other = PgConnection::connect(&url).await.unwrap();
    let lock = "BEGIN; LOCK TABLE usage IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let error = told(store.add(&calls("a", 1)).await.unwrap_err());
    assert!(matches!(error, PostgresError::Late { .. }), "{error:?}");
    assert_eq!(patient.totals().await.unwrap(), [], "the rest goes on");
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    patient.add(&calls("a", 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_waited_for_and_loses_nothing() {
    let Some(cluster) = Cluster::start("-c fsync=off") else { return };
    let url = cluster.database();
    let store = open_at(&at(&url, 20.0)).await.unwrap();
    let mut changes = store.commits();
    changes.changed().await.unwrap();
    for (round, end) in [(1, "stop"), (2, "crash")] {
        store.add(&calls("a", 1)).await.unwrap();
        changes.mark_unchanged();
        cluster.tell(end);
        // It is asked while there is nobody to answer.
        let asked = tokio::spawn({
            let store = store.clone();
            async move { store.usage_since(0).await }
        });
        let impatient = open_at(&at(&url, 0.1)).await.unwrap_err();
        assert!(told(impatient).passes());
        cluster.tell("start");
        let usage = asked.await.unwrap().unwrap();
        assert_eq!(usage[0].calls, round, "after {end}");
        // The connection that listens is made anew, and everybody looks.
        tokio::time::timeout(SOON, changes.changed()).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_swallows_everything_is_told_and_mends_itself() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database();
    let wire = Wire::to(cluster).await;
    let store = opened_at(&at(&wire.leading_to(&url), 0.5)).await;
    wire.carries(Carries::Nothing);
    // More of them than there are connections, in use and new ones.
    for _ in 0..3 {
        let (one, two) = tokio::join!(store.usage_since(0), store.sessions());
        for error in [one.unwrap_err(), two.unwrap_err()] {
            let error = told(error);
            assert!(matches!(error, PostgresError::Late { .. }), "{error:?}");
        }
    }
    wire.carries(Carries::All);
    let mended = async {
        // What was swallowed counts against nobody: the next call finds a way.
        while let Err(error) = store.add(&calls("a", 1)).await {
            assert!(told(error).passes());
        }
    };
    tokio::time::timeout(SOON, mended).await.unwrap();
    let patient = open_at(&at(&url, 20.0)).await.unwrap();
    assert!(patient.usage_since(0).await.unwrap()[0].calls >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network_makes_slow_and_nothing_else() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database();
    let wire = Wire::to(cluster).await;
    wire.carries(Carries::Late(Duration::from_millis(40)));
    let store = open_at(&at(&wire.leading_to(&url), 20.0)).await.unwrap();
    let adds = (0..8).map(|_| async { store.add(&calls("a", 1)).await.unwrap() });
    futures_util::future::join_all(adds).await;
    assert_eq!(store.usage_since(0).await.unwrap()[0].calls, 8);
}
