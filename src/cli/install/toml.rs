//! The `husk` entry in a host's TOML (Codex): text in, text out. A new entry is put after the text and
//! an old one is cut out of it, so that the rest keeps every byte; where the file's shape forbids
//! that (inline tables, dotted keys) and where members change, `toml_edit` does it and keeps the
//! comments. Knows no host and no file.

use std::ops::Range;

use serde_json::Value as Json;
use toml_edit::{Document, DocumentMut, InlineTable, Item, TableLike, Value};

use super::host::Member;
use super::{Edit, Fault, NAME};

/// The entry as it is pasted: its header and one line a member.
pub(super) fn fresh(servers: &str, members: &[Member]) -> String {
    let line = |m: &Member| format!("{} = {}\n", m.name, value(&m.value));
    let lines: String = members.iter().map(line).collect();
    format!("[{servers}.{NAME}]\n{lines}")
}

pub(super) fn registered(servers: &str, text: &str, members: &[Member]) -> Result<Edit, Fault> {
    let document = parsed(servers, text)?;
    let Some(old) = entry(&document, servers) else {
        return Ok(Edit::Changed(added(servers, text, document, members)));
    };
    // Members of a remote server would contradict `command`, so such an entry is not kept.
    if old.as_table_like().is_none_or(|old| old.contains_key("url")) {
        let without = taken_out(servers, text, document);
        let document = parsed(servers, &without)?;
        return Ok(Edit::Changed(added(servers, &without, document, members)));
    }
    let mut document = document.into_mut();
    let old = document.get_mut(servers).and_then(Item::as_table_like_mut);
    let old = old.and_then(|all| all.get_mut(NAME)).and_then(Item::as_table_like_mut);
    let mut changed = false;
    if let Some(old) = old {
        for member in members {
            changed |= set(old, member);
        }
    }
    Ok(if changed { Edit::Changed(printed(&document, text)) } else { Edit::Unchanged })
}

pub(super) fn removed(servers: &str, text: &str) -> Result<Edit, Fault> {
    let document = parsed(servers, text)?;
    if entry(&document, servers).is_none() {
        return Ok(Edit::Unchanged);
    }
    Ok(Edit::Changed(taken_out(servers, text, document)))
}

/// Refuses a file in which the servers' key holds something other than servers.
fn parsed<'a>(servers: &str, text: &'a str) -> Result<Document<&'a str>, Fault> {
    let line = |at: Option<Range<usize>>| {
        let before = at.and_then(|at| text.get(..at.start)).unwrap_or_default();
        before.matches('\n').count() + 1
    };
    let document = Document::parse(text).map_err(|error| Fault {
        line: line(error.span()),
        found: format!("it is not valid TOML: {}", error.message()),
    })?;
    match document.get(servers) {
        Some(found) if !found.is_table_like() => Err(Fault {
            line: line(found.span()),
            found: format!("`{servers}` should be a table and is a{}", a_or_an(found.type_name())),
        }),
        _ => Ok(document),
    }
}

fn a_or_an(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "n" } else { "" })
}

fn entry<'a, S>(document: &'a Document<S>, servers: &str) -> Option<&'a Item> {
    document.get(servers)?.as_table_like()?.get(NAME)
}

fn added(servers: &str, text: &str, document: Document<&str>, members: &[Member]) -> String {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let gap = if text.trim().is_empty() { "" } else { "\n" };
    let tail = format!("{end}{gap}{}", fresh(servers, members));
    let tail = if is_crlf(text) { tail.replace('\n', "\r\n") } else { tail };
    let longer = format!("{text}{tail}");
    if Document::parse(longer.as_str()).is_ok() {
        return longer;
    }
    // The servers stand in an inline table, which no header can extend.
    let mut document = document.into_mut();
    let pairs = members.iter().map(|m| (m.name, value(&m.value)));
    let table: InlineTable = pairs.collect();
    if let Some(all) = document.get_mut(servers).and_then(Item::as_table_like_mut) {
        all.insert(NAME, Item::Value(Value::InlineTable(table)));
    }
    printed(&document, text)
}

