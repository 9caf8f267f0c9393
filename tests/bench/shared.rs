//! What it costs to ask for a call's place in the limits: of this server's own accounts, of a Redis, and of a
//! PostgreSQL that count for all servers, in one run; one question after the other, and sixty-four at once.
//! `cargo bench --bench shared --features redis,postgres`. Both databases are on sockets of this machine: a
//! network's way there and back comes on top. Read the ratios; the times are this machine's.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark's own")]

use std::{sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use husk::{
    base::address::Address,
    guard::{
        Who,
        limiter::{Accounts, Settings, Wanted},
        shared::counter::{Ask, Counter, News, Place, Verdict},
    },
    replica::{Asked, InRedis, InStore},
    store::{self, Store},
};
use tokio::{runtime::Runtime, time::Instant};

#[expect(dead_code, clippy::indexing_slicing, reason = "the tests' own")]
#[path = "../it/support/postgres.rs"]
mod postgres;
#[expect(dead_code, reason = "the tests' own")]
#[path = "../it/support/redis.rs"]
mod redis;

const PATIENCE: Duration = Duration::from_secs(20);
const AT_ONCE: u128 = 64;

/// Limits that all have to be looked at, and that none of these calls reaches.
fn limits() -> Settings {
    Settings {
        requests_per_minute: 60_000_000,
        tokens_per_hour: 1 << 50,
        concurrent_per_session: 1_000_000,
        concurrent_total: 1_000_000,
        ..Settings::default()
    }
}

fn who(user: u128) -> Who {
    Who { principal: format!("user-{}", user % 100).into(), session: "s".into() }
}

fn alone(criterion: &mut Criterion) {
    let accounts = Arc::new(Accounts::new(limits(), 1_800_000_000_000_000, Instant::now()));
    let mut n = 0;
    criterion.bench_function("a call's place/this server", |bencher| {
        bencher.iter(|| {
            n += 1;
            let wanted =
                Wanted { tokens: 1, cell: true, ran: Duration::ZERO, refusable: true, free: false };
            accounts.take(&who(n), wanted, Instant::now()).unwrap().settle(1, true);
        });
    });
}

/// Takes a place and gives it back, as a call does.
async fn call(counter: &dyn Counter, limits: &Settings, n: u128) {
    let place = Place::of(&who(n), n);
    let ask = Ask { place, tokens: 1, free: false, limits };
    match counter.take(ask).await.unwrap() {
        Verdict::Taken(minute) => {
            let settled = vec![(place.user, minute, 1)];
            let news = News { settled, left: vec![place], held: Vec::new() };
            counter.tell(&news).await.unwrap();
        }
        Verdict::Over(over) => panic!("{over:?}"),
    }
}

fn over(criterion: &mut Criterion, runtime: &Runtime, name: &str, counter: &Arc<dyn Counter>) {
    let (limits, mut n) = (limits(), 0);
    criterion.bench_function(&format!("a call's place/{name}"), |bencher| {
        bencher.iter(|| {
            n += 1;
            runtime.block_on(call(&**counter, &limits, n));
        });
    });
    let mut group = criterion.benchmark_group("64 calls at once");
    group.throughput(Throughput::Elements(64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            n += AT_ONCE;
            runtime.block_on(async {
                let mut calls = tokio::task::JoinSet::new();
                for each in 0..AT_ONCE {
                    let (counter, limits) = (Arc::clone(counter), limits.clone());
                    calls.spawn(async move { call(&*counter, &limits, n + each).await });
                }
                calls.join_all().await;
            });
        });
    });
}

fn compare(criterion: &mut Criterion) {
    alone(criterion);
    let runtime = Runtime::new().unwrap();
    let server = redis::Redis::start();
    let counter = runtime.block_on(async {
        InRedis::new(&Address::new(server.url()), None, PATIENCE, &limits()).unwrap()
    });
    over(criterion, &runtime, "Redis", &(Arc::new(counter) as Arc<dyn Counter>));
    let Some(cluster) = postgres::Cluster::shared_as("") else { return };
    let settings = store::Settings {
        url: Some(store::settings::Url::new(cluster.database())),
        ..store::Settings::default()
    };
    let nowhere = std::path::Path::new("/nowhere");
    let store = runtime.block_on(Store::open(nowhere, |_| None, &settings)).unwrap();
    let open = Box::new(move || -> Asked {
        let store = store.clone();
        Box::pin(async move { Ok(store) })
    });
    let counter = InStore::new(open, &limits());
    over(criterion, &runtime, "PostgreSQL", &(Arc::new(counter) as Arc<dyn Counter>));
}

criterion_group!(benches, compare);
criterion_main!(benches);
