//! Holds what a project's `husk.toml` says against what the user's own sources give: it may tighten
//! them, never loosen them. Which value is the tighter one is decided in [`super::order`].

use std::path::{Path, PathBuf};

use toml::Value;

use super::layers::Setting;
use super::order::{Rule, as_tight, levels_as_tight, rule};
use super::table::values;
use super::{Config, Fault, NotTheProjects, Sources, paths};
use crate::base::secret::HIDDEN;

/// What the user's own sources give, and what they give with the project's file.
pub(super) struct Sides<'a> {
    pub(super) sources: &'a Sources,
    pub(super) own: &'a Config,
    pub(super) merged: &'a Config,
}

impl Sides<'_> {
    /// The faults of the project's settings, of which `in_force` are those that no stronger source
    /// overrides; `origin` tells where the user's value for a key comes from.
    pub(super) fn faults<'s>(
        &self,
        in_force: impl Iterator<Item = &'s Setting>,
        origin: impl Fn(&str) -> String,
    ) -> Vec<Fault> {
        let (own, merged) = (values(self.own), values(self.merged));
        let looser = in_force.filter_map(|setting| {
            let key = setting.key.as_str();
            let rule = rule(key);
            let fits = match (rule, &own, &merged) {
                (Rule::Inside, ..) => self.inside().is_some(),
                (Rule::Levels, ..) => self.levels(),
                (rule, Some(own), Some(merged)) => {
                    let given = at(own, key).cloned().or_else(|| self.stands_for(key, own));
                    as_tight(rule, at(merged, key), given.as_ref())
                }
                _ => false,
            };
            let given = own.as_ref().and_then(|own| at(own, key));
            (!fits).then(|| self.fault(setting, rule, given, origin(key)))
        });
        looser.collect()
    }

    fn levels(&self) -> bool {
        let of = |config: &Config| config.sandbox.isolation.levels(config.sandbox.min_isolation);
        levels_as_tight(&of(self.merged), &of(self.own))
    }

    /// What an unset value comes to, where that is less than no limit.
    fn stands_for(&self, key: &str, own: &Value) -> Option<Value> {
        if key == "sandbox.memory_bytes" {
            let half = self.sources.memory? / 2;
            return Some(Value::Integer(i64::try_from(half).unwrap_or(i64::MAX)));
        }
        // `dedup.TOOL.bound` stands for `dedup.bound`.
        let (section, rest) = key.split_once('.')?;
        let (_tool, bound) = rest.split_once('.').filter(|_| section == "dedup")?;
        at(own, &format!("{section}.{bound}")).cloned()
    }

    /// The project's workspace by its real name, if it is the user's or lies in it: a link that a
    /// cell has made leads elsewhere.
    pub(super) fn inside(&self) -> Option<PathBuf> {
        let wanted = paths::real(self.merged.workspace.as_ref()?)?;
        let own = match &self.own.workspace {
            Some(own) => own.clone(),
            // An agent is not let loose in the root or the home, so that nothing lies in "the user's".
            None if self.is_no_workspace(&self.sources.project) => return None,
            None => self.sources.project.clone(),
        };
        wanted.starts_with(paths::real(&own)?).then_some(wanted)
    }

    fn is_no_workspace(&self, folder: &Path) -> bool {
        folder.parent().is_none() || self.sources.home.as_deref() == Some(folder)
    }

    fn fault(&self, setting: &Setting, rule: Rule, own: Option<&Value>, from: String) -> Fault {
        let why = match rule {
            Rule::Users(why) => format!("may not come from a project's file, since {why}"),
            Rule::Record => "leaves cells unrecorded, or the record in their reach".to_owned(),
            Rule::Inside => "is not the workspace or a folder in it".to_owned(),
            _ => "lets cells do more".to_owned(),
        };
        let file = self.sources.user.as_deref();
        let file =
            file.map_or("your own husk.toml".to_owned(), |file| format!("`{}`", file.display()));
        Fault::NotTheProjects(Box::new(NotTheProjects {
            place: setting.origin.place(),
            said: match setting.key.as_str() {
                "gateway.token" => HIDDEN.to_owned(),
                _ => shown(Some(&setting.value)),
            },
            own: shown(own),
            from,
            why,
            file,
            variable: format!("HUSK_{}", setting.key.to_uppercase().replace('.', "_")),
            key: setting.key.clone(),
        }))
    }
}

fn at<'v>(values: &'v Value, key: &str) -> Option<&'v Value> {
    key.split('.').try_fold(values, |table, part| table.get(part))
}

/// A value for a message, not longer than a line.
fn shown(value: Option<&Value>) -> String {
    const SHOWN: usize = 60;
    let text = value.map_or("unset".to_owned(), Value::to_string);
    let more = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    let text: String = text.chars().take(SHOWN).collect();
    format!("{text}{more}")
}
