//! Limits are held before each call, and whatever ends a run, no call stays open.

use std::time::Duration;

use husk::{
    agent::{
        Settings,
        approve::Approve,
        event::{Event, Now, Why},
        limits::{Limit, Limits},
    },
    llm::reply::Usage,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use script::Say;

fn look(name: &str) -> (&'static str, serde_json::Value) {
    ("look", json!({"name": name}))
}

async fn limited(script: &Arc<Script>, limits: Limits) -> (Agent, Vec<Event>) {
    let settings = Settings { approve: Approve::Always, limits, ..Settings::default() };
    let mut agent = agent_with(script, settings).await;
    let events = run(&mut agent, "go").await;
    (agent, events)
}

/// The next prompt must find a conversation that a provider takes.
async fn goes_on(mut agent: Agent, script: &Script) {
    agent.settings.limits = Limits::default();
    script.then(Say::text("on"));
    assert_eq!(ended(&run(&mut agent, "and now?").await).text, "on");
    agent.close().await;
}

#[tokio::test]
async fn the_model_is_not_asked_beyond_a_limit() {
    let usage = Usage { input: 60, cache_read: 20, output: 20, ..Usage::default() };
    for (limits, expected) in [
        (Limits { turns: 2, ..Limits::default() }, Limit::Turns),
        (Limits { tokens: Some(200), ..Limits::default() }, Limit::Tokens),
    ] {
        let says = ["a", "b"].map(|name| Say::calls(&[look(name)]).taking(usage, Some(0.1)));
        let script = Script::new(says.into());
        let (agent, events) = limited(&script, limits).await;
        let end = ended(&events);
        assert_eq!((end.why, end.limit, end.turns), (Why::Limit, Some(expected), 2));
        assert!(end.message.is_some());
        goes_on(agent, &script).await;
    }
}

#[tokio::test]
async fn tokens_and_dollars_end_a_run_before_its_calls_are_made() {
    let usage = Usage { input: 60, cache_read: 20, output: 20, ..Usage::default() };
    let none = Limits::default();
    for (limits, cost, expected) in [
        (Limits { tokens: Some(100), ..none }, Some(0.1), Limit::Tokens),
        (Limits { usd: Some(0.1), ..none }, Some(0.1), Limit::Usd),
        // What has no known price cannot be held against a budget.
        (Limits { usd: Some(5.0), ..none }, None, Limit::Usd),
    ] {
        let script = Script::new(vec![Say::calls(&[look("a"), look("b")]).taking(usage, cost)]);
        let (agent, events) = limited(&script, limits).await;
        let end = ended(&events);
        assert_eq!((end.why, end.limit, end.tool_calls), (Why::Limit, Some(expected), 0));
        let texts = texts(&events);
        assert_eq!(texts.len(), 2);
        assert!(
            texts[0].starts_with("not carried out: the run has reached its limit"),
            "{texts:?}"
        );
        goes_on(agent, &script).await;
    }
}

#[tokio::test]
async fn of_calls_side_by_side_only_as_many_run_as_are_allowed() {
    let script = Script::new(vec![Say::calls(&[look("a"), look("b"), look("c"), look("d")])]);
    let limits = Limits { tool_calls: Some(2), ..Limits::default() };
    let (agent, events) = limited(&script, limits).await;
    let end = ended(&events);
    assert_eq!((end.limit, end.tool_calls), (Some(Limit::ToolCalls), 2));
    let mut texts = texts(&events);
    assert_eq!(texts.len(), 4);
    // Whichever of the two ends first.
    texts[..2].sort_unstable();
    assert_eq!(texts[..2], ["saw a", "saw b"]);
    goes_on(agent, &script).await;
}

#[tokio::test]
async fn a_limit_of_calls_that_is_just_reached_lets_the_model_answer() {
    let script = Script::new(vec![Say::calls(&[look("a"), look("b")]), Say::text("done")]);
    let limits = Limits { tool_calls: Some(2), ..Limits::default() };
    let (agent, events) = limited(&script, limits).await;
    assert_eq!((ended(&events).why, ended(&events).text.as_str()), (Why::EndTurn, "done"));
    agent.close().await;
}

#[tokio::test]
async fn time_that_is_up_takes_a_call_back_and_the_server_hears_of_it() {
    let script = Script::new(vec![Say::calls(&[("hang", json!({})), look("never")])]);
    let limits = Limits { time: Some(Duration::from_millis(300)), ..Limits::default() };
    let (mut agent, events) = limited(&script, limits).await;
    assert_eq!(ended(&events).limit, Some(Limit::Time));
    let texts = texts(&events);
    assert!(texts[0].contains("cancelled"), "{texts:?}");
    assert!(texts[1].contains("not carried out"), "{texts:?}");
    agent.settings.limits = Limits::default();
    script.then(Say::call("given_up", json!({"count": 1})));
    script.then(Say::text("yes"));
    let events = run(&mut agent, "did it hear?").await;
    assert_eq!(super::texts(&events), ["1 given up"]);
    agent.close().await;
}

#[tokio::test]
async fn time_that_is_up_ends_the_waiting_for_a_model() {
    let script = Script::new(vec![Say::nothing()]);
    let limits = Limits { time: Some(Duration::from_millis(50)), ..Limits::default() };
    let (agent, events) = limited(&script, limits).await;
    assert_eq!(ended(&events).limit, Some(Limit::Time));
    goes_on(agent, &script).await;
}

#[tokio::test]
async fn who_gives_up_ends_a_call_and_no_call_stays_open() {
    let script = Script::new(vec![Say::calls(&[("hang", json!({})), look("never")])]);
    let mut agent = agent(&script).await;
    let stop = CancellationToken::new();
    let mut events = Vec::new();
    let mut running = agent.run("go", &stop);
    while let Some(event) = running.next().await {
        if matches!(&event, Event::Status(status) if status.now == Now::Progress) {
            stop.cancel();
        }
        events.push(event);
    }
    drop(running);
    assert_eq!(ended(&events).why, Why::Cancelled);
    assert!(texts(&events)[1].contains("the user has stopped the run"), "{events:?}");
    assert_eq!(agent.conversation().open_calls(), Vec::<String>::new());
    goes_on(agent, &script).await;
}

#[tokio::test]
async fn who_gives_up_waits_for_no_model() {
    let script = Script::new(vec![Say::nothing()]);
    let mut agent = agent(&script).await;
    let stop = CancellationToken::new();
    let mut events = Vec::new();
    let mut running = agent.run("go", &stop);
    while let Some(event) = running.next().await {
        assert_eq!(script.asked().len(), 1, "the model was asked before anything was told");
        stop.cancel();
        events.push(event);
    }
    drop(running);
    assert_eq!(ended(&events).why, Why::Cancelled);
    goes_on(agent, &script).await;
}
