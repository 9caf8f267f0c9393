//! `husk tenant`: makes, changes and ends the accounts that users have at Redis.

use std::process::ExitCode;

use serde_json::json;

use super::Outcome;
use crate::{
    config::Config,
    tenant::admin::{Access, Admin, Listed},
};

/// Arguments of `husk tenant`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, clap::Subcommand)]
enum Deed {
    /// Give a user an account, for use outside of kernels, and print it as JSON; a kernel has its own
    /// password, and finds it in REDIS_URL
    Provision {
        /// The user, as `husk tenant list` and the audit log name it, for example `token:alice`
        user: String,
    },
    /// Give a user another password instead of the one that `provision` gave, and end all connections
    Rotate {
        /// The user
        user: String,
    },
    /// End a user's account, also for kernels that run
    Revoke {
        /// The user
        user: String,
        /// Delete the user's keys too
        #[arg(long)]
        keys: bool,
    },
    /// List the users who have an account, and how many hold a password of it
    List,
}

/// Who holds the password that `provision` gives.
const HOLDER: &str = "husk tenant";

#[expect(clippy::print_stdout, reason = "the command's own output")]
pub(super) fn run(args: &Args, config: &Config) -> Outcome {
    let admin = Admin::new(&config.tenant)?;
    let admin = admin.ok_or("no Redis is named; set `tenant.redis_url`")?;
    super::runtime()?.block_on(async {
        match &args.deed {
            Deed::Provision { user } => {
                println!("{}", told(&admin.grant(user, HOLDER, &|_| false).await?));
            }
            Deed::Rotate { user } => println!("{}", told(&admin.rotate(user, HOLDER).await?)),
            Deed::Revoke { user, keys } => {
                let was = admin.revoke(user, *keys).await?;
                println!("{}", if was { "the account has ended" } else { "there was no account" });
            }
            Deed::List => print!("{}", table(&admin.list().await?)),
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn told(access: &Access) -> String {
    let Access { name, password, prefix } = access;
    json!({"username": name, "password": password.reveal(), "prefix": prefix}).to_string()
}

fn table(all: &[Listed]) -> String {
    let line = |listed: &Listed| {
        // A name may be anything, a line break too.
        let user = listed.user.escape_debug().to_string();
        format!("{user:<24}  {}  {} passwords\n", listed.name, listed.holders.len())
    };
    match all {
        [] => "no user has an account\n".to_owned(),
        all => all.iter().map(line).collect(),
    }
}
