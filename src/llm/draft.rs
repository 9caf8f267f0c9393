//! An answer that is being put together from the pieces that a wire reads.
//!
//! Pure. What counts as whole is decided here: an answer without its end is none.

use serde_json::Value;

use super::{
    error::{Class, Failure},
    message::Block,
    provider::Event,
    reply::{BrokenCall, Reply, Stop, Usage},
};

/// What a wire reads out of one event. `at` tells the blocks of an answer apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Opened { id: String, model: String },
    Text { at: u64, text: String },
    Thinking { at: u64, text: String },
    Signature { at: u64, text: String },
    Redacted { at: u64, data: String },
    Call { at: u64, id: String, name: String },
    Arguments { at: u64, json: String },
    Counted(Counts),
    Stopped(Stop),
    Ended,
}

/// Counts as far as an event tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) input: Option<u64>,
    pub(super) output: Option<u64>,
    pub(super) cache_read: Option<u64>,
    pub(super) cache_write: Option<u64>,
    pub(super) cache_write_1h: Option<u64>,
}

/// An answer so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    id: String,
    model: String,
    blocks: Vec<(u64, Part)>,
    usage: Usage,
    stop: Option<Stop>,
    ended: bool,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Thinking { text: String, signature: String },
    Redacted(String),
    Call { id: String, name: String, json: String },
}

impl Draft {
    /// Takes a piece, and gives what of it may be shown.
    pub(super) fn take(&mut self, piece: Piece) -> Option<Event> {
        match piece {
            Piece::Text { at, text } => self.text(at, text),
            Piece::Thinking { at, text } => self.thinking(at, text),
            Piece::Call { at, id, name } => {
                let part = Part::Call { id: id.clone(), name: name.clone(), json: String::new() };
                self.blocks.push((at, part));
                Some(Event::Call { id, name })
            }
            piece => {
                self.note(piece);
                None
            }
        }
    }

    /// Takes what is not shown.
    fn note(&mut self, piece: Piece) {
        match piece {
            Piece::Opened { id, model } => (self.id, self.model) = (id, model),
            Piece::Signature { at, text } => {
                let new = || Part::Thinking { text: String::new(), signature: String::new() };
                if let Part::Thinking { signature, .. } = self.part(at, new) {
                    signature.push_str(&text);
                }
            }
            Piece::Redacted { at, data } => {
                self.part(at, || Part::Redacted(data));
            }
            Piece::Arguments { at, json: more } => {
                let open = self.blocks.iter_mut().rev().find(|(key, _)| *key == at);
                if let Some((_, Part::Call { json, .. })) = open {
                    json.push_str(&more);
                }
            }
            Piece::Counted(counts) => self.count(counts),
            Piece::Stopped(stop) => self.stop = Some(stop),
            Piece::Ended => self.ended = true,
            Piece::Text { .. } | Piece::Thinking { .. } | Piece::Call { .. } => {}
        }
    }

    fn text(&mut self, at: u64, more: String) -> Option<Event> {
        if let Part::Text(text) = self.part(at, || Part::Text(String::new())) {
            text.push_str(&more);
        }
        (!more.is_empty()).then_some(Event::Text(more))
    }

    fn thinking(&mut self, at: u64, more: String) -> Option<Event> {
        let new = || Part::Thinking { text: String::new(), signature: String::new() };
        if let Part::Thinking { text, .. } = self.part(at, new) {
            text.push_str(&more);
        }
        (!more.is_empty()).then_some(Event::Thinking(more))
    }

    fn part(&mut self, at: u64, new: impl FnOnce() -> Part) -> &mut Part {
        let found = self.blocks.iter().rposition(|(key, _)| *key == at);
        let index = found.unwrap_or(self.blocks.len());
        if found.is_none() {
            self.blocks.push((at, new()));
        }
        #[expect(clippy::indexing_slicing, reason = "found above, or just pushed there")]
        let (_, part) = &mut self.blocks[index];
        part
    }

    fn count(&mut self, counts: Counts) {
        let usage = &mut self.usage;
        for (to, from) in [
            (&mut usage.input, counts.input),
            (&mut usage.output, counts.output),
            (&mut usage.cache_read, counts.cache_read),
            (&mut usage.cache_write, counts.cache_write),
            (&mut usage.cache_write_1h, counts.cache_write_1h),
        ] {
            *to = from.unwrap_or(*to);
        }
    }

    /// Whether the model has said why it stops, though not yet that this was all.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Whether the arguments of a call are being written.
    pub(super) fn is_calling(&self) -> bool {
        matches!(self.blocks.last(), Some((_, Part::Call { .. })))
    }

