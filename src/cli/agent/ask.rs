//! `husk agent ask`: one prompt, to its end.

use std::{
    ffi::OsString,
    io::{IsTerminal, Read, Write},
    process::ExitCode,
    sync::Arc,
};

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{
    BadInput, INTERRUPTED, LIMIT, Outcome,
    build::{Built, Checked},
    flags::Flags,
    show::Show,
    user::User,
};
use crate::{
    agent::{
        Agent,
        event::{Event, Why},
    },
    app,
    config::Config,
};

/// Arguments of `husk agent ask`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The prompt; what comes over standard input is added to it, and `-` is only that
    #[arg(value_name = "PROMPT")]
    prompt: Vec<String>,
    /// What is printed
    #[arg(long, short, value_name = "FORM", default_value = "text")]
    output: Form,
    #[command(flatten)]
    flags: Flags,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// Words: in a terminal all that happens, else the last answer
    Text,
    /// One object at the end
    Json,
    /// Every event as a line of JSON (`husk schema agent/event.json`)
    StreamJson,
}

pub(super) fn run(args: Args, forwarded: Vec<OsString>, config: &Config) -> Outcome {
    let prompt = prompt(&args.prompt)?;
    let checked = Checked::new(&args.flags, forwarded, config)?;
    let runtime = crate::cli::runtime()?;
    let outcome = runtime.block_on(async {
        let stop = app::signals()?;
        let user = Arc::new(User::new(stop.clone()));
        let asking = user.asking();
        let Built { mut agent, .. } = checked.start(&args.flags, user).await?;
        let outcome = answered(&mut agent, &prompt, &args, &stop, asking).await;
        let exported = export(&agent, &args.flags).await;
        agent.close().await;
        exported.and(outcome)
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(50));
    outcome
}

/// The prompt of the arguments and of standard input.
fn prompt(words: &[String]) -> Result<String, BadInput> {
    let mut prompt = words.join(" ");
    let only_input = prompt == "-" || prompt.is_empty();
    if only_input {
        prompt.clear();
    }
    let mut stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let mut text = String::new();
        stdin
            .read_to_string(&mut text)
            .map_err(|error| BadInput::new(format!("cannot read standard input: {error}")))?;
        let between = if prompt.is_empty() || text.trim().is_empty() { "" } else { "\n\n" };
        prompt = format!("{prompt}{between}{}", text.trim_end());
    }
    if prompt.trim().is_empty() {
        let usage = "there is no prompt: husk agent ask \"…\", or over standard input";
        return Err(BadInput::new(usage));
    }
    Ok(prompt)
}

async fn answered(
    agent: &mut Agent,
    prompt: &str,
    args: &Args,
    stop: &CancellationToken,
    asking: super::user::Asking,
) -> Outcome {
    let mut show = match args.output {
        Form::Text => Some(Show::new(&args.flags, asking)),
        Form::Json | Form::StreamJson => None,
    };
    let mut events = agent.run(prompt, stop);
    let mut code = ExitCode::SUCCESS;
    loop {
        let event = match &mut show {
            Some(show) => show.next(&mut events).await,
            None => events.next().await,
        };
        let Some(event) = event else { return Ok(code) };
        match (&mut show, args.output) {
            (Some(show), _) => show.event(&event)?,
            (None, Form::StreamJson) => line(&event)?,
            (None, _) => {
                if matches!(event, Event::Result(_) | Event::Error { .. }) {
                    line(&event)?;
                }
            }
        }
        code = code_of(&event).unwrap_or(code);
    }
}

/// The exit code that an event means.
fn code_of(event: &Event) -> Option<ExitCode> {
    match event {
        Event::Result(ended) => Some(match ended.why {
            Why::EndTurn | Why::MaxTokens => ExitCode::SUCCESS,
            Why::Refusal => ExitCode::FAILURE,
            Why::Limit => LIMIT.into(),
            Why::Cancelled => INTERRUPTED.into(),
        }),
        Event::Error { .. } => Some(ExitCode::FAILURE),
        _ => None,
    }
}

/// An event as a line. A reader that has gone (`| head`) is no error of the run's.
fn line(event: &Event) -> Result<(), serde_json::Error> {
    let line = serde_json::to_string(event)?;
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    Ok(())
}

/// Writes the notebook, if one is wanted.
pub(super) async fn export(agent: &Agent, flags: &Flags) -> Outcome {
    if let Some(file) = &flags.export {
        let notebook = agent.notebook().await;
        std::fs::write(file, notebook)
            .map_err(|error| format!("cannot write the notebook `{}`: {error}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
