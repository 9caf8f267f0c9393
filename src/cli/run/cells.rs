//! A script or a notebook as cells.
//!
//! `# %%` lines divide a script (the "percent" format that editors share); what stands before the
//! first is a cell too. Of a notebook the code cells count. Runs nothing.

use serde_json::Value;

/// A cell to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// What stands behind `# %%`, or nothing.
    pub title: String,
    /// The code.
    pub code: String,
}

/// A file that is no notebook.
#[derive(Debug, thiserror::Error)]
pub enum NotebookError {
    /// Not JSON.
    #[error("the notebook is not JSON")]
    Json(#[source] serde_json::Error),
    /// JSON without cells.
    #[error(
        "the notebook has no `cells` (nbformat 4 has them); convert it with `jupyter nbconvert --to notebook`"
    )]
    Cells,
}

/// The cells of a script; cells without code are left out.
#[must_use]
pub fn of_script(source: &str) -> Vec<Cell> {
    let mut cells = vec![Cell { title: String::new(), code: String::new() }];
    let mut skipped = false;
    for line in source.split_inclusive('\n') {
        if let Some(title) = marker(line) {
            // `# %% [markdown]` begins prose in comments.
            skipped = title.starts_with("[markdown]")
                || title.starts_with("[md]")
                || title.starts_with("[raw]");
            cells.push(Cell { title: title.to_owned(), code: String::new() });
        } else if let Some(cell) = cells.last_mut().filter(|_| !skipped) {
            cell.code.push_str(line);
        }
    }
    cells.retain(|cell| has_code(&cell.code));
    cells
}

fn marker(line: &str) -> Option<&str> {
    let rest = line.trim_end().strip_prefix('#')?.trim_start().strip_prefix("%%")?;
    // `# %%time` is a magic that somebody commented out.
    (rest.is_empty() || rest.starts_with([' ', '['])).then(|| rest.trim())
}

fn has_code(code: &str) -> bool {
    code.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The code cells of a notebook.
///
/// # Errors
/// [`NotebookError`].
pub fn of_notebook(text: &str) -> Result<Vec<Cell>, NotebookError> {
    let notebook: Value = serde_json::from_str(text).map_err(NotebookError::Json)?;
    let cells = notebook.get("cells").and_then(Value::as_array).ok_or(NotebookError::Cells)?;
    let code = |cell: &Value| {
        let is_code = cell.get("cell_type").and_then(Value::as_str) == Some("code");
        let code = source(cell.get("source")?)?;
        (is_code && !code.trim().is_empty()).then(|| Cell { title: String::new(), code })
    };
    Ok(cells.iter().filter_map(code).collect())
}

/// nbformat has sources as one text or as a list of lines.
fn source(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(lines) => Some(lines.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[(&str, &str)]) {
        let cells = of_script(source);
        let got: Vec<(&str, &str)> =
            cells.iter().map(|cell| (cell.title.as_str(), cell.code.as_str())).collect();
        assert_eq!(got, expected, "{source:?}");
    }

    #[test]
    fn markers_divide_a_script() {
        check("x = 1\n", &[("", "x = 1\n")]);
        check("# comment\n# %% one\na\n# %%\nb", &[("one", "a\n"), ("", "b")]);
        check("#%% t\na\n# %%time\nb\n", &[("t", "a\n# %%time\nb\n")]);
        check("# %% [markdown]\n# words\n# %%\nc\n", &[("", "c\n")]);
        check(
            "s = '''\n# %% not seen as text\n'''\n",
            &[("", "s = '''\n"), ("not seen as text", "'''\n")],
        );
        check("", &[]);
        check("# only comments\n\n", &[]);
    }

    #[test]
    fn notebooks_give_their_code_cells() {
        let text = r#"{"cells": [
            {"cell_type": "markdown", "source": "words"},
            {"cell_type": "code", "source": ["a\n", "b"]},
            {"cell_type": "code", "source": "c"},
            {"cell_type": "code", "source": []}]}"#;
        let codes: Vec<String> =
            of_notebook(text).unwrap().into_iter().map(|cell| cell.code).collect();
        assert_eq!(codes, ["a\nb", "c"]);
        assert!(matches!(of_notebook("{}"), Err(NotebookError::Cells)));
        assert!(matches!(of_notebook("x"), Err(NotebookError::Json(_))));
    }
}
