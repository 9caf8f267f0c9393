//! What the changes of a session cost in the store, beside one plain UPDATE of SQLite's: `cargo bench
//! --bench store`. Read the ratios; the times are this machine's.

#![expect(clippy::unwrap_used, reason = "a benchmark's own")]

use std::{sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use husk::{
    app::registry::Opened,
    base::ids::SessionName,
    sandbox::{
        registry::{Key, Registry},
        servers::Server,
        state::tenure::{Step, Tenure, Terms},
        tenancy::{Got, Made, Pace, Tenancy},
    },
    store::UsageChanges,
};
use tokio::runtime::Runtime;

fn key(name: &str) -> Key {
    Key { workspace: "/work".into(), name: SessionName::new(name).unwrap() }
}

fn terms(holder: &str) -> Terms {
    Terms { holder: holder.into(), lease: Duration::from_secs(3600), dead: None }
}

async fn claim(store: &Opened, key: &Key, holder: &str) -> Option<Tenure> {
    store.claim(key, &terms(holder)).await.unwrap().ok()
}

/// One statement each, of a session that nobody else wants.
fn changes(criterion: &mut Criterion) {
    let (runtime, data) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let store = Opened::new(data.path().to_owned());
    let mut group = criterion.benchmark_group("change");
    // The measure: one row that is changed by its key, in a transaction of its own.
    let row = husk::store::Arrival { principal: "p".into(), micros: u64::MAX / 4 };
    let plain = UsageChanges { arrivals: vec![row], ..UsageChanges::default() };
    group.bench_function("plain update of another table", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async { store.get().await.unwrap().add(&plain).await.unwrap() });
        });
    });
    let key = key("s");
    let step = async |epoch, step: Step| store.step(&key, "a", epoch, 0, &step).await.unwrap();
    group.bench_function("claim, ready, off", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let epoch = claim(&store, &key, "a").await.unwrap().epoch;
                let ready = Step::Ready { place: "/run/husk".into(), generation: 1 };
                assert!(step(epoch, ready).await && step(epoch, Step::Off).await);
            });
        });
    });
    let epoch = runtime.block_on(claim(&store, &key, "a")).unwrap().epoch;
    let ready = Step::Ready { place: "/run/husk".into(), generation: 1 };
    assert!(runtime.block_on(step(epoch, ready)));
    group.bench_function("a cell begins and ends", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                assert!(
                    step(epoch, Step::CellBegan(1)).await && step(epoch, Step::CellEnded).await
                );
            });
        });
    });
    group.bench_function("a claim that is refused", |bencher| {
        bencher.iter(|| assert!(runtime.block_on(claim(&store, &key, "b")).is_none()));
    });
    group.bench_function("a write that is refused", |bencher| {
        bencher.iter(|| assert!(!runtime.block_on(step(epoch - 1, Step::CellBegan(1)))));
    });
    let lease = Duration::from_secs(3600);
    group.bench_function("renewal", |bencher| {
        bencher.iter(|| runtime.block_on(store.renew("a", lease)).unwrap());
    });
    group.finish();
}

/// Sixty-four tasks want one session: the whole, until each of them has its answer.
fn race(criterion: &mut Criterion) {
    let (runtime, data) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let tenancy = runtime.block_on(async {
        let server = Server::open(data.path()).unwrap();
        let store = Arc::new(Opened::new(data.path().to_owned()));
        Tenancy::new(store, server, Pace::default())
    });
    let mut number = 0;
    for tasks in [1, 64] {
        criterion.bench_function(&format!("get_or_create by {tasks} at once"), |bencher| {
            bencher.iter(|| {
                number += 1;
                let key = key(&format!("s{number}"));
                let one = |_| {
                    let (tenancy, key) = (tenancy.clone(), key.clone());
                    runtime.spawn(async move {
                        let made = Made { place: "/run/husk".into(), generation: 1 };
                        tenancy.get_or_create(&key, async |_| Ok(made)).await.unwrap()
                    })
                };
                let all: Vec<_> = (0..tasks).map(one).collect();
                runtime.block_on(async {
                    for task in all {
                        if let Got::Won(held) = task.await.unwrap() {
                            held.tell(Step::Off);
                        }
                    }
                });
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(3));
    targets = changes, race
}
criterion_main!(benches);
