//! The list of all settings, read off the JSON schema of [`Config`], so that a new field has its
//! key, variable, default and row in the README without being listed anywhere.
//!
//! Knows no values but the defaults.

use serde_json::Value as Json;

use super::Config;
use super::nearest::{Name, did_you_mean};

/// One setting: a leaf of [`Config`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The dotted key, such as `cells.timeout`.
    pub key: String,
    /// The environment variable, such as `HUSK_CELLS_TIMEOUT`.
    pub env: String,
    /// The default as TOML; `None` when it is unset by default.
    pub default: Option<String>,
    /// What it does, with its unit: the field's doc comment in one line.
    pub description: String,
    /// What kind of value it takes, for people: `a number`.
    pub expected: String,
    pub(super) kind: Kind,
}

/// How the text of a variable or flag becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it stands.
    Text,
    /// A TOML array, or texts with commas between them.
    List,
    /// As TOML: numbers, `true` and `false`.
    Toml,
}

/// All settings: first those at the top of `husk.toml`, then the sections, by name.
pub fn keys() -> Vec<Key> {
    let schema = schemars::generate::SchemaSettings::default()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<Config>();
    let defaults = toml::Value::try_from(Config::default()).ok();
    let mut keys = Vec::new();
    collect("", schema.as_value(), defaults.as_ref(), &mut keys);
    keys.sort_by_key(|key| (key.key.contains('.'), key.key.clone()));
    keys
}

/// Adds the leaves below this schema, whose keys start with `prefix`.
fn collect(prefix: &str, schema: &Json, defaults: Option<&toml::Value>, keys: &mut Vec<Key>) {
    let Some(fields) = schema.get("properties").and_then(Json::as_object) else {
        return;
    };
    for (name, field) in fields {
        let key = format!("{prefix}{name}");
        let default = defaults.and_then(|table| table.get(name));
        if field.get("properties").is_some() {
            collect(&format!("{key}."), field, default, keys);
        } else {
            keys.push(leaf(key, field, default));
        }
    }
}

fn leaf(key: String, schema: &Json, default: Option<&toml::Value>) -> Key {
    let description = schema.get("description").and_then(Json::as_str);
    let words: Vec<_> = description.unwrap_or_default().split_whitespace().collect();
    let (kind, expected) = kind_of(schema);
    Key {
        env: format!("HUSK_{}", key.to_uppercase().replace('.', "_")),
        key,
        default: default.map(toml::Value::to_string),
        description: words.join(" "),
        expected,
        kind,
    }
}

fn kind_of(schema: &Json) -> (Kind, String) {
    if let Some(words) = words_of(schema) {
        return (Kind::Text, format!("one of {words}"));
    }
    let (kind, expected) = match type_name(schema) {
        Some("integer") => (Kind::Toml, whole_number(schema)),
        Some("number") => (Kind::Toml, "a number"),
        Some("boolean") => (Kind::Toml, "true or false"),
        Some("array") => (Kind::List, "a list of texts such as [\"a\", \"b\"]"),
        _ => (Kind::Text, "a text in quotes"),
    };
    (kind, expected.to_owned())
}

/// The words that alone may stand there, as `"a", "b"`.
fn words_of(schema: &Json) -> Option<String> {
    let variants = schema.get("oneOf")?.as_array()?;
    let words = variants.iter().map(|variant| Some(variant.get("const")?.to_string()));
    Some(words.collect::<Option<Vec<_>>>()?.join(", "))
}

/// The type; of an optional one (`["string", "null"]`) the part that is not null.
fn type_name(schema: &Json) -> Option<&str> {
    match schema.get("type")? {
        Json::Array(types) => types.iter().filter_map(Json::as_str).find(|t| *t != "null"),
        name => name.as_str(),
    }
}

fn whole_number(schema: &Json) -> &'static str {
    match schema.get("format").and_then(Json::as_str) {
        Some("uint32") => "a whole number from 0 to 4294967295",
        Some("uint" | "uint64") => "a whole number, 0 or more",
        _ => "a whole number",
    }
}

/// What to say about a key that is not known: what it may have been meant for, else which keys
/// are known beside it.
pub(super) fn hint_for_key(key: &str, keys: &[Key]) -> String {
    let (section, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut known: Vec<Name> =
        keys.iter().map(|key| name(&key.key, last_part(&key.key), key.key.clone())).collect();
    let sections = sections(keys);
    known.extend(sections.iter().map(|s| name(s, s, format!("[{s}]"))));
    did_you_mean(key, last, &known).unwrap_or_else(|| {
        let mut beside: Vec<_> = keys_of(section, keys).map(str::to_owned).collect();
        if section.is_empty() {
            beside.extend(sections.iter().map(|section| format!("[{section}]")));
        }
        format!("known here: {}", beside.join(", "))
    })
}

/// The last parts of the keys in this section, or at the top.
fn keys_of<'a>(section: &'a str, keys: &'a [Key]) -> impl Iterator<Item = &'a str> {
    keys.iter().filter_map(move |key| {
        let (of, last) = key.key.rsplit_once('.').unwrap_or(("", &key.key));
        (of == section).then_some(last)
    })
}

/// What to say about a variable that sets nothing.
pub(super) fn hint_for_variable(variable: &str, keys: &[Key]) -> String {
    let given = variable.strip_prefix("HUSK_").unwrap_or(variable);
    let known: Vec<Name> = keys
        .iter()
        .map(|key| name(&key.key.replace('.', "_"), last_part(&key.key), key.env.clone()))
        .collect();
    did_you_mean(given, given, &known).unwrap_or_else(|| {
        "a variable is HUSK_ and the key in capitals, such as HUSK_CELLS_TIMEOUT for \
         `cells.timeout`"
            .to_owned()
    })
}

fn name(full: &str, last: &str, shown: String) -> Name {
    Name { full: full.to_owned(), last: last.to_owned(), shown }
}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// The sections of `husk.toml`, each once.
pub(super) fn sections(keys: &[Key]) -> Vec<String> {
    let mut sections: Vec<_> = keys
        .iter()
        .filter_map(|key| key.key.rsplit_once('.'))
        .map(|(section, _)| section.to_owned())
        .collect();
    sections.sort();
    sections.dedup();
    sections
}

/// The settings as a Markdown table, for the README.
pub fn markdown_table() -> String {
    let mut table =
        String::from("| Key | Variable | Default | What it sets |\n|---|---|---|---|\n");
    for key in keys() {
        let default = key.default.map_or("unset".to_owned(), |toml| format!("`{toml}`"));
        let row = [format!("`{}`", key.key), format!("`{}`", key.env), default, key.description];
        let cells = row.map(|cell| cell.replace('|', "\\|"));
        table.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    table
}
