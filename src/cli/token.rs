//! `husk token`: makes, lists and revokes the tokens by which users are known over HTTP.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use super::Outcome;
use crate::{
    app,
    base::clock,
    config::Config,
    mcp::auth::{
        Scope,
        tokens::{self, Kept},
    },
};

/// Arguments of `husk token`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, clap::Subcommand)]
enum Deed {
    /// Make a token for a user and print it; only its digest is kept
    New {
        /// The user; tokens of one name reach the same sessions
        user: String,
        /// What it allows: notebook:run (to run code and to look), notebook:read (to look), admin
        #[arg(long, value_name = "SCOPE", default_values = ["notebook:run"], value_parser = scope)]
        scope: Vec<Scope>,
        /// Days after which it is refused
        #[arg(long, value_name = "N")]
        days: Option<u32>,
    },
    /// List the tokens, without what is secret
    List,
    /// Refuse a token from now on, or all of a user
    Revoke {
        /// The token's number, or the user
        which: String,
    },
}

fn scope(name: &str) -> Result<Scope, String> {
    let known = || Scope::ALL.map(Scope::name).join(", ");
    Scope::named(name).ok_or_else(|| format!("there are {}", known()))
}

#[expect(clippy::print_stdout, reason = "the command's own output")]
pub(super) fn run(args: &Args, config: &Config) -> Outcome {
    let file = app::tokens_file(config)?;
    match &args.deed {
        Deed::New { user, scope, days } => {
            let lives = days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
            let token = tokens::make(&file, user, scope, lives)?;
            println!("{}", token.reveal());
        }
        Deed::List => print!("{}", table(&tokens::list(&file)?)),
        Deed::Revoke { which } => {
            let revoked = tokens::revoke(&file, which)?;
            println!("{revoked} {} refused from now on", if revoked == 1 { "is" } else { "are" });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(all: &[Kept]) -> String {
    let time = |seconds: u64| clock::iso(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    let line = |kept: &Kept| {
        let expires = kept.expires.map_or("never".to_owned(), time);
        let Kept { id, user, scopes, created, .. } = kept;
        let (scopes, created) = (scopes.join(" "), time(*created));
        format!("{id}  {user:<16}  {scopes:<28}  made {created}  expires {expires}\n")
    };
    match all {
        [] => "no tokens; `husk token new NAME` makes one\n".to_owned(),
        all => all.iter().map(line).collect(),
    }
}
