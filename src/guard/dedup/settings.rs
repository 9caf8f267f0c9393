//! What counts as a loop.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How repeated calls are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Mode {
    /// By their results.
    #[default]
    Progress,
    /// By their arguments alone.
    Window,
    /// Not at all.
    Off,
}

/// Duplicates and loops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How repeated calls are judged: "progress" by arguments and results, "window" refuses any call
    /// that is among the last ones, "off" lets all pass.
    pub mode: Mode,
    /// The last calls of a session that mode "window" looks at.
    pub window: u32,
    /// Seconds without a call after which a session's earlier calls no longer count.
    pub forget_seconds: u64,
    /// The same call with the same result: the answer from which a hint is given; 0 for none.
    pub same_result_hint: u32,
    /// The same call with the same result: the call from which it is refused; 0 for never.
    pub same_result_refuse: u32,
    /// The same call with changing results: the answer from which a hint is given; 0 for none.
    pub same_arguments_hint: u32,
    /// The same call with changing results: the call from which it is refused; 0 for never.
    pub same_arguments_refuse: u32,
    /// The same call with the same error: refused after so many; 0 for never.
    pub same_error_refuse: u32,
    /// Two or three calls in turn with the same results: refused after so many turns; 0 for never.
    pub cycle_turns: u32,
    /// Members of structured results that do not count when results are compared, beside timestamp,
    /// request_id, trace_id, created_at, updated_at and execution_time_ms.
    pub volatile: Vec<String>,
    /// Other bounds for notebook_run_cell.
    pub notebook_run_cell: Overrides,
    /// Other bounds for notebook_inspect.
    pub notebook_inspect: Overrides,
}

/// Bounds of one tool; unset means the one for all tools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// For this tool instead of `dedup.same_result_hint`.
    pub same_result_hint: Option<u32>,
    /// For this tool instead of `dedup.same_result_refuse`.
    pub same_result_refuse: Option<u32>,
    /// For this tool instead of `dedup.same_arguments_hint`.
    pub same_arguments_hint: Option<u32>,
    /// For this tool instead of `dedup.same_arguments_refuse`.
    pub same_arguments_refuse: Option<u32>,
    /// For this tool instead of `dedup.same_error_refuse`.
    pub same_error_refuse: Option<u32>,
    /// For this tool instead of `dedup.cycle_turns`.
    pub cycle_turns: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Progress,
            window: 10,
            forget_seconds: 600,
            same_result_hint: 3,
            same_result_refuse: 6,
            same_arguments_hint: 10,
            same_arguments_refuse: 30,
            same_error_refuse: 3,
            cycle_turns: 3,
            volatile: Vec::new(),
            notebook_run_cell: Overrides::default(),
            notebook_inspect: Overrides::default(),
        }
    }
}

/// The most of any bound: a session remembers that many calls.
const MOST: u32 = 1000;
/// The longest time that is remembered: a day.
const LONGEST: u64 = 86_400;

impl Settings {
    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let counts = [
            ("same_result_hint", self.same_result_hint, 0),
            ("same_result_refuse", self.same_result_refuse, 0),
            ("same_arguments_hint", self.same_arguments_hint, 0),
            ("same_arguments_refuse", self.same_arguments_refuse, 0),
            ("same_error_refuse", self.same_error_refuse, 0),
            ("cycle_turns", self.cycle_turns, 0),
            ("window", self.window, 1),
        ];
        let counts = counts.into_iter().filter_map(|(field, value, least)| {
            let fits = (least..=MOST).contains(&value);
            (!fits).then(|| (field, format!("must be {least} to {MOST}, not {value}")))
        });
        let forget = self.forget_seconds;
        let wrong = format!("must be 1 to {LONGEST} seconds, not {forget}");
        let times = (!(1..=LONGEST).contains(&forget)).then_some(("forget_seconds", wrong));
        counts.chain(times).collect()
    }

    /// The rules for a tool.
    #[must_use]
    pub fn of(&self, tool: &str) -> Rules {
        let other = match tool {
            "notebook_run_cell" => self.notebook_run_cell,
            "notebook_inspect" => self.notebook_inspect,
            _ => Overrides::default(),
        };
        Rules {
            mode: self.mode,
            window: self.window,
            forget: Duration::from_secs(self.forget_seconds),
            same_result_hint: other.same_result_hint.unwrap_or(self.same_result_hint),
            same_result_refuse: other.same_result_refuse.unwrap_or(self.same_result_refuse),
            same_arguments_hint: other.same_arguments_hint.unwrap_or(self.same_arguments_hint),
            same_arguments_refuse: other
                .same_arguments_refuse
                .unwrap_or(self.same_arguments_refuse),
            same_error_refuse: other.same_error_refuse.unwrap_or(self.same_error_refuse),
            cycle_turns: other.cycle_turns.unwrap_or(self.cycle_turns),
        }
    }
}

/// The bounds for the calls of one tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How repeated calls are judged.
    pub mode: Mode,
    /// Calls that the plain window looks at.
    pub window: u32,
    /// The time without a call after which earlier ones no longer count.
    pub forget: Duration,
    /// See [`Settings::same_result_hint`].
    pub same_result_hint: u32,
    /// See [`Settings::same_result_refuse`].
    pub same_result_refuse: u32,
    /// See [`Settings::same_arguments_hint`].
    pub same_arguments_hint: u32,
    /// See [`Settings::same_arguments_refuse`].
    pub same_arguments_refuse: u32,
    /// See [`Settings::same_error_refuse`].
    pub same_error_refuse: u32,
    /// See [`Settings::cycle_turns`].
    pub cycle_turns: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Settings::default().of("")
    }
}
