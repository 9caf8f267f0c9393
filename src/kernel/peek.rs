//! Questions about a kernel's variables, as requests: an expression for IPython kernels, the standard
//! `inspect_request` for others.
//!
//! The expression runs no code of the user's beyond a bounded repr, and leaves nothing behind
//! (`peek.py`). Which shell answers, and how long that may take, is the caller's business.

use serde_json::{Value, json, value::RawValue};

use super::{Info, Request, json, wire::Message};

const SOURCE: &str = include_str!("peek.py");
/// The media type of the answer; a kernel whose user has switched bundles off answers in text.
const ANSWER: &str = "application/vnd.husk.inspect+json";
/// Most variables of a listing; the others are counted.
const MOST: u32 = 200;
/// Longest name that is asked for, in bytes.
pub const LONGEST_NAME: usize = 300;

/// A question about a kernel's variables.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// One of them; all, without.
    pub name: Option<&'a str>,
    /// The subshell that shall answer.
    pub subshell: Option<&'a str>,
    /// Whether the cell under way may ask for input: the kernel takes it from any request.
    pub stdin: bool,
    /// Whether the object's own `repr` may run: one that hangs must be interrupted, which neither a
    /// subshell nor somebody else's kernel can be.
    pub own: bool,
}

/// Whether the kernel can be asked for all variables.
#[must_use]
pub fn lists(info: &Info) -> bool {
    info.implementation.to_lowercase().contains("ipython")
}

impl Question<'_> {
    /// The question as a request.
    #[must_use]
    pub fn request(self, info: &Info) -> Request {
        let Self { name, subshell, stdin, own } = self;
        let subshell = subshell.map(str::to_owned);
        if !lists(info) {
            let name = name.unwrap_or_default();
            let cursor = name.chars().count();
            let content = json!({ "code": name, "cursor_pos": cursor, "detail_level": 0 });
            return Request { control: false, subshell, kind: "inspect_request", content };
        }
        let content = json!({
            "code": "", "silent": true, "store_history": false, "allow_stdin": stdin,
            "stop_on_error": false, "user_expressions": { "husk": expression(name, own) },
        });
        Request { control: false, subshell, kind: "execute_request", content }
    }
}

/// One Python expression that names nothing of the user's: builtins are taken from the module that
/// pickling uses.
fn expression(name: Option<&str>, own: bool) -> String {
    let source = Value::from(SOURCE);
    let name = name.map_or_else(|| "None".to_owned(), |name| Value::from(name).to_string());
    let own = if own { "True" } else { "False" };
    let builtins = "().__reduce_ex__(2)[0].__globals__[\"__builtins__\"]";
    format!(
        "(lambda b, n: (lambda s: (b[\"exec\"]({source}, s), s[\"answer\"](n, {name}, {MOST}, {own}))[1])\
         ({{\"__name__\": \"husk_inspect\", \"__builtins__\": b}}))({builtins}, {builtins}[\"locals\"]())"
    )
}

/// Reads the answer.
///
/// # Errors
/// In words, why there is none.
pub fn read(message: &Message) -> Result<Value, String> {
    json::object!(Content { status, ename, evalue, user_expressions, found, data });
    json::object!(Expressions { husk });
    let content: Content<'_> = serde_json::from_slice(&message.content).unwrap_or_default();
    let failed = |content: &Content<'_>| {
        let status = json::text(content.status);
        (status != "ok").then(|| {
            let (name, value) = (json::text(content.ename), json::text(content.evalue));
            format!("the kernel answered `{status}` {name} {value}").trim_end().to_owned()
        })
    };
    if let Some(why) = failed(&content) {
        return Err(why);
    }
    if message.kind == "inspect_reply" {
        let text = representation(content.data, "text/plain");
        return match (json::read(content.found), text) {
            (Some(true), Some(text)) => Ok(json!({ "doc": super::output::without_escapes(&text) })),
            _ => Ok(json!({ "error": "the kernel knows nothing of that name" })),
        };
    }
    let husk = json::read::<Expressions<'_>>(content.user_expressions).and_then(|all| all.husk);
    let answer: Content<'_> = json::read(husk).unwrap_or_default();
    if let Some(why) = failed(&answer) {
        return Err(why);
    }
    let text = representation(answer.data, ANSWER)
        .or_else(|| representation(answer.data, "text/plain"))
        .unwrap_or_default();
    serde_json::from_str(&text).map_err(|error| format!("the kernel's answer is no JSON: {error}"))
}

fn representation(data: Option<&RawValue>, mime: &str) -> Option<String> {
    let members = json::read::<json::Members<'_>>(data)?;
    let (_, raw) = members.0.into_iter().find(|(name, _)| name == mime)?;
    Some(json::text(Some(raw)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: &str, content: &Value) -> Message {
        let content = content.to_string().into();
        Message { kind: kind.into(), parent: String::new(), content }
    }

    #[test]
    fn answers_of_both_kinds_are_read_and_failures_are_told() {
        let reply = |husk: Value| {
            let content = json!({ "status": "ok", "user_expressions": { "husk": husk } });
            read(&message("execute_reply", &content))
        };
        let bundle =
            json!({ "status": "ok", "data": { ANSWER: "{\"a\": 1}", "text/plain": "husk" } });
        assert_eq!(reply(bundle), Ok(json!({ "a": 1 })));
        let text = json!({ "status": "ok", "data": { "text/plain": "{\"a\": 2}" } });
        assert_eq!(reply(text), Ok(json!({ "a": 2 })));
        let error = json!({ "status": "error", "ename": "KeyboardInterrupt", "evalue": "" });
        assert_eq!(reply(error), Err("the kernel answered `error` KeyboardInterrupt".into()));
        assert!(reply(json!(5)).is_err());
        let found =
            json!({ "status": "ok", "found": true, "data": { "text/plain": "\u{1b}[1mdoc" } });
        assert_eq!(read(&message("inspect_reply", &found)), Ok(json!({ "doc": "doc" })));
    }
}
