//! Floor 4: the command line. Parses flags, reads the settings, and hands over to one file a
//! subcommand.

#[cfg(feature = "agent")]
mod agent;
mod complete;
mod doctor;
mod export;
mod guard;
pub mod install;
mod live;
pub mod run;
mod schema;
mod serve;
mod sessions;
mod settings;
#[cfg(feature = "redis")]
mod tenant;
mod token;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{
    base::causes,
    config::{self, Flag, Loaded, Sources},
    telemetry::{self, Reader},
};

/// husk gives an AI agent a persistent, sandboxed Jupyter kernel as MCP tools.
///
/// Without a subcommand it is an MCP server on standard input and output, as hosts launch it:
/// `husk install HOST` registers it there, `husk doctor` tells whether all is in place.
#[derive(Debug, Parser)]
#[command(name = "husk", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Flags that override settings, for every subcommand.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
struct SettingFlags {
    /// Python interpreter (or virtual environment) of the kernel [variable: HUSK_PYTHON]
    #[arg(long, global = true, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Start this installed Jupyter kernel instead (`husk doctor` lists them) [variable: HUSK_KERNEL]
    #[arg(long, global = true, value_name = "NAME")]
    kernel: Option<String>,
    /// Talk to the running kernel of this connection file [variable: HUSK_CONNECTION_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    connection_file: Option<PathBuf>,
    /// Name of the default session [variable: HUSK_SESSION]
    #[arg(long, global = true, value_name = "NAME")]
    session: Option<String>,
    /// Folder in which kernels start [variable: HUSK_WORKSPACE]
    #[arg(long, global = true, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Any setting by its key, such as `sandbox.network=full`; can be given again for another
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Read this file instead of ./husk.toml, and trust it as your own
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log filter, for example `warn,husk=debug` [variable: HUSK_LOG]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

#[cfg(feature = "agent")]
impl SettingFlags {
    /// The same flags for another husk.
    fn forwarded(&self) -> Vec<std::ffi::OsString> {
        let path = |path: &Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
        let text = |text: &Option<String>| text.clone().map(Into::into);
        let given = [
            ("--python", path(&self.python)),
            ("--kernel", text(&self.kernel)),
            ("--connection-file", path(&self.connection_file)),
            ("--session", text(&self.session)),
            ("--workspace", path(&self.workspace)),
            ("--config", path(&self.config)),
            ("--log", text(&self.log)),
        ];
        let set =
            self.set.iter().map(|(key, value)| ("--set", Some(format!("{key}={value}").into())));
        let flag = |(name, value): (&str, Option<_>)| Some([name.into(), value?]);
        given.into_iter().chain(set).filter_map(flag).flatten().collect()
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve MCP on standard input and output (the default), or over HTTP
    Serve(serve::Args),
    /// Make, list and revoke the tokens by which users are known over HTTP
    Token(token::Args),
    /// Make, change and end the accounts of users at Redis (`tenant.redis_url`)
    #[cfg(feature = "redis")]
    Tenant(tenant::Args),
    /// Run a script's cells, a notebook, or code, through the whole of husk
    Run(run::Args),
    /// Ask a model of your own, which works with the notebook: an agent in the terminal
    #[cfg(feature = "agent")]
    Agent(agent::Args),
    /// List the sessions of every husk that you have running, and those that wait for one
    Sessions(sessions::Args),
    /// Let calls through again that the guards of a serving husk refuse
    Guard(guard::Args),
    /// Turn a session's notebook into a file: .ipynb, a script, or Markdown
    Export(export::Args),
    /// Check everything that a kernel needs, by starting one
    Doctor(doctor::Args),
    /// Register husk in an MCP host's own configuration
    Install(install::Args),
    /// Take husk out of an MCP host's configuration
    Uninstall(install::RemovalArgs),
    /// Print the JSON schemas of the tools and the settings
    Schema(schema::Args),
    /// Print every setting and where its value comes from
    Config,
    /// Print a completion script for a shell
    Completions(complete::Args),
}

/// How a subcommand ends: an exit code, or an error that `main` prints.
type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Parses the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    let code = match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    };
    telemetry::end();
    code
}

