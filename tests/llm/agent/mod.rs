//! The agent: its loop with a model whose answers are written down, its tool servers by the official
//! Python SDK, and the command line against judges that others wrote.

mod calls;
mod command;
mod judges;
mod limits;
mod room;
mod script;
mod terminal;
mod tools;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures_util::StreamExt;
use husk::{
    agent::{
        Agent, Parts, Settings,
        approve::Approve,
        event::{Ended, Event, ToolResult},
        server::config::{Wanted, Way},
        toolbox::Toolbox,
    },
    base::secret::Secret,
};
use tokio_util::sync::CancellationToken;

use crate::servers::repository;
use script::Script;

/// A Python with the official SDK and a kernel, which `tests/run` makes.
pub(crate) fn python() -> PathBuf {
    let given = std::env::var_os("HUSK_TEST_PYTHON").map(PathBuf::from);
    given.unwrap_or_else(|| repository().join("target/test-env/bin/python"))
}

fn tool_server() -> String {
    repository().join("tests/clients/tool_server.py").display().to_string()
}

/// The tool server that judges its caller.
fn judge(name: &str) -> Wanted {
    let way = Way::Stdio {
        command: python(),
        args: vec![tool_server()],
        env: BTreeMap::from([("GIVEN".to_owned(), Secret::new("yes".to_owned()))]),
        folder: None,
    };
    Wanted { name: name.to_owned(), way }
}

/// An agent with that server, to which everything is allowed.
async fn agent(script: &Arc<Script>) -> Agent {
    agent_with(script, Settings { approve: Approve::Always, ..Settings::default() }).await
}

async fn agent_with(script: &Arc<Script>, settings: Settings) -> Agent {
    let toolbox = Toolbox::open(vec![judge("judge")]).await.unwrap();
    Agent::new(Parts { settings, ..Parts::new(Arc::clone(script) as _, toolbox) })
}

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// All that comes of a prompt.
async fn run(agent: &mut Agent, prompt: &str) -> Vec<Event> {
    let stop = CancellationToken::new();
    let all = agent.run(prompt, &stop).collect();
    tokio::time::timeout(PATIENCE, all).await.unwrap()
}

/// How a run ended.
fn ended(events: &[Event]) -> &Ended {
    match events.last() {
        Some(Event::Result(ended)) => ended,
        other => panic!("it did not end well: {other:?}"),
    }
}

/// What calls gave, in the order in which they ended.
fn results(events: &[Event]) -> Vec<&ToolResult> {
    let mut results = Vec::new();
    for event in events {
        if let Event::ToolResult(result) = event {
            results.push(result);
        }
    }
    results
}

fn texts(events: &[Event]) -> Vec<&str> {
    results(events).into_iter().map(|result| result.text.as_str()).collect()
}
