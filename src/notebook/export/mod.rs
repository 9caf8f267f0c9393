//! A notebook as a Python script or as Markdown.
//!
//! Pure: from the JSON of any notebook of nbformat 4 to texts. The file may have been changed by
//! anybody, so each reader takes what fits.

mod magics;
mod markdown;

use serde_json::Value;

pub use markdown::{Markdown, markdown};

/// A notebook that cannot become what was asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// JSON, but no notebook.
    #[error(
        "the file is no notebook of nbformat 4: it has no `cells`; convert it with `jupyter nbconvert --to notebook`"
    )]
    Cells,
    /// Another language than Python.
    #[error("cannot export a notebook in `{0}` as a Python script; `--to md` takes any language")]
    Language(String),
}

/// The notebook as a Python script with `# %%` before each cell (the percent format), which
/// `husk run`, Jupytext and editors read back as cells.
///
/// IPython's own syntax becomes the calls that it stands for (`!ls` is `get_ipython().system('ls')`),
/// so that the file is Python and does the same in a kernel. Code that was no Python at all, or
/// that killed its kernel, becomes a comment. Outputs are left out.
///
/// # Errors
/// [`ExportError`].
pub fn script(notebook: &Value) -> Result<String, ExportError> {
    let cells = cells(notebook)?;
    let language = language(notebook);
    if language != "python" {
        return Err(ExportError::Language(language.to_owned()));
    }
    let mut parts = Vec::new();
    for cell in cells {
        let source = text(cell.get("source"));
        let source = source.trim_matches('\n');
        if source.trim().is_empty() {
            continue;
        }
        parts.push(match word(cell, "cell_type") {
            "code" => match unfit(cell) {
                Some(why) => format!("# %%\n# {why}:\n{}\n", commented(source)),
                None => format!("# %%\n{}\n", magics::as_calls(source)),
            },
            "markdown" => format!("# %% [markdown]\n{}\n", commented(source)),
            _ => format!("# %% [raw]\n{}\n", commented(source)),
        });
    }
    Ok(parts.join("\n"))
}

fn cells(notebook: &Value) -> Result<&[Value], ExportError> {
    notebook.get("cells").and_then(Value::as_array).map(Vec::as_slice).ok_or(ExportError::Cells)
}

/// The notebook's language; Python where it says nothing.
fn language(notebook: &Value) -> &str {
    let at = |path| notebook.pointer(path).and_then(Value::as_str);
    at("/metadata/language_info/name")
        .or_else(|| at("/metadata/kernelspec/language"))
        .unwrap_or("python")
}

fn outputs(cell: &Value) -> impl Iterator<Item = &Value> {
    cell.get("outputs").and_then(Value::as_array).into_iter().flatten()
}

fn word<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// A text that nbformat has as one text or as a list of lines.
fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(lines)) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

/// Why a cell must not run in a script.
fn unfit(cell: &Value) -> Option<&'static str> {
    let tags = cell.pointer("/metadata/tags").and_then(Value::as_array);
    if tags.into_iter().flatten().any(|tag| tag == "skip-execution") {
        return Some("Not to be run again (it killed its kernel, or is tagged `skip-execution`)");
    }
    never_ran(cell).then_some("Not Python")
}

/// Whether the kernel refused to compile the cell: a syntax error that no running code has raised.
fn never_ran(cell: &Value) -> bool {
    outputs(cell).any(|output| {
        let traceback = output.get("traceback").and_then(Value::as_array);
        let frames = |line: &Value| {
            line.as_str().is_some_and(|line| line.contains("Traceback (most recent call last)"))
        };
        matches!(word(output, "ename"), "SyntaxError" | "IndentationError" | "TabError")
            && !traceback.into_iter().flatten().any(frames)
    })
}

fn commented(source: &str) -> String {
    let comment = |line: &str| match line {
        "" => "#".to_owned(),
        // It must not look like the marker of a cell.
        line if line.trim_start().starts_with("%%") => {
            format!("# \\{}", line.trim_start())
        }
        line => format!("# {line}"),
    };
    source.lines().map(comment).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_script_has_each_cell_behind_a_marker() {
        let notebook = json!({"cells": [
            {"cell_type": "markdown", "source": ["## Title\n", "\n", "%% words"]},
            {"cell_type": "code", "source": "x = 1\n!ls\n"},
            {"cell_type": "code", "source": []},
            {"cell_type": "code", "source": "x = = 1", "outputs": [{"ename": "SyntaxError", "traceback": ["  Cell In[1], line 1"]}]},
            {"cell_type": "code", "source": "eval('= 1')", "outputs": [{"ename": "SyntaxError", "traceback": ["Traceback (most recent call last)"]}]},
            {"cell_type": "code", "source": "die()", "metadata": {"tags": ["skip-execution"]}},
            {"cell_type": "raw", "source": "raw"}]});
        let expected = "# %% [markdown]\n# ## Title\n#\n# \\%% words\n\n# %%\nx = 1\nget_ipython().system('ls')\n\n\
            # %%\n# Not Python:\n# x = = 1\n\n# %%\neval('= 1')\n\n\
            # %%\n# Not to be run again (it killed its kernel, or is tagged `skip-execution`):\n# die()\n\n# %% [raw]\n# raw\n";
        assert_eq!(script(&notebook).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_a_script_is_refused() {
        assert_eq!(script(&json!([])), Err(ExportError::Cells));
        let r = json!({"cells": [], "metadata": {"language_info": {"name": "R"}}});
        assert_eq!(script(&r), Err(ExportError::Language("R".into())));
    }
}
