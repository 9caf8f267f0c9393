//! Reads a `husk.toml` into a layer: each known key with its line and column, each unknown key as
//! a fault.
//!
//! Does not check values against their types, and does not look for the file in parent folders.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::keys::{Key, hint_for_key, sections};
use super::layers::{Layer, Setting};
use super::{Fault, Origin, Position, Sources};

const MAY_BE: &str = "expected a TOML file in UTF-8, or none";
const MUST_BE: &str = "--config must name a TOML file in UTF-8 that exists";

/// The layer of the user's own file, unless the project's is the same.
pub(super) fn user(sources: &Sources, keys: &[Key]) -> Layer {
    match &sources.user {
        Some(path) if *path != project_file(sources) => read(path, path, MAY_BE, keys),
        _ => Layer::default(),
    }
}

/// The layer of the project's file, or of the file that replaces it.
pub(super) fn project(sources: &Sources, keys: &[Key]) -> Layer {
    let path = project_file(sources);
    let shown = path.strip_prefix(&sources.project).unwrap_or(&path);
    let expected = match sources.config_file {
        Some(_) => MUST_BE,
        None => MAY_BE,
    };
    read(&path, shown, expected, keys)
}

/// Whether the file that stands for the project's is the user's own choice: the user's file itself, or
/// one that was named. Any other may come from whoever the project came from, or from a cell.
pub(super) fn is_trusted(sources: &Sources) -> bool {
    sources.config_file.is_some() || sources.user.as_ref() == Some(&project_file(sources))
}

fn project_file(sources: &Sources) -> PathBuf {
    let name = sources.config_file.as_deref();
    sources.project.join(name.unwrap_or(Path::new("husk.toml")))
}

/// Reads the file at `path`, which the user knows as `shown`.
fn read(path: &Path, shown: &Path, expected: &'static str, keys: &[Key]) -> Layer {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound && expected == MAY_BE => {
            return Layer::default();
        }
        Err(error) => return unreadable(shown, &error, expected),
    };
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, path, shown, keys),
        Err(error) => unreadable(shown, &error.utf8_error(), expected),
    }
}

fn unreadable(shown: &Path, error: &dyn std::error::Error, expected: &'static str) -> Layer {
    vec![Err(Fault::Unreadable {
        file: shown.display().to_string(),
        why: error.to_string(),
        expected,
    })]
}

fn parse(text: &str, path: &Path, shown: &Path, keys: &[Key]) -> Layer {
    let mut reader = Reader {
        text,
        shown,
        base: path.parent().unwrap_or(path),
        keys,
        sections: sections(keys),
        said: Vec::new(),
    };
    // Not `parse`: of several errors that need not give the first in the file, and the later ones
    // may follow from it.
    let (table, errors) = DeTable::parse_recoverable(text);
    let start = |error: &toml::de::Error| error.span().map_or(text.len(), |span| span.start);
    match errors.iter().min_by_key(|error| start(error)) {
        None => reader.walk("", table.get_ref()),
        Some(error) => reader.broken(start(error), error),
    }
    reader.into_layer()
}

/// One file on its way to a layer; what it says carries the byte where it stands.
struct Reader<'a> {
    text: &'a str,
    shown: &'a Path,
    base: &'a Path,
    keys: &'a [Key],
    sections: Vec<String>,
    said: Vec<(usize, Result<Setting, Fault>)>,
}

impl Reader<'_> {
    /// Takes up what stands in this table, whose keys start with `prefix`.
    fn walk(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = match name.get_ref() {
                // `"cells.timeout" = 1` is not `cells.timeout = 1`.
                quoted if quoted.contains('.') => format!("{prefix}{quoted:?}"),
                bare => format!("{prefix}{bare}"),
            };
            match value.get_ref() {
                DeValue::Table(inner) if self.sections.contains(&key) => {
                    self.walk(&format!("{key}."), inner);
                }
                _ if self.sections.contains(&key) => self.no_section(value.span().start, &key),
                _ if self.keys.iter().any(|known| known.key == key) => self.take(key, value),
                _ => self.unknown(name.span().start, &key),
            }
        }
    }

    fn take(&mut self, key: String, value: &Spanned<DeValue<'_>>) {
        let byte = value.span().start;
        match toml::Value::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(value) => {
                let setting =
                    Setting { key, value, origin: self.origin(byte), base: self.base.to_owned() };
                self.said.push((byte, Ok(setting)));
            }
            Err(error) => self.too_large(byte, key, &error),
        }
    }

    fn too_large(&mut self, byte: usize, key: String, error: &toml::de::Error) {
        let fault = Fault::Wrong {
            place: self.origin(byte).place(),
            key,
            wrong: format!("holds a number beyond 64 bits: {}", error.message()),
        };
        self.said.push((byte, Err(fault)));
    }

    fn no_section(&mut self, byte: usize, key: &str) {
        let fault = Fault::Wrong {
            place: self.origin(byte).place(),
            key: key.to_owned(),
            wrong: format!("is a section; write [{key}] and its keys below"),
        };
        self.said.push((byte, Err(fault)));
    }

    fn unknown(&mut self, byte: usize, key: &str) {
        let fault = Fault::Unknown {
            place: self.origin(byte).place(),
            name: format!("key `{key}`"),
            hint: hint_for_key(&key.replace('"', ""), self.keys),
        };
        self.said.push((byte, Err(fault)));
    }

    fn broken(&mut self, byte: usize, error: &toml::de::Error) {
        let fault =
            Fault::Broken { place: self.origin(byte).place(), why: error.message().to_owned() };
        self.said.push((byte, Err(fault)));
    }

    fn origin(&self, byte: usize) -> Origin {
        Origin::File { path: self.shown.to_owned(), at: Position::of_byte(self.text, byte) }
    }

    /// The layer in the order of the file; the parser hands tables out by name.
    fn into_layer(mut self) -> Layer {
        self.said.sort_by_key(|(byte, _)| *byte);
        self.said.into_iter().map(|(_, said)| said).collect()
    }
}
