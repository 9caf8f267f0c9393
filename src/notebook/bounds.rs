//! How much of a cell's outputs the record keeps: of text the beginning and the end, of the rest
//! what comes first. What is left out is said, and where the whole is.

use serde_json::{Map, Value};

use super::document::Output;

/// What one output adds in JSON besides its contents, in bytes; more than it really is.
const FRAME: usize = 256;

/// The outputs within `text` bytes of stream text (and as much in each exception), and about
/// `total` bytes of JSON. `whole` says where all of it is.
pub(super) fn bounded(outputs: Vec<Output>, text: usize, total: usize, whole: &str) -> Vec<Output> {
    let outputs = outputs.into_iter().map(|output| exception(output, text, whole)).collect();
    fitting(streams(merged(outputs), text, whole), total, whole)
}

/// Pieces of the same stream that follow each other as one.
fn merged(outputs: Vec<Output>) -> Vec<Output> {
    let mut all: Vec<Output> = Vec::with_capacity(outputs.len());
    for output in outputs {
        match (all.last_mut(), output) {
            (
                Some(Output::Stream { stderr: before, text: last }),
                Output::Stream { stderr, text },
            ) if *before == stderr => last.push_str(&text),
            (_, output) => all.push(output),
        }
    }
    all
}

/// The first and the last half of `most` bytes of all streams together.
fn streams(outputs: Vec<Output>, most: usize, whole: &str) -> Vec<Output> {
    let length = |output: &Output| match output {
        Output::Stream { text, .. } => text.len(),
        _ => 0,
    };
    let total: usize = outputs.iter().map(length).sum();
    if total <= most {
        return outputs;
    }
    let (head, tail) = (most / 2, total - most / 2);
    let mut at = 0;
    let mut gone = 0;
    let mut noted = None;
    let mut kept = Vec::with_capacity(outputs.len());
    for mut output in outputs {
        if let Output::Stream { text, .. } = &mut output {
            let from = floor(text, head.saturating_sub(at).min(text.len()));
            let to = ceil(text, tail.saturating_sub(at).min(text.len()));
            at += text.len();
            if from < to {
                gone += to - from;
                text.replace_range(from..to, "");
                noted.get_or_insert((kept.len(), from));
            }
        }
        kept.push(output);
    }
    if let Some((index, from)) = noted
        && let Some(Output::Stream { text, .. }) = kept.get_mut(index)
    {
        text.insert_str(from, &left_out(gone, whole));
    }
    kept.retain(|output| !matches!(output, Output::Stream { text, .. } if text.is_empty()));
    kept
}

/// An exception with the beginning and the end of its texts.
fn exception(output: Output, most: usize, whole: &str) -> Output {
    let Output::Error { name, value, traceback } = output else { return output };
    let length: usize = traceback.iter().map(String::len).sum();
    let traceback =
        if length > most { vec![ends(traceback.join("\n"), most, whole)] } else { traceback };
    Output::Error { name: ends(name, most, whole), value: ends(value, most, whole), traceback }
}

fn ends(mut text: String, most: usize, whole: &str) -> String {
    if text.len() > most {
        let from = floor(&text, most / 2);
        let to = ceil(&text, text.len() - most / 2);
        text.replace_range(from..to, &left_out(to - from, whole));
    }
    text
}

/// The outputs that fit, and a line about those that do not.
fn fitting(mut outputs: Vec<Output>, total: usize, whole: &str) -> Vec<Output> {
    let (mut used, mut gone, mut bytes) = (0, 0, 0);
    outputs.retain(|output| {
        let size = size(output);
        let fits = used + size <= total;
        if fits {
            used += size;
        } else {
            gone += 1;
            bytes += size;
        }
        fits
    });
    if gone > 0 {
        let text = format!("[… {gone} outputs of about {bytes} bytes left out; {whole} …]\n");
        outputs.push(Output::Stream { stderr: false, text });
    }
    outputs
}

fn left_out(bytes: usize, whole: &str) -> String {
    format!("\n[… {bytes} bytes left out; {whole} …]\n")
}

