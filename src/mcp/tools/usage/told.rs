//! What `usage` tells, as JSON and as text.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::guard::{
    Guards,
    breaker::{Shown, heart::Word},
    dedup::Streak,
    limiter::Standing,
    usage,
};

/// Use of a span of time, and what is left of its limit.
#[derive(Debug, Serialize)]
struct Used {
    calls: u64,
    tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
}

/// Counts of calls.
#[derive(Debug, Serialize)]
struct Counts {
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<&'static str>,
    calls: u64,
    tokens: u64,
    /// Of husk or the kernel.
    faults: u64,
    denied: u64,
    /// Sent twice, run once.
    joined: u64,
}

/// A call that is repeated.
#[derive(Debug, Serialize)]
struct Repeated {
    session: String,
    tool: &'static str,
    times: u32,
    /// To the last, with the same result.
    same_result: u32,
}

/// A tool that fails.
#[derive(Debug, Serialize)]
struct Broken {
    session: String,
    tool: &'static str,
    /// closed, open or half_open.
    state: &'static str,
    /// In a row.
    faults: usize,
    /// Seconds until it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    probe_in_s: Option<f64>,
    cause: String,
}

/// Structured answer of `usage`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    // calls, tokens, limit (of calls), left.
    #[schemars(with = "Map<String, Value>")]
    minute: Used,
    // calls, tokens, limit (of tokens), left.
    #[schemars(with = "Map<String, Value>")]
    hour: Used,
    // By whom `minute.left` and `hour` are counted: this_server or all_servers; only where servers share.
    #[serde(skip_serializing_if = "Option::is_none")]
    counted_by: Option<&'static str>,
    // calls, tokens, faults (of husk or the kernel), denied, joined (sent twice, run once).
    #[schemars(with = "Map<String, Value>")]
    total: Counts,
    // As `total`, with `tool`.
    #[schemars(with = "Vec<Map<String, Value>>")]
    by_tool: Vec<Counts>,
    // Calls that are repeated: session, tool, times, same_result (times to the last).
    #[schemars(with = "Vec<Map<String, Value>>")]
    repeated: Vec<Repeated>,
    // Tools that fail: session, tool, state (closed, open, half_open), faults in a row, probe_in_s,
    // cause.
    #[schemars(with = "Vec<Map<String, Value>>")]
    breakers: Vec<Broken>,
}

impl Output {
    /// What a user is told at this moment; how the user stands with all servers, where that is known.
    pub(super) fn of(
        guards: &Guards,
        principal: &str,
        for_all: Option<Standing>,
        now: Instant,
    ) -> Self {
        let summary = guards.meter.summary(principal, now);
        let limits = guards.accounts.settings();
        let limit = |limit: u64| (limit > 0).then_some(limit);
        let counted_by = guards.shared.as_ref().map(|_| match for_all {
            Some(_) => "all_servers",
            None => "this_server",
        });
        let standing = for_all.unwrap_or_else(|| guards.accounts.standing(principal, now));
        let by_tool = summary.by_tool.iter();
        let mut total = usage::Counts::default();
        summary.by_tool.values().for_each(|counts| total.add(*counts));
        Self {
            minute: Used {
                calls: summary.minute_calls,
                tokens: summary.minute_tokens,
                limit: limit(limits.requests_per_minute.into()),
                left: standing.requests_left.map(u64::from),
            },
            hour: Used {
                calls: standing.hour_calls,
                tokens: standing.hour_tokens,
                limit: limit(limits.tokens_per_hour),
                left: standing.tokens_left,
            },
            counted_by,
            total: counts(None, total),
            by_tool: by_tool.map(|(tool, sum)| counts(Some(tool), *sum)).collect(),
            repeated: guards.trails.streaks(principal, now).into_iter().map(repeated).collect(),
            breakers: guards.breakers.shown(principal, now).into_iter().map(broken).collect(),
        }
    }

    /// The same for a model.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        line(&mut text, format_args!("last minute: {}", self.minute.text("calls", "calls")));
        // Without those that cost nothing, so that it can be fewer than in its last minute.
        line(
            &mut text,
            format_args!("last hour: {}", self.hour.text("calls that count", "tokens")),
        );
        match self.counted_by {
            Some("this_server") => line(
                &mut text,
                format_args!(
                    "(left, and the hour, by this server's own count: nobody counts for all)"
                ),
            ),
            Some(_) => line(&mut text, format_args!("(left, and the hour, over all servers)")),
            None => {}
        }
        line(&mut text, format_args!("total: {}", self.total.text()));
        for counts in &self.by_tool {
            line(
                &mut text,
                format_args!("- {}: {}", counts.tool.unwrap_or_default(), counts.text()),
            );
        }
        for it in &self.repeated {
            let Repeated { session, tool, times, same_result } = it;
            line(
                &mut text,
                format_args!(
                    "repeated in session {session}: {tool}, {times} times, {same_result} with the \
                     same result"
                ),
            );
        }
        for it in &self.breakers {
            let Broken { session, tool, state, faults, cause, .. } = it;
            let when = it.probe_in_s.map(|wait| format!(", tried again in {wait:.0} s"));
            let when = when.unwrap_or_default();
            line(
                &mut text,
                format_args!(
                    "breaker of {tool} in session {session}: {state}{when}, {faults} faults in a \
                     row; the last: {cause}"
                ),
            );
        }
        text.truncate(text.trim_end().len());
        text
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

impl Used {
    fn text(&self, calls: &str, limited: &str) -> String {
        let limit = match (self.limit, self.left) {
            (Some(limit), Some(left)) => format!(" (limit {limit} {limited}, {left} left)"),
            _ => String::new(),
        };
        format!("{} {calls}, {} tokens{limit}", self.calls, self.tokens)
    }
}

impl Counts {
    fn text(&self) -> String {
        let Self { calls, tokens, faults, denied, joined, .. } = self;
        format!("{calls} calls, {tokens} tokens, {faults} faults, {denied} denied, {joined} joined")
    }
}

fn counts(tool: Option<&'static str>, counts: usage::Counts) -> Counts {
    let usage::Counts { calls, tokens, faults, denied, joined } = counts;
    Counts { tool, calls, tokens, faults, denied, joined }
}

fn repeated(streak: Streak) -> Repeated {
    let Streak { session, tool, times, same_result, .. } = streak;
    Repeated { session: session.to_string(), tool, times, same_result }
}

fn broken(shown: Shown) -> Broken {
    let state = match shown.state {
        Word::Closed => "closed",
        Word::Open => "open",
        Word::HalfOpen => "half_open",
    };
    Broken {
        session: shown.session.to_string(),
        tool: shown.tool,
        state,
        faults: shown.faults,
        probe_in_s: shown.probe_in.map(|wait| wait.as_secs_f64()),
        cause: shown.cause,
    }
}
