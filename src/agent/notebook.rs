//! A conversation as a notebook: what was asked, what the model said, and the cells that ran, with what
//! they put out.
//!
//! Cells are the calls of `notebook_run_cell`. What they put out is taken from their server's own
//! record where it is still there, which has all of it, and else from what the model was told.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, SystemTime},
};

use serde_json::Value;

use super::{
    conversation::{Called, Conversation, Entry},
    toolbox::{CELL, Toolbox},
};
use crate::{
    llm::message::{Block, Message, Role, Source},
    notebook::{
        document::{Cell, Header, Output},
        whole::{self, Part},
    },
};

/// What servers have recorded of their sessions.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Source and outputs, by session and cell.
    cells: HashMap<(String, String), (String, Vec<Output>)>,
    header: Option<Header>,
}

impl Told {
    /// Adds a session's notebook.
    fn take(&mut self, session: &str, notebook: &Value) {
        let cells = notebook.get("cells").and_then(Value::as_array).into_iter().flatten();
        for cell in cells {
            let Some(id) = cell.get("id").and_then(Value::as_str) else { continue };
            let recorded = (whole::source(cell), whole::outputs(cell));
            self.cells.insert((session.to_owned(), id.to_owned()), recorded);
        }
        self.header = self.header.take().or_else(|| whole::header(notebook));
    }
}

/// Asks the servers for the notebooks of the sessions in which cells ran.
pub(super) async fn outputs(conversation: &Conversation, toolbox: &Toolbox) -> Told {
    let called = conversation.log().iter().filter_map(|entry| match entry {
        Entry::Tool(called) if called.tool == CELL => {
            Some((&called.server, word(called, "session")?))
        }
        _ => None,
    });
    let sessions: BTreeSet<_> = called.collect();
    let mut told = Told::default();
    for (server, session) in sessions {
        let uri = format!("husk://sessions/{session}/notebook");
        let Some(text) = toolbox.resource(server, &uri).await else { continue };
        match serde_json::from_str(&text) {
            Ok(notebook) => told.take(session, &notebook),
            Err(error) => tracing::warn!(%error, session, "the session's notebook is no JSON"),
        }
    }
    told
}

/// The notebook.
pub(super) fn of(conversation: &Conversation, told: &Told) -> String {
    let mut writing = Writing::default();
    for entry in conversation.log() {
        match entry {
            Entry::Message { message } => writing.message(message),
            Entry::Tool(called) => writing.called(called),
            _ => {}
        }
    }
    let header = told.header.clone().unwrap_or_else(|| Header {
        kernel: "python3".to_owned(),
        display_name: "Python 3".to_owned(),
        language: "python".to_owned(),
        ..Header::default()
    });
    let header = Header { session: conversation.id().to_owned(), ..header };
    whole::text(&header, writing.parts(told))
}

/// A notebook that is being written.
#[derive(Default)]
struct Writing {
    steps: Vec<Step>,
    /// Where the call of this id stands.
    calls: HashMap<String, usize>,
    /// Where the cell of a session stands.
    cells: HashMap<(String, String), usize>,
    /// Calls whose results belong to an earlier cell.
    follows: HashMap<String, usize>,
}

enum Step {
    Words(String),
    /// A call, and the cell that it is, if it ran.
    Call {
        code: String,
        description: Option<String>,
        ran: Option<Ran>,
    },
}

struct Ran {
    called: Called,
    outputs: Vec<Output>,
}

impl Writing {
    fn message(&mut self, message: &Message) {
        for block in &message.content {
            match block {
                Block::Text { text, .. } if text.trim().is_empty() => {}
                Block::Text { text, .. } if message.role == Role::User => {
                    let quoted: Vec<_> = text.lines().map(|line| format!("> {line}")).collect();
                    self.steps.push(Step::Words(quoted.join("\n")));
                }
                Block::Text { text, .. } => self.steps.push(Step::Words(text.clone())),
                Block::ToolUse { id, input, .. } => self.call(id, input),
                Block::ToolResult { tool_use_id, content, .. } => {
                    self.result(tool_use_id, content);
                }
                _ => {}
            }
        }
    }

    fn call(&mut self, id: &str, input: &Value) {
        let text = |name| input.get(name).and_then(Value::as_str).map(str::to_owned);
        let Some(code) = text("code") else { return };
        self.calls.insert(id.to_owned(), self.steps.len());
        self.steps.push(Step::Call { code, description: text("description"), ran: None });
    }

    fn called(&mut self, called: &Called) {
        let cell = word(called, "session").zip(word(called, "cell"));
        let cell = cell.map(|(session, cell)| (session.to_owned(), cell.to_owned()));
        if called.tool != CELL {
            // What a later call tells of a cell belongs to that cell.
            if let Some(at) = cell.and_then(|cell| self.cells.get(&cell)) {
                self.follows.insert(called.id.clone(), *at);
                self.goes_on(*at, called);
            }
            return;
        }
        let (Some(cell), Some(at)) = (cell, self.calls.get(&called.id)) else { return };
        self.cells.insert(cell, *at);
        if let Some(Step::Call { ran, .. }) = self.steps.get_mut(*at) {
            *ran = Some(Ran { called: called.clone(), outputs: Vec::new() });
        }
    }

    /// How a cell stands that had not ended when it was told of before.
    fn goes_on(&mut self, at: usize, later: &Called) {
        if let Some(Step::Call { ran: Some(ran), .. }) = self.steps.get_mut(at) {
            ran.called.structured = later.structured.clone();
        }
    }

