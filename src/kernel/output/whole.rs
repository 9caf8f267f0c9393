//! The whole of a cell's output, for who wants more than an answer shows: ranges of its text, each
//! representation of its displays, and all of it piece by piece for a notebook.

use super::{
    super::event::{Failure, Representation},
    Output,
    log::{Displayed, Kept, Log, What},
    spool::Spool,
    text::Text,
};

/// One output as a notebook has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whole {
    /// Text of a stream.
    Stream {
        /// Whether it is stderr.
        stderr: bool,
        /// The text, shortened where there is too much.
        text: String,
    },
    /// A display, or the value of the last expression.
    Display {
        /// Its representations.
        bundle: Vec<Representation>,
        /// Hints for front ends, as JSON.
        metadata: Option<String>,
        /// Whether it is the value of the last expression.
        result: bool,
    },
    /// An exception.
    Error(Failure),
}

impl Output {
    /// The characters that begin in bytes `from..from + len` of the text, in which `[output 1: image/png, …]` stands for an image;
    /// what is not kept any more is missing. Also the length of the text.
    #[must_use]
    pub fn text_range(&self, from: u64, len: u64) -> (String, u64) {
        let log = self.log();
        let to = from.saturating_add(len);
        let (mut at, mut text) = (0, String::new());
        for piece in &log.pieces {
            let end = at + piece.text.len();
            if from < end && to > at {
                let part = (from.max(at) - at, to.min(end) - at);
                text.push_str(&piece.text.read_characters(part.0, part.1, &self.spool));
            }
            at = end;
        }
        (text, at)
    }

    /// The displays: their numbers in the cell, and the MIME types of their representations.
    #[must_use]
    pub fn displays(&self) -> Vec<(u64, Vec<String>)> {
        let log = self.log();
        let mimes = |all: &[Kept]| all.iter().map(|kept| kept.mime.clone()).collect();
        displayed(&log).map(|display| (display.number, mimes(&display.kept))).collect()
    }

    /// All representations of the display of that number that are still kept; nothing where there is
    /// no such display.
    #[must_use]
    pub fn display_of(&self, number: u64) -> Option<Vec<Representation>> {
        let log = self.log();
        let display = displayed(&log).find(|display| display.number == number)?;
        Some(display.kept.iter().filter_map(|kept| representation(kept, &self.spool)).collect())
    }

    /// Everything in order: at most `text` bytes of text, and `most` bytes of representations.
    #[must_use]
    pub fn whole(&self, text: u64, most: u64) -> Vec<Whole> {
        let log = self.log();
        let mut room = Room { text, most };
        log.pieces.iter().map(|piece| room.take(&piece.what, &piece.text, &self.spool)).collect()
    }

    /// Changes whenever the output does.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.log().changes
    }
}

fn displayed(log: &Log) -> impl Iterator<Item = &Displayed> {
    log.pieces.iter().filter_map(|piece| match &piece.what {
        What::Display(display) => Some(&**display),
        _ => None,
    })
}

fn representation(kept: &Kept, spool: &Spool) -> Option<Representation> {
    if spool.dropped(kept.span) > 0 {
        return None;
    }
    let value = String::from_utf8(spool.read(kept.span, 0, kept.span.len)).ok()?;
    Some(Representation { mime: kept.mime.clone(), value, json: kept.json })
}

/// How much may still be taken.
struct Room {
    text: u64,
    most: u64,
}

impl Room {
    fn take(&mut self, what: &What, text: &Text, spool: &Spool) -> Whole {
        match what {
            What::Stream { stderr } => {
                Whole::Stream { stderr: *stderr, text: self.shortened(text, spool) }
            }
            What::Page => Whole::Stream { stderr: false, text: self.shortened(text, spool) },
            What::Error(failure) => Whole::Error((**failure).clone()),
            What::Display(display) => Whole::Display {
                bundle: self.bundle(display, text, spool),
                metadata: display.metadata.clone(),
                result: display.result,
            },
        }
    }

    fn shortened(&mut self, text: &Text, spool: &Spool) -> String {
        let len = text.len();
        let half = self.text.min(len) / 2;
        if len <= self.text {
            self.text -= len;
            return text.read(0, len, spool);
        }
        self.text = 0;
        let (head, tail) = (text.read(0, half, spool), text.read(len - half, len, spool));
        let missing = len - (head.len() + tail.len()) as u64;
        format!("{head}\n[… {missing} bytes of output left out …]\n{tail}")
    }

    /// The representations as far as there is room; the text stands for those that are left out.
    fn bundle(&mut self, display: &Displayed, text: &Text, spool: &Spool) -> Vec<Representation> {
        let mut bundle = Vec::new();
        for kept in &display.kept {
            if kept.span.len <= self.most {
                self.most -= kept.span.len;
                bundle.extend(representation(kept, spool));
            }
        }
        if bundle.is_empty() {
            let value = self.shortened(text, spool).trim_start().to_owned();
            bundle.push(Representation { mime: "text/plain".to_owned(), value, json: false });
        }
        bundle
    }
}
