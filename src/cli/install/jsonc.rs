//! The `husk` entry in a host's JSON: text in, text out, everything around the entry left as it was
//! written. Comments and trailing commas are read, because editors accept them in these files; other
//! liberties are not, because no host would read the file. Knows no host and no file.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstNode, CstObject, CstObjectProp, CstRootNode};
use serde_json::Value;

use super::host::Member;
use super::{Edit, Fault, NAME};

/// A whole file that holds the entry and nothing else.
pub(super) fn fresh(servers: &str, members: &[Member]) -> String {
    let lines: Vec<String> =
        members.iter().map(|m| format!("      \"{}\": {}", m.name, m.value)).collect();
    let members = lines.join(",\n");
    format!("{{\n  \"{servers}\": {{\n    \"{NAME}\": {{\n{members}\n    }}\n  }}\n}}\n")
}

pub(super) fn registered(servers: &str, text: &str, members: &[Member]) -> Result<Edit, Fault> {
    if text.trim().is_empty() {
        return Ok(Edit::Changed(fresh(servers, members)));
    }
    // The tree holds its parents weakly: the root must outlive every node taken from it.
    let root = parsed(text)?;
    let top =
        root.object_value_or_create().ok_or_else(|| not_an_object("the file", root.value()))?;
    let changed = match member(&top, servers) {
        Some(property) => register(&object(servers, &property)?, members),
        None => {
            let entry = (NAME.to_owned(), whole(members));
            top.append(servers, CstInputValue::Object(vec![entry]));
            true
        }
    };
    Ok(if changed { Edit::Changed(root.to_string()) } else { Edit::Unchanged })
}

pub(super) fn removed(servers: &str, text: &str) -> Result<Edit, Fault> {
    let root = parsed(text)?;
    let top = match (root.value(), root.object_value()) {
        (None, _) => return Ok(Edit::Unchanged),
        (Some(_), Some(top)) => top,
        (found, None) => return Err(not_an_object("the file", found)),
    };
    let Some(property) = member(&top, servers) else {
        return Ok(Edit::Unchanged);
    };
    let servers = object(servers, &property)?;
    let mut changed = false;
    while let Some(entry) = member(&servers, NAME) {
        entry.remove();
        changed = true;
    }
    Ok(if changed { Edit::Changed(root.to_string()) } else { Edit::Unchanged })
}

/// Whether anything had to change.
fn register(servers: &CstObject, members: &[Member]) -> bool {
    let Some(property) = member(servers, NAME) else {
        servers.append(NAME, whole(members));
        return true;
    };
    // Members of a remote server would contradict `command`, so such an entry is not kept.
    let Some(old) = property.object_value().filter(|old| member(old, "url").is_none()) else {
        property.set_value(whole(members));
        return true;
    };
    let mut changed = false;
    for wanted in members {
        changed |= match member(&old, wanted.name) {
            Some(_) if wanted.offered => false,
            Some(found) if found.to_serde_value().as_ref() == Some(&wanted.value) => false,
            Some(found) => {
                found.set_value(input(&wanted.value));
                true
            }
            None => {
                old.append(wanted.name, input(&wanted.value));
                true
            }
        };
    }
    changed
}

fn parsed(text: &str) -> Result<CstRootNode, Fault> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    CstRootNode::parse(text, &options).map_err(|error| Fault {
        line: error.line_display(),
        found: format!("it is not valid JSON: {}", error.kind()),
    })
}

/// The member of that name which a host would read: the last, where a name stands twice.
fn member(object: &CstObject, name: &str) -> Option<CstObjectProp> {
    let named = |property: &CstObjectProp| property.decoded_name().as_deref() == Some(name);
    object.properties().into_iter().rfind(named)
}

fn object(name: &str, property: &CstObjectProp) -> Result<CstObject, Fault> {
    let refused = || not_an_object(&format!("`{name}`"), property.value());
    property.object_value().ok_or_else(refused)
}

fn not_an_object(what: &str, node: Option<CstNode>) -> Fault {
    let line = node.map_or(1, |node| line(&node));
    Fault {
        line,
        found: format!("{what} should hold an object (`{{…}}`) and holds something else"),
    }
}

/// The tree knows no positions: count the line ends in all that stands before the node.
fn line(node: &CstNode) -> usize {
    let ancestors = node.ancestors().map(CstNode::from);
    let before: usize = std::iter::once(node.clone())
        .chain(ancestors)
        .flat_map(|node| node.previous_siblings().collect::<Vec<_>>())
        .map(|sibling| sibling.to_string().matches('\n').count())
        .sum();
    before + 1
}

fn whole(members: &[Member]) -> CstInputValue {
    let pairs = members.iter().map(|m| (m.name.to_owned(), input(&m.value)));
    CstInputValue::Object(pairs.collect())
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(value) => CstInputValue::Number(value.to_string()),
        Value::String(value) => CstInputValue::String(value.clone()),
        Value::Array(values) => CstInputValue::Array(values.iter().map(input).collect()),
        Value::Object(pairs) => {
            CstInputValue::Object(pairs.iter().map(|(k, v)| (k.clone(), input(v))).collect())
        }
    }
}