    /// Whether all has come.
    pub(super) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The whole answer.
    ///
    /// # Errors
    /// A failure of class `stream` when its end has not come.
    pub(super) fn finish(self) -> Result<Reply, Failure> {
        let (true, Some(mut stop)) = (self.ended, self.stop) else {
            let missing = "the answer broke off: its end has not come";
            return Err(Failure::new(Class::Stream, missing).in_stream());
        };
        let (mut content, mut broken) = (Vec::new(), Vec::new());
        for (_, part) in self.blocks {
            match part {
                Part::Text(text) if text.is_empty() => {}
                Part::Text(text) => content.push(Block::text(text)),
                Part::Thinking { text, signature } => {
                    content.push(Block::Thinking { thinking: text, signature });
                }
                Part::Redacted(data) => content.push(Block::RedactedThinking { data }),
                Part::Call { id, name, json } => {
                    let input = arguments(&id, json).unwrap_or_else(|call| {
                        broken.push(call);
                        Value::Object(serde_json::Map::new())
                    });
                    content.push(Block::ToolUse { id, name, input, cache_control: None });
                }
            }
        }
        // Compatible servers stop with `stop` though they call tools.
        let calls = content.iter().any(|block| matches!(block, Block::ToolUse { .. }));
        if calls && stop == Stop::EndTurn {
            stop = Stop::ToolUse;
        }
        Ok(Reply { id: self.id, model: self.model, content, stop, usage: self.usage, broken })
    }
}

/// The arguments of a call, an object.
fn arguments(id: &str, json: String) -> Result<Value, BrokenCall> {
    let text = if json.trim().is_empty() { "{}" } else { json.as_str() };
    let fault = match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => return Ok(value),
        Ok(_) => "the arguments are no JSON object".to_owned(),
        Err(error) => format!("the arguments are not valid JSON: {error}"),
    };
    Err(BrokenCall { id: id.to_owned(), arguments: json, fault })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft(pieces: Vec<Piece>) -> Draft {
        let mut draft = Draft::default();
        for piece in pieces {
            draft.take(piece);
        }
        draft
    }

    fn call(json: &str) -> Vec<Piece> {
        vec![
            Piece::Call { at: 1, id: "c".to_owned(), name: "run".to_owned() },
            Piece::Arguments { at: 1, json: json.to_owned() },
            Piece::Stopped(Stop::EndTurn),
            Piece::Ended,
        ]
    }

    #[test]
    fn an_answer_without_its_end_is_none() {
        let text = Piece::Text { at: 0, text: "half".to_owned() };
        let stopped = Piece::Stopped(Stop::EndTurn);
        for pieces in [vec![], vec![text.clone()], vec![text, stopped], vec![Piece::Ended]] {
            let failure = draft(pieces).finish().unwrap_err();
            assert_eq!((failure.class, failure.in_stream), (Class::Stream, true));
        }
    }

    #[test]
    fn arguments_that_do_not_parse_are_told_and_never_guessed() {
        for (json, fault) in [
            ("{\"code\": \"", "not valid JSON"),
            ("[1]", "no JSON object"),
            ("{} {}", "not valid JSON"),
        ] {
            let reply = draft(call(json)).finish().unwrap();
            let broken = reply.broken.first().unwrap();
            assert_eq!((broken.id.as_str(), broken.arguments.as_str()), ("c", json));
            assert!(broken.fault.contains(fault), "{}", broken.fault);
        }
        for (json, input) in [("", json!({})), ("{\"a\":1}", json!({"a": 1}))] {
            let reply = draft(call(json)).finish().unwrap();
            let tool = Block::ToolUse {
                id: "c".to_owned(),
                name: "run".to_owned(),
                input,
                cache_control: None,
            };
            assert_eq!((reply.content, reply.stop), (vec![tool], Stop::ToolUse));
            assert_eq!(reply.broken, Vec::new());
        }
    }

    #[test]
    fn later_counts_replace_earlier_ones_and_leave_the_rest() {
        let first =
            Counts { input: Some(5), cache_read: Some(7), output: Some(1), ..Counts::default() };
        let last = Counts { output: Some(9), ..Counts::default() };
        let mut pieces = vec![Piece::Counted(first), Piece::Counted(last)];
        pieces.extend([Piece::Stopped(Stop::EndTurn), Piece::Ended]);
        let usage = draft(pieces).finish().unwrap().usage;
        assert_eq!((usage.input, usage.cache_read, usage.output), (5, 7, 9));
    }
}
