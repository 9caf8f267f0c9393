//! `husk agent`: the companion agent, from the command line.
//!
//! `ask` answers one prompt, `chat` many, `route` prints a tree of fallbacks. `build` makes an agent of
//! the flags, `show` is what a terminal sees of it, `user` answers what is asked,
//! `guardrail` has programs judge answers.

mod ask;
mod build;
mod chat;
mod command;
mod flags;
mod guardrail;
mod route;
mod show;
mod user;

use std::{ffi::OsString, process::ExitCode};

use super::Outcome;
use crate::config::Config;

/// Arguments of `husk agent`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, clap::Subcommand)]
enum Deed {
    /// Answer one prompt, with tools
    Ask(Box<ask::Args>),
    /// Talk, with tools; /help tells the commands
    Chat(Box<chat::Args>),
    /// Print routes: two providers that stand in for each other, or share the calls
    Route(route::Args),
}

/// The exit code where what was given cannot be obeyed.
pub(super) const BAD_INPUT: u8 = 42;
/// The exit code where a limit ended the run.
const LIMIT: u8 = 53;
/// The exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

impl Args {
    /// Whether it needs no settings.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.deed, Deed::Route(_))
    }
}

/// What was given cannot be obeyed: told like any error, with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct BadInput(Box<dyn std::error::Error>);

impl BadInput {
    pub(super) fn new(error: impl Into<Box<dyn std::error::Error>>) -> Self {
        Self(error.into())
    }
}

/// Does what was asked; `forwarded` are the flags that husk's own server gets.
pub(super) fn run(args: Args, forwarded: Vec<OsString>, config: &Config) -> Outcome {
    told(match args.deed {
        Deed::Ask(args) => ask::run(*args, forwarded, config),
        Deed::Chat(args) => chat::run(*args, forwarded, config),
        Deed::Route(args) => route::run(&args),
    })
}

/// Prints routes, for which no settings are read.
pub(super) fn run_plain(args: Args) -> Outcome {
    run(args, Vec::new(), &Config::default())
}

/// Bad input has an exit code of its own.
pub(super) fn told(outcome: Outcome) -> Outcome {
    match outcome {
        Err(error) if error.is::<BadInput>() => {
            super::report(error.as_ref());
            Ok(ExitCode::from(BAD_INPUT))
        }
        outcome => outcome,
    }
}
