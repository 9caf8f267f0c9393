//! One piece's text: its older part in the spool, its newest in memory, where the line that is
//! being written can still change.
//!
//! A carriage return takes the line back, so that a progress bar leaves its last state. What a
//! reader has been shown is fixed and is not taken back: the line then goes on below it.

use super::spool::{Span, Spool};

/// Text that stays in memory before it goes to the spool, in bytes.
const NEWEST: usize = 8 * 1024;
/// The longest line that can still be taken back, in bytes.
const LINE: usize = 64 * 1024;

/// See the module's documentation.
#[derive(Debug, Default, Clone)]
pub(super) struct Text {
    kept: Vec<Span>,
    kept_len: u64,
    /// What is in the spool ends within a line.
    kept_open: bool,
    newest: String,
    /// Bytes of `newest` that must stay as they are.
    fixed: usize,
    /// A carriage return came, and nothing after it yet.
    returned: bool,
}

impl Text {
    /// A text that will not grow.
    pub(super) fn whole(text: &str, spool: &Spool) -> Self {
        let mut whole = Self::default();
        whole.append(text, spool);
        whole
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.kept_len + self.newest.len() as u64
    }

    /// Whether it ends within a line.
    pub(super) fn is_open(&self) -> bool {
        if self.newest.is_empty() { self.kept_open } else { !self.newest.ends_with('\n') }
    }

    /// Adds what a stream brought.
    pub(super) fn push(&mut self, text: &str, spool: &Spool) {
        if self.returned || text.contains('\r') {
            text.split_inclusive(['\r', '\n']).for_each(|part| self.push_folding(part));
        } else {
            self.newest.push_str(text);
        }
        if self.newest.len() > NEWEST {
            let line = self.newest.rfind('\n').map_or(0, |at| at + 1);
            let whole = self.newest.len() - line > LINE;
            self.keep(if whole { self.newest.len() } else { line }, spool);
        }
    }

    /// Adds a part that ends at the first `\r` or `\n` in it.
    fn push_folding(&mut self, part: &str) {
        let run = part.strip_suffix(['\r', '\n']).unwrap_or(part);
        if !run.is_empty() {
            self.take_back();
            self.newest.push_str(run);
        }
        if part.ends_with('\r') {
            self.returned = true;
        } else if part.ends_with('\n') {
            self.returned = false;
            self.newest.push('\n');
        }
    }

    /// Obeys a carriage return, now that something follows it.
    fn take_back(&mut self) {
        if !std::mem::take(&mut self.returned) {
            return;
        }
        let newline = self.newest.rfind('\n');
        let line = newline.map_or(0, |at| at + 1);
        let begun_before = self.fixed > line || (newline.is_none() && self.kept_open);
        self.newest.truncate(line.max(self.fixed));
        if begun_before {
            self.newest.push('\n');
        }
    }

    /// What there is has been shown to a reader.
    pub(super) fn fix(&mut self) {
        self.fixed = self.newest.len();
    }

    /// Moves all to the spool: nothing more is expected.
    pub(super) fn settle(&mut self, spool: &Spool) {
        self.keep(self.newest.len(), spool);
        self.newest.shrink_to_fit();
    }

    fn keep(&mut self, until: usize, spool: &Spool) {
        let mut newest = std::mem::take(&mut self.newest);
        if let Some(text) = newest.get(..until) {
            self.append(text, spool);
            newest.drain(..until);
            self.fixed = self.fixed.saturating_sub(until);
        }
        self.newest = newest;
    }

    /// Adds a text to what is in the spool.
    fn append(&mut self, text: &str, spool: &Spool) {
        if text.is_empty() {
            return;
        }
        let span = spool.append(text.as_bytes());
        self.kept_open = !text.ends_with('\n');
        match self.kept.last_mut() {
            Some(last) if last.at + last.len == span.at => last.len += span.len,
            _ => self.kept.push(span),
        }
        self.kept_len += span.len;
    }

    /// How many bytes at its front the spool has dropped.
    pub(super) fn dropped(&self, spool: &Spool) -> u64 {
        self.kept.iter().map(|span| spool.dropped(*span)).sum()
    }

