//! One form for values that mean the same: canonical JSON, and its digest.
//!
//! The form follows RFC 8785 (members sorted by UTF-16 code units, no white space, whole numbers
//! without a fraction). Members that differ from call to call though nothing else does (times, ids of
//! requests) can be left out, at every depth and inside lists; what is marked as verbatim is kept as it
//! is, for a user's own data may use the same names.

use std::{collections::BTreeSet, fmt};

use serde_json::{Map, Number, Value};

/// Members that say when or under which number something was done, not what.
pub const VOLATILE: [&str; 6] =
    ["timestamp", "request_id", "trace_id", "created_at", "updated_at", "execution_time_ms"];

/// The SHA-256 of something in canonical form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of_parts([bytes])
    }

    /// The plain SHA-256 of bytes, as other programs compute it.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        let mut digest = [0; 32];
        digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        Self(digest)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest of several parts, told apart: `["a", "b"]` is not `["ab"]`.
    #[must_use]
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }

    /// All of it as hexadecimal digits, for file names.
    #[must_use]
    pub fn hex(&self) -> String {
        super::ids::hex(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What does not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// Members that are left out wherever they stand, but not inside verbatim ones.
    pub volatile: BTreeSet<String>,
    /// Members of the outermost object whose values are kept whole.
    pub verbatim: BTreeSet<String>,
}

impl Form {
    /// Leaves out [`VOLATILE`] and these.
    #[must_use]
    pub fn without(more: &[String]) -> Self {
        let volatile = VOLATILE.iter().map(|&name| name.to_owned()).chain(more.iter().cloned());
        Self { volatile: volatile.collect(), verbatim: BTreeSet::new() }
    }

    /// Keeps the value of that member of the outermost object whole.
    #[must_use]
    pub fn keeping(mut self, member: &str) -> Self {
        self.verbatim.insert(member.to_owned());
        self
    }

    /// A value in canonical form.
    #[must_use]
    pub fn canonical(&self, value: &Value) -> String {
        let mut text = String::new();
        match value {
            Value::Object(members) => self.object(members, &self.verbatim, &mut text),
            value => self.write(value, &mut text),
        }
        text
    }

    /// The digest of a value's canonical form.
    #[must_use]
    pub fn digest(&self, value: &Value) -> Digest {
        Digest::of_bytes(self.canonical(value).as_bytes())
    }

    fn write(&self, value: &Value, text: &mut String) {
        match value {
            Value::Object(members) => self.object(members, &BTreeSet::new(), text),
            Value::Array(items) => {
                text.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        text.push(',');
                    }
                    self.write(item, text);
                }
                text.push(']');
            }
            Value::Number(number) => text.push_str(&written(number)),
            // Texts, truths and null have one way to be written.
            value => text.push_str(&value.to_string()),
        }
    }

    fn object(&self, members: &Map<String, Value>, verbatim: &BTreeSet<String>, text: &mut String) {
        let kept = members.iter().filter(|(name, _)| !self.volatile.contains(*name));
        let mut kept: Vec<_> = kept.collect();
        kept.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
        text.push('{');
        for (at, (name, value)) in kept.into_iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            text.push_str(&Value::from(name.as_str()).to_string());
            text.push(':');
            if verbatim.contains(name) {
                Self::default().write(value, text);
            } else {
                self.write(value, text);
            }
        }
        text.push('}');
    }
}

/// Up to here every whole number is a number of its own as a double too.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// `1.0` is `1`, as JSON knows one kind of numbers.
fn written(number: &Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => {
            // A negative zero is a zero.
            format!("{:.0}", float + 0.0)
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn plain() -> Form {
        Form::default()
    }

    #[test]
    fn the_form_is_that_of_rfc_8785() {
        let check = |value: Value, expected: &str| {
            assert_eq!(plain().canonical(&value), expected);
        };
        check(json!({"b": [1, 2.0, -0.0, 1.5], "a": null}), r#"{"a":null,"b":[1,2,0,1.5]}"#);
        check(json!("é\u{8}\n\"/"), r#""é\b\n\"/""#);
        // U+FB33 comes before U+1F600 in code points, after it in UTF-16 code units.
        check(json!({"\u{fb33}": 1, "\u{1f600}": 2}), "{\"\u{1f600}\":2,\"\u{fb33}\":1}");
        check(json!(18_446_744_073_709_551_615u64), "18446744073709551615");
        check(json!([true, {}, []]), "[true,{},[]]");
    }

    #[test]
    fn volatile_members_go_at_every_depth_but_not_inside_what_is_verbatim() {
        let form = Form::without(&["seen".to_owned()]).keeping("arguments");
        let value = json!({
            "request_id": 7, "tool": "t", "seen": 1,
            "meta": [{"timestamp": 1, "kept": [{"trace_id": 2, "seen": 3}]}],
            "arguments": {"timestamp": 5, "arguments": {"seen": 6}},
        });
        let expected = r#"{"arguments":{"arguments":{"seen":6},"timestamp":5},"meta":[{"kept":[{}]}],"tool":"t"}"#;
        assert_eq!(form.canonical(&value), expected);
    }

    #[test]
    fn parts_are_told_apart() {
        let of = |parts: &[&str]| Digest::of_parts(parts.iter().map(|part| part.as_bytes()));
        assert_ne!(of(&["a", "b"]), of(&["ab"]));
        assert_ne!(of(&["", "ab"]), of(&["ab", ""]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        let name = prop_oneof![Just("timestamp".to_owned()), Just("a".to_owned()), ".{0,3}"];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::vec((name.clone(), inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// The same value with every object's members written the other way round.
    fn turned(value: &Value) -> String {
        match value {
            Value::Object(members) => {
                let member = |(name, value)| format!("{}:{}", json!(name), turned(value));
                let members: Vec<_> = members.iter().map(member).rev().collect();
                format!("{{ {} }}", members.join(" , "))
            }
            Value::Array(items) => {
                format!("[ {} ]", items.iter().map(turned).collect::<Vec<_>>().join(" , "))
            }
            value => value.to_string(),
        }
    }

    proptest! {
        #[test]
        fn order_and_white_space_do_not_count(value in any_json()) {
            let other: Value = serde_json::from_str(&turned(&value)).unwrap();
            let form = Form::without(&[]);
            prop_assert_eq!(form.canonical(&value), form.canonical(&other));
        }

        #[test]
        fn the_form_of_the_form_is_the_form(value in any_json()) {
            let form = Form::without(&[]);
            let once = form.canonical(&value);
            let again: Value = serde_json::from_str(&once).unwrap();
            prop_assert_eq!(form.canonical(&again), once);
        }

        #[test]
        fn different_code_gives_different_digests(one in ".{0,20}", other in ".{0,20}") {
            let digest = |code: &str| plain().digest(&json!({ "code": code }));
            prop_assert_eq!(one == other, digest(&one) == digest(&other));
        }
    }
}
