//! What the loop makes of a model's calls.

use husk::{
    agent::{
        Parts, Settings,
        approve::{Answering, Approve, Approver, Asked, Word},
        event::{Event, Now, Why},
        toolbox::Toolbox,
        transcript::Transcript,
    },
    llm::{
        error::Class,
        message::Block,
        provider::{Event as FromModel, Status},
        reply::Stop,
    },
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use script::Say;

#[tokio::test]
async fn a_call_is_carried_out_and_its_result_goes_back() {
    let script =
        Script::new(vec![Say::call("look", json!({"name": "it"})), Say::text("It was there.")]);
    let mut agent = agent(&script).await;
    let events = run(&mut agent, "look").await;
    let kinds: Vec<_> = events
        .iter()
        .map(|event| serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned())
        .collect();
    let expected = ["init", "usage", "tool_use", "tool_result", "text_delta", "usage", "result"];
    assert_eq!(kinds, expected);
    let end = ended(&events);
    assert_eq!(
        (end.text.as_str(), end.why, end.turns, end.tool_calls),
        ("It was there.", Why::EndTurn, 2, 1)
    );
    assert_eq!((end.total.input_tokens, end.total.cost_usd), (200, Some(0.02)));
    let asked = script.asked();
    let Some(Block::ToolResult { content, is_error, .. }) = asked[1].messages[2].content.first()
    else {
        panic!("{asked:?}");
    };
    assert_eq!((content.as_slice(), is_error), ([Block::text("saw it")].as_slice(), &false));
    // What the server tells about its tools is told the model.
    assert!(format!("{:?}", asked[0].system).contains("These tools judge their caller."));
    assert!(asked[0].tools.iter().any(|tool| tool.name == "look"));
    agent.close().await;
}

#[tokio::test]
async fn calls_that_read_run_side_by_side_and_those_that_change_one_after_the_other() {
    let meets = ["a", "b", "c"].map(|who| ("meet", json!({"count": 3, "who": who})));
    let changes = [
        ("change", json!({"value": "a"})),
        ("look", json!({"name": "x"})),
        ("change", json!({"value": "b"})),
    ];
    let script = Script::new(vec![Say::calls(&meets), Say::calls(&changes), Say::text("done")]);
    let mut agent = agent(&script).await;
    let events = run(&mut agent, "go").await;
    assert_eq!(texts(&events), ["met", "met", "met", "a", "saw x", "a,b"]);
    assert!(results(&events).iter().all(|result| !result.is_error));
    agent.close().await;
}

#[tokio::test]
async fn what_cannot_be_carried_out_is_told_the_model_and_not_guessed() {
    let script = Script::new(vec![
        Say::call("nothing", json!({})),
        Say::call("change", json!({"value": "x"})).broken(),
        Say::call("change", json!({"value": "x"})).stopped_by(Stop::MaxTokens),
        Say::call("look", json!({"nome": "x"})),
        Say::call("change", json!({"value": "only"})),
        Say::text("done"),
    ]);
    let mut agent = agent(&script).await;
    let events = run(&mut agent, "go").await;
    let texts = texts(&events);
    for (text, part) in texts.iter().zip([
        "there is no tool `nothing`; there are",
        "not valid JSON",
        "was cut off at the most tokens",
        "name",
        "only",
    ]) {
        assert!(text.contains(part), "{text}");
    }
    let failed: Vec<_> = results(&events).iter().map(|result| result.is_error).collect();
    assert_eq!(failed, [true, true, true, true, false]);
    // Had the broken and the cut call run, there would be three changes.
    assert_eq!(texts[4], "only");
    agent.close().await;
}

#[tokio::test]
async fn what_is_shown_and_withdrawn_is_told() {
    let status = |now, reason: &'static str| {
        let (message, target) = (format!("{reason}!"), "first".to_owned());
        FromModel::Status(Status { now, reason, message, target })
    };
    use husk::llm::provider::Now::{Degraded, Fallback};
    let first = vec![
        FromModel::Text("half an".to_owned()),
        FromModel::Reset,
        status(Degraded, "stream"),
        status(Fallback, "overloaded"),
    ];
    let script = Script::new(vec![Say::text("A whole answer.").after(first)]);
    let mut agent = agent(&script).await;
    let events = run(&mut agent, "go").await;
    let mut shown = String::new();
    let mut told = Vec::new();
    for event in &events {
        match event {
            Event::TextDelta { text } => shown += text,
            Event::Reset { .. } => shown.clear(),
            Event::Status(status) => told.push((status.now, status.reason.as_str())),
            _ => {}
        }
    }
    assert_eq!(shown, "A whole answer.");
    assert_eq!(told, [(Now::Degraded, "stream"), (Now::Fallback, "overloaded")]);
    agent.close().await;
}

#[tokio::test]
async fn a_model_that_does_not_answer_is_an_error_and_the_conversation_goes_on() {
    let script = Script::new(vec![Say::failure(Class::Denied), Say::text("now")]);
    let mut agent = agent(&script).await;
    let events = run(&mut agent, "one").await;
    let Some(Event::Error { message }) = events.last() else { panic!("{events:?}") };
    assert!(message.contains("no model has answered"), "{message}");
    assert_eq!(ended(&run(&mut agent, "two").await).text, "now");
    agent.close().await;
}

