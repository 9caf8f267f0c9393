//! How patient the model client is.

use std::time::Duration;

use super::{cache, http::Limits, route::Timeouts};
use crate::{base::backoff::Backoff, guard::breaker};

/// Times and numbers of the model client. Those of a target in its routes come before these.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// For a connection.
    pub connect: Duration,
    /// Until an answer's headers, while another target is left.
    pub headers: Duration,
    /// From there to the first word, while another target is left; and a second more for each
    /// 10,000 tokens of the conversation, which have to be read first.
    pub first_token: Duration,
    /// Between two parts of an answer, while another target is left.
    pub idle: Duration,
    /// How much longer the last target may take in each of these; and how much longer others may take
    /// where silence is no sign of a fault: before the first word of a model that does not show its
    /// thoughts, and between parts while it writes the arguments of a call, which some providers
    /// send when a whole argument is written.
    pub last_factor: u32,
    /// For one attempt, all in all.
    pub attempt: Duration,
    /// For a question, all in all, attempts and pauses.
    pub total: Duration,
    /// Attempts of a question, at all targets together.
    pub attempts: u32,
    /// Pauses between attempts where the provider says nothing.
    pub backoff: Backoff,
    /// The longest pause that a provider may ask for; beyond it the next target is asked.
    pub patience: Duration,
    /// Questions in a row that a target must fail before it is passed over.
    pub faults: u32,
    /// For how long it is passed over at first; twice as long each time it fails again.
    pub passed_over: Duration,
    /// Where prompt-cache marks go, at providers that know them.
    pub prompt_cache: cache::Rules,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            headers: Duration::from_secs(10),
            first_token: Duration::from_secs(12),
            idle: Duration::from_secs(10),
            last_factor: 6,
            attempt: Duration::from_secs(600),
            total: Duration::from_secs(900),
            attempts: 12,
            backoff: Backoff { cap: Duration::from_secs(8), ..Backoff::default() },
            patience: Duration::from_secs(30),
            faults: 3,
            passed_over: Duration::from_secs(5),
            prompt_cache: cache::Rules::default(),
        }
    }
}

impl Settings {
    /// When a target is passed over, and when it streams no longer: up to half a minute, so that
    /// whoever is well again is soon asked again.
    pub(super) fn health(&self) -> breaker::Settings {
        let open_seconds = self.passed_over.as_secs_f64();
        breaker::Settings {
            consecutive_faults: self.faults,
            open_seconds,
            max_open_seconds: (open_seconds * 6.0).max(open_seconds),
            ..breaker::Settings::default()
        }
    }

    /// The limits of an attempt.
    pub(super) fn limits(&self, target: &Timeouts, about: About) -> Limits {
        let longer = self.last_factor.max(1);
        let factor = if about.spare { 1 } else { longer };
        let first = if about.hides_thoughts { longer } else { factor };
        let reading = Duration::from_secs(about.tokens / 10_000);
        Limits {
            headers: target.headers.unwrap_or(self.headers * first + reading),
            first_token: target.first_token.unwrap_or(self.first_token * first + reading),
            idle: target.idle.unwrap_or(self.idle * factor),
            calling: target.idle.unwrap_or(self.idle * longer),
            total: target.total.unwrap_or(self.attempt),
        }
    }
}

/// What the limits of an attempt depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    /// Of the conversation.
    pub(super) tokens: u64,
    /// Whether another target is left.
    pub(super) spare: bool,
    /// Whether the model thinks in silence.
    pub(super) hides_thoughts: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_target_and_long_conversations_have_more_time_and_the_routes_the_last_word() {
        let settings = Settings::default();
        let none = Timeouts::default();
        let seconds = Duration::from_secs;
        let about = |tokens, spare| About { tokens, spare, hides_thoughts: false };
        assert_eq!(settings.limits(&none, about(0, true)).first_token, seconds(12));
        assert_eq!(settings.limits(&none, about(200_000, true)).first_token, seconds(32));
        assert_eq!(settings.limits(&none, about(0, false)).first_token, seconds(72));
        let set = Timeouts { first_token: Some(seconds(1)), ..none };
        assert_eq!(settings.limits(&set, about(200_000, false)).first_token, seconds(1));
    }

    #[test]
    fn silence_of_a_model_that_thinks_or_writes_arguments_is_no_fault() {
        let settings = Settings::default();
        let seconds = Duration::from_secs;
        let thinks = About { tokens: 0, spare: true, hides_thoughts: true };
        let limits = settings.limits(&Timeouts::default(), thinks);
        assert_eq!(
            (limits.first_token, limits.idle, limits.calling),
            (seconds(72), seconds(10), seconds(60))
        );
        let set = Timeouts { idle: Some(seconds(1)), ..Timeouts::default() };
        assert_eq!(settings.limits(&set, thinks).calling, seconds(1));
    }
}
