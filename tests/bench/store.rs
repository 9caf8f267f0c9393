//! What the changes of a session cost in the store, beside one plain change of a row, and how soon who
//! waits in another process is told: `cargo bench --bench store`; with `--features postgres` in both
//! stores in one run, PostgreSQL on a socket of this machine and with every commit on its disk. Read
//! the ratios; the times are this machine's.

#![expect(clippy::unwrap_used, reason = "a benchmark's own")]

use std::{path::Path, sync::Arc, time::Duration};

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
    store::{Settings, UsageChanges},
};
use tokio::{runtime::Runtime, time::Instant};

#[cfg(feature = "postgres")]
#[expect(dead_code, clippy::indexing_slicing, reason = "the tests' own")]
#[path = "../it/support/postgres.rs"]
mod postgres;

/// The stores, by name.
fn stores() -> Vec<(&'static str, Settings)> {
    std::iter::once(("sqlite", Settings::default())).chain(database()).collect()
}

#[cfg(feature = "postgres")]
fn database() -> Option<(&'static str, Settings)> {
    let url = husk::store::settings::Url::new(postgres::Cluster::shared_as("")?.database());
    Some(("postgres", Settings { url: Some(url), ..Settings::default() }))
}

#[cfg(not(feature = "postgres"))]
fn database() -> Option<(&'static str, Settings)> {
    None
}

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
    for (name, settings) in stores() {
        changes_in(criterion, name, settings);
    }
}

fn changes_in(criterion: &mut Criterion, name: &str, settings: Settings) {
    let (runtime, data) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let store = Opened::new(data.path().to_owned(), settings);
    let mut group = criterion.benchmark_group(name);
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

fn tenancy(runtime: &Runtime, data: &Path, settings: Settings) -> Tenancy {
    runtime.block_on(async {
        let server = Server::open(data).unwrap();
        let store = Arc::new(Opened::new(data.to_owned(), settings));
        Tenancy::new(store, server, Pace::default())
    })
}

/// From the moment at which a start is over in one process until who waits for it in another has its
/// answer.
fn wake_up(criterion: &mut Criterion) {
    for (name, settings) in stores() {
        let (runtime, data) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
        let one = tenancy(&runtime, data.path(), settings.clone());
        let other = tenancy(&runtime, data.path(), settings);
        let mut number = 0;
        criterion.bench_function(&format!("{name}/wake-up of another process"), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    number += 1;
                    took += runtime.block_on(wakes(&one, &other, &key(&format!("w{number}"))));
                }
                took
            });
        });
    }
}

async fn wakes(one: &Tenancy, other: &Tenancy, key: &Key) -> Duration {
    let (claimed, is_claimed) = tokio::sync::oneshot::channel();
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let makes = async {
        let create = async |_| {
            claimed.send(()).unwrap();
            is_ready.await.unwrap();
            Ok(Made { place: "/run/husk".into(), generation: 1 })
        };
        one.get_or_create(key, create).await.unwrap()
    };
    let waits = async {
        is_claimed.await.unwrap();
        let got = other.get_or_create(key, async |_| Err("it has one".to_owned())).await;
        assert!(matches!(got, Ok(Got::Theirs(_))));
        Instant::now()
    };
    let begins = async {
        // By then the other waits for it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let begun = Instant::now();
        ready.send(()).unwrap();
        begun
    };
    let (won, woken, begun) = tokio::join!(makes, waits, begins);
    if let Got::Won(held) = won {
        held.tell(Step::Off);
    }
    woken.duration_since(begun)
}

/// Sixty-four tasks want one session: the whole, until each of them has its answer.
fn race(criterion: &mut Criterion) {
    for (name, settings) in stores() {
        race_in(criterion, name, settings);
    }
}

fn race_in(criterion: &mut Criterion, store: &str, settings: Settings) {
    let (runtime, data) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let tenancy = tenancy(&runtime, data.path(), settings);
    let mut number = 0;
    for tasks in [1, 64] {
        criterion.bench_function(&format!("{store}/get_or_create by {tasks} at once"), |bencher| {
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
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = changes, wake_up, race
}
criterion_main!(benches);
