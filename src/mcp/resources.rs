//! What hosts can read beside answers: each session's notebook, its cells as they are, their whole output,
//! every representation of a display; the state of all sessions, and what is used of which limit.
//!
//! Cells are not listed: they are reached by templates, from the links in answers. To read is no call:
//! guards do not see it.

use std::{ops::Range, sync::Arc, time::Duration};

use rmcp::{
    ErrorData,
    model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate},
};
use serde::Serialize;
use serde_json::json;

use super::{Context, tools::sandbox_status, view, watch};
use crate::{
    base::ids::SessionName,
    kernel::event::Representation,
    sandbox::{CellRun, SandboxError},
};

/// The longest text of one read that names no end, in bytes.
const ONE_READ: u64 = 1 << 20;
/// The longest text of one read, in bytes.
const LONGEST_READ: u64 = 16 << 20;
/// The longest name of a variable, in bytes.
const LONGEST_NAME: usize = 1000;
/// How long a kernel may take to tell of a variable.
const LOOK: Duration = Duration::from_secs(5);

const NOTEBOOK: &str = "application/x-ipynb+json";
const JSON: &str = "application/json";

/// The state of all sessions.
pub(super) const SESSIONS: &str = "husk://sessions";
/// What is used of which limit.
const USAGE: &str = "husk://usage";

/// The notebook of a session.
pub(super) fn notebook_uri(session: &SessionName) -> String {
    format!("husk://sessions/{session}/notebook")
}

/// Whether only husk may have a resource, or a template, of that name.
pub(super) fn is_own(uri: &str) -> bool {
    uri.starts_with("husk:") || uri.starts_with("ui://husk/")
}

/// The cells of a session.
pub(super) fn cells_uri(session: &SessionName) -> String {
    format!("husk://sessions/{session}/cells")
}

/// What there is of all sessions, and the notebooks of those that have one.
pub(super) fn all(context: &Context) -> Vec<Resource> {
    let resource = |session: &SessionName| {
        Resource::new(notebook_uri(session), format!("{session}.ipynb"))
            .with_title(format!("Notebook of session {session}"))
            .with_mime_type(NOTEBOOK)
    };
    let recorded = context.sandboxes.status(None).into_iter().filter(|one| one.notebook.is_some());
    let of_all = [
        (SESSIONS, "sessions", "State of all sessions", "What `sandbox_status` answers"),
        (
            USAGE,
            "usage",
            "Usage and limits",
            "What `usage` answers, and what each session has used",
        ),
    ];
    let of_all = of_all.map(|(uri, name, title, description)| {
        Resource::new(uri, name)
            .with_title(title)
            .with_description(description)
            .with_mime_type(JSON)
    });
    of_all.into_iter().chain(recorded.map(|snapshot| resource(&snapshot.session))).collect()
}

/// What can be read by name: template, name, what it is, and of which type if it is always the same.
const TEMPLATES: [(&str, &str, &str, Option<&str>); 6] = [
    (
        "husk://sessions/{session}/notebook",
        "notebook",
        "The session as a Jupyter notebook",
        Some(NOTEBOOK),
    ),
    (
        "husk://sessions/{session}/cells",
        "cells",
        "The newest cells of a session, also those that run and wait",
        Some(JSON),
    ),
    (
        "husk://sessions/{session}/cells/{cell}",
        "cell",
        "A cell with its outputs as a notebook has it, also while it runs",
        Some(JSON),
    ),
    (
        "husk://sessions/{session}/cells/{cell}/output{?from,to}",
        "cell-output",
        "All text that a cell put out, or bytes from..to of it",
        Some("text/plain"),
    ),
    (
        "husk://sessions/{session}/cells/{cell}/outputs/{number}",
        "display",
        "A display of a cell in all its representations",
        None,
    ),
    (
        "husk://sessions/{session}/variables/{name}",
        "variable",
        "What `notebook_inspect` tells of a variable",
        Some(JSON),
    ),
];

/// What can be read by name.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    let template = |(uri, name, description, mime): (&str, &str, &str, Option<&str>)| {
        let template = ResourceTemplate::new(uri, name).with_description(description);
        match mime {
            Some(mime) => template.with_mime_type(mime),
            None => template,
        }
    };
    TEMPLATES.into_iter().map(template).collect()
}

/// What a URI names.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    View,
    Sessions,
    Usage,
    Of(&'a str, Part<'a>),
}

