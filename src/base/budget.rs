//! What a text costs a model: an estimate of its tokens, without a tokenizer.
//!
//! The rule. A byte-pair tokenizer cuts a text into pieces, and looks each piece up in its
//! vocabulary. The cutting is done here as a tokenizer does it, in one pass; what a piece costs is
//! not looked up but judged by its kind, its length and its script:
//!
//! - a word is one token, and each letter beyond its first few a part of one: 0.08 in a word that
//!   follows a space, up to 0.2 in identifiers and capitals, 0.23 (Cyrillic) to 0.7 (Chinese, kana)
//!   in other scripts, more where it is longer than words are;
//! - a space before a word is free, and so is one sign (`.name`); the other spaces of a run are one
//!   token together, and so is the end of a line, free after a sign;
//! - digits are one token for each three of a number;
//! - two signs are one token, each further one a third, the same one again less; signs that are not
//!   ASCII are one each, emoji two;
//! - letters and digits in a jumble (hexadecimal, base64) cost half a token a letter.
//!
//! The weights were fitted to `o200k_base`, a tokenizer that is public, on some 450 texts of a few
//! kilobytes in 40 languages and formats; `tests/it/tokens.rs` holds the estimate against it on
//! others, those of `tests/corpus`, and prints the table. Other tokenizers may make more of the same
//! text: `cl100k_base` about as many of English and code, and 1.2 to 3 times as many of the rest.

/// Hundredths of a token: what all costs here are counted in.
const TOKEN: u64 = 100;

/// Estimates the tokens of `text`.
#[must_use]
pub fn tokens(text: &str) -> u64 {
    let mut scan = Scan::default();
    text.chars().for_each(|c| scan.take(c));
    scan.close(None);
    scan.cost.div_ceil(TOKEN)
}

/// Estimates the tokens of an image from its encoded size in bytes: hosts scale images down, so
/// that one costs at most about 1,600 tokens.
#[must_use]
pub fn image_tokens(bytes: u64) -> u64 {
    (bytes / 64).clamp(85, 1600)
}

/// What a letter adds to its word: nothing within the first `free` letters, then `price`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Script {
    price: u8,
    free: u8,
}

/// ASCII letters, whose price depends on the word.
const PLAIN: Script = Script { price: 0, free: 0 };
/// Chinese characters and kana, which no space separates.
const HAN: Script = Script { price: 70, free: 0 };

/// What a character is to a tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter {
        script: Script,
        upper: bool,
    },
    Digit,
    Space,
    LineEnd,
    /// Punctuation and symbols; what one adds to its run, nothing where the run's length decides.
    Sign(u8),
}

impl Kind {
    fn of(c: char) -> Self {
        match c {
            'a'..='z' => Self::Letter { script: PLAIN, upper: false },
            'A'..='Z' => Self::Letter { script: PLAIN, upper: true },
            '0'..='9' => Self::Digit,
            '\n' | '\r' => Self::LineEnd,
            ' ' | '\t' => Self::Space,
            c if c.is_ascii() => Self::Sign(0),
            c => Self::beyond_ascii(c),
        }
    }

    /// A word ends where a capital follows a small letter, and between Chinese and other letters.
    fn goes_on(self, next: Self) -> bool {
        match (self, next) {
            (Self::Letter { script, upper }, Self::Letter { script: other, upper: next_upper }) => {
                (upper || !next_upper) && (script == HAN) == (other == HAN)
            }
            (Self::Digit, Self::Digit)
            | (Self::Space, Self::Space)
            | (Self::LineEnd, Self::LineEnd)
            | (Self::Sign(_), Self::Sign(_)) => true,
            _ => false,
        }
    }

