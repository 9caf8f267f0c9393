//! `husk completions SHELL`.

use std::process::ExitCode;

/// Arguments of `husk completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args, command: &mut clap::Command) -> super::Outcome {
    clap_complete::generate(args.shell, command, "husk", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