    fn result(&mut self, id: &str, content: &[Block]) {
        let at = self.follows.get(id).or_else(|| self.calls.get(id));
        let Some(Step::Call { ran: Some(ran), .. }) = at.and_then(|at| self.steps.get_mut(*at))
        else {
            return;
        };
        ran.outputs.extend(content.iter().filter_map(|block| match block {
            Block::Text { text, .. } if text == "(no output)" => None,
            Block::Text { text, .. } => Some(Output::Stream { stderr: false, text: text.clone() }),
            Block::Image { source: Source::Base64 { media_type, data }, .. } => {
                Some(whole::image(media_type, data))
            }
            _ => None,
        }));
    }

    fn parts(self, told: &Told) -> Vec<Part> {
        let part = |(number, step): (usize, Step)| {
            let id = format!("a{number}");
            match step {
                Step::Words(text) => Some(Part::Words { id, text }),
                Step::Call { code, description, ran } => {
                    Some(Part::Code(cell(id, code, description, ran?, told)))
                }
            }
        };
        (1..).zip(self.steps).filter_map(part).collect()
    }
}

fn cell(id: String, source: String, description: Option<String>, ran: Ran, told: &Told) -> Cell {
    let Ran { called, mut outputs } = ran;
    let number = |name| called.structured.get(name).and_then(Value::as_u64);
    let key = word(&called, "session").zip(word(&called, "cell"));
    let key = key.map(|(session, cell)| (session.to_owned(), cell.to_owned()));
    // After a restart a session may have another cell of that name.
    let recorded = key.and_then(|key| told.cells.get(&key)).filter(|(code, _)| *code == source);
    match recorded {
        Some((_, recorded)) => outputs.clone_from(recorded),
        None => outputs.extend(exception(&called.structured)),
    }
    Cell {
        id,
        source,
        description,
        execution_count: number("execution_count"),
        status: word(&called, "status").unwrap_or("running").to_owned(),
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(called.at),
        duration: Duration::from_millis(number("duration_ms").unwrap_or(0)),
        generation: number("generation").unwrap_or(1),
        outputs,
    }
}

/// The exception that a structured answer tells of; its traceback is in the words.
fn exception(structured: &Value) -> Option<Output> {
    let error = structured.get("error")?;
    let text = |name| error.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Output::Error { name: text("name")?, value: text("value")?, traceback: Vec::new() })
}

fn word<'a>(called: &'a Called, name: &str) -> Option<&'a str> {
    called.structured.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::conversation::tests::{calls, gives, says, user, with};

    fn ran(id: &str, tool: &str, structured: Value) -> Entry {
        let (server, tool) = ("husk".to_owned(), tool.to_owned());
        Entry::Tool(Called { id: id.to_owned(), server, tool, at: 7, structured })
    }

    fn written(conversation: &Conversation, told: &Told) -> Vec<Value> {
        let notebook: Value = serde_json::from_str(&of(conversation, told)).unwrap();
        notebook["cells"].as_array().unwrap().clone()
    }

    fn conversation() -> Conversation {
        let mut conversation = with(vec![user("what is\n1?"), calls("x")]);
        let at = json!({"session": "s", "cell": "c1"});
        let mut running = at.clone();
        running["status"] = json!("running");
        conversation.enter(ran("x", CELL, running));
        conversation.enter(Entry::Message { message: gives("x", "half") });
        conversation.enter(Entry::Message { message: calls("y") });
        let mut over = at;
        over["status"] = json!("ok");
        over["execution_count"] = json!(3);
        conversation.enter(ran("y", "notebook_wait_cell", over));
        conversation.enter(Entry::Message { message: gives("y", "whole") });
        conversation.enter(Entry::Message { message: says("It is 1.") });
        conversation
    }

    #[test]
    fn what_was_asked_said_and_run_stands_in_order() {
        let cells = written(&conversation(), &Told::default());
        let kinds: Vec<_> = cells.iter().map(|cell| cell["cell_type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["markdown", "code", "markdown"]);
        assert_eq!(cells[0]["source"], json!(["> what is\n", "> 1?"]));
        assert_eq!(cells[1]["execution_count"], 3);
        assert_eq!(cells[1]["outputs"].as_array().unwrap().len(), 2);
        assert_eq!(cells[1]["metadata"]["husk"]["status"], "ok");
    }

    #[test]
    fn the_servers_own_record_has_all_of_it() {
        let record = json!({"cells": [{"id": "c1", "source": "1", "outputs": [
            {"output_type": "execute_result", "execution_count": 3, "metadata": {},
             "data": {"text/plain": "1"}}]}]});
        let mut told = Told::default();
        told.take("s", &record);
        let cells = written(&conversation(), &told);
        assert_eq!(cells[1]["outputs"][0]["output_type"], "execute_result");
        // The same name, and other code: not the same cell.
        let mut told = Told::default();
        told.take("s", &json!({"cells": [{"id": "c1", "source": "2", "outputs": []}]}));
        assert_eq!(written(&conversation(), &told)[1]["outputs"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_call_that_was_not_carried_out_is_no_cell() {
        let conversation = with(vec![user("?"), calls("x"), gives("x", "not carried out")]);
        assert_eq!(written(&conversation, &Told::default()).len(), 1);
    }
}
