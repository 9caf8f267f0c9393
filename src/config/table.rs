//! Shows the settings in force, for `husk config`: one line each, as TOML that could stand in a
//! `husk.toml`, with the origin as a comment.
//!
//! Reads no source; prints nothing itself.

use std::path::PathBuf;

use super::keys::{Key, keys};
use super::{Config, Loaded, Origin};
use crate::{
    base::{address::Address, secret::HIDDEN},
    store::settings::Url,
};

impl Loaded {
    /// `key = value    # where from` for every setting. A setting without a value is a comment;
    /// for `data_dir` it shows the folder that husk then takes.
    pub fn table(&self) -> String {
        let values = values(&without_values(self.config.clone()));
        let lines: Vec<_> = keys()
            .iter()
            .map(|key| (self.setting(key, values.as_ref()), self.origin(key)))
            .collect();
        let widths = lines.iter().map(|(setting, _)| setting.chars().count());
        let width = widths.max().unwrap_or_default();
        lines.iter().map(|(setting, origin)| format!("{setting:<width$}    # {origin}\n")).collect()
    }

    fn setting(&self, key: &Key, values: Option<&toml::Value>) -> String {
        let name = &key.key;
        let mut parts = name.split('.');
        let value = values.and_then(|all| parts.try_fold(all, |table, part| table.get(part)));
        match value {
            Some(value) => format!("{name} = {value}"),
            None if name == "data_dir" => match self.config.data_dir() {
                Ok(folder) => {
                    let folder = lossy(folder).replace(char::is_control, "?");
                    format!("# {name} = {}", toml::Value::from(folder))
                }
                Err(_) => format!("# {name} ="),
            },
            None => format!("# {name} ="),
        }
    }

    fn origin(&self, key: &Key) -> String {
        let origin = self.origins.get(&key.key).unwrap_or(&Origin::Default);
        // A line break in a file's name would end the comment.
        origin.to_string().replace(char::is_control, "?")
    }
}

/// What is given to kernels may be a password: nobody is shown it who is shown the settings.
fn without_values(mut config: Config) -> Config {
    for pair in &mut config.sandbox.env_set {
        if let Some((name, _)) = pair.split_once('=') {
            *pair = format!("{name}=…");
        }
    }
    config
}

/// The settings as TOML; what is unset is not there.
pub(super) fn values(config: &Config) -> Option<toml::Value> {
    toml::Value::try_from(in_text(config)).ok()
}

/// A value as it may be shown, whatever it is: addresses without their passwords.
pub(super) fn showable(key: &str, value: &toml::Value) -> toml::Value {
    let shown: fn(&str) -> String = match key {
        "store.url" => Url::shown,
        "gateway.token" => |_| HIDDEN.to_owned(),
        "shared.redis_url" | "tenant.redis_url" | "tenant.redis_nodes" => {
            |text| Address::new(text.to_owned()).to_string()
        }
        _ => return value.clone(),
    };
    let one = |value: &toml::Value| {
        toml::Value::from(value.as_str().map_or_else(|| HIDDEN.to_owned(), shown))
    };
    match value {
        toml::Value::Array(all) => toml::Value::Array(all.iter().map(one).collect()),
        value => one(value),
    }
}

/// The settings with paths that TOML can hold: one that is not UTF-8 is shown with `�`.
fn in_text(config: &Config) -> Config {
    let mut config = config.clone();
    for (_, slot) in config.paths_mut() {
        *slot = slot.take().map(|path| lossy(path).into());
    }
    for path in config.path_lists_mut().into_iter().flat_map(|(_, list)| list) {
        *path = lossy(std::mem::take(path)).into();
    }
    config
}

fn lossy(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}
