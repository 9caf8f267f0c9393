//! What is added adds up, whoever adds it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

on_both! {
    async fn what_is_added_is_there_when_the_store_is_opened_again(home) {
        let store = home.open().await;
        let changes = UsageChanges {
            now: NOW,
            minutes: vec![minute("a", NOW - 1, 1, 10), minute("a", NOW, 2, 20)],
            totals: vec![total("a", "run", 3, NOW)],
            arrivals: vec![arrival("a", NOW * 60_000_000 + 5)],
        };
        store.add(&changes).await.unwrap();
        store.close().await;
        store.add(&changes).await.unwrap_err();

        let store = home.open().await;
        assert_eq!(store.usage_since(0).await.unwrap(), changes.minutes);
        assert_eq!(store.usage_since(NOW).await.unwrap(), changes.minutes[1..]);
        assert_eq!(store.totals().await.unwrap(), changes.totals);
        assert_eq!(store.arrivals().await.unwrap(), changes.arrivals);
    }

    async fn a_dropped_store_has_kept_what_was_added(home) {
        for round in 1..=3 {
            let store = home.open().await;
            store.add(&calls("a", 1)).await.unwrap();
            drop(store);
            let store = home.open().await;
            assert_eq!(store.usage_since(0).await.unwrap()[0].calls, round);
        }
    }

    async fn numbers_add_up_and_the_rest_keeps_the_outermost(home) {
        let store = home.open().await;
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
        let expected =
            TotalRow { faults: 3, denied: 6, joined: 9, ..total("a", "run", 15, NOW - 9) };
        assert_eq!(store.totals().await.unwrap(), [expected]);
        let latest = NOW * 60_000_000 + 2 * u64::from(u32::MAX);
        assert_eq!(store.arrivals().await.unwrap(), [arrival("a", latest)]);
    }

    async fn rows_of_one_flush_add_up_too(home) {
        let store = home.open().await;
        let changes = UsageChanges {
            now: NOW,
            minutes: vec![minute("a", NOW, 1, 1), minute("a", NOW, 2, u64::MAX)],
            totals: vec![total("a", "run", 1, NOW), total("a", "run", 2, NOW - 5)],
            arrivals: vec![arrival("a", NOW * 60_000_000 + 9), arrival("a", NOW * 60_000_000)],
        };
        store.add(&changes).await.unwrap();
        let most = i64::MAX as u64;
        assert_eq!(store.usage_since(0).await.unwrap(), [minute("a", NOW, 3, most)]);
        let expected =
            TotalRow { faults: 2, denied: 4, joined: 6, ..total("a", "run", 3, NOW - 5) };
        assert_eq!(store.totals().await.unwrap(), [expected]);
        assert_eq!(store.arrivals().await.unwrap(), [arrival("a", NOW * 60_000_000 + 9)]);
    }

    async fn sums_stop_at_the_largest_number(home) {
        let store = home.open().await;
        store.add(&calls("a", u64::MAX / 10)).await.unwrap();
        store.add(&calls("a", u64::MAX / 10)).await.unwrap();
        let most = i64::MAX as u64;
        let usage = store.usage_since(0).await.unwrap();
        assert_eq!((usage[0].calls, usage[0].tokens), (u64::MAX / 10 * 2, most));
    }

    async fn rows_older_than_an_hour_go_with_the_next_flush(home) {
        let store = home.open().await;
        let of = |at| UsageChanges {
            now: at,
            minutes: vec![minute("a", at, 1, 1)],
            totals: vec![total("a", "run", 1, at)],
            arrivals: vec![arrival(&format!("a{at}"), at * 60_000_000)],
        };
        // The last one: a clock that was far ahead and was set right.
        let rounds =
            [(NOW, 1), (NOW + 60, 2), (NOW + 61, 2), (NOW + 999_999, 1), (NOW + 62, 1)];
        for (at, left) in rounds {
            store.add(&of(at)).await.unwrap();
            assert_eq!(store.usage_since(0).await.unwrap().len(), left, "at {}", at - NOW);
        }
        assert_eq!(store.totals().await.unwrap()[0].calls, 5);
        assert_eq!(store.arrivals().await.unwrap().len(), 2);
    }

    async fn more_principals_than_fit_leave_out_those_that_called_longest_ago(home) {
        let store = home.open().await;
        home.run(
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
        assert_eq!([&totals[0].tool, &totals[1].tool], ["run", "wait"]);
    }

    async fn names_are_compared_byte_by_byte(home) {
        let store = home.open().await;
        let names = ["B", "a", "ä", "b", "Ä", "_"];
        let rows = names.map(|name| minute(name, NOW, 1, 1)).to_vec();
        store.add(&UsageChanges { minutes: rows, now: NOW, ..UsageChanges::default() }).await.unwrap();
        let kept = store.usage_since(0).await.unwrap();
        let kept: Vec<&str> = kept.iter().map(|row| row.principal.as_str()).collect();
        let mut sorted = names;
        sorted.sort_unstable();
        assert_eq!(kept, sorted);
    }

    async fn two_processes_that_add_at_once_add_up(home) {
        let stores = [home.open().await, home.open().await];
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..8 {
            let store = stores[n % 2].clone();
            tasks.spawn(async move {
                for round in 0..25 {
                    // In another order each: rows must not lock each other.
                    let mut changes =
                        UsageChanges { totals: vec![total("a", "run", 1, NOW)], ..calls("a", 3) };
                    changes.minutes.push(minute("b", NOW, 1, 1));
                    if (n + round) % 2 == 0 {
                        changes.minutes.reverse();
                    }
                    store.add(&changes).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        for store in &stores {
            let expected = [minute("a", NOW, 600, 6000), minute("b", NOW, 200, 200)];
            assert_eq!(store.usage_since(0).await.unwrap(), expected);
            assert_eq!(store.totals().await.unwrap()[0].calls, 200);
        }
    }

    async fn processes_that_open_a_new_store_at_once_all_succeed(home) {
        let opening = (0..6).map(|_| async {
            home.open().await.add(&calls("a", 1)).await.unwrap();
        });
        futures_util::future::join_all(opening).await;
        assert_eq!(home.open().await.usage_since(0).await.unwrap()[0].calls, 6);
    }

    async fn an_add_that_nobody_waits_for_is_whole_or_not_at_all(home) {
        let store = home.open().await;
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
        assert!(after.iter().all(|row| row.calls > so_far && row.calls == after[0].calls));
    }
}

/// What two processes that add in turn come to.
async fn sum(home: &Home, rows: Vec<(u8, u64, u64, usize)>) -> Vec<UsageRow> {
    let stores = [home.open().await, home.open().await];
    for (who, ago, calls, which) in rows {
        let minutes = vec![minute(&who.to_string(), NOW - ago, calls, calls)];
        let changes = UsageChanges { now: NOW, minutes, ..UsageChanges::default() };
        stores[which].add(&changes).await.unwrap();
    }
    stores[0].usage_since(0).await.unwrap()
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
        let found = runtime.block_on(sum(&Home::of_a_file(), rows.clone()));
        prop_assert_eq!(&found, &expected);
        #[cfg(feature = "postgres")]
        if let Some(home) = Home::of_a_database() {
            prop_assert_eq!(runtime.block_on(sum(&home, rows)), expected);
        }
    }
}