    /// Bytes `from..to` as far as they are kept, cut at characters.
    pub(super) fn read(&self, from: u64, to: u64, spool: &Spool) -> String {
        whole_characters(self.bytes(from, to, spool))
    }

    /// The characters that begin in `from..to`, as far as they are kept: ranges that follow each
    /// other are the whole.
    pub(super) fn read_characters(&self, from: u64, to: u64, spool: &Spool) -> String {
        let end = to.saturating_add(3).min(self.len()).max(to);
        let mut bytes = self.bytes(from, end, spool);
        let after = bytes.len().saturating_sub((end - to) as usize);
        let rest = bytes.get(after..).unwrap_or_default();
        bytes.truncate(after + rest.iter().take_while(|byte| continues(**byte)).count());
        whole_characters(bytes)
    }

    fn bytes(&self, from: u64, to: u64, spool: &Spool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut at = 0;
        for span in &self.kept {
            let (begin, end) = (from.max(at), to.min(at + span.len));
            if begin < end {
                bytes.extend(spool.read(*span, begin - at, end - at));
            }
            at += span.len;
        }
        let (begin, end) = (from.max(at) - at, to.max(at) - at);
        let newest = self.newest.as_bytes();
        let clip = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(newest.len());
        bytes.extend_from_slice(newest.get(clip(begin)..clip(end)).unwrap_or_default());
        bytes
    }
}

/// Whether a byte is not the first of its character.
fn continues(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

/// The text of bytes that were cut out of a text: parts of characters at its ends go.
fn whole_characters(bytes: Vec<u8>) -> String {
    let start = bytes.iter().take(3).take_while(|byte| continues(**byte)).count();
    let inside = bytes.get(start..).unwrap_or_default();
    match std::str::from_utf8(inside) {
        Ok(text) => text.to_owned(),
        Err(error) if error.error_len().is_none() => {
            let valid = inside.get(..error.valid_up_to()).unwrap_or_default();
            String::from_utf8_lossy(valid).into_owned()
        }
        // Dropped parts can leave half a character in the middle too.
        Err(_) => String::from_utf8_lossy(inside).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spool() -> Spool {
        Spool::new(std::env::temp_dir(), 1 << 20)
    }

    fn all(text: &Text, spool: &Spool) -> String {
        text.read(0, text.len(), spool)
    }

    #[test]
    fn progress_bars_fold_to_their_last_state() {
        let check = |pieces: &[&str], expected: &str| {
            let spool = spool();
            let mut text = Text::default();
            pieces.iter().for_each(|piece| text.push(piece, &spool));
            assert_eq!(all(&text, &spool), expected, "{pieces:?}");
        };
        check(&["a\r\nb"], "a\nb");
        check(&["\r 0%", "\r50%", "\r100%\n"], "100%\n");
        check(&["10%", "\r", "20%", "\r", "\n"], "20%\n");
        check(&["kept\nlong line\rx"], "kept\nx");
        check(&["abc\r"], "abc");
    }

    #[test]
    fn what_was_shown_is_not_taken_back() {
        let spool = spool();
        let mut text = Text::default();
        text.push("\r10%", &spool);
        text.fix();
        text.push("\r20%\r30%", &spool);
        assert_eq!(all(&text, &spool), "10%\n30%");
        text.settle(&spool);
        text.push("\r40%", &spool);
        assert_eq!(all(&text, &spool), "10%\n30%\n40%");
    }

    proptest! {
        // Each case makes a file.
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn without_carriage_returns_nothing_changes(
            pieces in prop::collection::vec("[aä€\n]{0,40000}", 0..5), from in 0u64..100_000, len in 0u64..100_000,
        ) {
            let spool = spool();
            let whole = pieces.concat();
            let mut text = Text::default();
            pieces.iter().for_each(|piece| text.push(piece, &spool));
            prop_assert_eq!(text.len(), whole.len() as u64);
            prop_assert_eq!(text.is_open(), !whole.is_empty() && !whole.ends_with('\n'));
            prop_assert_eq!(&all(&text, &spool), &whole);
            let part = text.read(from, from + len, &spool);
            let (from, to) = (from.min(whole.len() as u64) as usize, (from + len).min(whole.len() as u64) as usize);
            prop_assert_eq!(part, whole_characters(whole.as_bytes()[from..to].to_vec()));
        }
    }
}