/// Says what is wrong with the command line, or gives the help that it asks for.
fn misunderstood(error: &clap::Error) -> ExitCode {
    // A stream that has gone takes no last words.
    let _ = error.print();
    #[cfg(feature = "agent")]
    if error.use_stderr() && std::env::args_os().nth(1).is_some_and(|it| it == "agent") {
        return agent::BAD_INPUT.into();
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn dispatch(cli: Cli) -> Outcome {
    let command = cli.command.unwrap_or(Command::Serve(serve::Args::default()));
    // These need no settings: a broken husk.toml must not stand in their way.
    match command {
        Command::Install(args) => return done(install::run(args)),
        Command::Uninstall(args) => return done(install::run_removal(args)),
        Command::Schema(args) => return schema::run(&args),
        Command::Sessions(args) => {
            telemetry::start("warn,rmcp=error", Reader::Person)?;
            let config =
                load(&cli.settings, Vec::new()).map(|loaded| loaded.config).unwrap_or_default();
            return sessions::run(&args, &config);
        }
        Command::Guard(args) => {
            telemetry::start("warn,rmcp=error", Reader::Person)?;
            return guard::run(&args);
        }
        Command::Completions(args) => return complete::run(&args, &mut Cli::command()),
        #[cfg(feature = "agent")]
        Command::Agent(args) if args.is_plain() => return agent::run_plain(args),
        #[cfg(feature = "agent")]
        Command::Agent(_) => {}
        #[cfg(feature = "redis")]
        Command::Tenant(_) => {}
        Command::Serve(_)
        | Command::Token(_)
        | Command::Run(_)
        | Command::Export(_)
        | Command::Doctor(_)
        | Command::Config => {}
    }
    let more = match &command {
        Command::Serve(args) => args.flags(),
        _ => Vec::new(),
    };
    let loaded = load(&cli.settings, more);
    if let Command::Doctor(args) = command {
        telemetry::start("warn,husk=info,rmcp=error", Reader::Person)?;
        return doctor::run(&args, loaded);
    }
    #[cfg(feature = "agent")]
    if let Command::Agent(args) = command {
        return agent::told(with_agent(args, &cli.settings, loaded));
    }
    let loaded = loaded?;
    let reader = match command {
        Command::Run(_) | Command::Export(_) | Command::Token(_) => Reader::Person,
        _ => Reader::Host,
    };
    telemetry::start(&loaded.config.log, reader)?;
    match command {
        Command::Run(args) => run::run(args, loaded.config),
        Command::Export(args) => export::run(&args, &loaded.config),
        Command::Config => settings::run(&loaded),
        Command::Token(args) => token::run(&args, &loaded.config),
        #[cfg(feature = "redis")]
        Command::Tenant(args) => tenant::run(&args, &loaded.config),
        Command::Serve(args) => serve::run(&args, &loaded.config),
        _ => serve::run(&serve::Args::default(), &loaded.config),
    }
}

/// The agent: its own server, a process, gets the same settings.
#[cfg(feature = "agent")]
fn with_agent(
    args: agent::Args,
    flags: &SettingFlags,
    loaded: Result<Loaded, config::Faults>,
) -> Outcome {
    let loaded = loaded.map_err(agent::BadInput::new)?;
    telemetry::start(&loaded.config.log, Reader::Person)?;
    agent::run(args, flags.forwarded(), &loaded.config)
}

fn done<E: Error + 'static>(result: Result<(), E>) -> Outcome {
    result?;
    Ok(ExitCode::SUCCESS)
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

fn load(flags: &SettingFlags, more: Vec<Flag>) -> Result<Loaded, config::Faults> {
    let path = |path: &Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
    let text = |text: &Option<String>| text.clone().map(Into::into);
    let given = [
        ("python", "--python", path(&flags.python)),
        ("kernel", "--kernel", text(&flags.kernel)),
        ("connection_file", "--connection-file", path(&flags.connection_file)),
        ("session", "--session", text(&flags.session)),
        ("workspace", "--workspace", path(&flags.workspace)),
        ("log", "--log", text(&flags.log)),
    ];
    let flag = |(key, name, value): (&str, &str, Option<std::ffi::OsString>)| {
        Some(Flag::new(key, value?, name))
    };
    let set = flags.set.iter().map(|(key, value)| Flag::new(key, value, "--set"));
    let given = given.into_iter().filter_map(flag).chain(set).chain(more).collect();
    config::load(&Sources::from_process(given, flags.config.clone())?)
}

/// Prints an error and its causes, one a line.
#[expect(clippy::print_stderr, reason = "the command line's own last words")]
fn report(error: &dyn Error) {
    eprintln!("husk: {}", causes::told(error, "\n  cause: "));
}

/// A runtime for one subcommand. Two threads: one may decode a large output while the other answers.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
