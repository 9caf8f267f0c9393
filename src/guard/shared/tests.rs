//! Tests with a counter for all servers that a test holds in its hand.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;
use tower_test::mock::Handle;

use super::{
    counter::{Asking, News, Seen},
    *,
};
use crate::guard::{
    ToolCall,
    limiter::{Accounts, Limiter},
    test_support::{Behind, Said, answer, by_hand, call, is_idle, who},
};

const NOW: i64 = 1_800_000_000_000_000;

/// Counts calls of each user up to a limit; can be made not to answer.
#[derive(Debug, Default)]
struct ByHand {
    most: u64,
    state: Mutex<State>,
    told: Notify,
}

#[derive(Debug, Default)]
struct State {
    fails: bool,
    hangs: bool,
    asked: u32,
    taken: HashMap<crate::base::canon::Digest, u64>,
    news: Vec<News>,
    keys: HashMap<crate::base::canon::Digest, Key>,
}

impl ByHand {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Counter for ByHand {
    fn take<'a>(&'a self, ask: Ask<'a>) -> Asking<'a, Verdict> {
        Box::pin(async move {
            let hangs = self.state().hangs;
            if hangs {
                std::future::pending::<()>().await;
            }
            let mut state = self.state();
            state.asked += 1;
            if state.fails {
                return Err(Unreachable("Redis is gone".into()));
            }
            let taken = state.taken.entry(ask.place.user).or_default();
            if *taken >= self.most {
                let wait = Some(Duration::from_secs(5));
                return Ok(Verdict::Over(Limit::Requests.over(*taken, self.most, wait)));
            }
            *taken += 1;
            Ok(Verdict::Taken(7))
        })
    }

    fn tell<'a>(&'a self, news: &'a News) -> Asking<'a, ()> {
        Box::pin(async move {
            let mut state = self.state();
            if state.fails {
                return Err(Unreachable("Redis is gone".into()));
            }
            state.news.push(news.clone());
            self.told.notify_one();
            Ok(())
        })
    }

    fn claim<'a>(&'a self, key: &'a Key) -> Asking<'a, Known> {
        Box::pin(async move {
            let mut state = self.state();
            if state.fails {
                return Err(Unreachable("Redis is gone".into()));
            }
            Ok(match state.keys.insert(key.digest, key.clone()) {
                Some(before) => Known::Begun { server: before.server },
                None => Known::New,
            })
        })
    }

    fn close<'a>(&'a self, key: &'a Key, _end: &'a End) -> Asking<'a, ()> {
        Box::pin(async move {
            let mut state = self.state();
            if state.fails {
                return Err(Unreachable("Redis is gone".into()));
            }
            state.keys.remove(&key.digest);
            Ok(())
        })
    }

    fn look(&self, user: crate::base::canon::Digest) -> Asking<'_, Seen> {
        let hour_calls = self.state().taken.get(&user).copied().unwrap_or_default();
        Box::pin(async move { Ok(Seen { ahead: 30_000_000, hour_calls, hour_tokens: 40 }) })
    }
}

struct Server {
    counter: Arc<ByHand>,
    shared: Arc<Shared>,
    limiter: Behind<Limiter>,
    tool: Handle<ToolCall<()>, Said>,
    accounts: Arc<Accounts>,
    carrier: Option<Carrier>,
}

impl Server {
    fn new(most: u64, limits: Settings, on_failure: OnFailure) -> Self {
        let counter = Arc::new(ByHand { most, ..ByHand::default() });
        Self::of(counter, limits, on_failure)
    }

    fn of(counter: Arc<ByHand>, limits: Settings, on_failure: OnFailure) -> Self {
        let patience = Duration::from_secs(1);
        let counts: Arc<dyn Counter> = counter.clone();
        let (shared, carrier) = Shared::new("A", counts, on_failure, patience, limits.clone());
        let accounts = Accounts::minding(shared.minded(), limits, NOW, Instant::now());
        let accounts = Arc::new(accounts);
        let limiter = Limiter::new(Arc::clone(&accounts)).sharing(Some(Arc::clone(&shared)));
        let (limiter, tool) = by_hand(limiter);
        Self { counter, shared, limiter, tool, accounts, carrier: Some(carrier) }
    }

    /// The answer to a call: the tool's, or a denial.
    async fn call(&mut self, call: ToolCall<()>) -> String {
        let tool = &mut self.tool;
        tokio::select! {
            biased;
            said = answer(&mut self.limiter, call) => said.text,
            () = async {
                tool.next_request().await.unwrap().1.send_response(Said { cost: 9, ..Said::done("ran") });
                std::future::pending::<()>().await;
            } => unreachable!(),
        }
    }
}

