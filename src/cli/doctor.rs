//! `husk doctor`: checks everything that a kernel needs, and runs a real cell.
//!
//! Each check is a line: ✓ or ✗, what was found, and for ✗ the way to mend it. [`attack`] goes further:
//! it tries what no cell may be able to do. Where kernels run at a gateway, that is looked at instead of this
//! machine ([`gateway`]). What servers share is asked as well ([`services`]).

mod attack;
#[cfg(feature = "gateway")]
mod gateway;
mod prey;
mod services;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use serde::Serialize;

use super::Outcome;
use crate::{
    app,
    base::{causes, ids::SessionName},
    config::{Config, Faults, Loaded},
    jail::Report,
    kernel::spec,
    sandbox::{Cell, Sandboxes, Status, launch::Launcher, python, run_folder},
};

/// How long the real cell may take.
const CELL: Duration = Duration::from_secs(30);

/// Arguments of `husk doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Run the attacks that no cell may succeed with, in a fresh kernel with tight limits
    #[arg(long)]
    attack: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One line of the report.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    /// What was found; does not count as good or bad where `ok` is told by another line.
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, ok: true, found: found.into(), mend: None }
    }

    fn bad(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, ok: false, found: found.into(), mend: Some(mend.into()) }
    }
}

pub(super) fn run(args: &Args, loaded: Result<Loaded, Faults>) -> Outcome {
    if args.attack {
        return attack::run(args.json, loaded?.config);
    }
    let checks = super::runtime()?.block_on(all(loaded));
    let good = checks.iter().all(|check| check.ok);
    print(args, &checks)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn all(loaded: Result<Loaded, Faults>) -> Vec<Check> {
    let mut checks = vec![Check::good("husk", env!("CARGO_PKG_VERSION"))];
    let config = match loaded {
        Ok(loaded) => loaded.config,
        Err(faults) => {
            checks.push(Check::bad("config", faults.to_string(), "correct the lines named above"));
            return checks;
        }
    };
    checks.push(Check::good("config", "no faults; `husk config` shows each value"));
    let (data, folder) = match ground(&config) {
        Ok(ground) => ground,
        Err(check) => {
            checks.push(check);
            return checks;
        }
    };
    checks.extend(services::all(&config, &data).await);
    #[cfg(feature = "gateway")]
    if config.gateway.url.is_some() {
        checks.extend(gateway::all(&config, folder, data).await);
        return checks;
    }
    let mut launcher = app::launcher(&config, folder, data);
    // There is one session.
    launcher.settings.pool = 0;
    checks.push(interpreter(&launcher).await);
    checks.push(kernelspecs(&launcher));
    checks.push(sockets());
    let mend = "do what is said here, or give another --python";
    checks.extend(cell(launcher, &config, mend).await);
    checks
}

/// The data folder, and the one that husk is in.
fn ground(config: &Config) -> Result<(PathBuf, PathBuf), Check> {
    let data = config.data_dir();
    let data = data.map_err(|fault| Check::bad("data", fault.to_string(), "set `data_dir`"))?;
    let mend = "start husk in a folder that exists";
    let folder = std::env::current_dir();
    let folder = folder.map_err(|error| Check::bad("folder", error.to_string(), mend))?;
    Ok((data, folder))
}

/// The interpreter that would be used, or what is missing everywhere.
async fn interpreter(launcher: &Launcher) -> Check {
    let mut looked = Vec::new();
    for candidate in python::candidates(&launcher.wanted).await {
        match candidate.outcome {
            Ok(found) => {
                let executable = found.executable.display();
                return Check::good(
                    "python",
                    format!(
                        "{executable} ({}), Python {}, ipykernel {}",
                        found.origin, found.version, found.ipykernel
                    ),
                );
            }
            Err(why) if candidate.origin == python::Origin::Explicit => {
                return Check::bad(
                    "python",
                    told(&why),
                    "give another --python, or do what is said here",
                );
            }
            Err(why) => looked.push(format!("{}: {why}", candidate.place)),
        }
    }
    let looked = looked.join("\n");
    Check::good(
        "python",
        format!(
            "none with ipykernel; husk makes an environment of its own at the first start\n{looked}"
        ),
    )
}

fn kernelspecs(launcher: &Launcher) -> Check {
    let folders = spec::folders(&launcher.prefixes());
    let found = spec::list(&folders);
    let names: Vec<String> =
        found.iter().map(|spec| format!("{} ({})", spec.name, spec.language)).collect();
    let listed = if names.is_empty() { "none installed".to_owned() } else { names.join(", ") };
    match &launcher.kernel {
        Some(name) => match spec::find(name, &folders) {
            Ok(_) => Check::good("kernels", listed),
            Err(error) => {
                Check::bad("kernels", error.to_string(), "choose one of those with --kernel")
            }
        },
        None => Check::good("kernels", listed),
    }
}

fn sockets() -> Check {
    match run_folder::try_out() {
        Ok(place) => Check::good("sockets", format!("unix sockets in {}", place.display())),
        Err(error) => Check::bad("sockets", told(&error), "do what is said here"),
    }
}

/// An error and its causes, one a line.
fn told(error: &dyn std::error::Error) -> String {
    causes::told(error, "\n")
}

/// What holds the kernel that was started.
fn isolation(report: &Report) -> Check {
    let mut found = format!("{} (asked for: {})", report.effective, report.requested);
    for layer in &report.layers {
        let state = format!("{:?}", layer.state).to_lowercase();
        found.push_str(&format!("\n{} {state}: {}", layer.name, layer.detail));
    }
    for gap in &report.gaps {
        found.push_str(&format!("\nknown to be open: {gap}"));
    }
    for passed_over in &report.passed_over {
        found.push_str(&format!("\nnot used: {passed_over}"));
    }
    Check::good("isolation", found)
}

/// A real kernel and a real cell; what to do where none starts.
async fn cell(launcher: Launcher, config: &Config, mend: &str) -> Vec<Check> {
    let workspace = match tempfile::tempdir() {
        Ok(workspace) => workspace,
        Err(error) => {
            let mend = "set TMPDIR to a folder that you may write";
            return vec![Check::bad("workspace", error.to_string(), mend)];
        }
    };
    let sandboxes = Sandboxes::new(launcher, config.cells.clone(), workspace.path().to_owned());
    let code = if config.kernel.is_some() { "" } else { "print(6 * 7)" };
    let cell = Cell {
        code: code.to_owned(),
        description: None,
        timeout: CELL,
        asks: false,
        budgeted: false,
        trace: None,
    };
    let ran = sandboxes.run(&SessionName::fresh(), cell).await;
    let started = sandboxes.status(None).into_iter().find_map(|snapshot| snapshot.facts);
    sandboxes.close().await;
    let held = started.as_ref().and_then(|facts| facts.isolation.as_deref()).map(isolation);
    let started = started.map(|facts| {
        Check::good("kernel start", format!("{} on {}", facts.kernel, facts.language))
    });
    let ran = match ran {
        Ok(outcome) if outcome.status == Status::Ok => {
            Check::good("cell", format!("ran in {} ms", outcome.duration.as_millis()))
        }
        Ok(outcome) => Check::bad(
            "cell",
            format!("ended with {:?}", outcome.status),
            "run it with --log husk=debug",
        ),
        Err(error) => Check::bad("kernel start", told(&error), mend),
    };
    started.into_iter().chain(held).chain([ran]).collect()
}

#[expect(clippy::print_stdout, reason = "the command's own output")]
fn print(args: &Args, checks: &[Check]) -> Result<(), serde_json::Error> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(checks)?);
        return Ok(());
    }
    for check in checks {
        let mark = if check.ok { '✓' } else { '✗' };
        let found = check.found.replace('\n', &format!("\n{:17}", ""));
        println!("{mark} {:<14} {found}", check.name);
        if let Some(mend) = &check.mend {
            println!("{:17}→ {mend}", "");
        }
    }
    Ok(())
}
