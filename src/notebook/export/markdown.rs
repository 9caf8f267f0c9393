//! A notebook as Markdown: code and outputs in fences, images as files beside it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{ExportError, cells, language, outputs, text, word};
use crate::kernel::output;

/// Images that become files, best first, and the ending of their files.
const IMAGES: &[(&str, &str)] = &[
    ("image/png", "png"),
    ("image/jpeg", "jpg"),
    ("image/gif", "gif"),
    ("image/webp", "webp"),
    ("image/svg+xml", "svg"),
];

/// A notebook as Markdown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Markdown {
    /// The text.
    pub text: String,
    /// The images that it shows: plain file names, and what is in the files.
    pub images: Vec<(String, Vec<u8>)>,
}

/// The notebook as Markdown; its images are named `STEM-1.png`, `STEM-2.svg` and so on.
///
/// # Errors
/// [`ExportError::Cells`].
pub fn markdown(notebook: &Value, stem: &str) -> Result<Markdown, ExportError> {
    let mut page = Page { stem, parts: Vec::new(), images: Vec::new() };
    let language = language(notebook);
    for cell in cells(notebook)? {
        let source = text(cell.get("source"));
        match word(cell, "cell_type") {
            "code" => page.code(cell, &source, language),
            "markdown" => page.add(source.trim_end().to_owned()),
            _ => page.fence(&source, ""),
        }
    }
    let mut text = page.parts.join("\n\n");
    text.push('\n');
    Ok(Markdown { text, images: page.images })
}

struct Page<'a> {
    stem: &'a str,
    parts: Vec<String>,
    images: Vec<(String, Vec<u8>)>,
}

impl Page<'_> {
    fn add(&mut self, part: String) {
        if !part.is_empty() {
            self.parts.push(part);
        }
    }

    /// A fence longer than any within it.
    fn fence(&mut self, text: &str, language: &str) {
        let text = text.trim_end_matches('\n');
        if text.is_empty() {
            return;
        }
        let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat((longest + 1).max(3));
        let language: String =
            language.chars().filter(|c| c.is_alphanumeric() || "+-_#.".contains(*c)).collect();
        self.add(format!("{fence}{language}\n{text}\n{fence}"));
    }

    fn code(&mut self, cell: &Value, source: &str, language: &str) {
        self.fence(source, language);
        // Pieces of the streams are one text for the reader.
        let mut stream = String::new();
        for output in outputs(cell) {
            if word(output, "output_type") == "stream" {
                stream.push_str(&text(output.get("text")));
                continue;
            }
            self.terminal(&std::mem::take(&mut stream));
            match output.get("data").and_then(Value::as_object) {
                Some(data) => self.bundle(data),
                None => self.failure(output),
            }
        }
        self.terminal(&stream);
        let status = cell.pointer("/metadata/husk/status").and_then(Value::as_str);
        if let Some(status @ ("timeout" | "interrupted" | "cancelled" | "kernel_died")) = status {
            self.add(format!("*This cell did not end by itself: {status}.*"));
        }
    }

    /// Text as a terminal would leave it: without colours, of overwritten lines the last.
    fn terminal(&mut self, text: &str) {
        let text = output::without_escapes(text);
        let last = |line: &str| {
            let line = line.trim_end_matches('\r');
            line.rsplit('\r').next().unwrap_or_default().to_owned()
        };
        let text: Vec<String> = text.split('\n').map(last).collect();
        self.fence(&text.join("\n"), "text");
    }

    fn failure(&mut self, output: &Value) {
        let lines = output.get("traceback").and_then(Value::as_array).into_iter().flatten();
        let traceback: Vec<&str> = lines.filter_map(Value::as_str).collect();
        if traceback.is_empty() {
            self.terminal(&format!("{}: {}", word(output, "ename"), word(output, "evalue")));
        } else {
            self.terminal(&traceback.join("\n"));
        }
    }

    /// The representation that a page can show: an image, Markdown, or text.
    fn bundle(&mut self, data: &Map<String, Value>) {
        for (mime, ending) in IMAGES {
            let Some(bytes) = data.get(*mime).and_then(|value| image(mime, &text(Some(value))))
            else {
                continue;
            };
            let name = format!("{}-{}.{ending}", self.stem, self.images.len() + 1);
            self.add(format!("![output](<{name}>)"));
            self.images.push((name, bytes));
            return;
        }
        if let Some(markdown) = data.get("text/markdown") {
            self.add(text(Some(markdown)).trim_end().to_owned());
        } else if let Some(plain) = data.get("text/plain") {
            self.terminal(&text(Some(plain)));
        } else if !data.is_empty() {
            let kinds: Vec<&str> = data.keys().map(String::as_str).collect();
            self.fence(&format!("[output without text: {}]", kinds.join(", ")), "text");
        }
    }
}

fn image(mime: &str, text: &str) -> Option<Vec<u8>> {
    if mime == "image/svg+xml" {
        return Some(text.as_bytes().to_vec());
    }
    let base64: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(base64).ok().filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(cells: Value, expected: &str) -> Vec<(String, Vec<u8>)> {
        let page = markdown(&json!({"cells": cells}), "s").unwrap();
        assert_eq!(page.text, expected);
        page.images
    }

    #[test]
    fn code_and_outputs_stand_in_fences_that_nothing_within_closes() {
        check(
            json!([
                {"cell_type": "markdown", "source": ["# T\n", "words\n"]},
                {"cell_type": "code", "source": "x", "outputs": [
                    {"output_type": "stream", "name": "stdout", "text": ["a\n", "10%\r20%\r\n"]},
                    {"output_type": "stream", "name": "stderr", "text": "````"},
                    {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\u{1b}[31mE\u{1b}[0m: v"]}]}]),
            "# T\nwords\n\n```python\nx\n```\n\n`````text\na\n20%\n````\n`````\n\n```text\nE: v\n```\n",
        );
    }

    #[test]
    fn images_become_files_and_tables_text() {
        let output = |data: Value| json!({"output_type": "display_data", "data": data});
        let images = check(
            json!([{"cell_type": "code", "source": [], "metadata": {"husk": {"status": "timeout"}}, "outputs": [
                output(json!({"image/png": "QUJD\n", "text/plain": "<Figure>"})),
                output(json!({"image/png": "%%", "text/plain": "<Figure>"})),
                output(json!({"image/svg+xml": ["<svg", "/>"]})),
                output(json!({"text/html": "<b>", "text/plain": "1 2"})),
                output(json!({"text/html": "<b>"}))]}]),
            "![output](<s-1.png>)\n\n```text\n<Figure>\n```\n\n![output](<s-2.svg>)\n\n```text\n1 2\n```\n\n\
             ```text\n[output without text: text/html]\n```\n\n*This cell did not end by itself: timeout.*\n",
        );
        assert_eq!(
            images,
            [("s-1.png".into(), b"ABC".to_vec()), ("s-2.svg".into(), b"<svg/>".to_vec())]
        );
    }
}
