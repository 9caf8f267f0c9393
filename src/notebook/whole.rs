//! A notebook made at once, of words and of cells that ran somewhere: what is not one session's
//! record. Reads outputs of other notebooks too, whatever their shape. Does no I/O.

use serde_json::{Map, Value, json};

use super::{
    bounds,
    document::{Cell, Header, Output},
    nbformat,
};

/// A part of a notebook.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Words, as Markdown.
    Words {
        /// The cell's id; like those of cells it must be the only one of its kind.
        id: String,
        /// The words.
        text: String,
    },
    /// A cell that ran.
    Code(Cell),
}

/// The notebook of these parts.
#[must_use]
pub fn text(header: &Header, parts: Vec<Part>) -> String {
    let mut cells = Vec::new();
    for part in parts {
        cells.extend(match part {
            Part::Words { id, text } => nbformat::words(&id, &text),
            Part::Code(cell) => nbformat::text(cell).json,
        });
    }
    // Each cell brings the comma before it.
    let cells = cells.get(1..).map(String::from_utf8_lossy).unwrap_or_default();
    format!("{}{cells}{}", nbformat::OPENING, nbformat::closing(header))
}

/// A cell by itself, its outputs within `text` bytes of text and about `total` bytes of JSON; `whole` says
/// where all of it is.
#[must_use]
pub fn cell(mut cell: Cell, text: usize, total: usize, whole: &str) -> Value {
    cell.outputs = bounds::bounded(cell.outputs, text, total, whole);
    nbformat::value(cell)
}

/// The outputs of a cell of any notebook.
#[must_use]
pub fn outputs(cell: &Value) -> Vec<Output> {
    let outputs = cell.get("outputs").and_then(Value::as_array);
    outputs.into_iter().flatten().filter_map(output).collect()
}

/// The source of a cell of any notebook.
#[must_use]
pub fn source(cell: &Value) -> String {
    cell.get("source").map(joined).unwrap_or_default()
}

/// What a notebook says about its kernel.
#[must_use]
pub fn header(notebook: &Value) -> Option<Header> {
    let at = |path| notebook.pointer(path).and_then(Value::as_str).map(str::to_owned);
    Some(Header {
        session: at("/metadata/husk/session").unwrap_or_default(),
        kernel: at("/metadata/kernelspec/name")?,
        display_name: at("/metadata/kernelspec/display_name")?,
        language: at("/metadata/language_info/name")?,
        version: at("/metadata/language_info/version"),
        mimetype: at("/metadata/language_info/mimetype"),
        file_extension: at("/metadata/language_info/file_extension"),
    })
}

fn output(output: &Value) -> Option<Output> {
    let word = |name| output.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let object = |name| output.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    match output.get("output_type").and_then(Value::as_str)? {
        "stream" => Some(Output::Stream {
            stderr: word("name") == "stderr",
            text: output.get("text").map(joined).unwrap_or_default(),
        }),
        "display_data" => {
            Some(Output::Display { data: object("data"), metadata: object("metadata") })
        }
        "execute_result" => Some(Output::Result {
            count: output.get("execution_count").and_then(Value::as_u64),
            data: object("data"),
            metadata: object("metadata"),
        }),
        "error" => Some(Output::Error {
            name: word("ename"),
            value: word("evalue"),
            traceback: lines(output.get("traceback")),
        }),
        _ => None,
    }
}

/// An image as an output.
#[must_use]
pub fn image(media_type: &str, data: &str) -> Output {
    let data = Map::from_iter([(media_type.to_owned(), json!(data))]);
    Output::Display { data, metadata: Map::new() }
}

/// nbformat has texts as one text or as a list of lines.
fn joined(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => lines(Some(value)).concat(),
    }
}

fn lines(value: Option<&Value>) -> Vec<String> {
    let lines = value.and_then(Value::as_array).into_iter().flatten();
    lines.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn cell(id: &str, outputs: Vec<Output>) -> Cell {
        Cell {
            id: id.into(),
            source: "a\nb".into(),
            description: None,
            execution_count: Some(1),
            status: "ok".into(),
            started: SystemTime::UNIX_EPOCH,
            duration: Duration::from_millis(5),
            generation: 1,
            outputs,
        }
    }

    #[test]
    fn words_and_cells_become_a_notebook_whose_outputs_can_be_read_again() {
        let given = vec![
            Output::Stream { stderr: true, text: "x\ny\n".into() },
            image("image/png", "QUJD"),
            Output::Result { count: Some(1), data: Map::new(), metadata: Map::new() },
            Output::Error { name: "E".into(), value: "v".into(), traceback: vec!["t".into()] },
        ];
        let words = Part::Words { id: "w".into(), text: "# One\ntwo".into() };
        let header =
            Header { kernel: "python3".into(), language: "python".into(), ..Header::default() };
        let text = text(&header, vec![words, Part::Code(cell("c", given.clone()))]);
        let notebook: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(notebook["cells"][0]["cell_type"], "markdown");
        assert_eq!(notebook["cells"][0]["source"], json!(["# One\n", "two"]));
        let cell = &notebook["cells"][1];
        assert_eq!((outputs(cell), source(cell)), (given, "a\nb".to_owned()));
        assert_eq!(super::header(&notebook).unwrap().kernel, "python3");
    }

    #[test]
    fn a_notebook_of_nothing_is_one() {
        let text = text(&Header::default(), Vec::new());
        let notebook: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(notebook["cells"], json!([]));
    }
}