/// What of a session.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Notebook,
    Cells,
    Cell { cell: &'a str },
    Output { cell: &'a str, range: Option<(u64, Option<u64>)> },
    Display { cell: &'a str, number: u64 },
}

/// The session and the name, where a URI names a variable.
pub(super) fn variable(uri: &str) -> Option<(SessionName, String)> {
    let path = uri.strip_prefix("husk://sessions/")?;
    let (session, name) = path.split_once("/variables/")?;
    // As a value of a form a name has its percent signs decoded, and a plus that is one.
    let form = format!("={}", name.replace('+', "%2B").replace('&', "%26"));
    let name = url::form_urlencoded::parse(form.as_bytes()).next()?.1.into_owned();
    let fits = (1..=LONGEST_NAME).contains(&name.len());
    Some((SessionName::new(session).ok()?, name)).filter(|_| fits)
}

/// Looks at a variable; its kernel answers, also while a cell runs if it can.
///
/// # Errors
/// What MCP has for a resource that is not there.
pub(super) async fn inspect(
    context: &Context,
    session: &SessionName,
    name: &str,
    uri: &str,
) -> Result<ReadResourceResult, ErrorData> {
    let looked = context.sandboxes.inspect(session, Some(name), LOOK).await;
    let found = looked
        .map_err(|error| missing(uri, error.to_string()))?
        .map_err(|error| missing(uri, error.to_string()))?;
    match found.get("error").and_then(serde_json::Value::as_str) {
        Some(error) => Err(missing(uri, error)),
        None => Ok(json_of(&found, uri)),
    }
}

/// What MCP has for a resource that is not there.
fn missing(uri: &str, why: impl std::fmt::Display) -> ErrorData {
    let shown: String = uri.chars().take(200).collect();
    let told = format!("no resource `{shown}`: {why}");
    ErrorData::resource_not_found(told, Some(json!({ "uri": shown })))
}

/// Reads a resource. Blocks: it may read from disk.
///
/// # Errors
/// What MCP has for a resource that is not there.
pub(super) fn read(context: &Arc<Context>, uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let missing = |why: String| missing(uri, why);
    let named = parse(uri)
        .ok_or_else(|| missing("see the resource templates for what there is".to_owned()))?;
    let (session, part) = match named {
        Named::Of(session, part) => (session, part),
        Named::View => return Ok(ReadResourceResult::new(vec![view::contents()])),
        Named::Sessions => return Ok(json_of(&sandbox_status::all(context), uri)),
        Named::Usage => return Ok(json_of(&watch::limits(context), uri)),
    };
    let session = SessionName::new(session).map_err(|error| missing(error.to_string()))?;
    let told = |error: SandboxError| missing(error.to_string());
    let cell = |cell: &str| context.sandboxes.cell(&session, cell).map_err(told);
    let contents = match part {
        Part::Cells => return Ok(json_of(&watch::cells(context, &session), uri)),
        Part::Cell { cell: id } => {
            return Ok(json_of(&watch::cell(context, &*cell(id)?, uri), uri));
        }
        Part::Notebook => {
            let text = context.sandboxes.notebook(&session).map_err(told)?;
            let text =
                text.ok_or_else(|| missing("nothing is recorded of this session".to_owned()))?;
            vec![ResourceContents::text(text, uri).with_mime_type(NOTEBOOK)]
        }
        Part::Output { cell: id, range } => vec![output(&*cell(id)?, range, uri)],
        Part::Display { cell: id, number } => {
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

fn json_of(value: &impl Serialize, uri: &str) -> ReadResourceResult {
    // What is told can always be written as JSON.
    let text = serde_json::to_string(value).unwrap_or_default();
    ReadResourceResult::new(vec![ResourceContents::text(text, uri).with_mime_type(JSON)])
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

fn parse(uri: &str) -> Option<Named<'_>> {
    match uri {
        view::URI => return Some(Named::View),
        SESSIONS => return Some(Named::Sessions),
        USAGE => return Some(Named::Usage),
        _ => {}
    }
    let rest = uri.strip_prefix("husk://sessions/")?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let (session, part) = match path.split('/').collect::<Vec<_>>().as_slice() {
        [session, "notebook"] if query.is_none() => (*session, Part::Notebook),
        [session, "cells"] if query.is_none() => (*session, Part::Cells),
        [session, "cells", cell] if query.is_none() => (*session, Part::Cell { cell }),
        [session, "cells", cell, "output"] => {
            let range = match query {
                Some(query) => Some(range(query)?),
                None => None,
            };
            (*session, Part::Output { cell, range })
        }
        [session, "cells", cell, "outputs", number] if query.is_none() => {
            (*session, Part::Display { cell, number: number.parse().ok()? })
        }
        _ => return None,
    };
    Some(Named::Of(session, part))
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
    fn a_variable_is_named_as_it_is_or_encoded() {
        let check = |uri: &str, expected: Option<&str>| {
            let uri = format!("husk://sessions/{uri}");
            let found = variable(&uri).map(|(session, name)| format!("{session} {name}"));
            assert_eq!(found.as_deref(), expected, "{uri}");
        };
        check("s/variables/df.columns", Some("s df.columns"));
        check("s/variables/%C3%A4%5B0%5D", Some("s ä[0]"));
        check("s/variables/a+b&c", Some("s a+b&c"));
        check("s/variables/", None);
        check("../variables/x", None);
        check("s/variables", None);
    }

    #[test]
    fn uris_name_what_there_is_and_nothing_else() {
        let output = |range| Part::Output { cell: "c1", range };
        let check = |uri: &str, expected: Option<Part<'_>>| {
            let named = expected.map(|part| Named::Of("s", part));
            assert_eq!(parse(uri), named, "{uri}");
        };
        assert_eq!(parse("ui://husk/notebook"), Some(Named::View));
        assert_eq!(parse("husk://sessions"), Some(Named::Sessions));
        assert_eq!(parse("husk://usage"), Some(Named::Usage));
        check("husk://sessions/s/notebook", Some(Part::Notebook));
        check("husk://sessions/s/cells", Some(Part::Cells));
        check("husk://sessions/s/cells/c1", Some(Part::Cell { cell: "c1" }));
        check("husk://sessions/s/cells/c1/output", Some(output(None)));
        check("husk://sessions/s/cells/c1/output?from=5", Some(output(Some((5, None)))));
        check("husk://sessions/s/cells/c1/output?from=5&to=9", Some(output(Some((5, Some(9))))));
        check(
            "husk://sessions/s/cells/c1/outputs/3",
            Some(Part::Display { cell: "c1", number: 3 }),
        );
        for wrong in [
            "husk://sessions/s/cells/c1/output?from=-1",
            "husk://sessions/s/cells/c1/output?until=1",
            "husk://sessions/s/cells/c1/outputs/x",
            "husk://sessions/s/notebook?from=1",
            "husk://sessions/s",
            "husk://sessions/",
            "husk://sessions/s/cells?from=1",
            "ui://husk/",
            "file:///etc/passwd",
        ] {
            check(wrong, None);
        }
    }
}
