//! `husk sessions`: the sessions of every husk that this user has running, and those that wait for the
//! next one; and their end.

use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{Outcome, live};
use crate::{
    app,
    config::Config,
    sandbox::{reaper, registry::Entry, tenancy::Tenancy},
};

const HEADINGS: [&str; 8] =
    ["SESSION", "STATE", "KERNEL", "CELLS", "QUEUED", "MEMORY", "SERVER", "WORKSPACE"];

/// How long a connection may take to end: nothing depends on it.
const ENDS: Duration = Duration::from_millis(50);

/// Arguments of `husk sessions`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON: what `sandbox_status` tells of each session, and its server's process id
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    deed: Option<Deed>,
}

#[derive(Debug, clap::Subcommand)]
enum Deed {
    /// End the kernel of a session, also of one that waits for its next server
    Stop {
        /// The session
        name: String,
        /// Of the husk with this process id
        #[arg(long, value_name = "PID")]
        server: Option<u32>,
    },
}

pub(super) fn run(args: &Args, config: &Config) -> Outcome {
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        if let Some(Deed::Stop { name, server }) = &args.deed {
            return stop(name, *server, config).await;
        }
        let mut sessions = all().await;
        sessions.extend(waiting(config).await?.1.iter().map(told));
        print(args, &sessions)?;
        Ok(ExitCode::SUCCESS)
    });
    runtime.shutdown_timeout(ENDS);
    done
}

/// Sessions whose kernels run though no server has them.
async fn waiting(config: &Config) -> Result<(Option<Tenancy>, Vec<Entry>), Box<dyn Error>> {
    let Some(tenancy) = app::tenancy(config)? else { return Ok((None, Vec::new())) };
    let entries = reaper::waiting(&tenancy).await?;
    Ok((Some(tenancy), entries))
}

fn told(entry: &Entry) -> Value {
    json!({
        "session": entry.key.name.as_str(), "state": "waiting", "generation": entry.tenure.generation,
        "cells": entry.tenure.cells, "idle_s": entry.untouched.as_secs(),
        "workspace": entry.key.workspace,
    })
}

#[expect(clippy::print_stdout, reason = "the command's own output")]
async fn stop(name: &str, server: Option<u32>, config: &Config) -> Outcome {
    let mut stopped = 0;
    for live in live::servers(&(Arc::new(|_: &str| {}) as _)).await {
        let meant = server.is_none_or(|pid| pid == live.pid);
        if meant && live.names().contains(&name) {
            live.client.stop_session(name).await?;
            println!("server {}: the kernel of session {name} has ended", live.pid);
            stopped += 1;
        }
    }
    let (tenancy, entries) =
        if server.is_some() { (None, Vec::new()) } else { waiting(config).await? };
    for entry in entries.iter().filter(|entry| entry.key.name.as_str() == name) {
        if let Some(tenancy) = &tenancy {
            reaper::stop(tenancy, entry).await?;
            println!("the kernel of session {} has ended", entry.key);
            stopped += 1;
        }
    }
    if stopped == 0 {
        return Err(format!(
            "no session named `{}`; `husk sessions` lists all",
            name.escape_debug()
        )
        .into());
    }
    Ok(ExitCode::SUCCESS)
}

/// What is told of every session, with the process id of its server.
async fn all() -> Vec<Value> {
    let servers = live::servers(&(Arc::new(|_: &str| {}) as _)).await;
    let of = |server: live::Live| {
        let pid = server.pid;
        server.sessions.into_iter().map(move |mut session| {
            if let Some(told) = session.as_object_mut() {
                told.insert("server".to_owned(), json!(pid));
            }
            session
        })
    };
    servers.into_iter().flat_map(of).collect()
}

#[expect(clippy::print_stdout, reason = "the command's own output")]
fn print(args: &Args, sessions: &[Value]) -> Result<(), serde_json::Error> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(sessions)?);
    } else if sessions.is_empty() {
        println!("no husk is serving");
    } else {
        print!("{}", table(sessions));
    }
    Ok(())
}

fn table(sessions: &[Value]) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(sessions.iter().map(row));
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, field) in widths.iter_mut().zip(row) {
            *width = (*width).max(field.chars().count());
        }
    }
    let line = |row: &[String; HEADINGS.len()]| {
        let fields = row.iter().zip(widths).map(|(field, width)| format!("{field:<width$}"));
        format!("{}\n", fields.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(session: &Value) -> [String; HEADINGS.len()] {
    let text = |name: &str| match session.get(name) {
        Some(Value::String(text)) => text.chars().map(shown).collect(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "-".to_owned(),
    };
    let kernel = match (text("kernel"), text("language")) {
        (kernel, language) if language == "-" || kernel == language => kernel,
        (kernel, language) => format!("{kernel} ({language})"),
    };
    let memory = session.get("memory_bytes").and_then(Value::as_u64);
    let memory = memory.map_or("-".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000));
    let [name, state, cells, queued, server, workspace] =
        ["session", "state", "cells", "queued", "server", "workspace"].map(text);
    [name, state, kernel, cells, queued, memory, server, workspace]
}

/// A folder's name may hold what would steer the terminal.
fn shown(c: char) -> char {
    if c.is_control() { '\u{fffd}' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_session() {
        let told = [
            json!({"session": "main", "state": "idle", "kernel": "python3", "language": "python",
                "cells": 12, "queued": 0, "memory_bytes": 61_234_567, "workspace": "/tmp/a\u{1b}[2J", "server": 4242}),
            json!({"session": "s-1", "state": "off", "cells": 0, "queued": 0, "workspace": "/b", "server": 7}),
        ];
        let expected = "\
SESSION  STATE  KERNEL            CELLS  QUEUED  MEMORY  SERVER  WORKSPACE
main     idle   python3 (python)  12     0       61 MB   4242    /tmp/a\u{fffd}[2J
s-1      off    -                 0      0       -       7       /b
";
        assert_eq!(table(&told), expected);
    }
}
