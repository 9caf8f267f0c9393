//! How long a provider asks to wait, in every form that is in use.

use std::time::{Duration, SystemTime};

/// The longest time that is taken for one; beyond it is a date far off or nonsense.
const MOST_SECONDS: f64 = 86_400.0 * 365.0;

/// What the headers say, milliseconds first: they are the exacter ones.
pub(super) fn read<'a>(
    header: impl Fn(&str) -> Option<&'a str>,
    now: SystemTime,
) -> Option<Duration> {
    let millis = ["retry-after-ms", "x-ms-retry-after-ms"].into_iter();
    let exact = millis.filter_map(&header).find_map(|text| seconds(text, 1000.0));
    exact.or_else(|| {
        let text = header("retry-after")?;
        seconds(text, 1.0).or_else(|| until(text, now))
    })
}

fn seconds(text: &str, parts: f64) -> Option<Duration> {
    let number = text.trim().parse::<f64>().ok()? / parts;
    let fits = (0.0..=MOST_SECONDS).contains(&number);
    fits.then(|| Duration::try_from_secs_f64(number).ok()).flatten()
}

/// A date that is past means now.
fn until(text: &str, now: SystemTime) -> Option<Duration> {
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        let now = httpdate::parse_http_date("Wed, 25 Nov 2026 10:00:00 GMT").unwrap();
        let check = |headers: &[(&str, &'static str)], millis: Option<u64>| {
            let header = |name: &str| headers.iter().find(|(it, _)| *it == name).map(|(_, it)| *it);
            assert_eq!(read(header, now), millis.map(Duration::from_millis), "{headers:?}");
        };
        check(&[], None);
        check(&[("retry-after", "7")], Some(7000));
        check(&[("retry-after", " 1.5 ")], Some(1500));
        check(&[("retry-after", "0")], Some(0));
        check(&[("retry-after-ms", "250"), ("retry-after", "7")], Some(250));
        check(&[("x-ms-retry-after-ms", "1500")], Some(1500));
        check(&[("retry-after", "Wed, 25 Nov 2026 10:01:30 GMT")], Some(90_000));
        check(&[("retry-after", "Wednesday, 25-Nov-26 10:00:01 GMT")], Some(1000));
        check(&[("retry-after", "Wed, 25 Nov 2026 09:00:00 GMT")], Some(0));
        for nonsense in ["", "soon", "-1", "NaN", "inf", "1e300"] {
            check(&[("retry-after", nonsense)], None);
        }
        check(&[("retry-after-ms", "x"), ("retry-after", "2")], Some(2000));
    }
}
