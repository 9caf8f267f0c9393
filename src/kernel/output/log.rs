//! What a cell has put out so far, in pieces: runs of text, displays, exceptions.
//!
//! Every byte has an offset that only grows, also where a display is replaced in its place: a
//! reader that has seen everything up to an offset is shown the rest once.

use super::{
    super::event::{Display, Failure},
    ansi::Ansi,
    media::Shown,
    spool::{Span, Spool},
    text::Text,
};

/// Most pieces of one cell; what comes then is kept as text only.
const MOST: usize = 4096;

/// One piece.
#[derive(Debug)]
pub(super) struct Piece {
    /// Its offset; that of its latest replacement.
    pub(super) at: u64,
    pub(super) text: Text,
    pub(super) what: What,
}

/// What a piece is.
#[derive(Debug)]
pub(super) enum What {
    Stream {
        stderr: bool,
    },
    Display(Box<Displayed>),
    Error(Box<Failure>),
    /// What the kernel shows in a pager.
    Page,
}

/// A display as it is kept.
#[derive(Debug, Clone)]
pub(super) struct Displayed {
    /// Its number in the cell, from 1.
    pub(super) number: u64,
    pub(super) id: Option<String>,
    pub(super) result: bool,
    pub(super) metadata: Option<String>,
    pub(super) kept: Vec<Kept>,
    /// Which of `kept` is shown as an image; the text then only stands for it.
    pub(super) image: Option<usize>,
    /// The text that is shown says less than another representation.
    pub(super) partly: bool,
}

/// A representation in the spool.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) mime: String,
    pub(super) json: bool,
    pub(super) span: Span,
}

/// The pieces of one cell.
#[derive(Default)]
pub(super) struct Log {
    pub(super) pieces: Vec<Piece>,
    /// The offset after the last byte.
    pub(super) end: u64,
    /// Up to where a reader has been shown everything.
    pub(super) told: u64,
    /// Displays that are kept as text only.
    pub(super) flattened: u64,
    displays: u64,
    /// Counts what has happened to the pieces.
    pub(super) changes: u64,
    clear_next: bool,
    /// A block stands at the end without its newline: whatever follows begins a new line.
    block_open: bool,
    ansi: [Ansi; 2],
}

impl Piece {
    /// Whether its text is shown; that of an image only stands for it.
    pub(super) fn is_image(&self) -> bool {
        matches!(&self.what, What::Display(display) if display.image.is_some())
    }
}

impl Log {
    /// Adds text of a stream; returns it without its escapes.
    pub(super) fn stream(&mut self, stderr: bool, raw: &str, spool: &Spool) -> String {
        self.begin();
        let [out, err] = &mut self.ansi;
        let mut text = if stderr { err } else { out }.strip(raw);
        if text.is_empty() {
            return text;
        }
        if std::mem::take(&mut self.block_open) {
            text.insert(0, '\n');
        }
        let full = self.pieces.len() >= MOST;
        let end = self.end;
        // A replaced display has moved the end away from the last piece.
        let fits = |piece: &Piece| match piece.what {
            What::Stream { stderr: same } => {
                full || (same == stderr && piece.at + piece.text.len() == end)
            }
            _ => false,
        };
        if !self.pieces.last().is_some_and(fits) {
            self.push(What::Stream { stderr }, Text::default(), spool);
        }
        if let Some(last) = self.pieces.last_mut() {
            last.at = self.end - last.text.len();
            last.text.push(&text, spool);
            self.end = last.at + last.text.len();
        }
        text
    }

    /// Adds text that stands on lines of its own; returns it as it was added.
    pub(super) fn block(&mut self, raw: String, what: What, spool: &Spool) -> String {
        self.begin();
        let text = self.on_own_lines(raw);
        if self.pieces.len() >= MOST {
            self.block_open = false;
            let text = self.stream(false, &text, spool);
            self.block_open = true;
            return text;
        }
        self.push(what, Text::whole(&text, spool), spool);
        self.block_open = true;
        text
    }

    /// What is long is not copied where nothing is wrong with it.
    fn on_own_lines(&self, mut raw: String) -> String {
        if raw.ends_with('\n') {
            raw.pop();
        }
        let mut text = Ansi::default().strip(raw);
        if text.contains("\r\n") {
            text = text.replace("\r\n", "\n");
        }
        if self.pieces.last().is_some_and(|last| last.text.is_open()) {
            text.insert(0, '\n');
        }
        text
    }

