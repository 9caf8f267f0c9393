//! What the guards cost: the whole stack and each layer around a tool that does nothing, and the memory
//! of 100,000 users. `cargo bench --bench guards`.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark's own")]

use std::{convert::Infallible, future::Ready, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use husk::{
    base::canon::Digest,
    guard::{
        Answer, Denial, Ending, GuardLayer, Guards, Policy, Repeats, Settings, Signature, ToolCall,
        Who,
        breaker::Breaker,
        contain::Contain,
        deadline::Deadline,
        dedup::Dedup,
        limiter::{self, Limiter},
        stack,
        trace::Trace,
    },
};
use tokio::{runtime::Runtime, time::Instant};
use tower::{Layer, Service, ServiceExt};

struct Said(Ending, Digest);

impl Answer for Said {
    fn ending(&self) -> &Ending {
        &self.0
    }
    fn cost(&self) -> u64 {
        1
    }
    fn result(&self) -> Option<Digest> {
        Some(self.1)
    }
    fn deduplicated(&self) -> bool {
        false
    }
    fn hinted(self, _hint: String) -> Self {
        self
    }
    fn denied(denial: Denial) -> Self {
        panic!("{denial:?}")
    }
    fn late(_after: Duration) -> Self {
        unreachable!()
    }
    fn cancelled() -> Self {
        unreachable!()
    }
    fn panicked(what: &str) -> Self {
        panic!("{what}")
    }
}

/// A tool that says something else each time.
fn tool(call: ToolCall<u64>) -> Ready<Result<Said, Infallible>> {
    std::future::ready(Ok(Said(Ending::Done, Digest::of_bytes(&call.payload.to_le_bytes()))))
}

fn call(n: u64, principal: &Arc<str>) -> ToolCall<u64> {
    ToolCall {
        who: Who { principal: Arc::clone(principal), session: Arc::clone(principal) },
        signature: Signature { tool: "t", arguments: Digest::of_bytes(&n.to_le_bytes()) },
        policy: Policy { repeats: Repeats::Judged, breaks: true, limited: true, runs: true },
        attends: false,
        may_repeat: false,
        ran: Duration::ZERO,
        cost: 1,
        deadline: Duration::from_secs(60),
        cancelled: Default::default(),
        payload: n,
    }
}

fn guards() -> Guards {
    let settings = Settings { limits: limiter::Settings::none(), ..Settings::default() };
    Guards::new(settings, 1_800_000_000_000_000, Instant::now())
}

fn measure<S>(criterion: &mut Criterion, name: &str, mut service: S)
where
    S: Service<ToolCall<u64>, Response = Said, Error = Infallible>,
{
    let runtime = Runtime::new().unwrap();
    let (principal, mut n) = (Arc::from("p"), 0);
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| {
            n += 1;
            runtime
                .block_on(async { service.ready().await.unwrap().call(call(n, &principal)).await })
        });
    });
}

fn costs(criterion: &mut Criterion) {
    let (guards, inner) = (guards(), tower::service_fn(tool));
    measure(criterion, "no guard", inner);
    let trace = Trace::new(Arc::clone(&guards.meter), Arc::clone(&guards.tally));
    measure(criterion, "trace", GuardLayer(trace).layer(inner));
    measure(criterion, "dedup", GuardLayer(Dedup::new(Arc::clone(&guards.trails))).layer(inner));
    measure(
        criterion,
        "breaker",
        GuardLayer(Breaker::new(Arc::clone(&guards.breakers))).layer(inner),
    );
    measure(
        criterion,
        "limiter",
        GuardLayer(Limiter::new(Arc::clone(&guards.accounts))).layer(inner),
    );
    measure(criterion, "deadline", GuardLayer(Deadline).layer(inner));
    measure(criterion, "contain", GuardLayer(Contain).layer(inner));
    measure(criterion, "the whole stack", stack(inner, &guards));
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// Memory is bounded: of more users, those that called least recently are forgotten.
fn memory(_criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let guards = guards();
    let mut stack = stack(tower::service_fn(tool), &guards);
    let before = resident();
    for (users, until) in [(100_000u64, "100,000 users"), (200_000, "200,000 users")] {
        for user in users - 100_000..users {
            let principal = Arc::from(format!("user-{user}"));
            runtime
                .block_on(async { stack.ready().await.unwrap().call(call(user, &principal)).await })
                .unwrap();
        }
        let mib = (resident().saturating_sub(before)) / 1024;
        println!("{until}: {mib} MiB, {} remembered", guards.accounts.principals());
    }
}

criterion_group!(benches, costs, memory);
criterion_main!(benches);