fn taken_out(servers: &str, text: &str, document: Document<&str>) -> String {
    let mut lines = Vec::new();
    if let Some(found) = entry(&document, servers) {
        tables(found, text, &mut lines);
    }
    let shorter = without(text, lines);
    let gone = |shorter: &String| {
        Document::parse(shorter.as_str()).is_ok_and(|after| entry(&after, servers).is_none())
    };
    if let Some(shorter) = shorter.filter(gone) {
        return shorter;
    }
    let mut document = document.into_mut();
    if let Some(all) = document.get_mut(servers).and_then(Item::as_table_like_mut) {
        all.remove(NAME);
    }
    printed(&document, text)
}

/// Where the item's tables stand: each from its header to the end of its last value's line, so that
/// a comment above the next header stays with that header.
fn tables(item: &Item, text: &str, found: &mut Vec<Range<usize>>) {
    let Some(table) = item.as_table() else { return };
    let header = item.span().filter(|_| !table.is_implicit() && !table.is_dotted());
    if let Some(header) = header {
        let end = values_end(table).unwrap_or(header.end).max(header.end);
        let rest = text.get(end..).unwrap_or_default();
        let line_end = rest.find('\n').map_or(rest.len(), |at| at + 1);
        found.push(header.start..end + line_end);
    }
    for (_, item) in table.iter() {
        tables(item, text, found);
    }
}

fn values_end(table: &dyn TableLike) -> Option<usize> {
    let end = |item: &Item| match item {
        Item::Value(value) => value.span().map(|at| at.end),
        Item::Table(table) if table.is_dotted() => values_end(table),
        _ => None,
    };
    table.iter().filter_map(|(_, item)| end(item)).max()
}

/// The text without these ranges, and without the blank line that set them apart.
fn without(text: &str, mut ranges: Vec<Range<usize>>) -> Option<String> {
    ranges.sort_by_key(|range| std::cmp::Reverse(range.start));
    let mut text = text.to_owned();
    for range in ranges {
        let (before, after) = (text.get(..range.start)?, text.get(range.end..)?);
        // At the top of the file the blank line comes after.
        let after = if before.is_empty() { after.trim_start_matches(['\r', '\n']) } else { after };
        let followed = !after.is_empty() && !after.starts_with(['\r', '\n']);
        let shorter = ["\r\n", "\n"].iter().find_map(|end| before.strip_suffix(end));
        let shorter = shorter.filter(|rest| rest.ends_with('\n') && !followed);
        text = format!("{}{after}", shorter.unwrap_or(before));
    }
    Some(text)
}

/// Whether the member had to change. A changed value keeps the spaces and comment around it.
fn set(table: &mut dyn TableLike, member: &Member) -> bool {
    let wanted = value(&member.value);
    match table.get_mut(member.name) {
        Some(_) if member.offered => return false,
        Some(Item::Value(old)) if plain(old).as_ref() == Some(&member.value) => return false,
        Some(Item::Value(old)) => {
            let decor = old.decor().clone();
            *old = wanted;
            *old.decor_mut() = decor;
        }
        Some(other) => *other = Item::Value(wanted),
        None => {
            table.insert(member.name, Item::Value(wanted));
        }
    }
    true
}

/// The value as JSON, as far as husk's own members go.
fn plain(value: &Value) -> Option<Json> {
    match value {
        Value::String(text) => Some(Json::from(text.value().as_str())),
        Value::Integer(number) => Some(Json::from(*number.value())),
        Value::Boolean(flag) => Some(Json::from(*flag.value())),
        Value::Array(values) => {
            values.iter().map(plain).collect::<Option<Vec<_>>>().map(Json::from)
        }
        _ => None,
    }
}

fn value(json: &Json) -> Value {
    match json {
        Json::Number(number) => number.as_i64().unwrap_or_default().into(),
        Json::Bool(flag) => (*flag).into(),
        Json::Array(values) => Value::Array(values.iter().map(value).collect()),
        Json::String(text) => text.as_str().into(),
        // TOML has no null, and no member of ours is an object.
        other => other.to_string().into(),
    }
}

/// `toml_edit` writes `\n`; a file that has only `\r\n` gets them back.
fn printed(document: &DocumentMut, original: &str) -> String {
    let text = document.to_string();
    if is_crlf(original) { text.replace('\n', "\r\n") } else { text }
}

fn is_crlf(text: &str) -> bool {
    let ends = text.matches('\n').count();
    ends > 0 && ends == text.matches("\r\n").count()
}
