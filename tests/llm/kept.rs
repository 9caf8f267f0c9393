//! Answers that are kept: asked for once, however many want them, and never another user's.

use std::sync::Arc;

use husk::llm::{
    Client,
    answers::Answers,
    client::Parts,
    provider::{Provider as _, whole},
    request::Request,
    route::Routes,
};
use serde_json::{Value, json};

use crate::{
    ask::{Bare, ask, hello, settings, target},
    provider::Provider,
    says::{WIRES, Wire},
};

fn kept(wire: Wire, url: &str) -> Value {
    let mut target = target("it", wire, url);
    target["cache"] = json!({"mode": "simple", "max_age": 3600});
    target
}

fn client(routes: &Value, answers: Answers) -> Client {
    let parts = Parts { settings: settings(), answers, ..Parts::default() };
    Client::new(Routes::read(routes).unwrap(), parts, &Bare::default()).unwrap()
}

#[tokio::test]
async fn the_same_question_is_asked_once_and_its_answer_comes_as_the_same_words() {
    for wire in WIRES {
        let provider = Provider::new(vec![wire.stream(&["kept", " words"])]).await;
        let client = client(&kept(wire, &provider.url), Answers::default());
        let (first, second) = (hello(&client).await, hello(&client).await);
        assert_eq!((first.shown.as_str(), second.shown.as_str()), ("kept words", "kept words"));
        let (first, second) = (first.answer(), second.answer());
        assert_eq!((first.kept, first.attempts, second.kept, second.attempts), (false, 1, true, 0));
        assert_eq!((second.reply.usage.input, second.cost), (0, Some(0.0)));
        assert_eq!(second.reply.content, first.reply.content);
        assert_eq!(provider.asked().len(), 1);
        let fresh = Request { refresh: true, ..Request::ask("hello") };
        assert!(!ask(&client, fresh).await.answer().kept);
        let other = Request { principal: "other".to_owned(), ..Request::ask("hello") };
        assert!(!ask(&client, other).await.answer().kept);
        assert_eq!(provider.asked().len(), 3);
    }
}

#[tokio::test]
async fn of_many_who_ask_the_same_at_once_one_asks_the_provider() {
    let provider = Provider::new(vec![Wire::OpenAi.stream(&["one", " for all"])]).await;
    let client = client(&kept(Wire::OpenAi, &provider.url), Answers::default());
    let question = Arc::new(Request::ask("hello"));
    let all = (0..20).map(|_| whole(client.stream(Arc::clone(&question))));
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().reply.text() == "one for all"));
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn who_gives_up_leaves_the_turn_to_the_next() {
    let wire = Wire::OpenAi;
    let acts = vec![crate::provider::Act::Silence, wire.stream(&["then"])];
    let provider = Provider::new(acts).await;
    let client = client(&kept(wire, &provider.url), Answers::default());
    let (first, second) = (hello(&client), hello(&client));
    let asked = async {
        while provider.asked().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = asked => {}
        _ = first => panic!("nobody has answered"),
    }
    assert_eq!(second.await.shown, "then");
}

#[tokio::test]
async fn an_answer_that_was_cut_or_is_an_error_is_never_kept() {
    for wire in WIRES {
        let mut routes = kept(wire, "");
        let half = wire.events(&["half"], (1, 1)).into_iter().take(2).collect();
        let acts = vec![
            wire.error(400, "x", "bad"),
            wire.cut(half, crate::provider::End::Cut),
            wire.stream(&["whole"]),
        ];
        let provider = Provider::new(acts).await;
        routes["custom_host"] = json!(provider.url);
        let client = client(&routes, Answers::default());
        assert!(hello(&client).await.end.is_err());
        assert_eq!(hello(&client).await.shown, "whole");
        assert!(hello(&client).await.answer().kept);
        assert_eq!(provider.asked().len(), 3);
    }
}

#[tokio::test]
async fn answers_on_disk_outlive_the_client() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::new(vec![Wire::Anthropic.stream(&["kept"])]).await;
    let routes = kept(Wire::Anthropic, &provider.url);
    for kept in [false, true] {
        let client = client(&routes, Answers::in_folder(folder.path().to_owned()));
        assert_eq!(hello(&client).await.answer().kept, kept);
    }
    assert_eq!(provider.asked().len(), 1);
}
