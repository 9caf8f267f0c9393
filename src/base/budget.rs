//! What a text costs a model: an estimate of its tokens, without a tokenizer.
//!
//! Byte-pair tokenizers make about one token of four letters of English, of three characters of
//! code (punctuation stands alone), and of one to two characters of scripts that are not Latin.
//! The estimate errs on the high side: a budget should end early rather than late.

/// Estimates the tokens of `text`.
#[must_use]
pub fn tokens(text: &str) -> u64 {
    let mut quarters = 0u64;
    for c in text.chars() {
        quarters += match c {
            'a'..='z' | 'A'..='Z' | ' ' => 1,
            '0'..='9' => 2,
            c if c.is_ascii() => 3,
            c if (c as u32) < 0x0250 => 2,
            _ => 4,
        };
    }
    quarters.div_ceil(4)
}

/// Estimates the tokens of an image from its encoded size in bytes: hosts scale images down, so
/// that one costs at most about 1,600 tokens.
#[must_use]
pub fn image_tokens(bytes: u64) -> u64 {
    (bytes / 64).clamp(85, 1600)
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
        check("日本語のテキスト", 6, 12);
        assert_eq!(image_tokens(10), 85);
        assert_eq!(image_tokens(10_000_000), 1600);
    }
}
