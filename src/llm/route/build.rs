//! The two usual trees over Anthropic and Bedrock, as the JSON that [`super::Routes::read`] reads.

use serde_json::{Value, json};

/// The status codes after which another target is asked.
const CODES: [u16; 6] = [400, 429, 500, 502, 503, 504];

/// Who is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Primary {
    /// Anthropic.
    Anthropic,
    /// Bedrock.
    Bedrock,
}

/// What a tree is built of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// For whom: the first eight characters are in the tree's name.
    pub user_id: &'a str,
    /// The name of Anthropic's key.
    pub anthropic_key: &'a str,
    /// The name of Bedrock's key.
    pub bedrock_key: &'a str,
    /// The model that is asked first.
    pub primary_model: &'a str,
    /// The model that is asked after it.
    pub fallback_model: &'a str,
}

impl<'a> Wanted<'a> {
    /// With the usual models.
    #[must_use]
    pub fn new(user_id: &'a str, anthropic_key: &'a str, bedrock_key: &'a str) -> Self {
        let (primary_model, fallback_model) = ("claude-4", "claude-3.7");
        Self { user_id, anthropic_key, bedrock_key, primary_model, fallback_model }
    }

    fn name(&self, of: &str) -> String {
        format!("{}-{of}", self.user_id.chars().take(8).collect::<String>())
    }

    fn target(&self, provider: Primary, model: &str) -> Value {
        let (key, model) = match provider {
            Primary::Anthropic => (self.anthropic_key, model.to_owned()),
            Primary::Bedrock => (self.bedrock_key, bedrock_model(model)),
        };
        json!({"virtual_key": key, "override_params": {"model": model}})
    }
}

/// The name that a model of Anthropic has at Bedrock.
#[must_use]
pub fn bedrock_model(model: &str) -> String {
    format!("us.anthropic.{model}-v1:0")
}

/// Four levels: the primary provider with the primary model, the other provider with it, and both
/// in the same order with the fallback model.
#[must_use]
pub fn fallback_config(wanted: &Wanted<'_>, primary: Primary, guardrails: &[String]) -> Value {
    let order = match primary {
        Primary::Anthropic => [Primary::Anthropic, Primary::Bedrock],
        Primary::Bedrock => [Primary::Bedrock, Primary::Anthropic],
    };
    let models = [wanted.primary_model, wanted.fallback_model];
    let targets: Vec<_> = models
        .iter()
        .flat_map(|model| order.iter().map(|provider| wanted.target(*provider, model)))
        .collect();
    json!({
        "name": wanted.name("multi-fallback"),
        "config": {
            "output_guardrails": guardrails,
            "strategy": {"mode": "fallback", "on_status_codes": CODES},
            "targets": targets,
        },
    })
}

/// Calls are shared out between the two providers, and each of them falls back to the other model.
/// `weight_anthropic` is Anthropic's share, 0 to 1.
#[must_use]
pub fn loadbalanced_config(wanted: &Wanted<'_>, weight_anthropic: f64) -> Value {
    let side = |weight: f64, provider: Primary| {
        json!({
            "weight": weight,
            "strategy": {"mode": "fallback", "on_status_codes": CODES},
            "targets": [
                wanted.target(provider, wanted.primary_model),
                wanted.target(provider, wanted.fallback_model),
            ],
        })
    };
    json!({
        "name": wanted.name("lb-fallback"),
        "config": {
            "strategy": {"mode": "loadbalance"},
            "targets": [
                side(weight_anthropic, Primary::Anthropic),
                side(1.0 - weight_anthropic, Primary::Bedrock),
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::route::{Kind, Routes};

    fn wanted() -> Wanted<'static> {
        Wanted::new("user-12345", "ant-key", "bed-key")
    }

    /// Provider, key and model of each target.
    fn told(config: &Value) -> Vec<(Kind, String, String)> {
        let routes = Routes::read(config).unwrap();
        let told = routes.targets().into_iter().map(|target| {
            let (key, model) = (target.virtual_key.clone(), target.params.model.clone());
            (target.kind, key.unwrap(), model.unwrap())
        });
        told.collect()
    }

    #[test]
    fn four_levels_fall_back_in_order_whoever_is_first() {
        let ant = |model: &str| (Kind::Anthropic, "ant-key".to_owned(), model.to_owned());
        let bed = |model: &str| (Kind::Bedrock, "bed-key".to_owned(), model.to_owned());
        let (new, old) = ("us.anthropic.claude-4-v1:0", "us.anthropic.claude-3.7-v1:0");
        let config = fallback_config(&wanted(), Primary::Anthropic, &[]);
        assert_eq!(told(&config), [ant("claude-4"), bed(new), ant("claude-3.7"), bed(old)]);
        let config = fallback_config(&wanted(), Primary::Bedrock, &["pii".to_owned()]);
        assert_eq!(told(&config), [bed(new), ant("claude-4"), bed(old), ant("claude-3.7")]);
        assert_eq!(config["name"], "user-123-multi-fallback");
        assert_eq!(config["config"]["output_guardrails"], json!(["pii"]));
        let first = Routes::read(&config).unwrap().targets()[0].output_guardrails.clone();
        assert_eq!(first, ["pii"]);
    }

    #[test]
    fn the_load_balanced_form_is_two_fallbacks_with_weights() {
        let config = loadbalanced_config(&wanted(), 0.25);
        let targets = &config["config"]["targets"];
        assert_eq!((&targets[0]["weight"], &targets[1]["weight"]), (&json!(0.25), &json!(0.75)));
        assert_eq!(told(&config).len(), 4);
        assert_eq!(told(&config)[3].2, "us.anthropic.claude-3.7-v1:0");
    }

    #[test]
    fn a_share_of_one_leaves_the_other_side_out_and_beyond_it_is_a_fault() {
        assert!(Routes::read(&loadbalanced_config(&wanted(), 1.0)).is_ok());
        let faults = Routes::read(&loadbalanced_config(&wanted(), 1.5)).unwrap_err();
        assert_eq!(faults[0].at, "config.targets[1].weight");
    }
}
