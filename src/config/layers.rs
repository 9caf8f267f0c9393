//! Lays the sources over one another: defaults, the user's file, the project's file, variables,
//! flags; each stronger than the one before. Of the project's file, which cells can write, only what
//! tightens the others is taken ([`super::tighten`]).
//!
//! Every value is checked, also one that a stronger source overrides, and each by itself, so that
//! one fault hides no other. Reading and splitting the sources is for `file` and `texts`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::keys::{Key, keys};
use super::table::showable;
use super::tighten::Sides;
use super::{Config, Fault, Faults, Origin, Sources, file, paths, texts};

/// The settings in force, and where each of them comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The origin of each setting, by dotted key; none is missing.
    pub origins: BTreeMap<String, Origin>,
}

/// What one source says, in its order; a fault stands where something could not be understood.
pub(super) type Layer = Vec<Result<Setting, Fault>>;

/// One value for one known key, not yet checked.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: toml::Value,
    pub(super) origin: Origin,
    /// Where a relative path starts.
    pub(super) base: PathBuf,
}

type Settings = BTreeMap<String, Setting>;

/// Reads all sources into one [`Config`].
///
/// # Errors
/// [`Faults`] with everything that is wrong in any source.
pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
    let keys = keys();
    let home = sources.home.as_deref();
    let mut faults = Vec::new();
    let (mut all, mut own) = (Settings::new(), Settings::new());
    for (who, said) in layers(sources, &keys) {
        for said in said {
            let setting = match said {
                Ok(setting) => setting,
                Err(fault) => {
                    faults.push(fault);
                    continue;
                }
            };
            let wrong = check(&setting, &keys, home);
            if wrong.is_empty() {
                if who == Who::User {
                    own.insert(setting.key.clone(), setting.clone());
                }
                all.insert(setting.key.clone(), setting);
            }
            faults.extend(wrong);
        }
    }
    // Each value fits alone, so they fit together; said, should that ever cease to hold.
    let together = |unfit: Unfit| Faults::new(vec![unfit.into_fault("the settings together")]);
    let mut config = build(&all, home).map_err(together)?;
    let users = build(&own, home).map_err(together)?;
    faults.extend(tightened(sources, &all, &own, &mut config, &users));
    if !faults.is_empty() {
        return Err(Faults::new(faults));
    }
    let origins = keys.iter().map(|key| (key.key.clone(), origin(&all, &key.key))).collect();
    Ok(Loaded { config, origins })
}

fn origin(settings: &Settings, key: &str) -> Origin {
    settings.get(key).map_or(Origin::Default, |setting| setting.origin.clone())
}

/// What the project's file loosens. Its workspace becomes the real one, to which no link leads any
/// more.
fn tightened(
    sources: &Sources,
    all: &Settings,
    own: &Settings,
    config: &mut Config,
    users: &Config,
) -> Vec<Fault> {
    let sides = Sides { sources, own: users, merged: config };
    let ours =
        |setting: &&Setting| own.get(&setting.key).is_none_or(|own| own.origin != setting.origin);
    let faults = sides.faults(all.values().filter(ours), |key| origin(own, key).to_string());
    if faults.is_empty() && all.get("workspace").is_some_and(|setting| ours(&setting)) {
        config.workspace = sides.inside();
    }
    faults
}

/// Who says what a source says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    User,
    Project,
}

/// The layers, the weakest first.
fn layers(sources: &Sources, keys: &[Key]) -> [(Who, Layer); 4] {
    let project = if file::is_trusted(sources) { Who::User } else { Who::Project };
    [
        (Who::User, file::user(sources, keys)),
        (project, file::project(sources, keys)),
        (Who::User, texts::variables(sources, keys)),
        (Who::User, texts::flags(sources, keys)),
    ]
}

/// What is wrong with this setting, judged as if it were the only one.
fn check(setting: &Setting, keys: &[Key], home: Option<&Path>) -> Vec<Fault> {
    let fault = |wrong: String| Fault::Wrong {
        place: setting.origin.place(),
        key: setting.key.clone(),
        wrong,
    };
    let alone = Settings::from([(setting.key.clone(), setting.clone())]);
    match build(&alone, home) {
        Err(Unfit::Type(_)) => vec![fault(wrong_type(setting, keys))],
        Err(Unfit::Path { wrong, .. }) => vec![fault(wrong)],
        Ok(config) => {
            let faults = config.faults().into_iter();
            faults.filter(|(key, _)| *key == setting.key).map(|(_, wrong)| fault(wrong)).collect()
        }
    }
}

/// Why settings make no [`Config`].
enum Unfit {
    Type(toml::de::Error),
    Path { key: &'static str, wrong: String },
}

impl Unfit {
    fn into_fault(self, place: &str) -> Fault {
        let place = place.to_owned();
        match self {
            Self::Type(error) => Fault::Broken { place, why: error.message().to_owned() },
            Self::Path { key, wrong } => Fault::Wrong { place, key: key.to_owned(), wrong },
        }
    }
}

fn build(settings: &Settings, home: Option<&Path>) -> Result<Config, Unfit> {
    let mut table = toml::Table::new();
    for setting in settings.values() {
        insert(&mut table, &setting.key, setting.value.clone());
    }
    let mut config = Config::deserialize(table).map_err(Unfit::Type)?;
    for (key, slot) in config.paths_mut() {
        if let (Some(path), Some(setting)) = (slot, settings.get(key)) {
            *path = paths::resolve(key, path, &setting.base, home)
                .map_err(|wrong| Unfit::Path { key, wrong })?;
        }
    }
    for (key, list) in config.path_lists_mut() {
        for path in list {
            let Some(setting) = settings.get(key) else { continue };
            *path = paths::resolve(key, path, &setting.base, home)
                .map_err(|wrong| Unfit::Path { key, wrong })?;
        }
    }
    Ok(config)
}

/// Puts the value under its dotted key.
fn insert(table: &mut toml::Table, key: &str, value: toml::Value) {
    let Some((section, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    if let toml::Value::Table(section) = section {
        insert(section, rest, value);
    }
}

fn wrong_type(setting: &Setting, keys: &[Key]) -> String {
    const SHOWN: usize = 60;
    let key = keys.iter().find(|key| key.key == setting.key);
    let expected = key.map_or("another type", |key| &key.expected);
    let found = showable(&setting.key, &setting.value).to_string();
    let more = if found.chars().nth(SHOWN).is_some() { "…" } else { "" };
    let found: String = found.chars().take(SHOWN).collect();
    format!("must be {expected}, not {found}{more}")
}
