//! The trace that a call belongs to, as the W3C has it: `traceparent`, `tracestate` and `baggage`.
//!
//! Strangers write them, and they go on into the environment of kernels: what is not exactly as the
//! standards have it, or longer than bounds of ours, is as if it had not been sent. Knows no source
//! and no destination.
//!
//! Source: <https://www.w3.org/TR/trace-context/>, <https://www.w3.org/TR/baggage/>.

use serde::Serialize;

/// Their names: of headers, and of members of `_meta`.
pub const NAMES: [&str; 3] = ["traceparent", "tracestate", "baggage"];
/// Their names as variables of an environment.
pub const VARIABLES: [&str; 3] = ["TRACEPARENT", "TRACESTATE", "BAGGAGE"];

/// Most members and most bytes of a `tracestate`.
const STATE: (usize, usize) = (32, 2048);
/// Most members and most bytes of a `baggage`.
const BAGGAGE: (usize, usize) = (64, 8192);

/// See the module's documentation. It holds at least one of the three.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceContext {
    /// `00-TRACE-SPAN-FLAGS`, in hexadecimal digits.
    #[serde(rename = "traceparent", skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(rename = "tracestate", skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baggage: Option<String>,
}

impl TraceContext {
    /// What these say, in the order of [`NAMES`]; nothing where nothing of it holds.
    #[must_use]
    pub fn read([parent, state, baggage]: [Option<&str>; 3]) -> Option<Self> {
        let parent = parent.and_then(parent_of);
        // It says something of a span only.
        let state = state.filter(|state| parent.is_some() && is_state(state)).map(str::to_owned);
        let baggage = baggage.filter(|baggage| is_baggage(baggage)).map(str::to_owned);
        (parent.is_some() || baggage.is_some()).then_some(Self { parent, state, baggage })
    }

    /// The id of the trace: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        self.parent.as_deref()?.get(3..35)
    }

    /// The id of the caller's span: 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> Option<&str> {
        self.parent.as_deref()?.get(36..52)
    }

    /// The flags of the trace; 1 is "sampled".
    #[must_use]
    pub fn flags(&self) -> u8 {
        let flags = self.parent.as_deref().and_then(|parent| parent.get(53..));
        flags.and_then(|flags| u8::from_str_radix(flags, 16).ok()).unwrap_or_default()
    }

    /// What vendors have added to the trace.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The same trace below another span; `parent` is its `traceparent`. Without one, as it is.
    #[must_use]
    pub fn below(self, parent: &str) -> Self {
        let parent = parent_of(parent).or(self.parent);
        Self { parent, ..self }
    }

    /// Those of the three that there are, in the order of [`NAMES`].
    #[must_use]
    pub fn values(&self) -> [Option<&str>; 3] {
        [self.parent.as_deref(), self.state.as_deref(), self.baggage.as_deref()]
    }

    /// As the variables of an environment.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let pairs = VARIABLES.into_iter().zip(self.values());
        pairs.filter_map(|(name, value)| Some((name, value?)))
    }
}

/// A `traceparent`, as the first version of the standard writes it.
fn parent_of(text: &str) -> Option<String> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let fits = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    // The first version has no more parts; of later ones nobody knows.
    let known = version != "ff" && (version != "00" || parts.next().is_none());
    let named = |part: &str| part.bytes().any(|b| b != b'0');
    (fits && known && named(trace) && named(span)).then(|| format!("00-{trace}-{span}-{flags}"))
}

/// Without the white space that the standards allow around a part, which no line break is.
fn bare(part: &str) -> &str {
    part.trim_matches([' ', '\t'])
}

/// Whether a list has the shape of one, each member has its own, and both bounds hold.
fn is_list(text: &str, (members, bytes): (usize, usize), fits: impl Fn(&str) -> bool) -> bool {
    text.len() <= bytes
        && text.split(',').count() <= members
        && text.split(',').all(|member| fits(bare(member)))
}

fn is_state(text: &str) -> bool {
    is_list(text, STATE, |member| {
        let Some((key, value)) = member.split_once('=') else { return false };
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let in_key = |b: u8| letter(b) || b"_-*/@".contains(&b);
        let in_value = |b: u8| (b' '..=b'~').contains(&b) && !b",=".contains(&b);
        (1..=256).contains(&key.len())
            && (1..=256).contains(&value.len())
            && key.bytes().next().is_some_and(letter)
            && key.bytes().all(in_key)
            && value.bytes().all(in_value)
    })
}

