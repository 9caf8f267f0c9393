//! What a kernel tells about a running cell, as husk's own values.
//!
//! Content is untrusted: user code can publish any shape and any size. Each reader takes what fits
//! and replaces what does not; nothing here fails. Only the members that are wanted are read, and
//! values stay the JSON that they came as, so that no shape grows much in memory.

use serde_json::value::RawValue;

use super::{
    json::{self, Lines, Members},
    wire::Message,
};

/// Longest `display_id` that is kept, in bytes.
const LONGEST_ID: usize = 256;
/// Longest `metadata` of a display that is kept, in bytes.
const LONGEST_METADATA: usize = 8 * 1024;

/// One representation of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Representation {
    /// Its MIME type.
    pub mime: String,
    /// The text itself, or its JSON.
    pub value: String,
    /// Whether `value` is JSON.
    pub json: bool,
}

/// An output in its representations, in the kernel's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Display {
    /// By MIME type.
    pub bundle: Vec<Representation>,
    /// Hints for front ends, as JSON; for example the size of an image.
    pub metadata: Option<String>,
    /// `transient.display_id`, by which a later message may replace it.
    pub id: Option<String>,
    /// Whether it is the value of the cell's last expression.
    pub result: bool,
}

/// One message about a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    Display(Display),
    /// Replaces the outputs of its id.
    Update(Display),
    /// All output so far is withdrawn, at once or with the next output.
    Clear {
        /// With the next output.
        wait: bool,
    },
    /// An exception.
    Error(Failure),
    /// The kernel's answer to the request: the cell has ended.
    Reply(Reply),
    /// The cell asks for a line of text (`input()`).
    Asks(Question),
    /// Something that changes nothing here.
    Other,
}

/// What `input()` or `getpass()` asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// What stands before the cursor.
    pub prompt: String,
    /// Whether the answer is a secret.
    pub password: bool,
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

/// Longest name, message and traceback of an exception that stays in memory, in bytes.
const LONGEST_FAILURE: [usize; 3] = [256, 4 * 1024, 64 * 1024];

impl Failure {
    /// The exception without what is too long to stay in memory.
    #[must_use]
    pub fn clipped(&self) -> Self {
        let [name, value, traceback] = LONGEST_FAILURE;
        Self {
            name: clipped(&self.name, name),
            value: clipped(&self.value, value),
            traceback: clipped(&self.traceback, traceback),
        }
    }
}

fn clipped(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let at = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", text.split_at(at).0)
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
    /// What the kernel wants shown beside the outputs: a pager's text (`?`), code for the next cell
    /// (`%load`).
    pub pages: Vec<String>,
}

json::object!(Content {
    execution_state,
    execution_count,
    name,
    text,
    data,
    metadata,
    transient,
    wait,
    status,
    ename,
    evalue,
    traceback,
    payload,
    prompt,
    password,
});
json::object!(Transient { display_id });
json::object!(Payload { source, keepkernel, data, text });

impl Event {
    /// Reads a message of the iopub, shell or stdin channel.
    #[must_use]
    pub fn read(message: &Message) -> Self {
        // What is not read here (comm messages with large buffers) costs nothing.
        if !KINDS.contains(&message.kind.as_str()) {
            return Self::Other;
        }
        let Ok(content) = serde_json::from_slice::<Content<'_>>(&message.content) else {
            return Self::unreadable(&message.kind);
        };
        match message.kind.as_str() {
            "status" => match json::text(content.execution_state).as_str() {
                "busy" => Self::Busy,
                "idle" => Self::Idle,
                _ => Self::Other,
            },
            "execute_input" => Self::Input { count: json::read(content.execution_count) },
            "stream" => Self::Stream {
                stderr: json::text(content.name) == "stderr",
                text: json::text(content.text),
            },
            "execute_result" => Self::Display(content.display(true)),
            "display_data" => Self::Display(content.display(false)),
            "update_display_data" => Self::Update(content.display(false)),
            "clear_output" => Self::Clear { wait: json::read(content.wait).unwrap_or(false) },
            "error" => Self::Error(content.failure()),
            "execute_reply" => Self::Reply(content.reply()),
            "input_request" => Self::Asks(Question {
                prompt: json::text(content.prompt),
                password: json::read(content.password).unwrap_or(false),
            }),
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
            // It waits for an answer, whatever it asked.
            "input_request" => Self::Asks(Question::default()),
            _ => Self::Other,
        }
    }
}

const KINDS: [&str; 10] = [
    "status",
    "execute_input",
    "stream",
    "execute_result",
    "display_data",
    "update_display_data",
    "clear_output",
    "error",
    "execute_reply",
    "input_request",
];

