//! Asks one server the same again and again through husk's model client, and prints how long each
//! answer took: the part of `tests/bench/client` that is husk's. `cargo bench --bench client -- URL WIRE RUNS`.

#![expect(clippy::print_stdout, reason = "a benchmark's own")]

use std::{error::Error, sync::Arc};

use futures_util::StreamExt;
use husk::llm::{
    Client, client,
    error::LlmError,
    keys::Here,
    provider::{Event, Provider},
    request::Request,
    route::Routes,
};
use serde_json::json;
use tokio::{runtime::Builder, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    // Whoever runs all benchmarks gives no server: then there is nothing to measure.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let [url, wire, runs] = args.as_slice() else { return Ok(()) };
    let routes = json!({"provider": wire, "custom_host": url, "override_params": {"model": "m"}});
    let routes = Routes::read(&routes).map_err(LlmError::Routes)?;
    let client = Client::new(routes, client::Parts::default(), &Here)?;
    let runs = runs.parse()?;
    // One thread, as the SDKs that it is measured beside have it.
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        for _ in 0..runs {
            println!("{}", one(&client).await?);
        }
        Ok(())
    })
}

/// One answer: seconds to its first word, seconds to its end, and its parts.
async fn one(client: &Client) -> Result<serde_json::Value, Box<dyn Error>> {
    let begun = Instant::now();
    let mut events = client.stream(Arc::new(Request::ask("hello")));
    let (mut first, mut parts) = (None, 0);
    while let Some(event) = events.next().await {
        match event? {
            Event::Text(_) => {
                first.get_or_insert_with(|| begun.elapsed());
                parts += 1;
            }
            Event::Done(_) => break,
            other => return Err(format!("the server should do no such thing: {other:?}").into()),
        }
    }
    let first = first.ok_or("no word came")?.as_secs_f64();
    Ok(json!([first, begun.elapsed().as_secs_f64(), parts]))
}
