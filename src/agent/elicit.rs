//! What tool servers ask of the user while a call waits (MCP's elicitation, in the form of a form).
//!
//! [`Question`] is what is asked, [`Field::read`] makes a value of a typed line; who types it is
//! somebody else's business ([`Elicit`]). Without anybody to ask, servers are told so by what the
//! client declares, and ask nothing.

use std::{future::Future, pin::Pin};

use rmcp::model::ElicitationSchema;
use serde_json::{Map, Number, Value};

/// What a server asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The server.
    pub server: String,
    /// Its words.
    pub message: String,
    /// What it wants to know.
    pub fields: Vec<Field>,
}

/// One thing that it wants to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name in the answer.
    pub name: String,
    /// What it is called before the user.
    pub title: String,
    /// What it is.
    pub kind: Kind,
    /// Whether it must be answered.
    pub required: bool,
    /// What an empty line means.
    pub default: Option<Value>,
}

/// What an answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A line of text.
    Text,
    /// A number.
    Number,
    /// A whole number.
    Integer,
    /// Yes or no.
    Truth,
    /// One of these values.
    One(Vec<String>),
    /// Some of these values, with commas between them.
    Some(Vec<String>),
}

/// The user's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The values of the fields.
    Accept(Map<String, Value>),
    /// The user does not want to say.
    Decline,
    /// The user wants none of it, or nobody was there.
    Cancel,
}

/// An answer on its way.
pub type Replying<'a> = Pin<Box<dyn Future<Output = Reply> + Send + 'a>>;

/// Somebody who can be asked.
pub trait Elicit: Send + Sync {
    /// Asks. Servers may ask several things at once: who has one mouth takes them in turn.
    fn ask<'a>(&'a self, question: &'a Question) -> Replying<'a>;
}

impl Question {
    pub(super) fn new(server: &str, message: String, schema: &ElicitationSchema) -> Self {
        let required = |name: &String| schema.required.iter().flatten().any(|it| it == name);
        let named = schema.property_order.as_deref();
        let names = named.map_or_else(|| schema.properties.keys().cloned().collect(), Vec::from);
        let fields = names.iter().filter_map(|name| {
            // As JSON: the many types of it differ in nothing that matters here.
            let told = serde_json::to_value(schema.properties.get(name)?).unwrap_or_default();
            Some(Field::new(name, &told, required(name)))
        });
        Self { server: server.to_owned(), message, fields: fields.collect() }
    }
}

impl Field {
    fn new(name: &str, told: &Value, required: bool) -> Self {
        let title = told["title"].as_str().or(told["description"].as_str()).unwrap_or(name);
        let kind = match told["type"].as_str() {
            Some("number") => Kind::Number,
            Some("integer") => Kind::Integer,
            Some("boolean") => Kind::Truth,
            Some("array") => Kind::Some(values(&told["items"])),
            _ if told["enum"].is_array() || told["oneOf"].is_array() => Kind::One(values(told)),
            _ => Kind::Text,
        };
        let default = told.get("default").filter(|value| !value.is_null()).cloned();
        Self { name: name.to_owned(), title: title.to_owned(), kind, required, default }
    }

    /// What the user is told of the answers that there are.
    #[must_use]
    pub fn hint(&self) -> String {
        let mut hints = match &self.kind {
            Kind::Text => Vec::new(),
            Kind::Number => vec!["a number".to_owned()],
            Kind::Integer => vec!["a whole number".to_owned()],
            Kind::Truth => vec!["yes or no".to_owned()],
            Kind::One(values) => vec![values.join(" | ")],
            Kind::Some(values) => vec![format!("some of {}", values.join(", "))],
        };
        match &self.default {
            Some(Value::String(default)) => hints.push(format!("empty: {default}")),
            Some(default) => hints.push(format!("empty: {default}")),
            None if !self.required => hints.push("may be empty".to_owned()),
            None => {}
        }
        hints.join("; ")
    }

