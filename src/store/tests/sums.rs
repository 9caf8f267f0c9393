//! What is added adds up, whoever adds it.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn what_is_added_is_there_when_the_store_is_opened_again() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await.unwrap();
    let changes = UsageChanges {
        now: NOW,
        minutes: vec![minute("a", NOW - 1, 1, 10), minute("a", NOW, 2, 20)],
        totals: vec![total("a", "run", 3, NOW)],
        arrivals: vec![arrival("a", NOW * 60_000_000 + 5)],
    };
    store.add(&changes).await.unwrap();
    store.close().await;
    assert!(!home.path().join("husk.sqlite-wal").exists());
    assert!(matches!(store.add(&changes).await, Err(StoreError::Closed { .. })));

    let store = open(home.path()).await.unwrap();
    assert_eq!(store.usage_since(0).await.unwrap(), changes.minutes);
    assert_eq!(store.usage_since(NOW).await.unwrap(), changes.minutes[1..]);
    assert_eq!(store.totals().await.unwrap(), changes.totals);
    assert_eq!(store.arrivals().await.unwrap(), changes.arrivals);
}

#[tokio::test]
async fn only_this_user_can_read_it() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("made/for/it");
    let store = open(&folder).await.unwrap();
    store.add(&calls("a", 1)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for name in ["husk.sqlite", "husk.sqlite-wal", "husk.sqlite-shm"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
}

#[tokio::test]
async fn a_dropped_store_has_kept_what_was_added() {
    let home = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let store = open(home.path()).await.unwrap();
        store.add(&calls("a", 1)).await.unwrap();
        drop(store);
        let store = open(home.path()).await.unwrap();
        assert_eq!(store.usage_since(0).await.unwrap()[0].calls, round);
    }
}

#[tokio::test]
async fn numbers_add_up_and_the_rest_keeps_the_outermost() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await.unwrap();
    for (since, micros) in [(NOW, 2 * u64::from(u32::MAX)), (NOW - 9, 1), (NOW + 1, 7)] {
        let base = NOW * 60_000_000;
        let changes = UsageChanges {
            totals: vec![total("a", "run", 5, since)],
            arrivals: vec![arrival("a", base + micros)],
            ..calls("a", 4)
        };
        store.add(&changes).await.unwrap();
    }
    let usage = store.usage_since(0).await.unwrap();
    assert_eq!(usage, [minute("a", NOW, 12, 120)]);
    let expected = TotalRow { faults: 3, denied: 6, joined: 9, ..total("a", "run", 15, NOW - 9) };
    assert_eq!(store.totals().await.unwrap(), [expected]);
    let latest = NOW * 60_000_000 + 2 * u64::from(u32::MAX);
    assert_eq!(store.arrivals().await.unwrap(), [arrival("a", latest)]);
}

#[tokio::test]
async fn sums_stop_at_the_largest_number() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await.unwrap();
    store.add(&calls("a", u64::MAX / 10)).await.unwrap();
    store.add(&calls("a", u64::MAX / 10)).await.unwrap();
    let most = i64::MAX as u64;
    let usage = store.usage_since(0).await.unwrap();
    assert_eq!((usage[0].calls, usage[0].tokens), (u64::MAX / 10 * 2, most));
}

#[tokio::test]
async fn rows_older_than_an_hour_go_with_the_next_flush() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await.unwrap();
    let of = |at| UsageChanges {
        now: at,
        minutes: vec![minute("a", at, 1, 1)],
        totals: vec![total("a", "run", 1, at)],
        arrivals: vec![arrival(&format!("a{at}"), at * 60_000_000)],
    };
    // The last one: a clock that was far ahead and was set right.
    for (at, left) in [(NOW, 1), (NOW + 60, 2), (NOW + 61, 2), (NOW + 999_999, 1), (NOW + 62, 1)] {
        store.add(&of(at)).await.unwrap();
        assert_eq!(store.usage_since(0).await.unwrap().len(), left, "at {}", at - NOW);
    }
    assert_eq!(store.totals().await.unwrap()[0].calls, 5);
    assert_eq!(store.arrivals().await.unwrap().len(), 2);
}

