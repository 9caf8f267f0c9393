//! What holds over attempts, targets and questions together: who is passed over and comes back, one
//! budget, and the error that tells all of it.

use std::time::Duration;

use husk::llm::{
    Settings,
    error::{Class, Phase},
    request::Request,
};
use serde_json::json;

use crate::{
    ask::{ask, client, fallback, hello, settings, target},
    faults::{half, short},
    provider::{Act, End, Provider},
    says::{WIRES, Wire},
};

#[tokio::test]
async fn a_primary_that_flaps_is_passed_over_and_comes_back() {
    for wire in WIRES {
        let bad = wire.error(500, "x", "down");
        let mut acts = vec![bad; 9];
        acts.push(wire.stream(&["up"]));
        let first = Provider::new(acts).await;
        let second = Provider::new(vec![wire.stream(&["well"])]).await;
        let passed_over = Duration::from_millis(50);
        let client =
            client(&fallback(wire, &first, &second), Settings { passed_over, ..settings() });
        for _ in 0..3 {
            assert_eq!(hello(&client).await.answer().target, "second");
        }
        assert_eq!(first.asked().len(), 9);
        // Until the time is over it is not asked; then one probe brings it back.
        let mut served = Vec::new();
        while served.last().is_none_or(|last| last != "first") {
            served.push(hello(&client).await.answer().target.clone());
        }
        assert_eq!(first.asked().len(), 10);
        assert_eq!(hello(&client).await.answer().target, "first");
    }
}

#[tokio::test]
async fn when_all_are_passed_over_they_are_asked_all_the_same() {
    let wire = Wire::OpenAi;
    let mut acts = vec![wire.error(500, "x", "down"); 3];
    acts.push(wire.stream(&["up"]));
    let only = Provider::new(acts).await;
    let passed_over = Duration::from_secs(600);
    let settings = Settings { passed_over, faults: 1, ..settings() };
    let client = client(&target("only", wire, &only.url), settings);
    assert!(hello(&client).await.end.is_err());
    assert_eq!(hello(&client).await.answer().reply.text(), "up");
}

#[tokio::test]
async fn overloads_inside_streams_switch_streaming_off_for_a_while() {
    for wire in WIRES {
        let mut events = half(wire);
        events.push(format!(
            "event: error\ndata: {}\n\n",
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        ));
        let overloaded = wire.cut(events, End::Clean);
        let pair = [overloaded, wire.whole("in one piece")];
        let mut acts = [pair.clone(), pair.clone(), pair].concat();
        acts.push(wire.whole("still"));
        let only = Provider::new(acts).await;
        let settings = Settings { passed_over: Duration::from_secs(600), ..settings() };
        let client = client(&target("only", wire, &only.url), settings);
        for _ in 0..3 {
            let came = hello(&client).await;
            assert_eq!(
                (came.answer().reply.text().as_str(), came.done()),
                ("in one piece", vec!["degraded"])
            );
            assert_eq!((came.statuses[0].reason, came.resets), ("overloaded", 1));
        }
        assert_eq!(hello(&client).await.answer().reply.text(), "still");
        assert!(!only.asked().last().unwrap().streams());
    }
}

#[tokio::test]
async fn the_last_ones_error_is_told_with_all_that_was_tried() {
    let wire = Wire::Anthropic;
    let first = Provider::new(vec![Act::Silence]).await;
    let second = Provider::new(vec![wire.error(500, "api_error", "down")]).await;
    let routes = fallback(wire, &first, &second);
    let came = hello(&client(&routes, Settings { headers: short(), ..settings() })).await;
    let error = came.end.unwrap_err();
    assert_eq!(error.last().unwrap().class, Class::Server);
    let text = error.to_string();
    for words in
        ["first, asked 1 times: timeout (504)", "second, asked 3 times: server (500): down"]
    {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(Class::Timeout(Phase::Headers).status(), 504);
}

#[tokio::test]
async fn one_budget_holds_for_all_targets_together() {
    let wire = Wire::OpenAi;
    let down = || Provider::new(vec![wire.error(500, "x", "down")]);
    let (first, second) = (down().await, down().await);
    for (attempts, of_second) in [(4, 1), (3, 1)] {
        let settings = Settings { attempts, ..settings() };
        let came = hello(&client(&fallback(wire, &first, &second), settings)).await;
        let error = came.end.unwrap_err().to_string();
        assert!(error.contains(&format!("{attempts} attempts")), "{error}");
        assert_eq!(second.asked().len(), of_second);
    }
    assert_eq!(first.asked().len(), 6);
}

#[tokio::test]
async fn a_question_that_is_given_up_is_no_longer_asked() {
    let only = Provider::new(vec![Act::Silence]).await;
    let client = client(&target("only", Wire::OpenAi, &only.url), settings());
    let question = ask(&client, Request::ask("hello"));
    let given_up = async {
        while only.asked().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = given_up => {}
        _ = question => panic!("nobody has answered"),
    }
    assert_eq!(only.asked()[0].header("authorization"), None);
}