/// The largest character boundary at or below `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The smallest character boundary at or above `at`.
fn ceil(text: &str, at: usize) -> usize {
    (at..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

/// Bytes of JSON that an output takes at most.
fn size(output: &Output) -> usize {
    let object = |map: &Map<String, Value>| map.iter().map(member).sum::<usize>();
    FRAME
        + match output {
            Output::Stream { text, .. } => escaped(text),
            Output::Display { data, metadata } | Output::Result { data, metadata, .. } => {
                object(data) + object(metadata)
            }
            Output::Error { name, value, traceback } => {
                let lines = traceback.iter().map(|line| escaped(line) + 16);
                escaped(name) + escaped(value) + lines.sum::<usize>()
            }
        }
}

fn member((name, value): (&String, &Value)) -> usize {
    escaped(name) + 16 + json_size(value)
}

fn json_size(value: &Value) -> usize {
    match value {
        Value::String(text) => escaped(text),
        // The indentation grows with the depth; 16 is that of ordinary ones.
        Value::Array(all) => all.iter().map(|value| json_size(value) + 16).sum(),
        Value::Object(map) => map.iter().map(member).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 24,
    }
}

/// Bytes of a text in JSON, each of its lines in quotes on a line of its own.
fn escaped(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'\n' => 16,
        0..=31 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    });
    bytes.sum::<usize>() + 16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn out(text: &str) -> Output {
        Output::Stream { stderr: false, text: text.into() }
    }

    fn err(text: &str) -> Output {
        Output::Stream { stderr: true, text: text.into() }
    }

    #[test]
    fn of_long_text_both_ends_stay() {
        let check = |outputs: Vec<Output>, expected: Vec<Output>| {
            assert_eq!(bounded(outputs, 4, 100_000, "W"), expected);
        };
        check(vec![out("a"), out("b"), err("c")], vec![out("ab"), err("c")]);
        check(vec![out("abcdefgh")], vec![out("ab\n[… 4 bytes left out; W …]\ngh")]);
        check(
            vec![out("abc"), err("def"), out("ghi")],
            vec![out("ab\n[… 5 bytes left out; W …]\n"), out("hi")],
        );
        check(
            vec![out("ab"), err("cdef")],
            vec![out("ab"), err("\n[… 2 bytes left out; W …]\nef")],
        );
    }

    #[test]
    fn what_does_not_fit_is_counted_and_smaller_things_still_fit() {
        let display = |bytes: usize| Output::Display {
            data: json!({"image/png": "x".repeat(bytes)}).as_object().unwrap().clone(),
            metadata: Map::new(),
        };
        let kept = bounded(vec![display(500), display(5000), display(5)], 100, 2000, "W");
        assert_eq!(kept[..2], [display(500), display(5)]);
        let Output::Stream { text, .. } = &kept[2] else { panic!("{kept:?}") };
        assert!(text.starts_with("[… 1 outputs of about 53"), "{text}");
    }

    #[test]
    fn an_exception_of_any_length_is_bounded() {
        let long = "x".repeat(1000);
        let error =
            Output::Error { name: long.clone(), value: long.clone(), traceback: vec![long; 3] };
        let [Output::Error { name, value, traceback }] = &bounded(vec![error], 100, 9999, "W")[..]
        else {
            panic!("one error")
        };
        for text in [name, value, &traceback[0]] {
            assert!(text.len() < 150 && text.contains("bytes left out"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn kept_and_left_out_are_the_whole(pieces in prop::collection::vec(("[aä€]{0,9}", any::<bool>()), 0..9), most in 0usize..30) {
            let whole: usize = pieces.iter().map(|(text, _)| text.len()).sum();
            let outputs = pieces.into_iter().map(|(text, stderr)| Output::Stream { stderr, text }).collect();
            let kept: String = bounded(outputs, most, 100_000, "W").into_iter().map(|output| match output {
                Output::Stream { text, .. } => text,
                other => panic!("{other:?}"),
            }).collect();
            match kept.split_once("\n[… ") {
                None => prop_assert_eq!(kept.len(), whole),
                Some((head, rest)) => {
                    let (gone, tail) = rest.split_once(" bytes left out; W …]\n").unwrap();
                    prop_assert_eq!(head.len() + gone.parse::<usize>().unwrap() + tail.len(), whole);
                    prop_assert!(head.len() + tail.len() <= most);
                }
            }
        }
    }
}
