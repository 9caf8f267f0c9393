//! The tree out of JSON. What a node sets holds for all below it unless they set it themselves.
//!
//! Reads to the end whatever it meets, so that all faults are told at once.

use serde_json::Value;

use super::{
    Fault, Group, Kind, Mode, Node, Routes, Strategy, Target,
    faults::{Faults, below},
    inherited::Above,
};

/// What a node may say.
const KEYS: [&str; 16] = [
    "name",
    "strategy",
    "targets",
    "weight",
    "provider",
    "virtual_key",
    "custom_host",
    "aws_region",
    "override_params",
    "headers",
    "retry",
    "request_timeout",
    "timeouts",
    "cache",
    "output_guardrails",
    "before_request_hooks",
];

/// Names of errors that a strategy may list.
const ERRORS: [&str; 3] = ["connect", "timeout", "stream"];

/// Reads a configuration.
pub(super) fn routes(json: &Value) -> Result<Routes, Vec<Fault>> {
    let mut faults = Faults::default();
    let wrapped = json.get("config").is_some();
    let (at, config) = match json.get("config") {
        Some(config) => ("config", config),
        None => ("", json),
    };
    if let (true, Value::Object(members)) = (wrapped, json) {
        faults.unknown("", members, &["name", "config"]);
    }
    let name = faults.text("", json, "name");
    let root = faults.node(at, config, &Above::default());
    match root {
        Some((_, mut root)) if faults.0.is_empty() => {
            root.number(&mut 0);
            Ok(Routes { name, root })
        }
        _ => Err(faults.0),
    }
}

impl Faults {
    /// A node with its weight.
    fn node(&mut self, at: &str, value: &Value, above: &Above) -> Option<(f64, Node)> {
        let Value::Object(members) = value else {
            self.add(at, "must be an object");
            return None;
        };
        self.unknown(at, members, &KEYS);
        let weight = self.weight(at, value);
        let mine = self.handed_down(at, value, above);
        let mode = value.get("strategy").and_then(|it| it.get("mode")).and_then(Value::as_str);
        let node = match value.get("targets") {
            // A single one may stand beside its strategy.
            None if value.get("strategy").is_none() || mode == Some("single") => {
                self.target(at, value, mine).map(|target| Node::Target(Box::new(target)))
            }
            targets => self.group(at, value, targets, &mine).map(Node::Group),
        };
        Some((weight, node?))
    }

    fn weight(&mut self, at: &str, value: &Value) -> f64 {
        match value.get("weight") {
            None | Some(Value::Null) => 1.0,
            Some(given) => {
                let weight = given.as_f64().filter(|weight| *weight >= 0.0 && weight.is_finite());
                if weight.is_none() {
                    self.add(below(at, "weight"), format!("must be 0 or more, not {given}"));
                }
                weight.unwrap_or(1.0)
            }
        }
    }

    fn group(
        &mut self,
        at: &str,
        value: &Value,
        targets: Option<&Value>,
        mine: &Above,
    ) -> Option<Group> {
        let strategy = self.strategy(at, value.get("strategy"));
        let place = below(at, "targets");
        let Some(targets) = targets.and_then(Value::as_array).filter(|all| !all.is_empty()) else {
            self.add(place, "must be a list of one target at least");
            return None;
        };
        let read = targets.iter().enumerate();
        let read: Vec<_> =
            read.map(|(n, it)| self.node(&format!("{place}[{n}]"), it, mine)).collect();
        let nodes: Vec<(f64, Node)> = read.into_iter().collect::<Option<_>>()?;
        let strategy = strategy?;
        let sum: f64 = nodes.iter().map(|(weight, _)| weight).sum();
        if strategy.mode == Mode::Loadbalance && sum <= 0.0 {
            self.add(place, "have weights that are 0 together: none could be chosen");
            return None;
        }
        Some(Group { strategy, nodes })
    }

    fn strategy(&mut self, at: &str, value: Option<&Value>) -> Option<Strategy> {
        let at = below(at, "strategy");
        let Some(value @ Value::Object(members)) = value else {
            self.add(at, "must be an object with a mode, for there are targets");
            return None;
        };
        self.unknown(&at, members, &["mode", "on_status_codes", "on_errors"]);
        let mode = match value.get("mode").and_then(Value::as_str) {
            Some("fallback") => Some(Mode::Fallback),
            Some("loadbalance") => Some(Mode::Loadbalance),
            Some("single") => Some(Mode::Single),
            _ => {
                self.add(below(&at, "mode"), "must be one of fallback, loadbalance, single");
                None
            }
        };
        let on_status_codes = self.codes(&at, value);
        let on_errors = self.texts(&at, value, "on_errors");
        for wrong in on_errors.iter().flatten().filter(|it| !ERRORS.contains(&it.as_str())) {
            let what = format!("`{wrong}` is none of {}", ERRORS.join(", "));
            self.add(below(&at, "on_errors"), what);
        }
        Some(Strategy { mode: mode?, on_status_codes, on_errors })
    }

