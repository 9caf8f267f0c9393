//! Tests of the layer and of its accounts.

use std::time::Duration;

use proptest::prelude::*;
use tower::Service;
use tower_test::mock::Handle;

use crate::guard::{
    Who,
    test_support::{Behind, Said, answer, by_hand, call, is_idle, who},
};

use super::*;

const NOW: i64 = 1_800_000_000_000_000;

fn accounts(settings: Settings) -> Arc<Accounts> {
    Arc::new(Accounts::new(settings, NOW, Instant::now()))
}

fn wanted(tokens: u64) -> Wanted {
    Wanted { tokens, cell: true, ran: Duration::ZERO, refusable: true, free: false }
}

fn layer(settings: Settings) -> (Behind<Limiter>, Handle<ToolCall<()>, Said>) {
    by_hand(Limiter::new(accounts(settings)))
}

async fn run(
    limiter: &mut Behind<Limiter>,
    tool: &mut Handle<ToolCall<()>, Said>,
    call: ToolCall<()>,
    said: Said,
) -> Said {
    let answered = async { tool.next_request().await.unwrap().1.send_response(said) };
    tokio::join!(answer(limiter, call), answered).0
}

#[tokio::test(start_paused = true)]
async fn what_is_over_a_limit_is_denied_and_not_charged() {
    let settings = Settings { requests_per_minute: 2, ..Settings::default() };
    let (mut limiter, mut tool) = layer(settings);
    for _ in 0..2 {
        run(&mut limiter, &mut tool, call("a"), Said::done("x")).await;
    }
    for _ in 0..3 {
        assert_eq!(answer(&mut limiter, call("a")).await.text, "limiter: requests_per_minute");
    }
    assert!(is_idle(&mut tool));
    let over = limiter.guard.accounts.take(&who("p", "s"), wanted(0), Instant::now()).unwrap_err();
    assert_eq!(over.retry_after, Some(Duration::from_secs(30)));
    let denial = over.denial();
    assert_eq!(denial.retry_after_s, Some(30.0));
    assert!(denial.reason.contains("2 of 2 calls of this minute are used; free in 30.0 s"));
    // Another user is not touched, and what may not be refused is let through.
    let other = ToolCall { who: who("q", "s"), ..call("a") };
    run(&mut limiter, &mut tool, other, Said::done("x")).await;
    let policy = crate::guard::Policy { limited: false, ..call("a").policy };
    run(&mut limiter, &mut tool, ToolCall { policy, ..call("a") }, Said::done("x")).await;
    tokio::time::advance(Duration::from_secs(60)).await;
    run(&mut limiter, &mut tool, call("a"), Said::done("x")).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_is_charged_what_it_has_cost() {
    let (mut limiter, mut tool) = layer(Settings::default());
    let said = |cost, end| Said { cost, ..Said::of("x", end) };
    let call = || ToolCall { cost: 10, ..call("a") };
    let tokens = |limiter: &Behind<Limiter>| {
        limiter.guard.accounts.standing("p", Instant::now()).hour_tokens
    };
    run(&mut limiter, &mut tool, call(), said(90, Ending::Done)).await;
    assert_eq!(tokens(&limiter), 100);
    // Given up: nothing was answered. A second answer about one execution costs nothing.
    run(&mut limiter, &mut tool, call(), said(90, Ending::GivenUp)).await;
    run(&mut limiter, &mut tool, call(), Said { shared: true, ..said(90, Ending::Done) }).await;
    assert_eq!(tokens(&limiter), 100);
    std::future::poll_fn(|cx| limiter.poll_ready(cx)).await.unwrap();
    let dropped = limiter.call(call());
    assert_eq!(tokens(&limiter), 110);
    drop(dropped);
    assert_eq!(tokens(&limiter), 100);
    assert_eq!(limiter.guard.accounts.of_session(&who("p", "s")), (3, 100));
    // It leaves after an hour.
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(tokens(&limiter), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_carries_a_budget() {
    let check = |budget: Budget, ran: u64, code: &str| {
        let accounts = accounts(Settings { session: budget, ..Settings::default() });
        let wanted = Wanted { ran: Duration::from_secs(ran), ..wanted(5) };
        let who = who("p", "s");
        let take = || accounts.take(&who, wanted, Instant::now());
        let first = take().map(|it| it.settle(20, true));
        let second = take().map(drop).unwrap_err().denial();
        assert_eq!((second.code, second.retry_after_s), (code, None), "{first:?}");
        let other = crate::guard::test_support::who("p", "other");
        let wanted = Wanted { ran: Duration::ZERO, ..wanted };
        assert!(accounts.take(&other, wanted, Instant::now()).is_ok());
    };
    check(Budget { max_cells: Some(1), ..Budget::default() }, 0, "session_cells");
    check(Budget { max_seconds: Some(9.5), ..Budget::default() }, 10, "session_seconds");
    check(Budget { max_tokens: Some(20), ..Budget::default() }, 0, "session_tokens");
}

#[tokio::test(start_paused = true)]
async fn limits_of_all_users_hold_as_well() {
    let accounts = accounts(Settings {
        total_requests_per_minute: 2,
        concurrent_per_session: 0,
        ..Settings::default()
    });
    let take = |name: &str| accounts.take(&who(name, "s"), wanted(0), Instant::now());
    let taken = [take("a").unwrap(), take("b").unwrap()];
    assert_eq!(take("c").unwrap_err().limit, Limit::AllRequests);
    drop(taken);
    assert_eq!(accounts.principals(), 2);
}

#[tokio::test]
async fn limits_hold_for_a_thousand_calls_at_once() {
    let settings = Settings {
        requests_per_minute: 0,
        tokens_per_hour: 700,
        concurrent_per_session: 50,
        concurrent_total: 120,
        ..Settings::default()
    };
    let accounts = accounts(settings);
    let calls = (0..1000).map(|n: usize| {
        let accounts = Arc::clone(&accounts);
        tokio::spawn(async move {
            let who = Who { session: format!("s{}", n % 4).as_str().into(), ..who("p", "") };
            let taken = accounts.take(&who, wanted(1), Instant::now());
            tokio::task::yield_now().await;
            let running = accounts.running();
            assert!(running <= 120, "{running} at once");
            taken.map(|taken| taken.settle(10, true)).is_ok()
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut let_through = 0;
    for call in calls {
        let_through += u64::from(call.await.unwrap());
    }
    let standing = accounts.standing("p", Instant::now());
    assert_eq!((standing.hour_calls, standing.hour_tokens), (let_through, let_through * 10));
    assert_eq!(accounts.running(), 0);
    // 699 tokens let one more through; whatever is settled above the limit is owed.
    assert!(let_through >= 70 && accounts.take(&who("p", "s"), wanted(1), Instant::now()).is_err());
}

#[test]
fn what_is_kept_elsewhere_is_given_out_once_and_taken_back() {
    let accounts = accounts(Settings::default());
    let (me, now) = (who("p", "s"), Instant::now());
    let minute = accounts.minute(now);
    accounts.take(&me, wanted(5), now).unwrap().settle(9, true);
    assert!(accounts.changes().is_empty());
    accounts.load([(Arc::clone(&me.principal), minute - 3, 7, 100)]);
    accounts.load_arrivals([(Arc::clone(&me.principal), NOW + 30_000_000)]);
    accounts.take(&me, wanted(5), now).unwrap().settle(9, true);
    let standing = accounts.standing("p", now);
    assert_eq!((standing.hour_calls, standing.hour_tokens), (9, 118));
    assert_eq!(standing.requests_left, Some(49));
    let changes = accounts.changes();
    assert_eq!(changes.used[&(Arc::clone(&me.principal), minute)], (1, 9));
    assert!(accounts.changes().is_empty());
    accounts.restore(changes.clone());
    assert_eq!(accounts.changes(), changes);
}

proptest! {
    /// Whatever comes in whatever order, what is reserved stays within the limits.
    #[test]
    fn no_schedule_takes_more(
        steps in proptest::collection::vec((0..3u8, 1..60u64, 0..40u64), 1..150)
    ) {
        let settings = Settings {
            requests_per_minute: 0, tokens_per_hour: 500, concurrent_per_session: 4, ..Settings::default()
        };
        let begun = Instant::now();
        let accounts = Arc::new(Accounts::new(settings, NOW, begun));
        let (mut now, mut held) = (begun, Vec::new());
        for (step, tokens, seconds) in steps {
            match step {
                0 => now += Duration::from_secs(seconds * 20),
                1 => drop(held.pop()),
                _ => held.extend(accounts.take(&who("p", "s"), wanted(tokens), now).ok()),
            }
            prop_assert!(held.len() <= 4);
            prop_assert!(accounts.standing("p", now).hour_tokens <= 500);
        }
    }
}
