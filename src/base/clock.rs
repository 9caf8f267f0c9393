//! Times as text, and waiting for them.

use std::time::SystemTime;

use tokio::time::Instant;

/// Resolves at that time; never, without one.
pub async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A time as ISO 8601 (RFC 3339) in UTC with microseconds, as Jupyter writes it.
#[must_use]
pub fn iso(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Days since 1970-01-01 as year, month, day.
///
/// Source: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_civil() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (59 * 86_400, "1970-03-01T00:00:00"),
            (11_016 * 86_400, "2000-02-29T00:00:00"),
            (20_780 * 86_400 + 3661, "2026-11-23T01:01:01"),
        ] {
            let text = iso(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(text, format!("{expected}.000000Z"));
        }
    }
}
