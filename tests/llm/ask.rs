//! Asks through the client, and keeps all that came.

use std::{collections::BTreeMap, io, path::Path, sync::Arc, time::Duration};

use futures_util::StreamExt;
use husk::{
    base::backoff::Backoff,
    llm::{
        Client, Settings,
        client::Parts,
        error::LlmError,
        keys::Surroundings,
        provider::{Answer, Event, Now, Provider, Status},
        request::Request,
        route::Routes,
    },
};
use serde_json::{Value, json};

use crate::{provider, says::Wire};

/// Surroundings with these variables and nothing else.
#[derive(Default)]
pub(crate) struct Bare(pub(crate) BTreeMap<&'static str, String>);

impl Surroundings for Bare {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn file(&self, _: &Path) -> io::Result<Option<String>> {
        Ok(None)
    }

    fn mode(&self, _: &Path) -> Option<u32> {
        None
    }

    fn keyring(&self, _: &str) -> Option<String> {
        None
    }
}

/// Patience for servers on this machine. What a test does not want to happen has all the time of the
/// world, for the machine may be busy.
pub(crate) fn settings() -> Settings {
    let first = Duration::from_millis(5);
    Settings {
        headers: Duration::from_secs(60),
        first_token: Duration::from_secs(60),
        idle: Duration::from_secs(60),
        backoff: Backoff { first, ..Backoff::default() },
        ..Settings::default()
    }
}

pub(crate) fn client(routes: &Value, settings: Settings) -> Client {
    let routes = Routes::read(routes).unwrap();
    Client::new(routes, Parts { settings, ..Parts::default() }, &Bare::default()).unwrap()
}

/// One target at this address.
pub(crate) fn target(name: &str, wire: Wire, url: &str) -> Value {
    json!({"name": name, "provider": wire.word(), "custom_host": url, "override_params": {"model": name}})
}

/// The first, and the second after whatever may pass.
pub(crate) fn fallback(
    wire: Wire,
    first: &provider::Provider,
    second: &provider::Provider,
) -> Value {
    json!({
        "strategy": {"mode": "fallback", "on_status_codes": [400, 429, 500, 502, 503, 504]},
        "targets": [target("first", wire, &first.url), target("second", wire, &second.url)],
    })
}

/// All that came of a question.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) end: Result<Answer, LlmError>,
    pub(crate) statuses: Vec<Status>,
    /// The words that stand on the screen at the end.
    pub(crate) shown: String,
    pub(crate) resets: usize,
    pub(crate) calls: usize,
}

pub(crate) async fn ask(client: &Client, request: Request) -> Came {
    let mut events = client.stream(Arc::new(request));
    let (mut statuses, mut shown, mut resets, mut calls) = (Vec::new(), String::new(), 0, 0);
    let end = loop {
        match events.next().await.unwrap() {
            Ok(Event::Text(words)) => shown += &words,
            Ok(Event::Reset) => {
                shown.clear();
                calls = 0;
                resets += 1;
            }
            Ok(Event::Status(status)) => statuses.push(status),
            Ok(Event::Call { .. }) => calls += 1,
            Ok(Event::Thinking(_)) => {}
            Ok(Event::Done(answer)) => break Ok(*answer),
            Err(error) => break Err(error),
        }
    };
    assert!(events.next().await.is_none(), "something came after the end");
    Came { end, statuses, shown, resets, calls }
}

pub(crate) async fn hello(client: &Client) -> Came {
    ask(client, Request::ask("hello")).await
}

impl Came {
    pub(crate) fn answer(&self) -> &Answer {
        self.end.as_ref().unwrap_or_else(|error| panic!("{error}"))
    }

    /// What was done about failures, in order, as words.
    pub(crate) fn done(&self) -> Vec<&'static str> {
        self.statuses.iter().map(|status| status.now.word()).collect()
    }

    /// The pauses before attempts.
    pub(crate) fn pauses(&self) -> Vec<Duration> {
        let pauses = self.statuses.iter().filter_map(|status| match status.now {
            Now::Retry(pause) => Some(pause),
            _ => None,
        });
        pauses.collect()
    }
}
