//! What hosts can read beside answers: each session's notebook, the whole output of its cells, and
//! every representation of a display.
//!
//! Only notebooks are listed; cells are reached by templates, from the links in answers.

use std::{ops::Range, sync::Arc};

use rmcp::{
    ErrorData,
    model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate},
};
use serde_json::json;

use super::Context;
use crate::{
    base::ids::SessionName,
    kernel::event::Representation,
    sandbox::{CellRun, SandboxError},
};

/// The longest text of one read that names no end, in bytes.
const ONE_READ: u64 = 1 << 20;
/// The longest text of one read, in bytes.
const LONGEST_READ: u64 = 16 << 20;

const NOTEBOOK: &str = "application/x-ipynb+json";

/// The notebook of a session.
pub(super) fn notebook_uri(session: &SessionName) -> String {
    format!("husk://sessions/{session}/notebook")
}

/// Whether only husk may have a resource, or a template, of that name.
pub(super) fn is_own(uri: &str) -> bool {
    uri.starts_with("husk:") || uri.starts_with("ui://husk/")
}

/// The notebooks of all sessions that have one.
pub(super) fn all(context: &Context) -> Vec<Resource> {
    let resource = |session: &SessionName| {
        Resource::new(notebook_uri(session), format!("{session}.ipynb"))
            .with_title(format!("Notebook of session {session}"))
            .with_mime_type(NOTEBOOK)
    };
    let recorded = context.sandboxes.status(None).into_iter().filter(|one| one.notebook.is_some());
    recorded.map(|snapshot| resource(&snapshot.session)).collect()
}

/// What can be read by name.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    let template = |uri: &str, name: &str, description: &str, mime: &str| {
        ResourceTemplate::new(uri, name).with_description(description).with_mime_type(mime)
    };
    let output = ResourceTemplate::new(
        "husk://sessions/{session}/cells/{cell}/output{?from,to}",
        "cell-output",
    )
    .with_description("All text that a cell put out, or bytes from..to of it")
    .with_mime_type("text/plain");
    vec![
        template(
            "husk://sessions/{session}/notebook",
            "notebook",
            "The session as a Jupyter notebook",
            NOTEBOOK,
        ),
        output,
        ResourceTemplate::new("husk://sessions/{session}/cells/{cell}/outputs/{number}", "display")
            .with_description("A display of a cell in all its representations"),
    ]
}

/// What a URI names.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    Notebook,
    Output { cell: &'a str, range: Option<(u64, Option<u64>)> },
    Display { cell: &'a str, number: u64 },
}

/// Reads a resource. Blocks: it may read from disk.
///
/// # Errors
/// What MCP has for a resource that is not there.
pub(super) fn read(context: &Arc<Context>, uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let missing = |why: String| {
        let shown: String = uri.chars().take(200).collect();
        ErrorData::resource_not_found(
            format!("no resource `{shown}`: {why}"),
            Some(json!({ "uri": shown })),
        )
    };
    let (session, named) = parse(uri)
        .ok_or_else(|| missing("see the resource templates for what there is".to_owned()))?;
    let session = SessionName::new(session).map_err(|error| missing(error.to_string()))?;
    let told = |error: SandboxError| missing(error.to_string());
    let cell = |cell: &str| context.sandboxes.cell(&session, cell).map_err(told);
    let contents = match named {
        Named::Notebook => {
            let text = context.sandboxes.notebook(&session).map_err(told)?;
            let text =
                text.ok_or_else(|| missing("nothing is recorded of this session".to_owned()))?;
            vec![ResourceContents::text(text, uri).with_mime_type(NOTEBOOK)]
        }
        Named::Output { cell: id, range } => vec![output(&*cell(id)?, range, uri)],
        Named::Display { cell: id, number } => {
            let all = cell(id)?.output.display_of(number).unwrap_or_default();
            if all.is_empty() {
                return Err(missing(format!(
                    "cell {id} has no output {number}, or keeps it no more"
                )));
            }
            all.into_iter().map(|one| contents(one, uri)).collect()
        }
    };
    Ok(ReadResourceResult::new(contents))
}

/// A part of a cell's text, at most [`ONE_READ`] or, with an end, [`LONGEST_READ`], and then where the
/// next part is. A character belongs to the part in which it begins.
fn output(run: &CellRun, range: Option<(u64, Option<u64>)>, uri: &str) -> ResourceContents {
    let (from, to) = range.unwrap_or((0, None));
    let asked: Range<u64> = from..to.unwrap_or(from.saturating_add(ONE_READ)).max(from);
    let len = (asked.end - asked.start).min(LONGEST_READ);
    let (mut text, total) = run.output.text_range(from, len);
    let end = from.saturating_add(len).min(total);
    let dropped = run.output.totals().dropped_bytes;
    if from < dropped.min(asked.end) {
        text.insert_str(0, &format!("[… the first {dropped} bytes are not kept any more …]\n"));
    }
    if end < total.min(asked.end) || (to.is_none() && end < total) {
        let base = uri.split('?').next().unwrap_or(uri);
        text.push_str(&format!(
            "\n[… bytes {from} to {end} of {total}; the next are {base}?from={end} …]\n"
        ));
    }
    ResourceContents::text(text, uri).with_mime_type("text/plain")
}

fn contents(one: Representation, uri: &str) -> ResourceContents {
    let binary = one.mime.starts_with("image/") && one.mime != "image/svg+xml";
    let contents = match binary && !one.json {
        true => ResourceContents::blob(one.value, uri),
        false => ResourceContents::text(one.value, uri),
    };
    contents.with_mime_type(one.mime)
}

fn parse(uri: &str) -> Option<(&str, Named<'_>)> {
    let rest = uri.strip_prefix("husk://sessions/")?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let named = match path.split('/').collect::<Vec<_>>().as_slice() {
        [session, "notebook"] if query.is_none() => (*session, Named::Notebook),
        [session, "cells", cell, "output"] => {
            let range = match query {
                Some(query) => Some(range(query)?),
                None => None,
            };
            (*session, Named::Output { cell, range })
        }
        [session, "cells", cell, "outputs", number] if query.is_none() => {
            (*session, Named::Display { cell, number: number.parse().ok()? })
        }
        _ => return None,
    };
    Some(named)
}

/// `from=1&to=2`, either of them.
fn range(query: &str) -> Option<(u64, Option<u64>)> {
    let (mut from, mut to) = (0, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("from", value) => from = value.parse().ok()?,
            ("to", value) => to = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    Some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_what_there_is_and_nothing_else() {
        let output = |range| Named::Output { cell: "c1", range };
        let check = |uri: &str, expected: Option<Named<'_>>| {
            assert_eq!(parse(uri).map(|(_, named)| named), expected, "{uri}");
        };
        check("husk://sessions/s/notebook", Some(Named::Notebook));
        check("husk://sessions/s/cells/c1/output", Some(output(None)));
        check("husk://sessions/s/cells/c1/output?from=5", Some(output(Some((5, None)))));
        check("husk://sessions/s/cells/c1/output?from=5&to=9", Some(output(Some((5, Some(9))))));
        check(
            "husk://sessions/s/cells/c1/outputs/3",
            Some(Named::Display { cell: "c1", number: 3 }),
        );
        for wrong in [
            "husk://sessions/s/cells/c1/output?from=-1",
            "husk://sessions/s/cells/c1/output?until=1",
            "husk://sessions/s/cells/c1/outputs/x",
            "husk://sessions/s/notebook?from=1",
            "husk://sessions/s",
            "file:///etc/passwd",
        ] {
            check(wrong, None);
        }
    }
}
