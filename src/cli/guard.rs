//! `husk guard`: what a user at a terminal may say to the guards of serving husks.

use std::{process::ExitCode, sync::Arc, time::Duration};

use super::{Outcome, live};

/// How long a connection may take to end: nothing depends on it.
const ENDS: Duration = Duration::from_millis(50);

/// Arguments of `husk guard`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, clap::Subcommand)]
enum Deed {
    /// Close breakers and forget repeated calls, so that what was refused is tried at once
    Reset {
        /// Only of this session
        #[arg(long, value_name = "NAME")]
        of: Option<String>,
        /// Only of the husk with this process id
        #[arg(long, value_name = "PID")]
        server: Option<u32>,
    },
}

pub(super) fn run(args: &Args) -> Outcome {
    let Deed::Reset { of, server } = &args.deed;
    let runtime = super::runtime()?;
    let code = runtime.block_on(reset(of.as_deref(), *server));
    runtime.shutdown_timeout(ENDS);
    code
}

#[expect(clippy::print_stdout, reason = "the command's own output")]
async fn reset(session: Option<&str>, server: Option<u32>) -> Outcome {
    let mut servers = live::servers(&(Arc::new(|_: &str| {}) as _)).await;
    servers.retain(|live| server.is_none_or(|pid| pid == live.pid));
    if servers.is_empty() {
        return Err("no such husk is serving; `husk sessions` lists those that are".into());
    }
    for live in servers {
        let reset = live.client.reset_guards(session).await?;
        println!(
            "server {}: {} breakers closed, repeated calls of {} sessions forgotten",
            live.pid, reset.breakers, reset.trails
        );
    }
    Ok(ExitCode::SUCCESS)
}