fn ten() -> Settings {
    Settings { requests_per_minute: 10, ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn servers_count_together_and_a_denial_is_asked_for_once() {
    let mut one = Server::new(3, ten(), OnFailure::default());
    let mut two = Server::of(Arc::clone(&one.counter), ten(), OnFailure::default());
    for server in [&mut one, &mut two] {
        assert_eq!(server.call(call("a")).await, "ran");
    }
    assert_eq!(two.call(call("a")).await, "ran");
    for _ in 0..5 {
        assert_eq!(one.call(call("a")).await, "limiter: requests_per_minute");
    }
    assert!(is_idle(&mut one.tool));
    assert_eq!(one.counter.state().asked, 4);
    // Nothing of a denied call is charged here.
    let standing = one.accounts.standing("p", Instant::now());
    assert_eq!((standing.hour_calls, standing.requests_left), (1, Some(9)));
    assert_eq!((one.accounts.running(), one.accounts.of_session(&who("p", "s")).0), (0, 1));
    // It is asked again when it may have changed.
    tokio::time::advance(Duration::from_secs(5)).await;
    one.call(call("a")).await;
    assert_eq!(one.counter.state().asked, 5);
    let standing = one.shared.standing("p").await.unwrap();
    assert_eq!((standing.hour_calls, standing.requests_left), (3, Some(5)));
}

#[tokio::test(start_paused = true)]
async fn what_this_server_denies_by_itself_is_not_asked_for() {
    let mut server = Server::new(100, ten(), OnFailure::default());
    for _ in 0..10 {
        assert_eq!(server.call(call("a")).await, "ran");
    }
    assert_eq!(server.call(call("a")).await, "limiter: requests_per_minute");
    assert_eq!(server.counter.state().asked, 10);
    // What may not be refused asks nobody.
    let policy = crate::guard::Policy { limited: false, ..call("a").policy };
    assert_eq!(server.call(ToolCall { policy, ..call("a") }).await, "ran");
    assert_eq!(server.counter.state().asked, 10);
}

#[tokio::test(start_paused = true)]
async fn while_nobody_answers_each_limit_holds_as_the_settings_say() {
    for (policy, let_through, then) in [
        (Policy::Local, 10, "limiter: requests_per_minute"),
        (Policy::Open, 10, "ran"),
        (Policy::Closed, 0, "limiter: limit_unchecked"),
    ] {
        let on_failure = OnFailure { requests_per_minute: policy, ..OnFailure::default() };
        let mut server = Server::new(100, ten(), on_failure);
        server.counter.state().fails = true;
        for _ in 0..let_through {
            assert_eq!(server.call(call("a")).await, "ran", "{policy:?}");
        }
        assert_eq!(server.call(call("a")).await, then, "{policy:?}");
        assert_eq!(server.counter.state().asked, 1, "others do not wait to find out");
        assert_eq!(server.shared.down().unwrap().cause, "Redis is gone");
        // It answers again, and is asked again.
        server.counter.state().fails = false;
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(server.call(call("a")).await, "ran", "{policy:?}");
        assert_eq!(server.shared.down(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_costs_one_call_its_patience() {
    let mut server = Server::new(100, ten(), OnFailure::default());
    server.counter.state().hangs = true;
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(server.call(call("a")).await, "ran");
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    assert!(server.shared.down().unwrap().cause.contains("no answer in 1s"));
}

#[tokio::test(start_paused = true)]
async fn what_calls_have_cost_is_told_and_places_are_told_until_they_are_heard() {
    let mut server = Server::new(100, ten(), OnFailure::default());
    let stop = CancellationToken::new();
    let carries = tokio::spawn(server.carrier.take().unwrap().run(stop.clone()));
    server.call(call("a")).await;
    server.counter.told.notified().await;
    let news: Vec<News> = std::mem::take(&mut server.counter.state().news);
    let settled: i64 = news.iter().flat_map(|news| &news.settled).map(|(.., more)| more).sum();
    // It cost 9 and its arguments 1, which were charged before.
    assert_eq!(settled, 9);
    let left: Vec<_> = news.iter().flat_map(|news| &news.left).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].user, counter::user("p"));

    // A call under way keeps its place.
    let mut limiter = server.limiter.clone();
    let goes_on = tokio::spawn(async move { answer(&mut limiter, call("b")).await });
    let (_, responds) = server.tool.next_request().await.unwrap();
    server.counter.told.notified().await;
    let held: Vec<Place> = server.counter.state().news.pop().unwrap().held;
    assert_eq!(held.len(), 1);

    // It ends in an outage, which is over some time later.
    server.counter.state().fails = true;
    responds.send_response(Said::done("x"));
    goes_on.await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    server.counter.state().fails = false;
    server.counter.told.notified().await;
    let news = server.counter.state().news.pop().unwrap();
    assert_eq!((news.left, news.held), (held, Vec::new()));
    assert_eq!(news.settled, []);
    stop.cancel();
    carries.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_key_is_known_to_all_servers_until_its_call_is_told_to_be_over() {
    let server = Server::new(1, ten(), OnFailure::default());
    let key = Key::of(
        &who("p", "s"),
        &crate::base::canon::Digest::of_bytes(b"k"),
        call("a").signature,
        "A",
    );
    assert_eq!(server.shared.claim(&key).await, Ok(Known::New));
    let begun = Known::Begun { server: "A".into() };
    assert_eq!(server.shared.claim(&key).await, Ok(begun));
    // The end is told again until it is heard.
    server.counter.state().fails = true;
    let shared = Arc::clone(&server.shared);
    let told = tokio::spawn({
        let key = key.clone();
        async move { shared.close(&key, &End::NeverBegan).await }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!told.is_finished());
    server.counter.state().fails = false;
    told.await.unwrap();
    assert_eq!(server.shared.claim(&key).await, Ok(Known::New));
}

#[tokio::test(start_paused = true)]
async fn while_nobody_tells_of_keys_calls_with_one_go_on_or_are_refused() {
    for (policy, code) in [(Policy::Local, None), (Policy::Closed, Some("key_unchecked"))] {
        let on_failure = OnFailure { idempotency_keys: policy, ..OnFailure::default() };
        let server = Server::new(1, ten(), on_failure);
        server.counter.state().fails = true;
        let key = Key::of(
            &who("p", "s"),
            &crate::base::canon::Digest::of_bytes(b"k"),
            call("a").signature,
            "A",
        );
        let claimed = server.shared.claim(&key).await;
        assert_eq!(claimed.err().map(|denial| denial.code), code);
    }
}