    /// Moves all text to the spool.
    pub(super) fn settle(&mut self, spool: &Spool) {
        if let Some(last) = self.pieces.last_mut() {
            last.text.settle(spool);
        }
    }

    fn push(&mut self, what: What, text: Text, spool: &Spool) {
        self.settle(spool);
        let at = self.end;
        self.end += text.len();
        self.pieces.push(Piece { at, text, what });
    }

    /// Adds a display; returns the text that it shows.
    pub(super) fn display(&mut self, display: Display, spool: &Spool) -> String {
        self.displays += 1;
        let (text, displayed) = kept(display, self.displays, spool);
        let image = displayed.image.is_some();
        if text.is_empty() {
            return text;
        }
        if self.pieces.len() >= MOST {
            self.flattened += 1;
        }
        let added = self.block(text, What::Display(Box::new(displayed)), spool);
        if image { String::new() } else { added }
    }

    /// Replaces the displays of that id; whether there are any.
    pub(super) fn update(&mut self, display: &Display, spool: &Spool) -> bool {
        let Some(id) = &display.id else { return false };
        let named = |piece: &Piece| match &piece.what {
            What::Display(old) => old.id.as_ref() == Some(id),
            _ => false,
        };
        let places: Vec<usize> =
            (0..self.pieces.len()).filter(|at| self.pieces.get(*at).is_some_and(named)).collect();
        let first = places.first().and_then(|place| self.pieces.get(*place));
        // Its number stays: an answer may have named it.
        let Some(What::Display(first)) = first.map(|piece| &piece.what) else { return false };
        let number = first.number;
        self.changes += 1;
        // Kept once, however many places there are.
        let (text, displayed) = kept(display.clone(), number, spool);
        let texts = [Text::whole(&text, spool), Text::whole(&format!("\n{text}"), spool)];
        for place in &places {
            let mut displayed = displayed.clone();
            let Some(piece) = self.pieces.get_mut(*place) else { continue };
            if let What::Display(old) = &piece.what {
                (displayed.number, displayed.result) = (old.number, old.result);
            }
            let [plain, on_its_own_line] = &texts;
            let begins = piece.text.read(0, 1, spool) == "\n";
            piece.text = if begins { on_its_own_line } else { plain }.clone();
            piece.what = What::Display(Box::new(displayed));
            piece.at = self.end;
            self.end += piece.text.len();
        }
        true
    }

    /// Withdraws what there is, at once or with the next output.
    pub(super) fn clear(&mut self, wait: bool) {
        if wait {
            self.clear_next = true;
            return;
        }
        self.changes += 1;
        self.pieces.clear();
        self.block_open = false;
    }

    fn begin(&mut self) {
        self.changes += 1;
        if std::mem::take(&mut self.clear_next) {
            self.clear(false);
        }
    }

    /// What there is has been shown to a reader.
    pub(super) fn tell(&mut self) {
        self.told = self.end;
        if let Some(last) = self.pieces.last_mut() {
            last.text.fix();
        }
    }
}

/// A display's text, and what is kept of it.
fn kept(mut display: Display, number: u64, spool: &Spool) -> (String, Displayed) {
    let (mut text, mut text_at, mut image, mut partly) = (String::new(), None, None, false);
    match Shown::choose(&mut display.bundle) {
        Shown::Image { at, bytes } => {
            let mime = display.bundle.get(at).map_or("image", |one| &one.mime);
            text = format!("[output {number}: {mime}, {bytes} bytes]");
            image = Some(at);
        }
        Shown::Text { at, partly: less } => (text_at, partly) = (Some(at), less),
        Shown::Words(words) => (text, partly) = (words, true),
        Shown::Nothing => {}
    }
    let mut kept = Vec::new();
    for (at, one) in display.bundle.into_iter().enumerate() {
        let span = spool.append(one.value.as_bytes());
        kept.push(Kept { mime: one.mime, json: one.json, span });
        if text_at == Some(at) {
            text = one.value;
        }
    }
    let Display { metadata, id, result, .. } = display;
    (text, Displayed { number, id, result, metadata, kept, image, partly })
}
