//! Whoever counts for all servers, against real databases: [`on_both`] runs a test on each of them.

#[path = "../../tests/it/support/redis.rs"]
mod server;

use std::{collections::HashSet, sync::Arc, time::Duration};

use redis::cmd;

use super::*;
use crate::{
    base::{address::Address, canon::Digest},
    guard::{
        Signature,
        limiter::{Limit, Over},
        shared::counter::{Ask, Counter, End, Key, Known, LEASE, News, Place, Verdict},
        test_support::who,
    },
    store::tests::Home,
};
use server::Redis as Server;

const PATIENCE: Duration = Duration::from_secs(20);

/// A database for one test.
enum Base {
    Redis(Server),
    Store(Home),
}

/// Another server's way to it, each its own.
async fn counter(base: &Base, limits: &Limits) -> Arc<dyn Counter> {
    match base {
        Base::Redis(server) => {
            Arc::new(InRedis::new(&Address::new(server.url()), None, PATIENCE, limits).unwrap())
        }
        Base::Store(home) => {
            let store = home.open().await;
            let open = Box::new(move || -> Asked {
                let store = store.clone();
                Box::pin(async move { Ok(store) })
            });
            Arc::new(InStore::new(open, limits))
        }
    }
}

/// The places that are held of all calls are so much older.
async fn ages(base: &Base) {
    match base {
        Base::Redis(server) => {
            let client = redis::Client::open(server.url()).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.unwrap();
            let all = "husk:{shared}:calls:*";
            let keys: Vec<String> =
                cmd("KEYS").arg(all).query_async(&mut connection).await.unwrap();
            assert!(!keys.is_empty());
            for key in keys {
                let members: Vec<(String, i64)> = cmd("ZRANGE")
                    .arg(&key)
                    .arg(&["0", "-1", "WITHSCORES"])
                    .query_async(&mut connection)
                    .await
                    .unwrap();
                for (member, until) in members {
                    let until = until - LEASE.as_millis() as i64;
                    let mut older = cmd("ZADD");
                    older.arg(&key).arg(until).arg(member);
                    older.query_async::<()>(&mut connection).await.unwrap();
                }
            }
        }
        Base::Store(home) => home.run("UPDATE shared_call SET until = until - 30000").await,
    }
}

macro_rules! on_both {
    ($(async fn $name:ident($base:ident) $body:block)*) => {
        mod over_redis {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let $base = Base::Redis(Server::start());
                $body
            })*
        }
        mod over_the_store {
            use super::*;
            $(#[tokio::test]
            async fn $name() {
                let Some(home) = Home::of_a_database() else { return };
                let $base = Base::Store(home);
                $body
            })*
        }
    };
}

fn none() -> Limits {
    Limits::none()
}

fn place(user: &str, session: &str, call: u128) -> Place {
    Place::of(&who(user, session), call)
}

fn ask(place: Place, tokens: u64, limits: &Limits) -> Ask<'_> {
    Ask { place, tokens, free: false, limits }
}

fn over(verdict: Verdict) -> Over {
    match verdict {
        Verdict::Over(over) => over,
        Verdict::Taken(_) => panic!("it is let through"),
    }
}

fn minute(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Taken(minute) => minute,
        Verdict::Over(over) => panic!("{over:?}"),
    }
}

