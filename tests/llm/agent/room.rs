//! A conversation that grows too long makes room: results of old calls first, then a summary.

use husk::{
    agent::{
        Settings,
        approve::Approve,
        conversation::Entry,
        event::{Event, Now},
    },
    llm::{error::Class, message::Block, reply::Usage, request::ToolChoice},
};
use serde_json::json;

use super::*;
use script::Say;

fn settings(window: u64) -> Settings {
    Settings { approve: Approve::Always, window, ..Settings::default() }
}

fn words(count: u32) -> Say {
    Say::call("words", json!({"count": count}))
}

/// Why room was made, in order.
fn made(events: &[Event]) -> Vec<&str> {
    let mut made = Vec::new();
    for event in events {
        if let Event::Status(status) = event
            && status.now == Now::Compacted
        {
            made.push(status.reason.as_str());
        }
    }
    made
}

#[tokio::test]
async fn results_of_old_calls_go_first() {
    let mut says: Vec<_> = (0..6).map(|at| words(1500 + at)).collect();
    says.push(Say::text("done"));
    // The provider counts what is sent as husk estimates it: that of the script is too little.
    let says = says.into_iter().map(|say| say.taking(Usage::default(), Some(0.0))).collect();
    let script = Script::new(says);
    let mut agent = agent_with(&script, settings(12_000)).await;
    let events = run(&mut agent, "go").await;
    assert_eq!(ended(&events).text, "done");
    assert!(made(&events).contains(&"results") && !made(&events).contains(&"summary"));
    let last = script.asked().last().unwrap().messages.clone();
    let results: Vec<_> = last
        .iter()
        .flat_map(|message| &message.content)
        .filter_map(|block| match block {
            Block::ToolResult { content, .. } => Some(format!("{content:?}").len() > 1000),
            _ => None,
        })
        .collect();
    assert_eq!(results.len(), 6);
    assert_eq!(results[3..], [true, true, true]);
    assert!(!results[0]);
    agent.close().await;
}

#[tokio::test]
async fn what_cannot_go_is_summed_up_by_the_model() {
    let script = Script::new(vec![
        words(5000).taking(Usage::default(), Some(0.0)),
        Say::text(&"long ".repeat(5000)).taking(Usage::default(), Some(0.0)),
    ]);
    let mut agent = agent_with(&script, settings(12_000)).await;
    run(&mut agent, "first").await;
    script.then(Say::text("the user wants much").taking(Usage::default(), Some(0.5)));
    script.then(Say::text("done"));
    let events = run(&mut agent, "second").await;
    assert_eq!(made(&events), ["summary"]);
    // The summary is paid for, and is not shown.
    assert!(ended(&events).total.cost_usd.unwrap() > 0.5);
    let deltas = |event: &&Event| matches!(event, Event::TextDelta { .. });
    assert_eq!(events.iter().filter(deltas).count(), 1);
    let asked = script.asked();
    assert_eq!(asked[2].tool_choice, Some(ToolChoice::None));
    let first = format!("{:?}", asked[3].messages[0]);
    assert!(first.contains("the user wants much"), "{first}");
    // What is resumed is what went on.
    let log: Vec<Entry> = agent.conversation().log().to_vec();
    let again = husk::agent::conversation::Conversation::of(log);
    assert_eq!(again.messages(), agent.conversation().messages());
    agent.close().await;
}

#[tokio::test]
async fn a_model_that_cannot_read_so_much_gets_less() {
    let script = Script::new(vec![
        words(300),
        words(301),
        Say::failure(Class::ContextLength),
        Say::text("done"),
    ]);
    let mut agent = agent_with(&script, settings(180_000)).await;
    let events = run(&mut agent, "go").await;
    assert_eq!((ended(&events).text.as_str(), made(&events)), ("done", vec!["results"]));
    let asked = script.asked();
    let size = |at: usize| format!("{:?}", asked[at].messages).len();
    assert!(size(3) < size(2), "{} {}", size(3), size(2));
    agent.close().await;
}
