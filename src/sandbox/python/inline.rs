//! Inline script metadata (PEP 723): what a script says it needs, and an environment with just that.
//!
//! Only the `script` block is read; blocks and tables of other tools are theirs. Requirements are checked for their
//! shape and otherwise left to the installer.

use std::sync::Arc;

use pep440_rs::VersionSpecifiers;
use serde::Deserialize;

use crate::sandbox::python::environment::{Plan, ready};
use crate::sandbox::python::probe::Asked;
use crate::sandbox::python::{Interpreter, Progress, Wanted, base, environment, probe, search};

/// Why a script's metadata cannot be followed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The standard allows one.
    #[error("the script has {count} `# /// script` blocks (lines {lines}); merge them into one")]
    ManyBlocks {
        /// How many.
        count: usize,
        /// The lines that they begin on.
        lines: String,
    },
    /// The block is no TOML, or a field has the wrong type.
    #[error(
        "the `# /// script` block on line {line} is not the TOML that it should be; write it as `# dependencies = [\"numpy\"]`"
    )]
    Toml {
        /// The line that it begins on.
        line: usize,
        /// What is wrong where.
        source: Arc<toml::de::Error>,
    },
    /// `requires-python` is no version specifier.
    #[error(
        "`requires-python = \"{given}\"` is not a version specifier; write it as `>=3.11` or `>=3.10,<3.13`"
    )]
    RequiresPython {
        /// As it was given.
        given: String,
        /// What is wrong with it.
        source: Arc<pep440_rs::VersionSpecifiersParseError>,
    },
    /// A dependency that a tool could take for an option or a path.
    #[error(
        "the dependency `{given}` is not a requirement; write it as `name`, `name>=1.2`, `name[extra]` or `name @ https://…`"
    )]
    Dependency {
        /// As it was given.
        given: String,
    },
    /// `--python` names nothing.
    #[error(transparent)]
    Search(#[from] search::Error),
    /// `--python` names something that does not run.
    #[error(transparent)]
    Probe(#[from] probe::Error),
    /// No Python of the version that the script requires.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// The environment could not be made.
    #[error(transparent)]
    Environment(#[from] environment::Error),
}

/// What a script says it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Requirements (PEP 508), as written.
    pub dependencies: Vec<String>,
    /// The versions of Python that it runs on.
    pub requires_python: Option<VersionSpecifiers>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Block {
    #[serde(default)]
    dependencies: Vec<String>,
    requires_python: Option<String>,
}

/// The script's metadata, or `None` if it has none. As the standard says, an unclosed block is none at all, and two
/// are an error.
pub fn parse(source: &str) -> Result<Option<Metadata>, Error> {
    let mut blocks = blocks(source).into_iter().filter(|block| block.kind == "script");
    let Some(first) = blocks.next() else {
        return Ok(None);
    };
    let mut begins: Vec<_> = blocks.map(|block| block.line.to_string()).collect();
    if !begins.is_empty() {
        begins.insert(0, first.line.to_string());
        return Err(Error::ManyBlocks { count: begins.len(), lines: begins.join(", ") });
    }
    let wrong = |fault| Error::Toml { line: first.line, source: Arc::new(fault) };
    let block: Block = toml::from_str(&first.content).map_err(wrong)?;
    if let Some(given) = block.dependencies.iter().find(|given| !is_requirement(given)) {
        return Err(Error::Dependency { given: given.clone() });
    }
    let requires_python = block.requires_python.map(versions).transpose()?;
    Ok(Some(Metadata { dependencies: block.dependencies, requires_python }))
}

fn versions(given: String) -> Result<VersionSpecifiers, Error> {
    given.parse().map_err(|fault| Error::RequiresPython { given, source: Arc::new(fault) })
}

struct Comment<'a> {
    kind: &'a str,
    /// The line it begins on, from 1.
    line: usize,
    content: String,
}

/// The blocks of every kind. The standard's regular expression is greedy: a block ends with the last `# ///` of an
/// unbroken run of comment lines, and what looks like the start of another inside it is its content.
fn blocks(source: &str) -> Vec<Comment<'_>> {
    let lines: Vec<_> = source.trim_start_matches('\u{feff}').lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        let Some(kind) = opened(line) else { continue };
        let run: Vec<_> = lines.iter().skip(at).map_while(|line| content(line)).collect();
        // A block without a line between its ends is none.
        let Some(length) = run.iter().rposition(|line| *line == "///").filter(|length| *length > 0)
        else {
            continue;
        };
        let content = run.into_iter().take(length).collect::<Vec<_>>().join("\n");
        found.push(Comment { kind, line: at, content });
        at += length + 1;
    }
    found
}

/// The kind, if `line` opens a block.
fn opened(line: &str) -> Option<&str> {
    let kind = line.strip_prefix("# /// ")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (!kind.is_empty() && kind.chars().all(allowed)).then_some(kind)
}

/// What a comment line contains, if it can stand in a block.
fn content(line: &str) -> Option<&str> {
    let rest = line.strip_prefix('#')?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(' ') }
}

/// Whether it has the shape of PEP 508: a name, then extras, versions, a marker or an address. Anything else (`-r x`,
/// `../x`) would make the installer read other files than the script names.
fn is_requirement(given: &str) -> bool {
    let given = given.trim();
    let begins = given.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = given
        .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "._-".contains(c))
        .trim_start();
    begins
        && !given.contains(['\n', '\r', '\0'])
        && (rest.is_empty() || rest.starts_with(['[', '(', '<', '>', '=', '!', '~', ';', '@']))
}

/// An environment with what the script needs and ipykernel, made if it is not there yet.
///
/// It is made from `wanted.explicit` if that satisfies `requires-python`, else from the first Python on `PATH` that
/// does; uv, if it is there, may bring one that is on neither.
pub async fn script_environment(
    metadata: &Metadata,
    wanted: &Wanted,
    progress: &dyn Progress,
) -> Result<Interpreter, Error> {
    let first =
        wanted.explicit.as_ref().map(|given| search::explicit(given, wanted)).transpose()?;
    let versions = metadata.requires_python.as_ref();
    let mut asked = Asked::within(&wanted.reach);
    if let Some(python) = &first {
        let report = asked.ask(python).await?;
        if !base::within(report.version, versions) {
            progress.line(&format!(
                "`{}` is Python {}, which this script does not run on; taking another",
                python.display(),
                report.version
            ));
        }
    }
    let base = base::choose(&mut asked, wanted, first.as_deref(), versions).await?;
    let also: Vec<_> =
        versions.map(|versions| format!("requires-python {versions}")).into_iter().collect();
    let plan = Plan::new("script", metadata.dependencies.clone(), &also, base);
    Ok(ready(&plan, wanted, progress).await?)
}