    /// A leaf. The provider is told by its name, else by the form of the model's.
    fn target(&mut self, at: &str, value: &Value, mine: Above) -> Option<Target> {
        let model = mine.params.model.clone();
        let Some(kind) = mine.kind.or_else(|| model.as_deref().and_then(Kind::of_model)) else {
            let what = match model {
                Some(model) => format!("`{model}` does not tell its provider: name it"),
                None => "neither a provider nor a model is named".to_owned(),
            };
            self.add(below(at, "provider"), what);
            return None;
        };
        let usual = || format!("{}/{}", kind.word(), model.as_deref().unwrap_or("any model"));
        Some(Target {
            id: 0,
            name: self.text(at, value, "name").unwrap_or_else(usual),
            kind,
            virtual_key: mine.virtual_key,
            host: mine.host,
            region: mine.region,
            params: mine.params,
            headers: mine.headers,
            retry: mine.retry,
            timeouts: mine.timeouts,
            cache: mine.cache,
            output_guardrails: mine.output_guardrails,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn faults(json: Value) -> Vec<(String, String)> {
        let faults = routes(&json).unwrap_err();
        faults.into_iter().map(|fault| (fault.at, fault.what)).collect()
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let found = faults(json!({
            "strategy": {"mode": "loadbalance", "on_status_codes": [99], "on_errors": ["sun"]},
            "retries": 1,
            "request_timeout": 0,
            "retry": {"attempts": 11, "use_retry_after_header": "yes"},
            "targets": [
                {"weight": 0, "virtual_key": "k", "api_key": "sk-1", "override_params": {"model": "claude-4"}},
                {"weight": 0, "provider": "altavista", "override_params": {"model": "llama", "messages": []}},
                {"strategy": {"mode": "fallback"}, "targets": []},
                {"strategy": {}},
                {"custom_host": "ftp://x", "headers": {"Authorization": "x"}, "override_params": {"model": "gpt-5"}},
                {},
                7,
            ],
        }));
        let places: Vec<_> = found.iter().map(|(at, _)| at.as_str()).collect();
        for place in [
            "retries",
            "request_timeout",
            "retry.attempts",
            "retry.use_retry_after_header",
            "strategy.on_status_codes",
            "strategy.on_errors",
            "targets[0].api_key",
            "targets[1].provider",
            "targets[1].override_params.messages",
            "targets[2].targets",
            "targets[3].strategy.mode",
            "targets[3].targets",
            "targets[4].custom_host",
            "targets[4].headers.authorization",
            "targets[5].provider",
            "targets[6]",
        ] {
            assert!(places.contains(&place), "{place} is not in {places:?}");
        }
        assert!(!format!("{found:?}").contains("sk-1"));
    }

    #[test]
    fn weights_that_are_all_zero_choose_nothing() {
        let target = json!({"weight": 0, "override_params": {"model": "claude-4"}});
        let tree = json!({"strategy": {"mode": "loadbalance"}, "targets": [target, target]});
        assert_eq!(faults(tree)[0].0, "targets");
    }

    #[test]
    fn what_a_node_sets_holds_below_and_the_inner_wins() {
        let read = routes(&json!({
            "strategy": {"mode": "fallback"},
            "provider": "openai", "virtual_key": "outer", "custom_host": "http://h:1/v1/",
            "request_timeout": 2000, "retry": {"attempts": 1},
            "override_params": {"temperature": 0, "top_p": 0.5},
            "cache": {"mode": "simple", "max_age": 60},
            "targets": [
                {"override_params": {"model": "a", "top_p": 1}},
                {"virtual_key": "inner", "retry": {"attempts": 4}, "timeouts": {"idle": 5},
                 "override_params": {"model": "b", "temperature": 1}},
            ],
        }))
        .unwrap();
        let [a, b] = read.targets().try_into().unwrap();
        assert_eq!(
            (a.virtual_key.as_deref(), b.virtual_key.as_deref()),
            (Some("outer"), Some("inner"))
        );
        assert_eq!((a.retry.attempts, b.retry.attempts), (1, 4));
        assert_eq!((a.params.temperature, b.params.temperature), (Some(0.0), Some(1.0)));
        assert_eq!((&a.params.rest["top_p"], &b.params.rest["top_p"]), (&json!(1), &json!(0.5)));
        assert_eq!((a.host.as_deref(), b.kind), (Some("http://h:1/v1"), Kind::OpenAi));
        assert_eq!(b.timeouts.headers, Some(Duration::from_secs(2)));
        assert_eq!((a.timeouts.idle, b.timeouts.idle), (None, Some(Duration::from_millis(5))));
        assert_eq!(a.cache, Some(Duration::from_secs(60)));
        assert_eq!((a.name.as_str(), b.name.as_str()), ("openai/a", "openai/b"));
    }

    #[test]
    fn one_target_alone_is_a_tree() {
        for json in [
            json!({"override_params": {"model": "claude-4"}}),
            json!({"strategy": {"mode": "single"}, "override_params": {"model": "claude-4"}}),
            json!({"strategy": {"mode": "single"}, "targets": [{"provider": "anthropic"}]}),
        ] {
            assert_eq!(routes(&json).unwrap().targets()[0].kind, Kind::Anthropic);
        }
    }

    #[test]
    fn the_provider_is_told_by_the_models_name() {
        for (model, kind) in [
            ("claude-4", Some(Kind::Anthropic)),
            ("us.anthropic.claude-3.7-v1:0", Some(Kind::Bedrock)),
            ("anthropic.claude-3-haiku-20240307-v1:0", Some(Kind::Bedrock)),
            ("arn:aws:bedrock:us-east-1:1:inference-profile/x", Some(Kind::Bedrock)),
            ("gpt-5", Some(Kind::OpenAi)),
            ("o3-mini", Some(Kind::OpenAi)),
            ("llama3", None),
            ("anthropic", None),
        ] {
            assert_eq!(Kind::of_model(model), kind, "{model}");
        }
    }
}