on_both! {
    async fn requests_of_a_user_are_counted_wherever_they_come(base) {
        let limits = Limits { requests_per_minute: 5, ..none() };
        let servers = [counter(&base, &limits).await, counter(&base, &limits).await];
        for n in 0..5 {
            let taken = servers[n % 2].take(ask(place("p", "s", n as u128), 7, &limits)).await;
            minute(taken.unwrap());
        }
        let denied = over(servers[1].take(ask(place("p", "t", 9), 7, &limits)).await.unwrap());
        assert_eq!((denied.limit, denied.used, denied.most), (Limit::Requests, 5, 5));
        let wait = denied.retry_after.unwrap().as_secs_f64();
        assert!((0.0..=12.0).contains(&wait), "{wait}");
        minute(servers[0].take(ask(place("q", "s", 10), 7, &limits)).await.unwrap());
        // A denied call is not counted.
        let seen = servers[0].look(place("p", "s", 0).user).await.unwrap();
        assert_eq!((seen.hour_calls, seen.hour_tokens), (5, 35));
        assert!((30_000_000..=60_000_000).contains(&seen.ahead), "{}", seen.ahead);
        let nobody = servers[0].look(place("nobody", "s", 0).user).await.unwrap();
        assert_eq!((nobody.ahead, nobody.hour_calls, nobody.hour_tokens), (0, 0, 0));
    }

    async fn requests_and_tokens_of_all_are_counted_as_well(base) {
        let limits = Limits { total_requests_per_minute: 3, total_tokens_per_hour: 50, ..none() };
        let server = counter(&base, &limits).await;
        for (n, user) in ["a", "b"].into_iter().enumerate() {
            minute(server.take(ask(place(user, "s", n as u128), 20, &limits)).await.unwrap());
        }
        let denied = over(server.take(ask(place("c", "s", 2), 20, &limits)).await.unwrap());
        assert_eq!((denied.limit, denied.used, denied.most), (Limit::AllTokens, 40, 50));
        minute(server.take(ask(place("c", "s", 3), 1, &limits)).await.unwrap());
        let denied = over(server.take(ask(place("d", "s", 4), 1, &limits)).await.unwrap());
        assert_eq!((denied.limit, denied.used), (Limit::AllRequests, 3));
    }

    async fn tokens_are_charged_before_and_corrected_after(base) {
        let limits = Limits { tokens_per_hour: 100, ..none() };
        let server = counter(&base, &limits).await;
        let me = place("p", "s", 1);
        let charged = minute(server.take(ask(me, 60, &limits)).await.unwrap());
        let denied = over(server.take(ask(me, 60, &limits)).await.unwrap());
        assert_eq!((denied.limit, denied.used, denied.most), (Limit::Tokens, 60, 100));
        let wait = denied.retry_after.unwrap().as_secs();
        assert!((3500..=3600).contains(&wait), "{wait}");
        // One that never fits.
        let denied = over(server.take(ask(me, 101, &limits)).await.unwrap());
        assert_eq!(denied.retry_after, None);
        let settled = |more| News { settled: vec![(me.user, charged, more)], ..News::default() };
        server.tell(&settled(-55)).await.unwrap();
        minute(server.take(ask(me, 60, &limits)).await.unwrap());
        server.tell(&settled(1000)).await.unwrap();
        let denied = over(server.take(ask(me, 0, &limits)).await.unwrap());
        assert_eq!((denied.limit, denied.used), (Limit::Tokens, 1065));
        // Two corrections of one minute in one go.
        let twice = News {
            settled: vec![(me.user, charged, -1000), (me.user, charged, -5)],
            ..News::default()
        };
        server.tell(&twice).await.unwrap();
        assert_eq!(server.look(me.user).await.unwrap().hour_tokens, 60);
    }

    async fn an_hour_is_sixty_minutes(base) {
        let limits = Limits { tokens_per_hour: 100, ..none() };
        let server = counter(&base, &limits).await;
        let me = place("p", "s", 1);
        let now = minute(server.take(ask(me, 10, &limits)).await.unwrap());
        let settled = vec![(me.user, now - 60, 500), (me.user, now - 58, 85)];
        server.tell(&News { settled, ..News::default() }).await.unwrap();
        let denied = over(server.take(ask(me, 10, &limits)).await.unwrap());
        assert_eq!(denied.used, 95);
        let wait = denied.retry_after.unwrap().as_secs();
        assert!(wait <= 120, "what was used 58 minutes ago frees soon, not in {wait} s");
        minute(server.take(ask(me, 5, &limits)).await.unwrap());
    }

    async fn calls_at_once_have_places_that_are_given_back(base) {
        let limits = Limits { concurrent_per_session: 2, concurrent_total: 3, ..none() };
        let servers = [counter(&base, &limits).await, counter(&base, &limits).await];
        let take = async |server: usize, session: &str, call: u128| {
            servers[server].take(ask(place("p", session, call), 1, &limits)).await.unwrap()
        };
        minute(take(0, "s", 1).await);
        minute(take(1, "s", 2).await);
        let denied = over(take(0, "s", 3).await);
        assert_eq!((denied.limit, denied.used, denied.retry_after), (Limit::SessionCalls, 2, None));
        minute(take(0, "t", 4).await);
        assert_eq!(over(take(0, "u", 5).await).limit, Limit::AllCalls);
        // One that costs nothing takes a place all the same.
        let free = Ask { free: true, ..ask(place("p", "u", 6), 1, &limits) };
        assert_eq!(over(servers[0].take(free).await.unwrap()).limit, Limit::AllCalls);
        let left = News { left: vec![place("p", "s", 1)], ..News::default() };
        servers[1].tell(&left).await.unwrap();
        servers[1].tell(&left).await.unwrap();
        minute(servers[0].take(free).await.unwrap());
        assert_eq!(servers[0].look(free.place.user).await.unwrap().hour_calls, 3);
    }

    async fn places_of_a_server_that_was_killed_lapse_unless_somebody_holds_them(base) {
        let limits = Limits { concurrent_total: 2, ..none() };
        let server = counter(&base, &limits).await;
        let take = async |call: u128| {
            server.take(ask(place("p", "s", call), 1, &limits)).await.unwrap()
        };
        minute(take(1).await);
        minute(take(2).await);
        over(take(3).await);
        ages(&base).await;
        let held = News { held: vec![place("p", "s", 2)], ..News::default() };
        server.tell(&held).await.unwrap();
        minute(take(4).await);
        over(take(5).await);
    }

    async fn no_more_get_through_than_may_however_many_come_at_once(base) {
        let limits = Limits { requests_per_minute: 40, concurrent_total: 0, ..none() };
        let mut calls = tokio::task::JoinSet::new();
        for server in 0..4 {
            let (server_of, limits) = (counter(&base, &limits).await, limits.clone());
            for call in 0..50 {
                let (counter, limits) = (Arc::clone(&server_of), limits.clone());
                calls.spawn(async move {
                    let place = place("p", "s", server * 100 + call);
                    counter.take(ask(place, 1, &limits)).await.unwrap()
                });
            }
        }
        let verdicts = calls.join_all().await;
        let taken = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Taken(_))).count();
        // One more for each 1.5 s that it takes.
        assert!((40..60).contains(&taken), "{taken}");
        let seen = counter(&base, &limits).await.look(place("p", "s", 0).user).await.unwrap();
        assert_eq!(seen.hour_calls, taken as u64);
    }

    async fn a_key_belongs_to_one_call_and_is_answered_from_it(base) {
        let server = counter(&base, &none()).await;
        let signature = |code: &[u8]| Signature { tool: "t", arguments: Digest::of_bytes(code) };
        let key = |code: &[u8], server: &str| {
            Key::of(&who("p", "s"), &Digest::of_bytes(b"k"), signature(code), server)
        };
        let (mine, theirs) = (key(b"x", "A#1"), key(b"x", "B#2"));
        assert_eq!(server.claim(&mine).await.unwrap(), Known::New);
        // Its own server knows more.
        assert_eq!(server.claim(&mine).await.unwrap(), Known::New);
        let begun = Known::Begun { server: "A#1".into() };
        assert_eq!(server.claim(&theirs).await.unwrap(), begun);
        assert_eq!(server.claim(&key(b"y", "B#2")).await.unwrap(), Known::Reused);
        // Nobody but its own server ends it.
        server.close(&theirs, &End::NeverBegan).await.unwrap();
        assert_eq!(server.claim(&theirs).await.unwrap(), begun);
        let end = End::Over("{\"a\":\"\u{1f980}\"}".into(), Duration::from_secs(60));
        server.close(&mine, &end).await.unwrap();
        server.close(&mine, &end).await.unwrap();
        let over = Known::Over { server: "A#1".into(), answer: "{\"a\":\"\u{1f980}\"}".into() };
        assert_eq!(server.claim(&theirs).await.unwrap(), over);
        // Another user's, and another session's, is another key.
        let other = Key::of(&who("q", "s"), &Digest::of_bytes(b"k"), signature(b"x"), "B#2");
        assert_eq!(server.claim(&other).await.unwrap(), Known::New);
        server.close(&other, &End::NeverBegan).await.unwrap();
        assert_eq!(server.claim(&other).await.unwrap(), Known::New);
        let ends_at_once = End::Over("x".into(), Duration::ZERO);
        server.close(&other, &ends_at_once).await.unwrap();
        let again = Key { server: "C#3".into(), ..other };
        let forgotten = async { while server.claim(&again).await.unwrap() != Known::New {} };
        tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
    }

    async fn of_many_that_claim_a_key_one_has_it(base) {
        let mut claims = tokio::task::JoinSet::new();
        for n in 0..4 {
            let server = counter(&base, &none()).await;
            for m in 0..10 {
                let server = Arc::clone(&server);
                claims.spawn(async move {
                    let signature = Signature { tool: "t", arguments: Digest::of_bytes(b"x") };
                    let name = format!("{n}#{m}");
                    let key = Key::of(&who("p", "s"), &Digest::of_bytes(b"k"), signature, &name);
                    server.claim(&key).await.unwrap()
                });
            }
        }
        let known = claims.join_all().await;
        assert_eq!(known.iter().filter(|known| **known == Known::New).count(), 1);
        let owners: HashSet<_> = known.iter().filter(|known| **known != Known::New).collect();
        assert_eq!(owners.len(), 1, "{owners:?}");
    }
}

