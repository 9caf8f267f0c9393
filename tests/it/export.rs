//! `husk export`: what is made of a notebook's file, and where it is looked for.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::husk;

/// A folder with the record of a session that has ended, and a notebook.
fn fixture() -> (tempfile::TempDir, Value) {
    let notebook = json!({
        "nbformat": 4, "nbformat_minor": 5,
        "metadata": { "language_info": { "name": "python" } },
        "cells": [
            { "cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Title" },
            { "cell_type": "code", "id": "b", "metadata": {}, "execution_count": 1,
              "source": ["x = 6\n", "print(x * 7)"],
              "outputs": [{ "output_type": "stream", "name": "stdout", "text": "42\n" }] },
            { "cell_type": "code", "id": "c", "metadata": {}, "execution_count": 2, "source": "plot()",
              "outputs": [{ "output_type": "display_data", "metadata": {},
                            "data": { "image/png": "iVBORw0KGgo=", "text/plain": "<Figure>" } }] },
        ],
    });
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(".husk")).unwrap();
    for file in [".husk/old.ipynb", "n.ipynb"] {
        fs::write(folder.path().join(file), notebook.to_string()).unwrap();
    }
    (folder, notebook)
}

/// Exit code, standard output, standard error.
fn export(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = husk();
    command.env("XDG_RUNTIME_DIR", folder).env("TMPDIR", folder);
    let output = command.arg("export").args(args).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_session_that_has_ended_is_exported_from_its_record() {
    let (folder, notebook) = fixture();
    let script = "# %% [markdown]\n# # Title\n\n# %%\nx = 6\nprint(x * 7)\n\n# %%\nplot()\n";
    assert_eq!(
        export(folder.path(), &["old", "--to", "py"]),
        (Some(0), script.into(), String::new())
    );
    let (code, copy, _) = export(folder.path(), &["old", "--to", "ipynb"]);
    assert_eq!((code, serde_json::from_str(&copy).unwrap()), (Some(0), notebook));
    let (code, page, told) = export(folder.path(), &["old", "--to", "md"]);
    assert!(code == Some(0) && page.contains("```text\n42\n```"), "{page}");
    assert!(told.contains("images left out: 1; --out FILE"), "{told}");

    let elsewhere = tempfile::tempdir().unwrap();
    let workspace = folder.path().to_str().unwrap();
    let (code, found, told) =
        export(elsewhere.path(), &["old", "--to", "py", "--workspace", workspace]);
    assert_eq!((code, found.as_str()), (Some(0), script), "{told}");
}

#[test]
fn an_exported_script_runs_in_husk() {
    let (folder, _) = fixture();
    assert_eq!(export(folder.path(), &["n.ipynb", "--to", "py", "--out", "n.py"]).0, Some(0));
    let mut command = husk();
    command.arg("--python").arg(crate::support::python()).args(["run", "n.py"]);
    let output = command.current_dir(folder.path()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.starts_with("42\n") && printed.contains("NameError"), "{printed}");
}

#[test]
fn files_are_written_all_or_none_and_not_over_others() {
    let (folder, _) = fixture();
    let at = |name: &str| folder.path().join(name);
    let args = ["n.ipynb", "--to", "md", "--out", "page.md"];
    fs::write(at("page-1.png"), "mine").unwrap();
    let (code, _, told) = export(folder.path(), &args);
    assert!(code == Some(1) && told.contains("`page-1.png` is there already; --force"), "{told}");
    assert!(!at("page.md").exists());
    assert_eq!(fs::read_to_string(at("page-1.png")).unwrap(), "mine");

    let (code, printed, told) = export(folder.path(), &[&args[..], &["--force"]].concat());
    assert_eq!((code, printed.as_str()), (Some(0), ""), "{told}");
    assert!(fs::read(at("page-1.png")).unwrap().starts_with(b"\x89PNG"));
    assert!(fs::read_to_string(at("page.md")).unwrap().contains("![output](<page-1.png>)"));
}

#[test]
fn what_cannot_be_exported_is_named() {
    let (folder, _) = fixture();
    fs::write(folder.path().join("bad.ipynb"), "{").unwrap();
    fs::write(folder.path().join("none.ipynb"), "{}").unwrap();
    let check = |args: &[&str], expected: &str| {
        let (code, _, told) = export(folder.path(), args);
        assert!(code == Some(1) && told.contains(expected), "{args:?}: {told}");
    };
    check(&["nobody", "--to", "py"], ".husk/nobody.ipynb`; give a session of `husk sessions`");
    check(&["nobody", "--to", "py", "--server", "1"], "no husk is serving");
    check(&["a/b", "--to", "py"], "cannot name a session");
    check(&["bad.ipynb", "--to", "md"], "cannot export `bad.ipynb`: it is not JSON");
    for to in ["py", "md", "ipynb"] {
        check(&["none.ipynb", "--to", to], "it has no `cells`");
    }
}
