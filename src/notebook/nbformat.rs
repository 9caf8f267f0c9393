//! Cells as the JSON of nbformat 4.5.
//!
//! What a kernel put out is untrusted: whatever its shape, the JSON is valid by the schema. Laid
//! out as Jupyter does it (one blank a level, keys sorted, text as lines). Does no I/O.
//! Source: <https://github.com/jupyter/nbformat/blob/main/nbformat/v4/nbformat.v4.5.schema.json>.

use std::{
    io::{self, Write},
    ops::Range,
};

use serde::Serialize;
use serde_json::{Map, Value, json, ser::PrettyFormatter};

use super::document::{Cell, Header, Output};
use crate::base::clock::iso;

/// Longest id of a cell that leaves room for the `-title` of its heading, in characters.
const LONGEST_ID: usize = 58;

/// A cell's JSON with the `,` before it, and where its outputs stand in it.
pub(super) struct Text {
    pub(super) json: Vec<u8>,
    pub(super) outputs: Range<usize>,
}

/// What stands before the cells.
pub(super) const OPENING: &str = "{\n \"cells\": [";

/// What stands behind the cells.
pub(super) fn closing(header: &Header) -> String {
    let mut language = Map::from_iter([("name".to_owned(), json!(header.language))]);
    let known = [
        ("version", &header.version),
        ("mimetype", &header.mimetype),
        ("file_extension", &header.file_extension),
    ];
    for (key, value) in known {
        language.extend(value.as_ref().map(|value| (key.to_owned(), json!(value))));
    }
    let metadata = json!({
        "husk": {"session": header.session},
        "kernelspec": {
            "display_name": header.display_name,
            "language": header.language,
            "name": header.kernel,
        },
        "language_info": language,
    });
    let metadata = String::from_utf8(pretty(&metadata, 1)).unwrap_or_default();
    format!("\n ],\n \"metadata\": {metadata},\n \"nbformat\": 4,\n \"nbformat_minor\": 5\n}}\n")
}

/// The JSON of a cell of words, with the `,` before it.
pub(super) fn words(id: &str, text: &str) -> Vec<u8> {
    let words = json!({
        "cell_type": "markdown",
        "id": id,
        "metadata": {},
        "source": lines(text),
    });
    let mut json = b",\n  ".to_vec();
    json.extend(pretty(&words, 2));
    json
}

/// A cell's JSON, its heading's before it.
pub(super) fn text(cell: Cell) -> Text {
    let id = valid_id(&cell.id);
    let mut json = Vec::new();
    if let Some(title) = cell.description.as_deref().and_then(heading) {
        json.extend(words(&format!("{id}-title"), &title));
    }
    let metadata = metadata(&cell);
    let member = |json: &mut Vec<u8>, name: &str, value: &Value| {
        json.extend(format!("\n   \"{name}\": ").as_bytes());
        let start = json.len();
        json.extend(pretty(value, 3));
        start..json.len()
    };
    json.extend(b",\n  {\n   \"cell_type\": \"code\",");
    for (name, value) in [
        ("execution_count", json!(cell.execution_count)),
        ("id", json!(id)),
        ("metadata", metadata),
    ] {
        member(&mut json, name, &value);
        json.push(b',');
    }
    let outputs = Value::Array(cell.outputs.into_iter().map(output).collect());
    let outputs = member(&mut json, "outputs", &outputs);
    json.push(b',');
    member(&mut json, "source", &lines(&cell.source));
    json.extend(b"\n  }");
    Text { json, outputs }
}

/// A cell by itself, without its heading.
pub(super) fn value(cell: Cell) -> Value {
    let (metadata, outputs) = (metadata(&cell), cell.outputs.into_iter().map(output));
    object([
        ("cell_type", json!("code")),
        ("execution_count", json!(cell.execution_count)),
        ("id", json!(valid_id(&cell.id))),
        ("metadata", metadata),
        ("outputs", outputs.collect()),
        ("source", lines(&cell.source)),
    ])
}

