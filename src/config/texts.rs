//! Reads environment variables and flags into layers: both give a text for a key.
//!
//! Turns the text into the kind of value that the key wants, where it can; whether the value fits
//! is checked in `layers`.

use std::ffi::{OsStr, OsString};

use serde::Deserialize;
use toml::de::ValueDeserializer;

use super::keys::{Key, Kind, hint_for_key, hint_for_variable};
use super::layers::{Layer, Setting};
use super::{Fault, Flag, Origin, Sources};

/// The layer of the `HUSK_*` variables.
pub(super) fn variables(sources: &Sources, keys: &[Key]) -> Layer {
    let mut variables: Vec<_> = sources
        .env
        .iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, value)| name.starts_with("HUSK_") && !value.is_empty())
        .collect();
    // The environment has no order of its own; faults should.
    variables.sort();
    let read = |(name, value): (String, &OsString)| match keys.iter().find(|key| key.env == name) {
        Some(key) => setting(sources, key, value, Origin::Variable(name)),
        None => Err(Fault::Unknown {
            hint: hint_for_variable(&name, keys),
            place: name,
            name: "variable".to_owned(),
        }),
    };
    variables.into_iter().map(read).collect()
}

/// The layer of the flags.
pub(super) fn flags(sources: &Sources, keys: &[Key]) -> Layer {
    let read = |flag: &Flag| match keys.iter().find(|key| key.key == flag.key) {
        Some(key) => setting(sources, key, &flag.value, Origin::Flag(flag.name.clone())),
        None => Err(Fault::Unknown {
            place: flag.name.clone(),
            name: format!("key `{}`", flag.key),
            hint: hint_for_key(&flag.key, keys),
        }),
    };
    let given = sources.flags.iter().filter(|flag| !flag.value.is_empty());
    given.map(read).collect()
}

fn setting(sources: &Sources, key: &Key, value: &OsStr, origin: Origin) -> Result<Setting, Fault> {
    match value.to_str() {
        Some(text) => Ok(Setting {
            key: key.key.clone(),
            value: value_of(key.kind, text),
            origin,
            base: sources.project.clone(),
        }),
        None => Err(Fault::Wrong {
            place: origin.place(),
            key: key.key.clone(),
            wrong: match key.key.as_str() {
                "store.url" | "gateway.token" | "shared.redis_url" | "tenant.redis_url"
                | "tenant.redis_nodes" => "must be UTF-8".to_owned(),
                _ => format!("must be UTF-8, not {value:?}"),
            },
        }),
    }
}

/// The value that this text stands for; the text itself where it is not of the kind, for the
/// check to refuse.
fn value_of(kind: Kind, text: &str) -> toml::Value {
    let as_it_stands = || toml::Value::String(text.to_owned());
    match kind {
        Kind::Text => as_it_stands(),
        Kind::Toml => toml_value(text).unwrap_or_else(as_it_stands),
        Kind::List if text.trim_start().starts_with('[') => {
            toml_value(text).unwrap_or_else(as_it_stands)
        }
        Kind::List => {
            let parts = text.split(',').map(str::trim);
            let parts = parts.filter(|part| !part.is_empty());
            toml::Value::Array(parts.map(toml::Value::from).collect())
        }
    }
}

fn toml_value(text: &str) -> Option<toml::Value> {
    let value = ValueDeserializer::parse(text.trim()).ok()?;
    toml::Value::deserialize(value).ok()
}
