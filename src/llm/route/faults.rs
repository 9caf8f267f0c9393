//! Collects what is wrong with a configuration, and reads the simplest values.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Fault;

/// What was found wrong so far.
#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

pub(super) fn below(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

impl Faults {
    pub(super) fn add(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.0.push(Fault { at: at.into(), what: what.into() });
    }

    pub(super) fn unknown(&mut self, at: &str, members: &Map<String, Value>, known: &[&str]) {
        for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
            let what = match name.as_str() {
                "api_key" => "a key does not belong into a configuration: keep it under a name, \
                              and give that as virtual_key"
                    .to_owned(),
                _ => format!("is not known; known here: {}", known.join(", ")),
            };
            self.add(below(at, name), what);
        }
    }

    pub(super) fn text(&mut self, at: &str, value: &Value, name: &str) -> Option<String> {
        match value.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
            Some(_) => {
                self.add(below(at, name), "must be a text");
                None
            }
        }
    }

    pub(super) fn millis(&mut self, at: &str, value: &Value, name: &str) -> Option<Duration> {
        let given = value.get(name).filter(|given| !given.is_null())?;
        match given.as_u64().filter(|millis| (1..=86_400_000).contains(millis)) {
            Some(millis) => Some(Duration::from_millis(millis)),
            None => {
                self.add(below(at, name), "must be milliseconds, 1 to 86400000");
                None
            }
        }
    }

    pub(super) fn codes(&mut self, at: &str, value: &Value) -> Option<Vec<u16>> {
        let given = value.get("on_status_codes").filter(|given| !given.is_null())?;
        let code = |code: &Value| code.as_u64().filter(|code| (100..600).contains(code));
        let codes: Option<Vec<u16>> = given.as_array().and_then(|all| {
            all.iter().map(|it| code(it).and_then(|it| u16::try_from(it).ok())).collect()
        });
        if codes.is_none() {
            self.add(below(at, "on_status_codes"), "must be a list of status codes, 100 to 599");
        }
        codes
    }

    pub(super) fn texts(&mut self, at: &str, value: &Value, name: &str) -> Option<Vec<String>> {
        let given = value.get(name).filter(|given| !given.is_null())?;
        let texts: Option<Vec<String>> = given
            .as_array()
            .and_then(|all| all.iter().map(|it| it.as_str().map(str::to_owned)).collect());
        if texts.is_none() {
            self.add(below(at, name), "must be a list of texts");
        }
        texts
    }
}
