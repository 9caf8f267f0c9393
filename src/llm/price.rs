//! What an answer costs: a table of prices with its date, which a file of the user's can change.
//!
//! Prices change, and providers bill; this is an estimate. A model that is not in the table has no
//! price rather than a guessed one.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::reply::Usage;

/// US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Read by the model.
    pub input: f64,
    /// Written by it.
    pub output: f64,
    /// Read from the provider's cache; as `input` where it is not told.
    #[serde(default)]
    pub cache_read: Option<f64>,
    /// Written to the provider's cache for five minutes; as `input` where it is not told.
    #[serde(default)]
    pub cache_write: Option<f64>,
    /// The same for an hour.
    #[serde(default)]
    pub cache_write_1h: Option<f64>,
}

/// Prices by model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The month in which these were looked up.
    pub date: String,
    /// By the name of the model, or its beginning.
    pub models: BTreeMap<String, Price>,
}

/// A file of prices cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// It cannot be read.
    #[error("cannot read the prices from `{file}`")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error(
        "`{file}` is no table of prices; it is {{\"date\": \"2025-11\", \"models\": {{\"a-model\": {{\"input\": 3, \"output\": 15}}}}}}, in US dollars for a million tokens"
    )]
    Malformed {
        /// The file.
        file: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A price that is none.
    #[error("`{file}`: a price of `{model}` is below zero")]
    Negative {
        /// The file.
        file: String,
        /// The model.
        model: String,
    },
}

impl Default for Prices {
    /// The table that husk ships with.
    fn default() -> Self {
        let none = || Self { date: String::new(), models: BTreeMap::new() };
        // A test holds that it can be read.
        serde_json::from_str(include_str!("prices.json")).unwrap_or_else(|_| none())
    }
}

impl Prices {
    /// These, with those of a file before them.
    ///
    /// # Errors
    /// [`PriceError`] names the file and what is wrong with it.
    pub fn with_file(mut self, file: &Path) -> Result<Self, PriceError> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|source| PriceError::Unreadable { file: name.clone(), source })?;
        let more: Self = serde_json::from_str(&text)
            .map_err(|source| PriceError::Malformed { file: name.clone(), source })?;
        if let Some((model, _)) = more.models.iter().find(|(_, price)| !price.is_price()) {
            return Err(PriceError::Negative { file: name, model: model.clone() });
        }
        self.date = more.date;
        self.models.extend(more.models);
        Ok(self)
    }

    /// What this took at this model, in US dollars; nothing where the model has no price.
    #[must_use]
    pub fn cost(&self, model: &str, usage: &Usage) -> Option<f64> {
        let bare = bare(model);
        let fits = |name: &str| {
            let rest = bare.strip_prefix(name).or_else(|| model.strip_prefix(name));
            rest.is_some_and(is_version)
        };
        let known = self.models.iter().filter(|(name, _)| fits(name));
        let (_, price) = known.max_by_key(|(name, _)| name.len())?;
        Some(price.of(usage))
    }
}

impl Price {
    fn of(&self, usage: &Usage) -> f64 {
        let parts = [
            (usage.input, self.input),
            (usage.output, self.output),
            (usage.cache_read, self.cache_read.unwrap_or(self.input)),
            (usage.cache_write, self.cache_write.unwrap_or(self.input)),
            (usage.cache_write_1h, self.cache_write_1h.unwrap_or(self.input)),
        ];
        #[expect(clippy::cast_precision_loss, reason = "tokens of one answer")]
        let sum: f64 = parts.iter().map(|(tokens, price)| *tokens as f64 * price).sum();
        sum / 1e6
    }

    fn is_price(&self) -> bool {
        let optional = [self.cache_read, self.cache_write, self.cache_write_1h];
        let all = optional.into_iter().flatten().chain([self.input, self.output]);
        all.into_iter().all(|price| price >= 0.0 && price.is_finite())
    }
}

/// A model's name without what Bedrock puts around it: `us.anthropic.claude-…-v1:0`.
fn bare(model: &str) -> &str {
    model.rsplit_once("anthropic.").map_or(model, |(_, rest)| rest)
}

/// Whether what follows a name only tells which build of the same model it is: a date, `-latest` or
/// `-v1:0`. A small number makes another model, with another price.
fn is_version(rest: &str) -> bool {
    let is_date = |rest: &str| rest.chars().take(4).filter(char::is_ascii_digit).count() == 4;
    let is_build = |rest: &str| rest == "latest" || rest.starts_with('v') || is_date(rest);
    rest.is_empty() || rest.strip_prefix(['-', '@', ':']).is_some_and(is_build)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn million() -> Usage {
        Usage { input: 1_000_000, ..Usage::default() }
    }

    #[test]
    fn the_table_can_be_read_and_knows_its_date() {
        let prices = Prices::default();
        assert!(!prices.date.is_empty() && prices.models.len() > 10);
        assert!(prices.models.values().all(Price::is_price));
    }

    #[test]
    fn a_model_is_found_by_its_name_and_version_and_never_by_another_models() {
        let prices = Prices::default();
        for (model, expected) in [
            ("claude-sonnet-4-5-20250929", Some(3.0)),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Some(3.0)),
            ("claude-3-7-sonnet-latest", Some(3.0)),
            ("claude-opus-4-5", Some(5.0)),
            ("claude-opus-4-1-20250805", Some(15.0)),
            ("gpt-4o-2024-11-20", Some(2.5)),
            ("gpt-4o-mini", Some(0.15)),
            ("gpt-5-pro", None),
            ("o3-pro", None),
            ("claude-opus-5", None),
            ("claude-opus-4-9", None),
            ("llama3", None),
        ] {
            assert_eq!(prices.cost(model, &million()), expected, "{model}");
        }
    }

    #[test]
    fn each_kind_of_token_has_its_price() {
        let usage = Usage {
            input: 1_000_000,
            output: 1_000_000,
            cache_read: 1_000_000,
            cache_write: 1_000_000,
            cache_write_1h: 1_000_000,
        };
        let cost = Prices::default().cost("claude-sonnet-4", &usage).unwrap();
        assert!((cost - (3.0 + 15.0 + 0.3 + 3.75 + 6.0)).abs() < 1e-9, "{cost}");
    }

    #[test]
    fn a_file_comes_before_the_table_and_its_faults_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prices.json");
        let with = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Prices::default().with_file(&file).map_err(|error| error.to_string())
        };
        let mine = with(r#"{"date": "2026-11", "models": {"llama3": {"input": 0, "output": 0}, "gpt-4o": {"input": 2, "output": 8}}}"#).unwrap();
        assert_eq!((mine.date.as_str(), mine.cost("llama3", &million())), ("2026-11", Some(0.0)));
        assert_eq!(mine.cost("gpt-4o", &million()), Some(2.0));
        assert_eq!(mine.cost("o3", &million()), Some(2.0));
        for (text, words) in [
            ("{}", "is no table of prices"),
            (r#"{"date": "x", "models": {"m": {"input": 1, "out": 1}}}"#, "is no table of prices"),
            (r#"{"date": "x", "models": {"m": {"input": -1, "output": 1}}}"#, "`m` is below zero"),
        ] {
            let error = with(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
