//! What a kernel tells about a running cell, as husk's own values.
//!
//! Content is untrusted: user code can publish any shape. Each reader takes what fits and replaces
//! what does not; nothing here fails.

use serde_json::{Map, Value};

use super::wire::Message;

/// Longest `display_id` that is kept, in bytes.
const LONGEST_ID: usize = 256;

/// The representations of one output, by MIME type.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Bundle(pub Map<String, Value>);

/// One message about a cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The kernel works on the request.
    Busy,
    /// The kernel has finished with the request.
    Idle,
    /// The cell's number.
    Input {
        /// `execution_count`.
        count: Option<u64>,
    },
    /// Text on stdout or stderr.
    Stream {
        /// Whether it is stderr.
        stderr: bool,
        /// The text.
        text: String,
    },
    /// An output; also the value of the last expression.
    Display {
        /// Its representations.
        bundle: Bundle,
        /// `transient.display_id`, by which a later message may replace it.
        id: Option<String>,
        /// Whether this replaces the output of that id.
        update: bool,
    },
    /// All output so far is withdrawn, at once or with the next output.
    Clear {
        /// With the next output.
        wait: bool,
    },
    /// An exception.
    Error(Failure),
    /// The kernel's answer to the request: the cell has ended.
    Reply(Reply),
    /// Something that changes nothing here.
    Other,
}

/// An exception that a cell raised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    /// Its class, for example `ZeroDivisionError`.
    pub name: String,
    /// Its message.
    pub value: String,
    /// The traceback as the kernel formats it, ANSI codes included.
    pub traceback: String,
}

/// An `execute_reply`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// `execution_count`.
    pub count: Option<u64>,
    /// Set when the status is not `ok`.
    pub failure: Option<Failure>,
    /// Whether the cell called `exit()`: the kernel asks to be ended (payload `ask_exit`).
    pub asks_exit: bool,
}

impl Event {
    /// Reads a message of the iopub or shell channel.
    #[must_use]
    pub fn read(message: Message) -> Self {
        let Message { kind, content, .. } = message;
        let Value::Object(mut content) = content else { return Self::unreadable(&kind) };
        match kind.as_str() {
            "status" => match content.get("execution_state").and_then(Value::as_str) {
                Some("busy") => Self::Busy,
                Some("idle") => Self::Idle,
                _ => Self::Other,
            },
            "execute_input" => Self::Input { count: count(&content) },
            "stream" => Self::Stream {
                stderr: content.get("name").and_then(Value::as_str) == Some("stderr"),
                text: text(content.remove("text")),
            },
            "execute_result" | "display_data" => display(content, false),
            "update_display_data" => display(content, true),
            "clear_output" => {
                Self::Clear { wait: content.get("wait").and_then(Value::as_bool).unwrap_or(false) }
            }
            "error" => Self::Error(failure(&mut content)),
            "execute_reply" => Self::Reply(reply(content)),
            _ => Self::Other,
        }
    }

    /// Content that is not an object still ends its cell.
    fn unreadable(kind: &str) -> Self {
        match kind {
            // Not to be taken for a success.
            "execute_reply" => Self::Reply(Reply {
                failure: Some(Failure {
                    name: "UnreadableReply".to_owned(),
                    value: "the kernel's reply is not JSON; whether the cell succeeded is unknown"
                        .to_owned(),
                    traceback: String::new(),
                }),
                ..Reply::default()
            }),
            "error" => Self::Error(Failure::default()),
            _ => Self::Other,
        }
    }
}

fn display(mut content: Map<String, Value>, update: bool) -> Event {
    let id = content
        .get("transient")
        .and_then(|transient| transient.get("display_id"))
        .and_then(Value::as_str)
        // A longer one is no name, and would be kept.
        .filter(|id| id.len() <= LONGEST_ID)
        .map(str::to_owned);
    let bundle = match content.remove("data") {
        Some(Value::Object(data)) => Bundle(data),
        _ => Bundle::default(),
    };
    Event::Display { bundle, id, update }
}

fn reply(mut content: Map<String, Value>) -> Reply {
    let status = content.get("status").and_then(Value::as_str).unwrap_or("ok");
    let failure = match status {
        "ok" => None,
        "error" => Some(failure(&mut content)),
        // Jupyter's word is `aborted`; bash_kernel and tslab say `abort`.
        other => Some(Failure {
            name: "Aborted".to_owned(),
            value: format!("the kernel answered `{other}`"),
            traceback: String::new(),
        }),
    };
    Reply { count: count(&content), failure, asks_exit: asks_exit(&content) }
}

/// Source: <https://jupyter-client.readthedocs.io/en/stable/messaging.html#payloads-deprecated>.
fn asks_exit(content: &Map<String, Value>) -> bool {
    let payloads = content.get("payload").and_then(Value::as_array);
    payloads.into_iter().flatten().any(|payload| {
        payload.get("source").and_then(Value::as_str) == Some("ask_exit")
            && payload.get("keepkernel").and_then(Value::as_bool) != Some(true)
    })
}

fn failure(content: &mut Map<String, Value>) -> Failure {
    let traceback = match content.remove("traceback") {
        Some(Value::Array(lines)) => {
            lines.into_iter().map(|line| text(Some(line))).collect::<Vec<_>>().join("\n")
        }
        other => text(other),
    };
    Failure {
        name: text(content.remove("ename")),
        value: text(content.remove("evalue")),
        traceback,
    }
}

fn count(content: &Map<String, Value>) -> Option<u64> {
    content.get("execution_count").and_then(Value::as_u64)
}

/// A text as text, a list of lines joined, anything else as its JSON.
pub(super) fn text(value: Option<Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(Value::Array(lines)) if lines.iter().all(Value::is_string) => {
            lines.iter().filter_map(Value::as_str).collect()
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(kind: &str, content: Value) -> Event {
        Event::read(Message { kind: kind.into(), parent: "p".into(), content })
    }

    #[test]
    fn replies_of_any_shape_end_the_cell() {
        let check = |content: Value, failed: bool| {
            let Event::Reply(reply) = read("execute_reply", content.clone()) else {
                panic!("{content} is no reply")
            };
            assert_eq!(reply.failure.is_some(), failed, "{content}");
        };
        check(json!({"status": "ok", "payload": [{"source": "custom"}]}), false);
        check(
            json!({"status": "ok", "payload": [{"source": "set_next_input", "text": "x"}]}),
            false,
        );
        check(json!({"status": "ok", "payload": 5}), false);
        check(json!({"status": "abort"}), true);
        check(json!({"status": "aborted"}), true);
        check(json!({"status": "error", "ename": 1, "traceback": "x"}), true);
        check(json!(null), true);
        check(json!("text"), true);
    }

    #[test]
    fn contents_of_odd_shapes_keep_what_fits() {
        assert_eq!(
            read("stream", json!({"name": "stdlog", "text": ["a", "b"]})),
            Event::Stream { stderr: false, text: "ab".into() }
        );
        let Event::Display { bundle, .. } = read("display_data", json!({"data": {"text/html": 5}}))
        else {
            panic!("no display")
        };
        assert_eq!(bundle.0["text/html"], json!(5));
        assert_eq!(
            read("error", json!({"ename": "E", "evalue": "v", "traceback": ["a", 1]})),
            Event::Error(Failure { name: "E".into(), value: "v".into(), traceback: "a\n1".into() })
        );
        assert_eq!(read("status", json!({"execution_state": "starting"})), Event::Other);
        assert_eq!(read("anything", json!({})), Event::Other);
    }
}
