//! `husk schema`: the JSON schemas of the tools and the settings.

use std::{path::PathBuf, process::ExitCode};

use crate::schema;

/// Arguments of `husk schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this one, for example `config.json`; without a name all are printed as one object
    name: Option<String>,
    /// Write all of them below this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    out: Option<PathBuf>,
}

#[expect(clippy::print_stdout, reason = "the command's own output")]
pub(super) fn run(args: &Args) -> super::Outcome {
    let all = schema::all();
    if let Some(folder) = &args.out {
        for (name, schema) in &all {
            write(&folder.join(name), schema)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let printed = match &args.name {
        Some(name) => {
            let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
            let unknown = || format!("no schema named `{name}`; there are {}", names.join(", "));
            let found = all.iter().find(|(known, _)| known == name);
            found.map(|(_, schema)| schema.clone()).ok_or_else(unknown)?
        }
        None => serde_json::Value::Object(all.into_iter().collect()),
    };
    println!("{}", serde_json::to_string_pretty(&printed)?);
    Ok(ExitCode::SUCCESS)
}

fn write(
    path: &std::path::Path,
    schema: &serde_json::Value,
) -> Result<(), Box<dyn std::error::Error>> {
    let failed = |error: std::io::Error| format!("cannot write `{}`: {error}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, format!("{}\n", serde_json::to_string_pretty(schema)?)).map_err(failed)?;
    Ok(())
}