#[tokio::test]
async fn a_redis_that_is_gone_or_hangs_is_told_by_its_address_and_found_again() {
    let limits = Limits { requests_per_minute: 50, ..none() };
    let at = |url: &str, patience| {
        InRedis::new(&Address::new(url.to_owned()), None, patience, &limits).unwrap()
    };
    let nobody = at("redis://u:hunter2@127.0.0.1:1/0", PATIENCE);
    let error = nobody.take(ask(place("p", "s", 1), 1, &limits)).await.unwrap_err().0;
    assert!(error.contains("redis://u@127.0.0.1:1/0") && !error.contains("hunter2"), "{error}");

    let server = Server::start();
    let redis = at(&server.url(), PATIENCE);
    for call in 1..3 {
        minute(redis.take(ask(place("p", "s", call), 1, &limits)).await.unwrap());
        server.kill();
        redis.take(ask(place("p", "s", 9), 1, &limits)).await.unwrap_err();
        server.run();
    }

    let hasty = at(&server.url(), Duration::from_millis(100));
    server.signal("-STOP");
    let error = hasty.take(ask(place("p", "s", 1), 1, &limits)).await.unwrap_err().0;
    assert!(error.contains("no answer in time"), "{error}");
    server.signal("-CONT");
    minute(redis.take(ask(place("p", "s", 3), 1, &limits)).await.unwrap());
}
