//! The estimate of tokens against a real tokenizer, on the texts of `tests/corpus`.
//!
//! A text's name begins with its kind: `code`, `data`, `latin` (prose), `script` (not Latin). The
//! weights were fitted on other texts; of these, the Korean one and the boxes corrected a weight.

use std::fs;

use husk::base::budget;

use crate::support::repository;

/// No estimate may be further off than this.
const LEAST: f64 = 0.7;
const MOST: f64 = 1.4;

/// What a text is said to cost, as shares of what it costs.
struct Row {
    name: String,
    tokens: usize,
    estimate: f64,
    bytes: f64,
    chars: f64,
}

fn rows() -> Vec<Row> {
    let tokenizer = bpe_openai::o200k_base();
    let mut rows: Vec<Row> = fs::read_dir(repository().join("tests/corpus"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let tokens = tokenizer.count(text.as_str());
            let share = |estimate: f64| estimate / tokens as f64;
            Row {
                name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
                tokens,
                estimate: share(budget::tokens(&text) as f64),
                bytes: share(text.len() as f64 / 4.0),
                chars: share(text.chars().count() as f64 / 4.0),
            }
        })
        .collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

/// The mean of how far a share is from one, over the texts of a kind.
fn error(rows: &[Row], kind: &str, share: fn(&Row) -> f64) -> f64 {
    let of_kind: Vec<&Row> = rows.iter().filter(|row| row.name.starts_with(kind)).collect();
    of_kind.iter().map(|row| (share(row) - 1.0).abs()).sum::<f64>() / of_kind.len() as f64
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is what one comes here for")]
fn the_estimate_of_tokens_is_better_than_a_quarter_of_the_length() {
    let rows = rows();
    assert!(rows.len() > 40);
    println!("{:32} tokens estimate bytes/4 chars/4", "text");
    for row in &rows {
        let Row { name, tokens, estimate, bytes, chars } = row;
        println!("{name:32} {tokens:6} {estimate:8.2} {bytes:7.2} {chars:7.2}");
    }
    // The kinds, how far off the estimate may be on average, and by which part of the error of the
    // better one of bytes / 4 and characters / 4.
    for (kind, most, part) in [
        ("code", 0.05, 0.4),
        ("data", 0.08, 0.3),
        ("latin", 0.08, 0.7),
        ("script", 0.12, 0.4),
        ("", 0.08, 0.3),
    ] {
        let ours = error(&rows, kind, |row| row.estimate);
        let bytes = error(&rows, kind, |row| row.bytes);
        let chars = error(&rows, kind, |row| row.chars);
        println!("off by, {kind:24} {ours:15.3} {bytes:7.3} {chars:7.3}");
        assert!(ours <= most, "{kind}: off by {ours:.3}, at most {most}");
        assert!(ours <= part * bytes.min(chars), "{kind}: {ours:.3}, {bytes:.3}, {chars:.3}");
    }
    for row in &rows {
        let Row { name, estimate, .. } = row;
        assert!((LEAST..=MOST).contains(estimate), "{name}: {estimate:.2} of what it costs");
    }
}
