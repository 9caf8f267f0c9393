//! `husk export`: a session's notebook, or any, as a notebook, a script or a text.
//!
//! A live session's comes from its server; that of a session that has ended is the record which it
//! left in its workspace. No kernel is asked.

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use serde_json::Value;

use super::{
    Outcome,
    live::{self, NotOne},
};
use crate::{base::ids::SessionName, config::Config, mcp::client::Print, notebook::export};

/// Arguments of `husk export`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A live session, one whose record is in the workspace, or the path of an .ipynb file
    #[arg(value_name = "SESSION")]
    source: String,
    /// What to make of it
    #[arg(long, value_name = "FORMAT")]
    to: Format,
    /// Write this file, and images beside it [default: standard output, without images]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write over files that are there already
    #[arg(long)]
    force: bool,
    /// Process id of the server, where several have a session of that name
    #[arg(long, value_name = "PID")]
    server: Option<u32>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// The notebook as it is
    Ipynb,
    /// A Python script with `# %%` cells, without outputs
    Py,
    /// Markdown with outputs
    Md,
}

/// What comes out: a text, and images by name.
#[derive(Debug, Default)]
struct Made {
    text: String,
    images: Vec<(String, Vec<u8>)>,
}

pub(super) fn run(args: &Args, config: &Config) -> Outcome {
    let (text, file) = notebook(args, config)?;
    let stem = args.out.as_deref().unwrap_or(&file).file_stem().unwrap_or_default();
    let made = convert(text, args.to, &stem.to_string_lossy())
        .map_err(|error| format!("cannot export `{}`: {error}", file.display()))?;
    match &args.out {
        Some(out) => save(out, &made, args.force)?,
        None => show(&made)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The notebook that is meant, and the name of its file.
fn notebook(args: &Args, config: &Config) -> Result<(String, PathBuf), Box<dyn Error>> {
    let given = Path::new(&args.source);
    if given.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("ipynb")) {
        return Ok((read(given)?, given.to_owned()));
    }
    let session = SessionName::new(&args.source)?;
    if let Some(text) = super::runtime()?.block_on(live(&session, args.server))? {
        return Ok((text, PathBuf::from(format!("{session}.ipynb"))));
    }
    if !config.notebook.is_on() {
        return Err("no notebooks are recorded here (setting `notebook.file`)".into());
    }
    let workspace = match &config.workspace {
        Some(workspace) => workspace.clone(),
        None => std::env::current_dir()?,
    };
    let file = workspace.join(config.notebook.file.replace("{session}", session.as_str()));
    Ok((read(&file)?, file))
}

/// The notebook of a live session; nothing where none of that name lives, unless it was said whose
/// it is.
async fn live(
    session: &SessionName,
    server: Option<u32>,
) -> Result<Option<String>, Box<dyn Error>> {
    let silent: Print = Arc::new(|_: &str| {});
    match live::having(session.as_str(), server, live::servers(&silent).await) {
        Ok(live) => Ok(Some(live.client.notebook(session).await?)),
        Err(NotOne::NobodyServes | NotOne::Unknown { .. }) if server.is_none() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read(file: &Path) -> Result<String, String> {
    let shown = file.display();
    match fs::metadata(file) {
        // What a kernel may have put there instead is not waited for.
        Ok(is) if !is.is_file() => Err(format!("`{shown}` is no file")),
        Ok(_) => {
            fs::read_to_string(file).map_err(|error| format!("cannot read `{shown}`: {error}"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "no notebook at `{shown}`; give a session of `husk sessions`, the --workspace of one that has ended, or the path of an .ipynb"
        )),
        Err(error) => Err(format!("cannot read `{shown}`: {error}")),
    }
}

fn convert(text: String, to: Format, stem: &str) -> Result<Made, Box<dyn Error>> {
    let notebook: Value =
        serde_json::from_str(&text).map_err(|error| format!("it is not JSON ({error})"))?;
    Ok(match to {
        Format::Ipynb if notebook.get("cells").is_none() => {
            return Err(export::ExportError::Cells.into());
        }
        Format::Ipynb => Made { text, ..Made::default() },
        Format::Py => Made { text: export::script(&notebook)?, ..Made::default() },
        Format::Md => {
            let page = export::markdown(&notebook, stem)?;
            Made { text: page.text, images: page.images }
        }
    })
}

/// Writes all files, or none when one of them is there already.
fn save(out: &Path, made: &Made, force: bool) -> Result<(), String> {
    let beside = out.parent().unwrap_or(Path::new(""));
    let images = made.images.iter().map(|(name, bytes)| (beside.join(name), bytes.as_slice()));
    let files: Vec<_> = images.chain([(out.to_owned(), made.text.as_bytes())]).collect();
    let taken = files.iter().find(|(path, _)| !force && fs::symlink_metadata(path).is_ok());
    if let Some((path, _)) = taken {
        return Err(format!("`{}` is there already; --force writes over it", path.display()));
    }
    for (path, bytes) in files {
        fs::write(&path, bytes)
            .map_err(|error| format!("cannot write `{}`: {error}", path.display()))?;
    }
    Ok(())
}

fn show(made: &Made) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(made.text.as_bytes()).and_then(|()| stdout.flush()) {
        // A reader that has gone (`| head`) has what it wants.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    if !made.images.is_empty() {
        tracing::warn!("images left out: {}; --out FILE saves them beside it", made.images.len());
    }
    Ok(())
}
