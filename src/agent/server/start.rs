//! Starts a server, or reaches one that is there, and shakes hands.
//!
//! A server that is started gets no keys of model providers: it needs none, and what it runs may be
//! anybody's.

use std::{
    collections::{BTreeMap, VecDeque},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use rmcp::{
    RoleClient, ServiceExt,
    service::RunningService,
    transport::{
        StreamableHttpClientTransport, Transport, async_rw::AsyncRwTransport,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};

use super::{
    Handler, ServerError,
    config::{Wanted, Way},
};
use crate::{base::secret::Secret, llm};

/// Longest message in bytes; the same as husk's own server has.
const LONGEST_MESSAGE: usize = 256 << 20;

/// Lines of a server's standard error that are kept to explain why it did not start.
const KEPT: usize = 8;

/// How long its last lines are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a connection to a server may take.
const CONNECT: Duration = Duration::from_secs(10);

type Service = RunningService<RoleClient, Handler>;

pub(super) async fn connect(
    wanted: &Wanted,
    handler: Handler,
    ready: Duration,
) -> Result<(Service, Option<Child>), ServerError> {
    match &wanted.way {
        Way::Stdio { .. } => {
            let (mut process, words) = spawn(wanted)?;
            let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
                return Err(
                    failed(wanted, "its standard input and output are not there", words).await
                );
            };
            let transport =
                AsyncRwTransport::new_client(stdout, stdin).with_max_line_length(LONGEST_MESSAGE);
            let service = shake(wanted, handler, transport, ready, words).await?;
            Ok((service, Some(process)))
        }
        Way::Http { url, headers } => {
            let transport = over_http(wanted, url, headers)?;
            Ok((shake(wanted, handler, transport, ready, Words::default()).await?, None))
        }
    }
}

async fn shake(
    wanted: &Wanted,
    handler: Handler,
    transport: impl Transport<RoleClient> + 'static,
    ready: Duration,
    words: Words,
) -> Result<Service, ServerError> {
    match tokio::time::timeout(ready, handler.serve(transport)).await {
        Ok(Ok(service)) => Ok(service),
        Ok(Err(error)) => Err(failed(wanted, &error.to_string(), words).await),
        Err(_) => {
            let why = format!("no answer for {} s", ready.as_secs());
            Err(failed(wanted, &why, words).await)
        }
    }
}

async fn failed(wanted: &Wanted, why: &str, words: Words) -> ServerError {
    // What it wrote last may still be on its way.
    if let Some(hears) = words.hears {
        let _ = tokio::time::timeout(LAST_WORDS, hears).await;
    }
    let heard = words.heard.lock().unwrap_or_else(PoisonError::into_inner);
    let last: Vec<&str> = heard.iter().map(String::as_str).collect();
    let last =
        if last.is_empty() { String::new() } else { format!("; it said:\n{}", last.join("\n")) };
    ServerError::Handshake { name: wanted.name.clone(), why: format!("{why}{last}") }
}

/// The last lines of a server's standard error.
#[derive(Default)]
struct Words {
    heard: Arc<Mutex<VecDeque<String>>>,
    /// The task that listens; it ends with the server.
    hears: Option<JoinHandle<()>>,
}

fn spawn(wanted: &Wanted) -> Result<(Child, Words), ServerError> {
    let Way::Stdio { command: program, args, env, folder } = &wanted.way else {
        let why = "it is not one that is started".to_owned();
        return Err(ServerError::Address { name: wanted.name.clone(), why });
    };
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_key)).for_each(
        |(name, _)| {
            command.env_remove(name);
        },
    );
    command.envs(env.iter().map(|(name, value)| (name, value.reveal())));
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    // Ctrl-C is for the agent: it takes back what runs, and then ends its servers.
    command.process_group(0).kill_on_drop(true);
    let start =
        |source| ServerError::Start { name: wanted.name.clone(), command: program.clone(), source };
    let mut process = command.spawn().map_err(start)?;
    let mut words = Words::default();
    if let Some(stderr) = process.stderr.take() {
        let hears = hear(wanted.name.clone(), stderr, Arc::clone(&words.heard));
        words.hears = Some(tokio::spawn(hears));
    }
    Ok((process, words))
}

/// Whether a variable holds a key of a model provider.
fn is_key(name: &str) -> bool {
    let of_aws = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    let bearer =
        ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"];
    name.starts_with("HUSK_KEY_") || of_aws.contains(&name) || bearer.contains(&name)
}

async fn hear(name: String, stderr: impl AsyncRead + Unpin, heard: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(server = name, "{line}");
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push_back(line);
        if heard.len() > KEPT {
            heard.pop_front();
        }
    }
}

fn over_http(
    wanted: &Wanted,
    url: &str,
    headers: &BTreeMap<String, Secret>,
) -> Result<impl Transport<RoleClient> + 'static, ServerError> {
    let failed = |why: String| ServerError::Address { name: wanted.name.clone(), why };
    let header = |(name, value): (&String, &Secret)| {
        let bad = || failed(format!("`{name}` is no header, or its value none of one"));
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| bad())?;
        value.set_sensitive(true);
        Ok::<_, ServerError>((header, value))
    };
    let headers = headers.iter().map(header).collect::<Result<_, _>>()?;
    let client = llm::http_client(CONNECT).map_err(|error| failed(error.to_string()))?;
    let config =
        StreamableHttpClientTransportConfig::with_uri(url.to_owned()).custom_headers(headers);
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_providers_are_known_by_their_variables() {
        for key in ["ANTHROPIC_API_KEY", "HUSK_KEY_MAIN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY"]
        {
            assert!(is_key(key), "{key}");
        }
        for other in ["PATH", "HOME", "AWS_REGION", "HUSK_WORKSPACE", "GITHUB_TOKEN"] {
            assert!(!is_key(other), "{other}");
        }
    }
}
