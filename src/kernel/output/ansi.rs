//! Takes terminal escapes out of text that comes in pieces.
//!
//! A colour code may be cut between two messages, so the parser's state is kept from piece to
//! piece. Newlines, tabs and carriage returns stay; every other control character goes.

use std::borrow::Cow;

/// A stripper for one stream of text.
#[derive(Default)]
pub(super) struct Ansi {
    parser: vte::Parser,
    /// Whether the last piece may have ended inside an escape.
    inside: bool,
}

impl Ansi {
    /// The next piece without its escapes.
    pub(super) fn strip<'a>(&mut self, raw: impl Into<Cow<'a, str>>) -> String {
        let raw = raw.into();
        let plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t' | '\r');
        if !self.inside && raw.chars().all(plain) {
            return raw.into_owned();
        }
        self.inside = true;
        let mut kept = Kept(String::with_capacity(raw.len()));
        for line in raw.split_inclusive('\n') {
            self.parser.advance(&mut kept, line.as_bytes());
            // No escape goes over the end of a line: one that never closes must not eat what follows.
            if line.ends_with('\n') {
                self.parser = vte::Parser::new();
                kept.end_line();
            }
        }
        kept.0
    }
}

struct Kept(String);

impl Kept {
    /// The newline itself may have been eaten by an open escape.
    fn end_line(&mut self) {
        if !self.0.ends_with('\n') {
            self.0.push('\n');
        }
    }
}

impl vte::Perform for Kept {
    fn print(&mut self, c: char) {
        self.0.push(c);
    }

    fn execute(&mut self, byte: u8) {
        if matches!(byte, b'\n' | b'\t' | b'\r') {
            self.0.push(char::from(byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_go_and_text_stays() {
        let check = |raw: &str, kept: &str| assert_eq!(Ansi::default().strip(raw), kept, "{raw:?}");
        check("plain äß€😀\n\t\r", "plain äß€😀\n\t\r");
        check("\u{1b}[0;31mred\u{1b}[0m", "red");
        check("\u{1b}]8;;http://x\u{7}link\u{1b}]8;;\u{7}", "link");
        check("\u{1b}]0;never closed\nnext line", "\nnext line");
        check("bell\u{7} back\u{8}space", "bell backspace");
    }

    proptest! {
        #[test]
        fn how_text_is_cut_does_not_matter(text in "([a-zä€]|\u{1b}\\[[0-9;]{0,4}m|\n){0,30}", at in 0usize..60) {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let (one, two) = text.split_at(at);
            let mut ansi = Ansi::default();
            let pieces = ansi.strip(one) + &ansi.strip(two);
            prop_assert_eq!(pieces, Ansi::default().strip(&text));
        }
    }
}
