//! How much a run may use, and whether there is room for one call more.
//!
//! Pure.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a run may use. Turns, tool calls and time count from the prompt on; tokens and dollars from
/// the beginning of the conversation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Answers of the model.
    pub turns: u32,
    /// Calls of tools.
    pub tool_calls: Option<u32>,
    /// Tokens, read and written, cached ones too.
    pub tokens: Option<u64>,
    /// US dollars.
    pub usd: Option<f64>,
    /// Time on the wall.
    pub time: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { turns: 50, tool_calls: None, tokens: None, usd: None, time: None }
    }
}

/// A limit, by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Answers of the model.
    Turns,
    /// Calls of tools.
    ToolCalls,
    /// Tokens.
    Tokens,
    /// US dollars.
    Usd,
    /// Time.
    Time,
}

/// What was used so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Used {
    /// Answers of the model.
    pub turns: u32,
    /// Calls of tools.
    pub tool_calls: u32,
    /// Tokens, read and written.
    pub tokens: u64,
    /// US dollars; nothing where a price is not known.
    pub usd: Option<f64>,
    /// Time.
    pub time: Duration,
}

/// A limit that is reached, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Which.
    pub limit: Limit,
    /// What to say.
    pub message: String,
}

impl Limits {
    /// Why the model must not be asked again, if so.
    #[must_use]
    pub fn before_turn(&self, used: &Used) -> Option<Reached> {
        let turns = (used.turns >= self.turns).then(|| Reached {
            limit: Limit::Turns,
            message: format!("{} answers of the model were allowed for this prompt", self.turns),
        });
        turns.or_else(|| self.before_call(used, false))
    }

    /// Why no tool may be called, if so.
    #[must_use]
    pub fn before_tool(&self, used: &Used) -> Option<Reached> {
        self.before_call(used, true)
    }

    fn before_call(&self, used: &Used, tool: bool) -> Option<Reached> {
        let reached = |limit, message| Some(Reached { limit, message });
        if let Some(most) = self.tool_calls.filter(|most| tool && used.tool_calls >= *most) {
            return reached(
                Limit::ToolCalls,
                format!("{most} calls of tools were allowed for this prompt"),
            );
        }
        if let Some(most) = self.tokens.filter(|most| used.tokens >= *most) {
            let message =
                format!("{} of {most} tokens of this conversation are used up", used.tokens);
            return reached(Limit::Tokens, message);
        }
        if let Some(most) = self.time.filter(|most| used.time >= *most) {
            let message = format!("{} s were allowed for this prompt", most.as_secs_f64());
            return reached(Limit::Time, message);
        }
        let most = self.usd?;
        match used.usd {
            Some(usd) if usd < most => None,
            Some(usd) => {
                reached(Limit::Usd, format!("${usd:.4} of ${most} for this conversation are spent"))
            }
            None => reached(
                Limit::Usd,
                "what was asked has no known price, so that a budget in dollars cannot be held; \
                 add the model to a file of prices"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used() -> Used {
        Used { usd: Some(0.0), ..Used::default() }
    }

    #[test]
    fn each_limit_is_reached_at_its_number_and_not_before() {
        let limits = Limits {
            turns: 2,
            tool_calls: Some(3),
            tokens: Some(100),
            usd: Some(0.5),
            time: Some(Duration::from_secs(9)),
        };
        let check = |used: Used, turn: Option<Limit>, tool: Option<Limit>| {
            let limit = |reached: Option<Reached>| reached.map(|reached| reached.limit);
            assert_eq!(limit(limits.before_turn(&used)), turn, "{used:?}");
            assert_eq!(limit(limits.before_tool(&used)), tool, "{used:?}");
        };
        check(used(), None, None);
        check(Used { turns: 1, tool_calls: 2, tokens: 99, ..used() }, None, None);
        check(Used { turns: 2, ..used() }, Some(Limit::Turns), None);
        check(Used { tool_calls: 3, ..used() }, None, Some(Limit::ToolCalls));
        let tokens = Some(Limit::Tokens);
        check(Used { tokens: 100, ..used() }, tokens, tokens);
        check(Used { usd: Some(0.5), ..used() }, Some(Limit::Usd), Some(Limit::Usd));
        let time = Duration::from_secs(9);
        check(Used { time, ..used() }, Some(Limit::Time), Some(Limit::Time));
    }

    #[test]
    fn a_budget_in_dollars_is_not_held_by_guessing() {
        let limits = Limits { usd: Some(1.0), ..Limits::default() };
        let reached = limits.before_turn(&Used { usd: None, ..used() }).unwrap();
        assert!(reached.message.contains("no known price"));
        assert_eq!(Limits::default().before_turn(&Used { usd: None, ..used() }), None);
    }
}