fn is_baggage(text: &str) -> bool {
    let token = |text: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        !text.is_empty() && text.bytes().all(fits)
    };
    let value = |text: &str| text.bytes().all(|b| b.is_ascii_graphic() && !b"\",;\\".contains(&b));
    let pair = |text: &str| {
        text.split_once('=').is_some_and(|(key, held)| token(bare(key)) && value(bare(held)))
    };
    is_list(text, BAGGAGE, |member| {
        let mut parts = member.split(';').map(bare);
        parts.next().is_some_and(pair) && parts.all(|property| token(property) || pair(property))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-01";

    fn parent(text: &str) -> Option<TraceContext> {
        TraceContext::read([Some(text), None, None])
    }

    #[test]
    fn only_what_the_w3c_has_is_a_trace() {
        let read = parent(PARENT).unwrap();
        assert_eq!((read.trace_id(), read.span_id()), (Some(TRACE), Some("00f067aa0b1902b7")));
        assert_eq!(read.flags(), 1);
        // A later version is told as the one that is known here.
        let later = parent(&format!("01-{}-more", &PARENT[3..])).unwrap();
        assert_eq!(later.values()[0], Some(PARENT));
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "00",
            &format!("{PARENT}-more"),
            &format!("ff{}", &PARENT[2..]),
            &format!("00-{zeros}-00f067aa0b1902b7-01"),
            &format!("00-{TRACE}-0000000000000000-01"),
            &PARENT.to_uppercase(),
            &PARENT.replace('-', "_"),
            &PARENT[1..],
            &format!("{PARENT}\n"),
        ] {
            assert_eq!(parent(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_goes_with_a_trace_is_taken_or_left_as_a_whole() {
        let state = |text: &str| {
            let read = TraceContext::read([Some(PARENT), Some(text), None]).unwrap();
            read.state().map(str::to_owned)
        };
        for good in ["rojo=00f067,congo=abc123", "a@b=c d", "1=x, 2=y"] {
            assert_eq!(state(good).as_deref(), Some(good));
        }
        let many = vec!["a=b"; 33].join(",");
        for bad in ["", "a", "a=", "A=b", "a=b\nc=d", "a=b=c", "a=\u{1}", "ä=b", &many] {
            assert_eq!(state(bad), None, "{bad:?}");
        }
        assert_eq!(TraceContext::read([None, Some("a=b"), None]), None);
        let baggage = |text: &str| {
            TraceContext::read([None, None, Some(text)]).map(|it| it.values()[2] == Some(text))
        };
        for good in ["userId=alice,serverNode=DF%2028", "a = b ; secret ; p=q", "a=", "a=b=c"] {
            assert_eq!(baggage(good), Some(true), "{good}");
        }
        let long = format!("a={}", "x".repeat(8192));
        for bad in [
            "",
            "a",
            "a=b,",
            "=b",
            "a=\n",
            "a=b;\n",
            "a=b\0",
            "a=b\nPATH=x",
            "a=\"b\"",
            "a=ü",
            &long,
        ] {
            assert_eq!(baggage(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_span_of_ours_takes_the_callers_place() {
        let both = TraceContext::read([Some(PARENT), Some("a=b"), Some("c=d")]).unwrap();
        let ours = format!("00-{TRACE}-1111111111111111-01");
        let below = both.clone().below(&ours);
        assert_eq!(below.values(), [Some(ours.as_str()), Some("a=b"), Some("c=d")]);
        assert_eq!(both.clone().below("nonsense"), both);
        let told: Vec<_> = below.variables().map(|(name, _)| name).collect();
        assert_eq!(told, VARIABLES);
    }

    proptest! {
        #[test]
        fn nothing_that_cannot_be_in_an_environment_comes_through(
            texts in prop::array::uniform3(prop::option::of("\\PC{0,80}|[ -~\\n\\x00=,;-]{0,80}"))
        ) {
            let read = TraceContext::read(texts.each_ref().map(|text| text.as_deref()));
            for value in read.iter().flat_map(TraceContext::values).flatten() {
                prop_assert!(value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)));
            }
        }
    }
}
