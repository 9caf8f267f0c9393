//! What goes over the wire: keys where they belong, marks where they pay, the same bytes first.

use std::sync::Arc;

use husk::llm::{
    Client,
    client::Parts,
    error::Class,
    guardrail::{Guardrail, Judging},
    message::{Block, Message, Role},
    reply::Reply,
    request::{Request, Tool},
    route::{Kind, Routes, build},
};
use serde_json::{Value, json};

use crate::{
    ask::{Bare, ask, client, fallback, hello, settings, target},
    provider::Provider,
    says::{WIRES, Wire},
};

fn long_request() -> Request {
    let tool = |name: &str| Tool {
        name: name.to_owned(),
        description: "word ".repeat(1500),
        input_schema: json!({"type": "object", "properties": {"b": {}, "a": {}}}),
        cache_control: None,
    };
    let system = vec![Block::text("word ".repeat(1500))];
    Request { tools: vec![tool("z"), tool("a")], system, ..Request::ask("hello") }
}

fn marks(body: &Value) -> usize {
    body.to_string().matches("cache_control").count()
}

#[tokio::test]
async fn marks_are_sent_where_they_are_known_and_nowhere_else() {
    for (wire, expected) in [(Wire::Anthropic, 3), (Wire::OpenAi, 0)] {
        let provider = Provider::new(vec![wire.stream(&["hi"])]).await;
        let client = client(&target("it", wire, &provider.url), settings());
        ask(&client, long_request()).await;
        let mut turned = long_request();
        turned.tools.reverse();
        ask(&client, turned).await;
        let asked = provider.asked();
        assert_eq!(marks(&asked[0].body), expected);
        // In whatever order tools are found, the prompt begins with the same bytes.
        assert_eq!(asked[0].text, asked[1].text);
    }
}

#[tokio::test]
async fn a_conversation_goes_on_at_another_provider_with_what_that_one_understands() {
    let first = Provider::new(vec![Wire::OpenAi.error(401, "x", "no")]).await;
    let second = Provider::new(vec![Wire::Anthropic.stream(&["hi"])]).await;
    let routes = json!({"strategy": {"mode": "fallback"}, "targets": [
        target("first", Wire::OpenAi, &first.url), target("second", Wire::Anthropic, &second.url)]});
    let thought = Block::Thinking { thinking: "unsigned".to_owned(), signature: String::new() };
    let mut request = long_request();
    request
        .messages
        .push(Message { role: Role::Assistant, content: vec![thought, Block::text("so")] });
    request.messages.push(Message { role: Role::User, content: vec![Block::text("and?")] });
    let came = ask(&client(&routes, settings()), request).await;
    assert_eq!(came.answer().target, "second");
    let body = &second.asked()[0].body;
    assert!(!second.asked()[0].text.contains("unsigned") && marks(body) > 0);
    assert_eq!(marks(&first.asked()[0].body), 0);
}

#[tokio::test]
async fn each_provider_gets_its_key_in_its_header_and_no_other() {
    let check = async |wire: Wire, header: &str, expected: &str| {
        let provider = Provider::new(vec![wire.stream(&["hi"])]).await;
        let mut routes = target("it", wire, &provider.url);
        routes["virtual_key"] = json!("mine");
        routes["headers"] = json!({"x-extra": "more"});
        let keys = [("HUSK_KEY_MINE", "sk-1".to_owned()), ("OPENAI_API_KEY", "sk-2".to_owned())];
        let parts = Parts { settings: settings(), ..Parts::default() };
        let routes = Routes::read(&routes).unwrap();
        let client = Client::new(routes, parts, &Bare(keys.into_iter().collect())).unwrap();
        hello(&client).await;
        let asked = provider.asked().remove(0);
        assert_eq!((asked.header(header), asked.header("x-extra")), (Some(expected), Some("more")));
        assert!(!format!("{:?}", asked.headers).contains("sk-2"));
    };
    check(Wire::Anthropic, "x-api-key", "sk-1").await;
    check(Wire::OpenAi, "authorization", "Bearer sk-1").await;
}

#[tokio::test]
async fn a_redirect_takes_the_key_nowhere() {
    let elsewhere = Provider::new(vec![Wire::OpenAi.stream(&["stolen"])]).await;
    let wire = Wire::OpenAi;
    let here =
        Provider::new(vec![wire.wait(307, "location", &format!("{}/v1", elsewhere.url))]).await;
    assert!(hello(&client(&target("it", wire, &here.url), settings())).await.end.is_err());
    assert!(elsewhere.asked().is_empty());
}

/// Objects to one word.
struct Objects;

impl Guardrail for Objects {
    fn objection<'a>(&'a self, reply: &'a Reply) -> Judging<'a> {
        let objects = reply.text().contains("secret").then(|| "it tells a secret".to_owned());
        Box::pin(std::future::ready(objects))
    }
}

#[tokio::test]
async fn an_answer_that_a_hook_objects_to_is_withdrawn_and_another_target_asked() {
    for wire in WIRES {
        let first = Provider::new(vec![wire.stream(&["the secret"])]).await;
        let second = Provider::new(vec![wire.stream(&["nothing"])]).await;
        let mut routes = fallback(wire, &first, &second);
        routes["strategy"] = json!({"mode": "fallback", "on_status_codes": [446]});
        routes["output_guardrails"] = json!(["discreet"]);
        let read = || Routes::read(&routes).unwrap();
        let Err(missing) = Client::new(read(), Parts::default(), &Bare::default()) else {
            panic!()
        };
        assert!(missing.to_string().contains("`discreet`, which is not there"), "{missing}");
        let hook: Arc<dyn Guardrail> = Arc::new(Objects);
        let guardrails = [("discreet".to_owned(), hook)].into_iter().collect();
        let parts = Parts { settings: settings(), guardrails, ..Parts::default() };
        let came = hello(&Client::new(read(), parts, &Bare::default()).unwrap()).await;
        assert_eq!((came.shown.as_str(), came.resets), ("nothing", 1));
        assert_eq!(came.statuses[0].reason, Class::Guardrail.word());
        assert_eq!(first.asked().len(), 1);
    }
}

/// The configurations that the patterns' own Python builds, as it writes them.
#[test]
fn the_patterns_configurations_load_unchanged_and_are_what_husk_builds() {
    let read = |name: &str| -> Value {
        let file = crate::servers::repository().join("tests/llm/routes").join(name);
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
    };
    let wanted = build::Wanted::new("user-123456789", "anthropic-key", "bedrock-key");
    let built = [
        ("fallback.json", build::fallback_config(&wanted, build::Primary::Bedrock, &[])),
        ("loadbalance.json", build::loadbalanced_config(&wanted, 0.5)),
    ];
    for (name, built) in built {
        assert_eq!(read(name), built, "{name}");
        assert_eq!(Routes::read(&read(name)).unwrap().targets().len(), 4);
    }
}

#[test]
fn the_routes_that_the_readme_shows_are_understood() {
    let readme = std::fs::read_to_string(crate::servers::repository().join("README.md")).unwrap();
    let (_, block) = readme.split_once("```json routes\n").unwrap();
    let (block, _) = block.split_once("\n```").unwrap();
    let routes = Routes::read(&serde_json::from_str(block).unwrap()).unwrap();
    let kinds: Vec<_> = routes.targets().iter().map(|target| target.kind).collect();
    assert_eq!(kinds, [Kind::Anthropic, Kind::Bedrock]);
}
