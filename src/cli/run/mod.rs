//! `husk run`: cells of a script, of a notebook, or given code, through the whole MCP stack.
//!
//! husk is its own host here: each cell is a `tools/call` to a server in the same process. Output
//! is printed as it comes, plots are saved, and the first failing cell ends the run. With `--attach`
//! the server is one that serves a host already ([`attach`]).

mod attach;
pub mod cells;

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use base64::Engine;
use tokio_util::sync::CancellationToken;

use super::Outcome;
use crate::{
    app,
    base::backoff::{Again, Backoff},
    config::Config,
    guard::{dedup, limiter},
    mcp::{
        Server,
        client::{CellAnswer, Client, ClientError, Print},
    },
    sandbox::python::inline,
};

use cells::Cell;

/// Arguments of `husk run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A script with `# %%` cells, a notebook (.ipynb), or `-` for a script on standard input
    #[arg(required_unless_present = "code", conflicts_with = "code")]
    file: Option<PathBuf>,
    /// Run this code
    #[arg(short, long)]
    code: Option<String>,
    /// Save plots in this folder [default: beside the file]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Run in this live session (`husk sessions` lists them); its kernel stays, with all variables
    #[arg(long, value_name = "SESSION")]
    attach: Option<String>,
    /// Process id of the server, where several have a session of that name
    #[arg(long, value_name = "PID", requires = "attach")]
    server: Option<u32>,
}

/// The exit code after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// How long a run waits for a limit to free. The one of calls a minute never takes longer; for those
/// of an hour it is better to be told.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What is to be run, and where it comes from.
struct Source {
    text: String,
    notebook: bool,
    /// The folder in which its kernel starts, and its name without the ending.
    folder: PathBuf,
    stem: String,
}

pub(super) fn run(args: Args, config: Config) -> Outcome {
    let source = source(&args)?;
    let cells = match source.notebook {
        true => cells::of_notebook(&source.text)?,
        false => cells::of_script(&source.text),
    };
    let folder = args.out.unwrap_or_else(|| source.folder.clone());
    let plots = Plots { folder, stem: source.stem.clone() };
    let runtime = super::runtime()?;
    let code = runtime.block_on(async {
        match &args.attach {
            Some(session) => {
                if !source.notebook && inline::parse(&source.text)?.is_some() {
                    tracing::warn!("the session's kernel is as it is: what the script says that it needs is not installed");
                }
                attach::run(session, args.server, &cells, &plots).await
            }
            None => alone(config, &source, &cells, &plots).await,
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(50));
    code
}

/// Runs the cells in a kernel of their own.
async fn alone(mut config: Config, source: &Source, cells: &[Cell], plots: &Plots) -> Outcome {
    if config.workspace.is_none() {
        config.workspace = Some(source.folder.clone());
    }
    environment(&mut config, source).await?;
    // A run is no session that anybody comes back to, unless it has a name.
    if config.session.is_none() {
        "none".clone_into(&mut config.notebook.file);
    }
    // The cells are the user's own, however many and alike.
    config.limits = limiter::Settings::none();
    // There is one session.
    config.launch.pool = 0;
    config.dedup.mode = dedup::settings::Mode::Off;
    let stop = app::signals()?;
    let (context, services) = app::context(&config)?;
    let code = async {
        let client = Client::within(Server::new(Arc::clone(&context)), print()).await?;
        let code = each(&client, None, cells, plots, &stop).await;
        client.close().await;
        code
    }
    .await;
    context.sandboxes.close().await;
    drop(context);
    services.close().await;
    code
}

fn source(args: &Args) -> Result<Source, Box<dyn std::error::Error>> {
    let here = std::env::current_dir()?;
    let given =
        |text| Source { text, notebook: false, folder: here.clone(), stem: "cell".to_owned() };
    if let Some(code) = &args.code {
        return Ok(given(code.clone()));
    }
    let file = args.file.as_deref().unwrap_or(Path::new("-"));
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(given(text));
    }
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read `{}`: {error}", file.display()))?;
    let folder = file.parent().map(|folder| here.join(folder)).unwrap_or(here);
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let notebook = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("ipynb"));
    Ok(Source { text, notebook, folder, stem })
}

/// A script that says what it needs (PEP 723) gets an environment of its own.
async fn environment(
    config: &mut Config,
    source: &Source,
) -> Result<(), Box<dyn std::error::Error>> {
    if source.notebook {
        return Ok(());
    }
    let Some(metadata) = inline::parse(&source.text)? else { return Ok(()) };
    let data = config.data_dir()?;
    let wanted = app::launcher(config, source.folder.clone(), data).wanted;
    let say = |line: &str| tracing::info!("{line}");
    let interpreter = inline::script_environment(&metadata, &wanted, &say).await?;
    config.python = Some(interpreter.executable);
    Ok(())
}

fn print() -> Print {
    Arc::new(|text: &str| show(text))
}

/// Writes to stdout. A reader that has gone (`| head`) is no error of the cell's.
fn show(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Runs one cell after the other, up to the first that fails or to `stop`.
async fn each(
    client: &Client,
    session: Option<&str>,
    cells: &[Cell],
    plots: &Plots,
    stop: &CancellationToken,
) -> Outcome {
    for (number, cell) in (1..).zip(cells) {
        let answer = match admitted(client, session, &cell.code, stop).await {
            Ok(answer) => answer,
            Err(ClientError::Cancelled) => return Ok(INTERRUPTED.into()),
            Err(error) => return Err(error.into()),
        };
        finish_line(&answer);
        plots.save(number, &answer)?;
        if answer.failed {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a cell; one that a limit refuses is tried again when the limit says.
async fn admitted(
    client: &Client,
    session: Option<&str>,
    code: &str,
    stop: &CancellationToken,
) -> Result<CellAnswer, ClientError> {
    let patience = Backoff { cap: LONGEST_WAIT, retries: 10, ..Backoff::default() };
    for number in 0.. {
        let answer = client.run_cell(session, code, stop).await?;
        let again = answer.retry_after().map_or(Again::No, Again::After);
        let Some(wait) = patience.next(number, again, 0.5) else { return Ok(answer) };
        tracing::info!("{}; again in {:.1} s", answer.text.trim_end(), wait.as_secs_f64());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => break,
        }
    }
    Err(ClientError::Cancelled)
}

/// Prints what has not been printed while the cell ran.
fn finish_line(answer: &CellAnswer) {
    if answer.text == "(no output)" {
        return;
    }
    show(&answer.text);
    if answer.open_line {
        show("\n");
    }
}

/// Where plots go.
struct Plots {
    folder: PathBuf,
    stem: String,
}

impl Plots {
    fn save(&self, cell: usize, answer: &CellAnswer) -> Result<(), Box<dyn std::error::Error>> {
        for (number, (mime, data)) in (1..).zip(&answer.images) {
            let ending = if mime == "image/jpeg" { "jpg" } else { "png" };
            let path = self.folder.join(format!("{}-{cell}-{number}.{ending}", self.stem));
            let bytes = base64::engine::general_purpose::STANDARD.decode(data)?;
            std::fs::create_dir_all(&self.folder)
                .and_then(|()| std::fs::write(&path, bytes))
                .map_err(|error| format!("cannot save the plot `{}`: {error}", path.display()))?;
            show(&format!("[plot saved: {}]\n", path.display()));
        }
        Ok(())
    }
}
