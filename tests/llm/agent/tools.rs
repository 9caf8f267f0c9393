//! Tool servers by the official SDK: several at once, over standard input and output and over HTTP.

use std::process::Stdio;

use husk::agent::{
    Parts, Settings,
    approve::Approve,
    elicit::{Elicit, Question, Reply, Replying},
    event::{Event, Now},
    server::config,
    toolbox::Toolbox,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::*;
use crate::ports::free_port;
use script::Say;

/// The tool server over HTTP.
async fn over_http() -> (String, Child) {
    let port = free_port();
    let mut command = Command::new(python());
    command.arg(tool_server()).arg(port.to_string()).env("UVICORN_LOG_LEVEL", "info");
    command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    loop {
        // Until it listens a connection is refused; it says nothing that could be waited for.
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            break;
        }
        assert!(process.try_wait().unwrap().is_none(), "it ended: {:?}", lines.next_line().await);
        tokio::task::yield_now().await;
    }
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (format!("http://127.0.0.1:{port}/mcp"), process)
}

#[tokio::test]
async fn several_servers_have_their_names_before_their_tools() {
    let (url, _server) = over_http().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    let servers = json!({"mcpServers": {
        "near": {"command": python(), "args": [tool_server()]},
        "far": {"type": "http", "url": url, "headers": {"X-Mine": "1"}},
    }});
    std::fs::write(&file, servers.to_string()).unwrap();
    let toolbox = Toolbox::open(config::read(&file).unwrap()).await.unwrap();
    let script = Script::new(vec![
        Say::calls(&[
            ("near__look", json!({"name": "near"})),
            ("far__look", json!({"name": "far"})),
            ("far__picture", json!({})),
        ]),
        Say::text("done"),
    ]);
    let mut agent = Agent::new(Parts::new(Arc::clone(&script) as _, toolbox));
    let events = run(&mut agent, "go").await;
    let Some(Event::Init(init)) = events.first() else { panic!("{events:?}") };
    assert_eq!(init.servers, ["far", "near"]);
    assert!(texts(&events).contains(&"saw near") && texts(&events).contains(&"saw far"));
    let pictures: usize = results(&events).iter().map(|result| result.images.len()).sum();
    assert_eq!(pictures, 1);
    agent.close().await;
}

#[tokio::test]
async fn over_http_calls_are_told_on_the_way_and_taken_back() {
    let (url, _server) = over_http().await;
    let way = config::Way::Http { url, headers: std::collections::BTreeMap::new() };
    let wanted = config::Wanted { name: "far".to_owned(), way };
    let toolbox = Toolbox::open(vec![wanted]).await.unwrap();
    let script = Script::new(vec![Say::call("hang", json!({}))]);
    let settings = Settings { approve: Approve::Always, ..Settings::default() };
    let mut agent = Agent::new(Parts { settings, ..Parts::new(Arc::clone(&script) as _, toolbox) });
    let stop = CancellationToken::new();
    let mut running = agent.run("go", &stop);
    while let Some(event) = running.next().await {
        if let Event::Status(status) = event
            && status.now == Now::Progress
        {
            assert_eq!(status.message, "hanging");
            stop.cancel();
        }
    }
    drop(running);
    script.then(Say::call("given_up", json!({"count": 1})));
    script.then(Say::text("yes"));
    assert_eq!(texts(&run(&mut agent, "heard?").await), ["1 given up"]);
    agent.close().await;
}

#[tokio::test]
async fn tools_that_come_later_are_there_from_the_next_prompt_on() {
    let script = Script::new(vec![
        Say::call("grow", json!({})),
        Say::text("one"),
        Say::call("grown", json!({})),
        Say::text("two"),
    ]);
    let mut agent = agent(&script).await;
    run(&mut agent, "grow").await;
    let events = run(&mut agent, "and now").await;
    assert_eq!(texts(&events), ["grown"]);
    let has = |at: usize| script.asked()[at].tools.iter().any(|tool| tool.name == "grown");
    assert_eq!((has(1), has(2)), (false, true), "within a prompt the tools stay as they are");
    agent.close().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_had_is_named_with_its_last_words() {
    let fails = |command: PathBuf, args: &[&str]| Wanted {
        name: "bad".to_owned(),
        way: Way::Stdio {
            command,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: BTreeMap::new(),
            folder: None,
        },
    };
    for (wanted, part) in [
        (fails("/nowhere/at-all".into(), &[]), "cannot start the tool server `bad`"),
        (fails(python(), &["-c", "raise SystemExit('no licence')"]), "no licence"),
    ] {
        let error = Toolbox::open(vec![wanted]).await.err().unwrap().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_ends_is_told_the_model_and_started_anew_for_the_next_call() {
    let script = Script::new(vec![
        Say::call("change", json!({"value": "kept?"})),
        Say::call("end", json!({})),
        Say::call("change", json!({"value": "new"})),
        Say::call("look", json!({"name": "b"})),
        Say::text("done"),
    ]);
    let mut agent = agent(&script).await;
    let events = run(&mut agent, "go").await;
    let results = results(&events);
    let failed: Vec<_> = results.iter().map(|result| result.is_error).collect();
    assert_eq!(failed, [false, true, false, false]);
    assert!(results[1].text.contains("`judge` has ended"), "{}", results[1].text);
    let anew =
        "[the tool server `judge` had ended and was started anew: what it held is gone]\nnew";
    assert_eq!(results[2].text, anew);
    assert_eq!(results[3].text, "saw b");
    agent.close().await;
}

#[tokio::test]
async fn a_server_that_ends_each_time_is_left_alone() {
    // Other ones each time, or the loop guard has its say first.
    let mut says: Vec<_> = (0..5).map(|code| Say::call("end", json!({"code": code}))).collect();
    says.push(Say::text("done"));
    let script = Script::new(says);
    let mut agent = agent(&script).await;
    let events = run(&mut agent, "go").await;
    let last = results(&events).last().unwrap().text.clone();
    assert!(last.contains("has ended 3 times without an answer"), "{last}");
    agent.close().await;
}

/// Answers everything with the same.
struct Says(Reply);

impl Elicit for Says {
    fn ask<'a>(&'a self, question: &'a Question) -> Replying<'a> {
        assert_eq!((question.server.as_str(), question.fields.len()), ("judge", 3));
        Box::pin(std::future::ready(self.0.clone()))
    }
}

#[tokio::test]
async fn what_a_server_asks_is_answered_by_the_user_or_nobody_is_asked() {
    let values = json!({"name": "Ada", "size": 4, "sure": true});
    let Value::Object(accepted) = values else { panic!() };
    let told = r#"accept: {"name":"Ada","size":4,"sure":true}"#;
    for (reply, expected) in [
        (Some(Reply::Accept(accepted)), told),
        (Some(Reply::Decline), "decline"),
        (Some(Reply::Cancel), "cancel"),
        (None, "nobody can be asked"),
    ] {
        let user = reply.map(|reply| Arc::new(Says(reply)) as Arc<dyn Elicit>);
        let toolbox = Toolbox::with_user(vec![judge("judge")], user).await.unwrap();
        let script = Script::new(vec![Say::call("ask_user", json!({})), Say::text("done")]);
        let mut agent = Agent::new(Parts::new(Arc::clone(&script) as _, toolbox));
        assert_eq!(texts(&run(&mut agent, "go").await), [expected]);
        agent.close().await;
    }
}