/// Somebody who says what is written down.
struct Words(std::sync::Mutex<Vec<Word>>, std::sync::Mutex<Vec<(String, bool)>>);

impl Approver for Words {
    fn ask<'a>(&'a self, call: Asked<'a>) -> Answering<'a> {
        self.1.lock().unwrap().push((call.name.to_owned(), call.destructive));
        let word = self.0.lock().unwrap().remove(0);
        Box::pin(std::future::ready(word))
    }
}

#[tokio::test]
async fn the_user_is_asked_about_what_changes_something_and_obeyed() {
    let change = |value: &str| Say::call("change", json!({"value": value}));
    let says = vec![
        Say::call("look", json!({"name": "x"})),
        change("a"),
        change("b"),
        change("c"),
        change("d"),
        Say::text("done"),
    ];
    let script = Script::new(says);
    let words = Arc::new(Words(
        vec![Word::Yes, Word::No("not b".to_owned()), Word::Always]
            .into_iter()
            .collect::<Vec<_>>()
            .into(),
        std::sync::Mutex::default(),
    ));
    let toolbox = Toolbox::open(vec![judge("judge")]).await.unwrap();
    let approver = Arc::clone(&words) as _;
    let mut agent = Agent::new(Parts { approver, ..Parts::new(Arc::clone(&script) as _, toolbox) });
    let events = run(&mut agent, "go").await;
    let expected =
        ["saw x", "a", "not carried out: the user does not allow it: not b", "a,c", "a,c,d"];
    assert_eq!(texts(&events), expected);
    // Not about what only reads, and no more after `always`.
    let asked = words.1.lock().unwrap().clone();
    assert_eq!(asked, vec![("change".to_owned(), true); 3]);
    agent.close().await;
}

#[tokio::test]
async fn without_leave_nothing_but_reading_runs() {
    for (approve, allowed, runs) in [
        (Approve::Never, None, false),
        (Approve::List, None, false),
        (Approve::List, Some("change"), true),
        (Approve::Ask, None, false),
    ] {
        let says = vec![
            Say::calls(&[("look", json!({"name": "x"})), ("change", json!({"value": "a"}))]),
            Say::text("done"),
        ];
        let script = Script::new(says);
        let allowed = allowed.into_iter().map(str::to_owned).collect();
        let mut agent =
            agent_with(&script, Settings { approve, allowed, ..Settings::default() }).await;
        let events = run(&mut agent, "go").await;
        let failed: Vec<_> = results(&events).iter().map(|result| result.is_error).collect();
        assert_eq!(failed, [false, !runs], "{approve:?}");
        agent.close().await;
    }
}

#[tokio::test]
async fn a_loop_is_refused_though_the_server_knows_no_guard() {
    let mut says: Vec<_> = (0..7).map(|_| Say::call("look", json!({"name": "x"}))).collect();
    says.push(Say::text("done"));
    let script = Script::new(says);
    let mut agent = agent(&script).await;
    let events = run(&mut agent, "go").await;
    let texts = texts(&events);
    assert_eq!(texts[..2], ["saw x", "saw x"]);
    assert!(texts[2].contains("the same call has given the same result 3 times"), "{}", texts[2]);
    assert!(texts[5].contains("refused: this call has given the same result"), "{}", texts[5]);
    assert!(texts[6].starts_with("refused:"));
    agent.close().await;
}

#[tokio::test]
async fn a_conversation_is_resumed_from_its_transcript() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("t.jsonl");
    let says = vec![Say::call("look", json!({"name": "it"})), Say::text("one"), Say::text("two")];
    let script = Script::new(says);
    let mut agent = agent(&script).await;
    agent.write_down(&file).unwrap();
    run(&mut agent, "first").await;
    agent.close().await;
    let (transcript, conversation) = Transcript::resume(&file).unwrap();
    let toolbox = Toolbox::open(vec![judge("judge")]).await.unwrap();
    let parts = Parts::new(Arc::clone(&script) as _, toolbox);
    let mut agent = Agent::new(Parts { transcript: Some(transcript), conversation, ..parts });
    let events = run(&mut agent, "second").await;
    assert_eq!(ended(&events).total.input_tokens, 300);
    let asked = script.asked();
    let (before, after) = (&asked[1].messages, &asked[2].messages);
    assert_eq!(after[..before.len()], before[..]);
    assert_eq!(after.len(), before.len() + 2);
    agent.close().await;
    assert_eq!(Transcript::resume(&file).unwrap().1.messages().len(), 6);
}

#[tokio::test]
async fn a_run_that_is_dropped_leaves_a_conversation_that_goes_on() {
    let script = Script::new(vec![Say::call("hang", json!({})), Say::text("back")]);
    let mut agent = agent(&script).await;
    let stop = CancellationToken::new();
    {
        let mut events = agent.run("go", &stop);
        while let Some(event) = events.next().await {
            if matches!(event, Event::Status(status) if status.now == Now::Progress) {
                break;
            }
        }
    }
    assert_eq!(agent.conversation().open_calls().len(), 1);
    assert_eq!(ended(&run(&mut agent, "again").await).text, "back");
    let asked = script.asked();
    let answered = format!("{:?}", asked[1].messages);
    assert!(answered.contains("not carried out: the run before it ended"), "{answered}");
    agent.close().await;
}
