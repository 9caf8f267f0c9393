//! What a node of the tree sets for itself and for all below it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{
    Kind, Retry, Timeouts,
    faults::{Faults, below},
};
use crate::llm::request::Params;

/// The most times that a target is asked again.
const MOST_RETRIES: u64 = 10;

/// How long an answer is kept where nobody says: a week, as in the gateway.
const MAX_AGE: Duration = Duration::from_secs(7 * 86_400);

/// What is handed down.
#[derive(Debug, Clone, Default)]
pub(super) struct Above {
    pub(super) kind: Option<Kind>,
    pub(super) virtual_key: Option<String>,
    pub(super) host: Option<String>,
    pub(super) region: Option<String>,
    pub(super) params: Params,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) retry: Retry,
    pub(super) timeouts: Timeouts,
    pub(super) cache: Option<Duration>,
    pub(super) output_guardrails: Vec<String>,
}

impl Faults {
    /// What holds from this node downwards.
    pub(super) fn handed_down(&mut self, at: &str, value: &Value, above: &Above) -> Above {
        let mut mine = above.clone();
        if let Some(word) = self.text(at, value, "provider") {
            match Kind::ALL.iter().find(|(name, _)| *name == word) {
                Some((_, kind)) => mine.kind = Some(*kind),
                None => {
                    let known: Vec<_> = Kind::ALL.iter().map(|(name, _)| *name).collect();
                    let what = format!("`{word}` is none of {}", known.join(", "));
                    self.add(below(at, "provider"), what);
                }
            }
        }
        mine.virtual_key = self.text(at, value, "virtual_key").or(mine.virtual_key);
        mine.region = self.text(at, value, "aws_region").or(mine.region);
        mine.host = self.host(at, value).or(mine.host);
        mine.params = above.params.under(&self.params(at, value));
        mine.headers.extend(self.headers(at, value));
        mine.retry = self.retry(at, value).unwrap_or(mine.retry);
        mine.timeouts = self.timeouts(at, value, above.timeouts);
        if let Some(cache) = value.get("cache").filter(|cache| !cache.is_null()) {
            mine.cache = self.cache(&below(at, "cache"), cache);
        }
        mine.output_guardrails =
            self.texts(at, value, "output_guardrails").unwrap_or(mine.output_guardrails);
        if value.get("before_request_hooks").is_some_and(|hooks| *hooks != Value::Array(vec![])) {
            self.add(below(at, "before_request_hooks"), "are not run here: take them out");
        }
        mine
    }