#[tokio::test]
async fn nothing_is_written_when_there_is_nothing_to_write() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await.unwrap();
    store.add(&calls("a", 1)).await.unwrap();
    let log = || fs::read(home.path().join("husk.sqlite-wal")).unwrap();
    let before = log();
    store.add(&UsageChanges { now: NOW + 100, ..UsageChanges::default() }).await.unwrap();
    drop(open(home.path()).await.unwrap());
    assert!(before == log());
}

#[tokio::test]
async fn more_principals_than_fit_leave_out_those_that_called_longest_ago() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await.unwrap();
    let mut other = stranger(store.file()).await;
    run(
        &mut other,
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10000)
            INSERT INTO usage_total SELECT 'p' || n, 'run', 1, 1, 0, 0, 0, 1, 1 FROM numbers",
    )
    .await;
    let newest = vec![total("new", "wait", 1, NOW), total("new", "run", 1, NOW)];
    let changes = UsageChanges { totals: newest, now: NOW, ..UsageChanges::default() };
    store.add(&changes).await.unwrap();
    let totals = store.totals().await.unwrap();
    assert_eq!(totals.len() as u32, MOST_PRINCIPALS + 1);
    assert_eq!([&totals[0].principal, &totals[1].principal], ["new", "new"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_that_add_at_once_add_up() {
    let home = tempfile::tempdir().unwrap();
    let stores = [open(home.path()).await.unwrap(), open(home.path()).await.unwrap()];
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let store = stores[n % 2].clone();
        tasks.spawn(async move {
            for _ in 0..25 {
                let changes =
                    UsageChanges { totals: vec![total("a", "run", 1, NOW)], ..calls("a", 3) };
                store.add(&changes).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    for store in &stores {
        assert_eq!(store.usage_since(0).await.unwrap(), [minute("a", NOW, 600, 6000)]);
        assert_eq!(store.totals().await.unwrap()[0].calls, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_open_a_new_store_at_once_all_succeed() {
    for _ in 0..5 {
        let home = tempfile::tempdir().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let folder = home.path().join("new");
            tasks.spawn(async move {
                let store = open(&folder).await.unwrap();
                store.add(&calls("a", 1)).await.unwrap();
            });
        }
        tasks.join_all().await;
        let store = open(&home.path().join("new")).await.unwrap();
        assert_eq!(store.usage_since(0).await.unwrap()[0].calls, 6);
    }
}

#[tokio::test]
async fn an_add_that_nobody_waits_for_is_whole_or_not_at_all() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path()).await.unwrap();
    let rows = (0..50).map(|n| minute(&format!("p{n}"), NOW, 1, 1)).collect();
    let changes = UsageChanges { minutes: rows, now: NOW, ..UsageChanges::default() };
    for polls in 0..20 {
        let mut add = Box::pin(store.add(&changes));
        for _ in 0..polls {
            let _ = futures_util::poll!(add.as_mut());
            tokio::task::yield_now().await;
        }
        drop(add);
    }
    let before = store.usage_since(0).await.unwrap();
    assert!(before.is_empty() || before.len() == 50, "{}", before.len());
    let so_far = before.first().map_or(0, |row| row.calls);
    store.add(&changes).await.unwrap();
    let after = store.usage_since(0).await.unwrap();
    assert!(after.iter().all(|row| row.calls == so_far + 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn the_store_holds_the_sum_of_all_flushes(
        rows in prop::collection::vec((0..3u8, 0..70u64, 0..1000u64, 0..2usize), 1..30),
    ) {
        let mut sums = BTreeMap::new();
        for (who, ago, calls, _) in rows.iter().filter(|row| row.1 <= 60) {
            *sums.entry((NOW - ago, who.to_string())).or_insert(0) += calls;
        }
        let expected: Vec<UsageRow> =
            sums.into_iter().map(|((at, who), calls)| minute(&who, at, calls, calls)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async {
            let home = tempfile::tempdir().unwrap();
            let stores = [open(home.path()).await.unwrap(), open(home.path()).await.unwrap()];
            for (who, ago, calls, which) in rows {
                let minutes = vec![minute(&who.to_string(), NOW - ago, calls, calls)];
                let changes = UsageChanges { now: NOW, minutes, ..UsageChanges::default() };
                stores[which].add(&changes).await.unwrap();
            }
            stores[0].usage_since(0).await.unwrap()
        });
        prop_assert_eq!(found, expected);
    }
}