/// One line of text in place of a cell's outputs.
pub(super) fn outputs_with(note: &str) -> Vec<u8> {
    let note = Output::Stream { stderr: false, text: format!("{note}\n") };
    pretty(&Value::Array(vec![output(note)]), 3)
}

fn metadata(cell: &Cell) -> Value {
    let mut execution = json!({"iopub.execute_input": iso(cell.started)});
    // Only these have had a reply.
    if matches!(cell.status.as_str(), "ok" | "error")
        && let Some(ended) = cell.started.checked_add(cell.duration)
        && let Some(execution) = execution.as_object_mut()
    {
        execution.insert("shell.execute_reply".to_owned(), json!(iso(ended)));
    }
    let mut metadata = json!({
        "execution": execution,
        "husk": {
            "duration_ms": u64::try_from(cell.duration.as_millis()).unwrap_or(u64::MAX),
            "generation": cell.generation,
            "status": cell.status,
        },
    });
    // What nbclient and nbconvert go by when they run the notebook again. The state before a
    // kernel's death was lost, so that nothing after it can need the cell that killed it.
    let tag = match cell.status.as_str() {
        "error" => Some("raises-exception"),
        "kernel_died" => Some("skip-execution"),
        _ => None,
    };
    if let (Some(tag), Some(metadata)) = (tag, metadata.as_object_mut()) {
        metadata.insert("tags".to_owned(), json!([tag]));
    }
    metadata
}

fn output(output: Output) -> Value {
    match output {
        Output::Stream { stderr, text } => object([
            ("name", json!(if stderr { "stderr" } else { "stdout" })),
            ("output_type", json!("stream")),
            ("text", lines(&text)),
        ]),
        Output::Display { data, metadata } => object([
            ("data", bundle(data)),
            ("metadata", Value::Object(metadata)),
            ("output_type", json!("display_data")),
        ]),
        Output::Result { count, data, metadata } => object([
            ("data", bundle(data)),
            ("execution_count", json!(count)),
            ("metadata", Value::Object(metadata)),
            ("output_type", json!("execute_result")),
        ]),
        Output::Error { name, value, traceback } => object([
            ("ename", Value::String(name)),
            ("evalue", Value::String(value)),
            ("output_type", json!("error")),
            ("traceback", traceback.into_iter().map(Value::String).collect()),
        ]),
    }
}

/// An object made of values as they are: `json!` would copy them.
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Representations as the schema wants them.
fn bundle(data: Map<String, Value>) -> Value {
    let valid = |(mime, value): (String, Value)| {
        let value = if is_json(&mime) { value } else { text_value(&mime, value) };
        (mime, value)
    };
    Value::Object(data.into_iter().map(valid).collect())
}

/// Types whose value may be anything; `.` in the schema's pattern stops at the end of a line.
fn is_json(mime: &str) -> bool {
    mime == "application/json"
        || (mime.starts_with("application/") && mime.ends_with("+json") && !mime.contains('\n'))
}

/// Text as lines, anything encoded as one string.
fn text_value(mime: &str, value: Value) -> Value {
    let text = match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        Value::Array(parts) if parts.iter().all(Value::is_string) => {
            parts.iter().filter_map(Value::as_str).collect()
        }
        other => other.to_string(),
    };
    let has_lines =
        mime.starts_with("text/") || matches!(mime, "image/svg+xml" | "application/javascript");
    if has_lines { lines(&text) } else { Value::String(text) }
}

fn lines(text: &str) -> Value {
    text.split_inclusive('\n').map(Value::from).collect()
}

/// The id as it may stand in a notebook; husk's own stay as they are.
pub(super) fn valid_id(id: &str) -> String {
    let valid = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' };
    let id: String = id.chars().take(LONGEST_ID).map(valid).collect();
    if id.is_empty() { "c".to_owned() } else { id }
}

/// A description on one line, as a heading.
fn heading(description: &str) -> Option<String> {
    let description = description.trim_start_matches(['#', ' ', '\n']);
    let words: Vec<&str> = description.split_whitespace().collect();
    (!words.is_empty()).then(|| format!("## {}", words.join(" ")))
}