    fn host(&mut self, at: &str, value: &Value) -> Option<String> {
        let host = self.text(at, value, "custom_host")?;
        let parsed = reqwest::Url::parse(&host).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
        });
        if parsed.is_none() {
            let what = "must be an address such as https://host/v1, without a key in it";
            self.add(below(at, "custom_host"), what);
        }
        Some(host.trim_end_matches('/').to_owned())
    }

    fn params(&mut self, at: &str, value: &Value) -> Params {
        let at = below(at, "override_params");
        let members = match value.get("override_params") {
            None | Some(Value::Null) => return Params::default(),
            Some(Value::Object(members)) => members,
            Some(_) => {
                self.add(at, "must be an object");
                return Params::default();
            }
        };
        let whole = Value::Object(members.clone());
        let mut params = Params { model: self.text(&at, &whole, "model"), ..Params::default() };
        for (name, given) in members.iter().filter(|(name, _)| *name != "model") {
            match name.as_str() {
                "max_tokens" | "max_completion_tokens" => {
                    let most = given.as_u64().and_then(|it| u32::try_from(it).ok());
                    params.max_tokens = most.filter(|most| *most > 0);
                    if params.max_tokens.is_none() {
                        self.add(below(&at, name), "must be a whole number, 1 or more");
                    }
                }
                "temperature" => {
                    params.temperature = given.as_f64().filter(|it| (0.0..=2.0).contains(it));
                    if params.temperature.is_none() {
                        self.add(below(&at, name), "must be a number from 0 to 2");
                    }
                }
                "messages" | "system" | "tools" | "tool_choice" | "stream" | "stream_options" => {
                    self.add(below(&at, name), "is the conversation's, and cannot be set here");
                }
                _ => {
                    params.rest.insert(name.clone(), given.clone());
                }
            }
        }
        params
    }

    fn headers(&mut self, at: &str, value: &Value) -> BTreeMap<String, String> {
        const OURS: [&str; 4] = ["authorization", "x-api-key", "content-type", "host"];
        let at = below(at, "headers");
        let mut headers = BTreeMap::new();
        let given = match value.get("headers") {
            None | Some(Value::Null) => return headers,
            Some(Value::Object(given)) => given,
            Some(_) => {
                self.add(at, "must be an object of texts");
                return headers;
            }
        };
        for (name, given) in given {
            let name = name.to_lowercase();
            let valid = reqwest::header::HeaderName::try_from(&name).is_ok();
            match given
                .as_str()
                .filter(|text| valid && reqwest::header::HeaderValue::try_from(*text).is_ok())
            {
                _ if OURS.contains(&name.as_str()) => {
                    self.add(below(&at, &name), "is set by husk; keys go by virtual_key");
                }
                Some(text) => {
                    headers.insert(name, text.to_owned());
                }
                None => self.add(below(&at, &name), "is no header with a text"),
            }
        }
        headers
    }

    fn retry(&mut self, at: &str, value: &Value) -> Option<Retry> {
        let at = below(at, "retry");
        let given = match value.get("retry") {
            None | Some(Value::Null) => return None,
            Some(given @ Value::Object(members)) => {
                self.unknown(
                    &at,
                    members,
                    &["attempts", "on_status_codes", "use_retry_after_header"],
                );
                given
            }
            Some(_) => {
                self.add(at, "must be an object");
                return None;
            }
        };
        let attempts = match given.get("attempts") {
            None => Some(Retry::default().attempts),
            Some(attempts) => attempts
                .as_u64()
                .filter(|it| *it <= MOST_RETRIES)
                .and_then(|it| u32::try_from(it).ok()),
        };
        if attempts.is_none() {
            self.add(below(&at, "attempts"), format!("must be 0 to {MOST_RETRIES}"));
        }
        let heed = given.get("use_retry_after_header");
        let heed_retry_after = heed.and_then(Value::as_bool);
        if heed.is_some() && heed_retry_after.is_none() {
            self.add(below(&at, "use_retry_after_header"), "must be true or false");
        }
        Some(Retry {
            attempts: attempts.unwrap_or_default(),
            on_status_codes: self.codes(&at, given),
            heed_retry_after: heed_retry_after.unwrap_or(true),
        })
    }

    /// `request_timeout` is the time until an answer begins; `timeouts` tells more of them apart.
    fn timeouts(&mut self, at: &str, value: &Value, above: Timeouts) -> Timeouts {
        let mut mine = above;
        mine.headers = self.millis(at, value, "request_timeout").or(mine.headers);
        let at = below(at, "timeouts");
        match value.get("timeouts") {
            None | Some(Value::Null) => {}
            Some(given @ Value::Object(members)) => {
                self.unknown(&at, members, &["headers", "first_token", "idle", "total"]);
                mine.headers = self.millis(&at, given, "headers").or(mine.headers);
                mine.first_token = self.millis(&at, given, "first_token").or(mine.first_token);
                mine.idle = self.millis(&at, given, "idle").or(mine.idle);
                mine.total = self.millis(&at, given, "total").or(mine.total);
            }
            Some(_) => self.add(at, "must be an object of milliseconds"),
        }
        mine
    }

    fn cache(&mut self, at: &str, value: &Value) -> Option<Duration> {
        let Value::Object(members) = value else {
            self.add(at, "must be an object with a mode");
            return None;
        };
        self.unknown(at, members, &["mode", "max_age"]);
        if value.get("mode").and_then(Value::as_str) != Some("simple") {
            let what = "must be simple: only answers to the very same question are kept";
            self.add(below(at, "mode"), what);
        }
        let Some(given) = value.get("max_age") else { return Some(MAX_AGE) };
        let age = given.as_u64().filter(|age| (1..=31_536_000).contains(age));
        if age.is_none() {
            self.add(below(at, "max_age"), "must be seconds, 1 to 31536000");
        }
        age.map(Duration::from_secs)
    }
}
