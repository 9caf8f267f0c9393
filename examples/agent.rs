//! An agent of your own: `cargo run --example agent -- "How many primes are there below 1000?"`
//!
//! It asks Claude, another Claude after a failure, and works in a notebook of husk's, which it starts
//! as a process (`husk` must be on the path, and `ANTHROPIC_API_KEY` set; `ANTHROPIC_BASE_URL` may name
//! another server of that form).

use std::{collections::BTreeMap, error::Error, sync::Arc};

use futures_util::StreamExt;
use husk::{
    agent::{
        Agent, Parts, Settings,
        approve::Approve,
        event::Event,
        limits::Limits,
        server::config::{Wanted, Way},
        toolbox::Toolbox,
    },
    llm::{Client, client, error::LlmError, keys::Here, route::Routes},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows what comes")]
async fn main() -> Result<(), Box<dyn Error>> {
    let prompt = std::env::args().nth(1).ok_or("say what it shall do")?;
    let mut agent = agent().await?;
    // Fire it, and the run ends in good order: calls under way are taken back.
    let stop = CancellationToken::new();
    let mut events = agent.run(&prompt, &stop);
    while let Some(event) = events.next().await {
        match event {
            Event::TextDelta { text } => print!("{text}"),
            Event::Reset { reason } => println!("\n[it begins anew: {reason}]"),
            Event::ToolUse { name, input, .. } => println!("\n> {name} {input}"),
            Event::ToolResult(result) => println!("< {}", result.text),
            Event::Result(ended) => println!("\n[{:?}, {} turns]", ended.why, ended.turns),
            Event::Error { message } => println!("\n[{message}]"),
            Event::Init(_) | Event::Status(_) | Event::Usage(_) => {}
        }
    }
    drop(events);
    std::fs::write("agent.ipynb", agent.notebook().await)?;
    agent.close().await;
    Ok(())
}

async fn agent() -> Result<Agent, Box<dyn Error>> {
    let mut routes = json!({
        "strategy": {"mode": "fallback", "on_status_codes": [429, 500, 503, 529]},
        "provider": "anthropic",
        "targets": [
            {"override_params": {"model": "claude-sonnet-4-5"}},
            {"override_params": {"model": "claude-haiku-4-5"}},
        ],
    });
    if let (Ok(url), Some(routes)) = (std::env::var("ANTHROPIC_BASE_URL"), routes.as_object_mut()) {
        routes.insert("custom_host".to_owned(), url.into());
    }
    let routes = Routes::read(&routes).map_err(LlmError::Routes)?;
    let client = Client::new(routes, client::Parts::default(), &Here)?;
    let way =
        Way::Stdio { command: "husk".into(), args: Vec::new(), env: BTreeMap::new(), folder: None };
    let toolbox = Toolbox::open(vec![Wanted { name: "husk".to_owned(), way }]).await?;
    let settings = Settings {
        // The kernel is in a sandbox: nobody needs to be asked about its cells.
        approve: Approve::Always,
        limits: Limits { turns: 20, usd: Some(0.5), ..Limits::default() },
        ..Settings::default()
    };
    Ok(Agent::new(Parts { settings, ..Parts::new(Arc::new(client), toolbox) }))
}