/// JSON one blank a level, to stand `depth` levels deep.
fn pretty(value: &Value, depth: usize) -> Vec<u8> {
    let mut to = Indented { json: Vec::new(), pad: vec![b' '; depth] };
    let format = PrettyFormatter::with_indent(b" ");
    // A value always has its JSON, and memory takes it.
    let _ = value.serialize(&mut serde_json::Serializer::with_formatter(&mut to, format));
    to.json
}

/// Takes JSON, in which a newline is always one between lines, and indents each line.
struct Indented {
    json: Vec<u8>,
    pad: Vec<u8>,
}

impl Write for Indented {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.json.extend(line);
            if line.ends_with(b"\n") {
                self.json.extend(&self.pad);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn cell() -> Cell {
        Cell {
            id: "c1".into(),
            source: "a\nb".into(),
            description: None,
            execution_count: Some(1),
            status: "ok".into(),
            started: SystemTime::UNIX_EPOCH + Duration::from_micros(1_709_210_096_123_456),
            duration: Duration::from_millis(2500),
            generation: 1,
            outputs: Vec::new(),
        }
    }

    /// The JSON of a cell's parts.
    fn read(cell: Cell) -> Value {
        let Text { json, outputs } = text(cell);
        let _: Value = serde_json::from_slice(&json[outputs]).unwrap();
        serde_json::from_str(&format!(
            "[{}]",
            std::str::from_utf8(&json).unwrap().trim_start_matches(',')
        ))
        .unwrap()
    }

    fn bundle_of(value: Value) -> Value {
        let data = value.as_object().unwrap().clone();
        read(Cell { outputs: vec![Output::Display { data, metadata: Map::new() }], ..cell() })[0]["outputs"][0]["data"].clone()
    }

    #[test]
    fn a_cell_says_what_was_run_when_and_how_it_ended() {
        let json = read(Cell { description: Some(" # Load\n the data ".into()), ..cell() });
        assert_eq!(json[0]["source"], json!(["## Load the data"]));
        assert_eq!(json[0]["id"], "c1-title");
        assert_eq!(json[1]["source"], json!(["a\n", "b"]));
        assert_eq!(
            json[1]["metadata"]["execution"],
            json!({
            "iopub.execute_input": "2024-02-29T12:34:56.123456Z",
            "shell.execute_reply": "2024-02-29T12:34:58.623456Z"})
        );
        assert_eq!(
            json[1]["metadata"]["husk"],
            json!({"duration_ms": 2500, "generation": 1, "status": "ok"})
        );
        let lost = read(Cell { status: "kernel_died".into(), ..cell() });
        assert!(lost[0]["metadata"]["execution"].get("shell.execute_reply").is_none());
        assert_eq!(lost[0]["metadata"]["tags"], json!(["skip-execution"]));
    }

    #[test]
    fn representations_of_any_shape_become_what_the_schema_allows() {
        let check = |mime: &str, value: Value, expected: Value| {
            assert_eq!(bundle_of(json!({mime: value}))[mime], expected, "{mime}");
        };
        check("text/plain", json!("a\nb"), json!(["a\n", "b"]));
        check("text/html", json!(7), json!(["7"]));
        check("text/html", json!(null), json!([]));
        check("text/plain", json!(["a", "b\n", "c"]), json!(["ab\n", "c"]));
        check("text/plain", json!(["a", 1]), json!(["[\"a\",1]"]));
        check("image/png", json!("QUJD\nREVG"), json!("QUJD\nREVG"));
        check("image/png", json!({"a": 1}), json!("{\"a\":1}"));
        check("application/json", json!({"a": [null]}), json!({"a": [null]}));
        check("application/geo+json", json!(3), json!(3));
        check("application/x\n+json", json!(3), json!("3"));
        check("model/gltf+json", json!({}), json!("{}"));
    }

    #[test]
    fn ids_are_valid_whatever_they_were() {
        for (id, expected) in
            [("c12", "c12"), ("", "c"), ("ä/b c", "--b-c"), (&"x".repeat(99), &"x".repeat(58))]
        {
            assert_eq!(valid_id(id), expected);
        }
    }
}
