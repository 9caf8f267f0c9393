//! `husk serve`: the MCP server.

use std::{io::IsTerminal, process::ExitCode, time::Duration};

use crate::{app, config::Config};

/// A read of standard input that is under way in a thread cannot be cancelled; nobody waits for it.
const LEFT_OVERS: Duration = Duration::from_millis(50);

pub(super) fn run(config: &Config) -> super::Outcome {
    if std::io::stdin().is_terminal() {
        tracing::info!(
            "waiting for an MCP host on standard input; `husk --help` tells what else there is"
        );
    }
    let runtime = super::runtime()?;
    let served = runtime.block_on(app::serve(config));
    runtime.shutdown_timeout(LEFT_OVERS);
    served?;
    Ok(ExitCode::SUCCESS)
}