    /// The value that a typed line means; nothing where an empty one leaves the field out.
    ///
    /// # Errors
    /// What it must be instead.
    pub fn read(&self, line: &str) -> Result<Option<Value>, String> {
        let word = line.trim();
        if word.is_empty() {
            match &self.default {
                Some(default) => return Ok(Some(default.clone())),
                None if !self.required => return Ok(None),
                // An empty line of text is one.
                None if self.kind == Kind::Text => {}
                None => return Err(format!("it must be answered: {}", self.hint())),
            }
        }
        let value = match &self.kind {
            Kind::Text => Some(Value::from(line)),
            Kind::Number => word.parse().ok().and_then(Number::from_f64).map(Value::Number),
            Kind::Integer => word.parse::<i64>().ok().map(Value::from),
            Kind::Truth => truth(word).map(Value::Bool),
            Kind::One(values) => values.iter().find(|it| *it == word).cloned().map(Value::from),
            Kind::Some(values) => chosen(word, values),
        };
        value.map(Some).ok_or_else(|| format!("it must be {}", self.hint()))
    }
}

/// The values of a choice, with or without titles.
fn values(told: &Value) -> Vec<String> {
    let titled = ["oneOf", "anyOf"].iter().filter_map(|name| told[*name].as_array()).flatten();
    let titled = titled.filter_map(|one| one["const"].as_str());
    let bare = told["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    bare.chain(titled).map(str::to_owned).collect()
}

fn truth(word: &str) -> Option<bool> {
    match word.to_lowercase().as_str() {
        "y" | "yes" | "true" => Some(true),
        "n" | "no" | "false" => Some(false),
        _ => None,
    }
}

fn chosen(word: &str, values: &[String]) -> Option<Value> {
    let words = word.split(',').map(str::trim).filter(|word| !word.is_empty());
    let known = |word: &str| values.iter().find(|it| *it == word).cloned().map(Value::from);
    words.map(known).collect::<Option<Vec<_>>>().map(Value::Array)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(properties: Value, required: &[&str]) -> Question {
        let schema = json!({"type": "object", "properties": properties, "required": required});
        let schema = serde_json::from_value(schema).unwrap();
        Question::new("server", "Tell me".to_owned(), &schema)
    }

    #[test]
    fn lines_become_what_the_form_wants() {
        let told = json!({
            "text": {"type": "string", "title": "A name"},
            "number": {"type": "number"},
            "integer": {"type": "integer"},
            "truth": {"type": "boolean"},
            "one": {"type": "string", "enum": ["red", "blue"]},
            "titled": {"type": "string", "oneOf": [{"const": "r", "title": "Red"}]},
            "some": {"type": "array", "items": {"type": "string", "enum": ["a", "b", "c"]}},
        });
        let names = ["text", "number", "integer", "truth", "one", "titled", "some"];
        let question = question(told, &names);
        let field = |name: &str| question.fields.iter().find(|it| it.name == name).unwrap();
        assert_eq!(field("text").title, "A name");
        for (name, line, value) in [
            ("text", " as it is ", json!(" as it is ")),
            ("text", "", json!("")),
            ("number", "1.5", json!(1.5)),
            ("integer", " 7 ", json!(7)),
            ("truth", "Yes", json!(true)),
            ("one", "blue", json!("blue")),
            ("titled", "r", json!("r")),
            ("some", "a, c", json!(["a", "c"])),
        ] {
            assert_eq!(field(name).read(line), Ok(Some(value)), "{name} {line:?}");
        }
        for (name, line) in [
            ("number", "many"),
            ("number", "inf"),
            ("integer", "1.5"),
            ("truth", "perhaps"),
            ("one", "green"),
            ("some", "a, d"),
            ("one", ""),
        ] {
            assert!(field(name).read(line).is_err(), "{name} {line:?}");
        }
        assert_eq!(field("one").read("green"), Err("it must be red | blue".to_owned()));
    }

    #[test]
    fn an_empty_line_is_the_default_or_leaves_the_field_out() {
        let told = json!({
            "size": {"type": "integer", "default": 3},
            "note": {"type": "string"},
        });
        let question = question(told, &["size"]);
        let read = |name: &str| {
            question.fields.iter().find(|it| it.name == name).unwrap().read("").unwrap()
        };
        assert_eq!((read("size"), read("note")), (Some(json!(3)), None));
    }
}