impl Content<'_> {
    fn display(&self, result: bool) -> Display {
        let id = json::read::<Transient<'_>>(self.transient)
            .and_then(|transient| json::read::<String>(transient.display_id))
            // A longer one is no name, and would be kept.
            .filter(|id| id.len() <= LONGEST_ID);
        let members = json::read::<Members<'_>>(self.data).unwrap_or_default();
        let bundle = members.0.into_iter().map(|(mime, raw)| {
            let (value, json) = json::text_or_json(raw);
            Representation { mime, value, json }
        });
        let metadata = self.metadata.map(RawValue::get);
        let metadata =
            metadata.filter(|text| text.starts_with('{') && text.len() <= LONGEST_METADATA);
        Display { bundle: bundle.collect(), metadata: metadata.map(str::to_owned), id, result }
    }

    fn failure(&self) -> Failure {
        Failure {
            name: json::text(self.ename),
            value: json::text(self.evalue),
            traceback: match json::read::<Lines>(self.traceback) {
                Some(lines) => lines.0.join("\n"),
                None => json::text(self.traceback),
            },
        }
    }

    fn reply(&self) -> Reply {
        let status = self.status.map_or("ok".to_owned(), |status| json::text(Some(status)));
        let failure = match status.as_str() {
            "ok" => None,
            "error" => Some(self.failure()),
            // Jupyter's word is `aborted`; bash_kernel and tslab say `abort`.
            other => Some(Failure {
                name: "Aborted".to_owned(),
                value: format!("the kernel answered `{other}`"),
                traceback: String::new(),
            }),
        };
        let mut reply =
            Reply { count: json::read(self.execution_count), failure, ..Reply::default() };
        let payloads = json::read::<json::Few<'_>>(self.payload).unwrap_or_default();
        for payload in payloads.0 {
            if let Some(payload) = json::read::<Payload<'_>>(Some(payload)) {
                payload.add_to(&mut reply);
            }
        }
        reply
    }
}

impl Payload<'_> {
    /// Source: <https://jupyter-client.readthedocs.io/en/stable/messaging.html#payloads-deprecated>.
    fn add_to(&self, reply: &mut Reply) {
        match json::text(self.source).as_str() {
            "ask_exit" => reply.asks_exit |= json::read(self.keepkernel) != Some(true),
            "page" => {
                let members = json::read::<Members<'_>>(self.data).unwrap_or_default();
                let plain = members.0.into_iter().find(|(mime, _)| mime == "text/plain");
                reply.pages.extend(plain.map(|(_, raw)| json::text(Some(raw))));
            }
            "set_next_input" => reply.pages.push(json::text(self.text)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(kind: &str, content: Value) -> Event {
        let content = content.to_string().into();
        Event::read(&Message { kind: kind.into(), parent: "p".into(), content })
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
        check(json!({"status": "ok", "payload": [{"source": "set_next_input"}]}), false);
        check(json!({"status": "ok", "payload": 5}), false);
        check(json!({"status": "abort"}), true);
        check(json!({"status": "aborted"}), true);
        check(json!({"status": "error", "ename": 1, "traceback": "x"}), true);
        check(json!(null), true);
        check(json!("text"), true);
    }

    #[test]
    fn payloads_are_shown_and_exit_is_obeyed() {
        let payload = json!([
            {"source": "page", "data": {"text/plain": "help", "text/html": "<b>"}, "start": 0},
            {"source": "set_next_input", "text": "code", "replace": true},
            {"source": "ask_exit", "keepkernel": false},
        ]);
        let Event::Reply(reply) =
            read("execute_reply", json!({"status": "ok", "payload": payload}))
        else {
            panic!("no reply")
        };
        assert_eq!(reply.pages, ["help", "code"]);
        assert!(reply.asks_exit);
    }

    #[test]
    fn contents_of_odd_shapes_keep_what_fits() {
        assert_eq!(
            read("stream", json!({"name": "stdlog", "text": ["a", "b"]})),
            Event::Stream { stderr: false, text: "ab".into() }
        );
        let Event::Display(display) = read("display_data", json!({"data": {"text/html": 5}}))
        else {
            panic!("no display")
        };
        let html = Representation { mime: "text/html".into(), value: "5".into(), json: true };
        assert_eq!(display.bundle, [html]);
        assert_eq!(
            read("error", json!({"ename": "E", "evalue": "v", "traceback": ["a", 1]})),
            Event::Error(Failure { name: "E".into(), value: "v".into(), traceback: "a\n1".into() })
        );
        assert_eq!(read("status", json!({"execution_state": "starting"})), Event::Other);
        assert_eq!(read("anything", json!({})), Event::Other);
        assert_eq!(
            read("input_request", json!({"prompt": "? ", "password": true})),
            Event::Asks(Question { prompt: "? ".into(), password: true })
        );
    }
}
