//! JSON that an untrusted kernel wrote, read member by member and never as a whole tree.
//!
//! A tree of small values is more than ten times its text in memory; a text borrowed from the
//! message is nothing. Lists and maps are read up to a bound.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Most members of a map, and most items of a short list.
const FEW: usize = 32;
/// Longest name of a member, in bytes.
const LONGEST_NAME: usize = 128;
/// Most lines of a list of lines.
const MANY: usize = 100_000;

/// The first members of an object, in their order.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a RawValue)>);

/// The first items of a list.
#[derive(Debug, Default)]
pub(super) struct Few<'a>(pub(super) Vec<&'a RawValue>);

/// A list of texts; other values as their JSON.
#[derive(Debug, Default)]
pub(super) struct Lines(pub(super) Vec<String>);

/// Declares an object of which only these members are read, each as the JSON that it came as: what
/// is in one member does not make the others unreadable.
macro_rules! object {
    ($name:ident { $($member:ident),+ $(,)? }) => {
        #[derive(serde::Deserialize, Default)]
        #[serde(default)]
        struct $name<'a> {
            $(#[serde(borrow)] $member: Option<&'a serde_json::value::RawValue>,)+
        }
    };
}
pub(super) use object;

/// A value, if it is there and fits.
pub(super) fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// A text as text, a list of lines joined, anything else as its JSON.
pub(super) fn text(raw: Option<&RawValue>) -> String {
    raw.map(|raw| text_or_json(raw).0).unwrap_or_default()
}

/// The same, and whether it is JSON.
pub(super) fn text_or_json(raw: &RawValue) -> (String, bool) {
    match raw.get().as_bytes().first() {
        Some(b'"') => (string(raw.get()), false),
        Some(b'[') => match serde_json::from_str::<Texts>(raw.get()) {
            Ok(Texts(text)) => (text, false),
            Err(_) => (raw.get().to_owned(), true),
        },
        Some(b'n') => (String::new(), false),
        _ => (raw.get().to_owned(), true),
    }
}

/// A JSON text; escapes of half a surrogate pair, which some kernels write, become `\u{fffd}`.
fn string(json: &str) -> String {
    serde_json::from_str(json)
        .or_else(|_| serde_json::from_str(&without_lone_surrogates(json)))
        .unwrap_or_default()
}

/// Replaces escapes of half a surrogate pair.
fn without_lone_surrogates(text: &str) -> String {
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        whole.push_str(before);
        let paired =
            || escape.get(6..).and_then(unit).is_some_and(|low| (0xdc00..0xe000).contains(&low));
        let length = match unit(escape) {
            Some(0xd800..0xdc00) if paired() => 12,
            Some(0xd800..0xe000) => {
                whole.push('\u{fffd}');
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            // The escaped character goes along: a `\\\\u` is no escape of a unit.
            _ => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (escape, after) = escape.split_at(length.min(escape.len()));
        whole.push_str(escape);
        rest = after;
    }
    whole + rest
}

/// A list of which every item is a text, joined.
struct Texts(String);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Joins;
        impl<'de> Visitor<'de> for Joins {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
                let mut whole = String::new();
                while let Some(text) = items.next_element::<String>()? {
                    whole.push_str(&text);
                }
                Ok(Texts(whole))
            }
        }
        deserializer.deserialize_seq(Joins)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Takes;
        impl<'de> Visitor<'de> for Takes {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if members.len() < FEW && name.len() <= LONGEST_NAME {
                        members.push((name, map.next_value()?));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Takes).map(Members)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Few<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items { most: FEW }).map(Few)
    }
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = deserializer.deserialize_seq(Items { most: MANY })?;
        Ok(Self(raw.into_iter().map(|raw| text(Some(raw))).collect()))
    }
}

/// The first items of a list.
struct Items {
    most: usize,
}

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de RawValue>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.most {
            match items.next_element()? {
                Some(item) => kept.push(item),
                None => return Ok(kept),
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lists_of_lines_and_json() {
        let check = |json: &str, expected: (&str, bool)| {
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            let (text, is_json) = text_or_json(&raw);
            assert_eq!((text.as_str(), is_json), expected, "{json}");
        };
        check(r#""a\u00e4""#, ("aä", false));
        check(r#"["a","b"]"#, ("ab", false));
        check(r#"["a",1]"#, (r#"["a",1]"#, true));
        check("null", ("", false));
        check(r#"{"a":1}"#, (r#"{"a":1}"#, true));
        check(r#""half \ud83d pair""#, ("half \u{fffd} pair", false));
        check(r#""pair \ud83d\ude00 and \\ud83d""#, ("pair 😀 and \\ud83d", false));
    }

    #[test]
    fn maps_and_lists_are_read_up_to_a_bound() {
        let many: Vec<String> = (0..100).map(|n| format!("\"{n}\":{n}")).collect();
        let raw = RawValue::from_string(format!("{{{}}}", many.join(","))).unwrap();
        assert_eq!(read::<Members<'_>>(Some(&raw)).unwrap().0.len(), FEW);
        let raw = RawValue::from_string(format!("[{}1]", "1,".repeat(100))).unwrap();
        assert_eq!(read::<Few<'_>>(Some(&raw)).unwrap().0.len(), FEW);
    }
}