    fn beyond_ascii(c: char) -> Self {
        match c as u32 {
            // Joiners and variants of emoji.
            0x200c..=0x200d | 0xfe00..=0xfe0f => Self::Sign(50),
            0x1_f000..=0x1_ffff if !c.is_alphabetic() => Self::Sign(225),
            // Signs of scripts whose vowels and joiners are no letters to Rust.
            0x0900..=0x0dff if !matches!(c, '\u{964}' | '\u{965}') && !c.is_numeric() => {
                Self::Letter { script: script(c), upper: false }
            }
            // The letters of most texts, without a look into the tables of Unicode.
            0x0410..=0x044f => Self::Letter { script: script(c), upper: c <= 'Я' },
            0x3041..=0x3096 | 0x30a1..=0x30fa | 0x4e00..=0x9fff => {
                Self::Letter { script: HAN, upper: false }
            }
            0x0620..=0x064a | 0xac00..=0xd7a3 => Self::Letter { script: script(c), upper: false },
            _ if c.is_alphabetic() => Self::Letter { script: script(c), upper: c.is_uppercase() },
            0x0591..=0x05c7 | 0x064b..=0x065f | 0x0e31..=0x0e4e | 0x1000..=0x109f => {
                Self::Letter { script: script(c), upper: false }
            }
            _ if c.is_numeric() => Self::Digit,
            _ if c.is_whitespace() => Self::Space,
            _ => Self::Sign(100),
        }
    }
}

/// The price of letters beyond ASCII, by the ranges of Unicode.
fn script(c: char) -> Script {
    let (price, free) = match c as u32 {
        0x00aa..=0x00ff | 0x1e00..=0x1eff => (28, 2),
        0x0100..=0x036f => (40, 2),
        0x0370..=0x03ff | 0x1f00..=0x1fff => (38, 2),
        0x0400..=0x052f => (23, 1),
        0x0530..=0x058f | 0x10a0..=0x10ff => (31, 1),
        0x0590..=0x05ff => (53, 2),
        0x0600..=0x08ff | 0xfb50..=0xfdff | 0xfe70..=0xfeff => (48, 2),
        0x0900..=0x0dff => (48, 2),
        0x0e00..=0x0eff => (41, 2),
        0x1000..=0x109f | 0x1780..=0x17ff => (57, 0),
        0x1100..=0x11ff | 0x3130..=0x318f | 0xac00..=0xd7af => (55, 0),
        0x3040..=0x30ff | 0x31f0..=0x33ff | 0x4e00..=0x9fff | 0xf900..=0xfaff => {
            (HAN.price, HAN.free)
        }
        0x3400..=0x4dbf | 0x2_0000..=0x3_ffff => (250, 0),
        _ => (100, 0),
    };
    Script { price, free }
}

/// What stands right before a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Before {
    #[default]
    Nothing,
    Space,
    Sign,
}

/// The pass over a text: the run of one kind that is open, and what it needs of those before it.
#[derive(Debug, Default)]
struct Scan {
    cost: u64,
    /// The last character of the open run.
    last: Option<(char, Kind)>,
    length: u64,
    capitals: u64,
    script: Script,
    /// What its signs cost each by themselves, and how many repeat the one before.
    weight: u64,
    repeated: u64,
    before: Before,
    /// A sign or a line's end stands before: the next line's end is free.
    ended: bool,
    /// Characters and runs of letters and digits with nothing between them.
    jumble: (u64, u64),
}

impl Scan {
    fn take(&mut self, c: char) {
        let kind = Kind::of(c);
        if !self.last.is_some_and(|(_, last)| last.goes_on(kind)) {
            self.close(Some(kind));
        }
        let repeats = self.length > 0 && self.last.is_some_and(|(last, _)| last == c);
        self.length += 1;
        self.repeated += u64::from(repeats);
        match kind {
            Kind::Letter { script, upper } => {
                self.capitals += u64::from(upper);
                if script.price > self.script.price {
                    self.script = script;
                }
            }
            Kind::Sign(weight) => {
                self.weight += u64::from(if repeats { weight / 16 } else { weight })
            }
            Kind::Digit | Kind::Space | Kind::LineEnd => {}
        }
        self.last = Some((c, kind));
    }

