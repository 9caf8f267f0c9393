//! `husk config`: every setting, and where its value comes from.

use std::process::ExitCode;

use crate::config::Loaded;

#[expect(clippy::print_stdout, reason = "the command's own output")]
pub(super) fn run(loaded: &Loaded) -> super::Outcome {
    print!("{}", loaded.table());
    Ok(ExitCode::SUCCESS)
}