    /// Counts the open run, which `next` or the text's end has ended.
    fn close(&mut self, next: Option<Kind>) {
        let Some((_, kind)) = self.last else { return };
        let (mut before, mut ended, mut jumble) = (Before::Nothing, false, (0, 0));
        if matches!(kind, Kind::Letter { .. } | Kind::Digit) {
            jumble = (self.jumble.0 + self.length, self.jumble.1 + 1);
        }
        self.jumble = jumble;
        self.cost += match kind {
            Kind::Letter { .. } => self.word(),
            Kind::Digit => self.length.div_ceil(3) * TOKEN,
            Kind::LineEnd => {
                ended = true;
                if self.ended { 0 } else { TOKEN }
            }
            Kind::Space => {
                (before, ended) = (Before::Space, self.ended);
                self.spaces(next)
            }
            Kind::Sign(_) => {
                ended = true;
                let leads = self.length == 1 && self.weight == 0 && self.before == Before::Nothing;
                if leads && matches!(next, Some(Kind::Letter { .. })) {
                    before = Before::Sign;
                    0
                } else {
                    self.signs()
                }
            }
        };
        (self.before, self.ended, self.script) = (before, ended, PLAIN);
        (self.length, self.capitals, self.weight, self.repeated) = (0, 0, 0, 0);
    }

    /// The last space belongs to a word or a sign that follows, all of them to a line's end.
    fn spaces(&self, next: Option<Kind>) -> u64 {
        match next {
            Some(Kind::LineEnd) => 0,
            Some(Kind::Digit) => self.length.min(2) * TOKEN,
            Some(_) => self.length.saturating_sub(1).min(1) * TOKEN,
            None => TOKEN,
        }
    }

    fn signs(&self) -> u64 {
        if self.weight > 0 {
            return self.weight;
        }
        let different = self.length.saturating_sub(self.repeated);
        TOKEN + 34 * different.saturating_sub(2) + 4 * self.repeated
    }

    fn word(&self) -> u64 {
        let spaced = self.before == Before::Space;
        let (price, free) = if self.script == PLAIN {
            self.plain_word(spaced)
        } else {
            (u64::from(self.script.price), u64::from(self.script.free) + u64::from(spaced))
        };
        // No word is this long: it is a key or a sequence, of which no part is in a vocabulary.
        let endless = if self.script == PLAIN { 35 * self.length.saturating_sub(16) } else { 0 };
        TOKEN + price * self.length.saturating_sub(free) + endless
    }

    /// The price of a letter of an ASCII word, and how many letters are free.
    fn plain_word(&self, spaced: bool) -> (u64, u64) {
        let (characters, runs) = self.jumble;
        let all_capitals = self.capitals == self.length;
        if runs > 2 && characters < 4 * runs {
            return (55, if self.capitals == 0 || all_capitals { 2 } else { 1 });
        }
        match (self.capitals, self.before) {
            (0 | 1, Before::Space) => (8, 5),
            (0, Before::Nothing) => (15, 5),
            (0, Before::Sign) => (11, 2),
            (1, Before::Nothing) if !all_capitals => (16, 5),
            (1, Before::Sign) if !all_capitals => (13, 0),
            _ if all_capitals => (if spaced { 13 } else { 20 }, 2),
            _ => (if spaced { 13 } else { 40 }, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_grow_with_the_text_and_its_density() {
        let check = |text: &str, low: u64, high: u64| {
            let got = tokens(text);
            assert!((low..=high).contains(&got), "{text:?}: {got} not in {low}..={high}");
        };
        check("", 0, 0);
        check("The quick brown fox jumps over the lazy dog", 9, 14);
        check("x[i] += f(a, b)", 6, 12);
        check("日本語のテキスト", 5, 12);
        check("e3b0c44298fc1c149afbf4c8996fb924", 18, 28);
        check("print(3.14159265)\n", 6, 9);
        check(&"-".repeat(2500), 10, 150);
        check(&" ".repeat(2500), 1, 1);
        assert_eq!(image_tokens(10), 85);
        assert_eq!(image_tokens(10_000_000), 1600);
    }
}
