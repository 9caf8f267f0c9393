//! The record of a session: a valid notebook that can be run again, whatever happened.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{host::Host, husk, python};

/// A host with the session `main`, and its workspace.
fn host(arrange: impl FnOnce(&Path)) -> (Host, PathBuf) {
    host_with(&[], arrange)
}

fn host_with(args: &[&str], arrange: impl FnOnce(&Path)) -> (Host, PathBuf) {
    let workspace = tempfile::tempdir().unwrap();
    let folder = workspace.path().to_owned();
    arrange(&folder);
    let mut command = husk();
    command.arg("--python").arg(python()).args(["--session", "main"]).current_dir(&folder);
    command.args(args);
    let mut host = Host::run(command, workspace);
    host.initialize("2025-11-25");
    (host, folder)
}

fn text(folder: &Path) -> String {
    std::fs::read_to_string(folder.join(".husk/main.ipynb")).unwrap()
}

/// The code cells of the file.
fn cells(folder: &Path) -> Vec<Value> {
    let whole: Value = serde_json::from_str(&text(folder)).unwrap();
    let all = whole["cells"].as_array().unwrap();
    all.iter().filter(|cell| cell["cell_type"] == "code").cloned().collect()
}

/// A member of nbformat that is a list of lines.
fn joined(lines: &Value) -> String {
    lines.as_array().unwrap().iter().filter_map(Value::as_str).collect()
}

/// What a Python script says of the notebook.
fn judge(folder: &Path, script: &str) -> String {
    let file = folder.join(".husk/main.ipynb");
    let said = Command::new(python()).arg("-c").arg(script).arg(file).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).unwrap()
}

fn must_be_valid(folder: &Path) {
    judge(
        folder,
        "import nbformat, sys; nbformat.validate(nbformat.read(sys.argv[1], as_version=4))",
    );
}

/// A cell of each kind.
const KINDS: [&str; 8] = [
    "print('printed'); x = 5",
    "import sys; print('err', file=sys.stderr); x + 1",
    "from IPython.display import *; display(HTML('<b>'), Markdown('# m'), JSON({'a': [1, 'b']}), SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))",
    "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()",
    "len?",
    "print('\\x1b[31mred\\x1b[0m \\x00 \\u2028')",
    "1/0",
    "print('a' * 3_000_000)",
];

#[test]
fn a_session_of_all_kinds_of_cells_is_valid_and_runs_again() {
    let (mut host, folder) = host(|_| {});
    for code in KINDS {
        host.tool("notebook_run_cell", json!({ "code": code, "description": "Does\n# a thing" }));
        // It is there before the answer.
        assert_eq!(joined(&cells(&folder).last().unwrap()["source"]), code);
    }
    must_be_valid(&folder);
    let all = cells(&folder);
    assert_eq!(all.len(), KINDS.len());
    for (cell, number) in all.iter().zip(1..) {
        assert_eq!(cell["execution_count"], number);
        assert!(cell["metadata"]["husk"]["duration_ms"].is_u64(), "{cell}");
        assert!(cell["metadata"]["execution"]["iopub.execute_input"].is_string(), "{cell}");
    }
    assert_eq!(joined(&all[0]["outputs"][0]["text"]), "printed\n");
    assert_eq!(joined(&all[1]["outputs"][1]["data"]["text/plain"]), "6");
    assert!(all[3]["outputs"][0]["data"]["image/png"].is_string());
    assert_eq!(all[6]["outputs"][0]["ename"], "ZeroDivisionError");
    let long = joined(&all[7]["outputs"][0]["text"]);
    assert!(long.len() < (1 << 20) + 200, "{}", long.len());
    assert!(long.contains("husk://sessions/main/cells/c8/output"), "no link");
    let headings = judge(
        &folder,
        "import nbformat, sys
for cell in nbformat.read(sys.argv[1], as_version=4).cells:
    if cell.cell_type == 'markdown': print(cell.source)",
    );
    assert_eq!(headings, "## Does # a thing\n".repeat(KINDS.len()));
    let again = judge(
        &folder,
        "import nbclient, nbformat, sys
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=60).execute()
print(notebook.cells[3].outputs[-1].data['text/plain'])",
    );
    assert_eq!(again, "6\n");
}

#[test]
fn displays_of_any_shape_make_a_valid_notebook() {
    let (mut host, folder) = host(|_| {});
    for bundle in [
        "{'x/odd': 5, 'text/plain': ['a', 'b'], 'application/json': None}",
        "{'text/plain': {'a': 1}, 'image/png': 7, 'application/json': [0] * 1_000_000}",
        "{'application/vnd.x+json': 'text', 'text/html': 'x', '': ''}",
        "{'text/plain': 'x' * 30_000_000}",
    ] {
        let answer = host.cell(&format!("display({bundle}, raw=True, metadata={{'a': [1]}})"));
        assert_eq!(answer.status(), "ok", "{answer:?}");
    }
    must_be_valid(&folder);
    assert!(text(&folder).len() < 32 << 20);
}

#[test]
fn late_output_and_updates_reach_the_file() {
    let (mut host, folder) = host(|_| {});
    host.ok("shown = display('one', display_id='d')");
    host.ok("
import os, threading
def late():
    while not os.path.exists('go'): pass
    print('late', flush=True); open('told', 'w')
threading.Thread(target=late).start()");
    std::fs::write(folder.join("go"), "").unwrap();
    while !folder.join("told").exists() {
        std::thread::yield_now();
    }
    let seen = host.ok("shown.update('two')") + &host.ok("None");
    assert!(seen.contains("[late output of c2]late\n"), "{seen}");
    // The end of a cell writes what came late before it.
    host.ok("None");
    let all = cells(&folder);
    assert_eq!(joined(&all[0]["outputs"][0]["data"]["text/plain"]), "'two'");
    assert_eq!(joined(&all[1]["outputs"][0]["text"]), "late\n");
    must_be_valid(&folder);
}

#[test]
fn a_killed_server_leaves_a_valid_file_with_all_cells_that_ended() {
    let (mut host, folder) = host(|_| {});
    for n in 0..5 {
        host.ok(&format!("print({n})"));
    }
    host.begin_cell("import time; time.sleep(1000)");
    // Before the workspace goes with the host.
    host.child.kill().unwrap();
    host.child.wait().unwrap();
    must_be_valid(&folder);
    let sources: Vec<String> = cells(&folder).iter().map(|cell| joined(&cell["source"])).collect();
    assert_eq!(sources, (0..5).map(|n| format!("print({n})")).collect::<Vec<_>>());
    let drafts = std::fs::read_dir(folder.join(".husk")).unwrap();
    let drafts = drafts
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".tmp"));
    assert_eq!(drafts.count(), 0);
}

#[test]
fn a_record_that_cannot_be_written_is_told_and_the_session_goes_on() {
    let outside = tempfile::tempdir().unwrap();
    for link in [false, true] {
        let (mut host, folder) = host(|folder| match link {
            true => std::os::unix::fs::symlink(outside.path(), folder.join(".husk")).unwrap(),
            false => std::fs::write(folder.join(".husk"), "in the way").unwrap(),
        });
        let answer = host.cell("x = 1; x");
        assert_eq!((answer.status(), answer.is_error()), ("ok", false));
        assert_eq!(answer.blocks("text")[0]["text"], "1");
        let told = "[not recorded in the notebook: cannot record the session in the folder `";
        assert!(answer.text().contains(told), "{}", answer.text());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        std::fs::remove_file(folder.join(".husk")).unwrap();
        // In a sandbox that was made around the old one it is told that this one is another.
        let answer = host.cell("x");
        assert_eq!(answer.blocks("text")[0]["text"], "1", "{answer:?}");
        assert!(text(&folder).contains("\"x\""));
        must_be_valid(&folder);
    }
}

#[test]
fn the_file_has_the_name_that_the_setting_says_or_there_is_none() {
    for (file, written) in [("notes/{session}-x.ipynb", Some("notes/main-x.ipynb")), ("none", None)]
    {
        let settings = format!("[notebook]\nfile = {file:?}\n");
        // Named, so that it counts as the user's own: a project may not leave cells unrecorded.
        let (mut host, folder) = host_with(&["--config", "husk.toml"], |folder| {
            std::fs::write(folder.join("husk.toml"), settings).unwrap();
        });
        assert_eq!(host.ok("1"), "1");
        assert!(!folder.join(".husk").exists());
        // What stands in for others' files while a kernel lives is gone with it.
        let _workspace = host.into_workspace();
        let entries = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(entries, 1 + usize::from(written.is_some()));
        if let Some(written) = written {
            assert!(folder.join(written).is_file());
        }
    }
}

#[test]
fn what_somebody_else_wrote_is_kept() {
    let (mut host, folder) = host(|folder| {
        std::fs::create_dir(folder.join(".husk")).unwrap();
        std::fs::write(folder.join(".husk/main.ipynb"), "of an earlier session").unwrap();
    });
    host.ok("1");
    must_be_valid(&folder);
    let earlier = std::fs::read_to_string(folder.join(".husk/main.1.ipynb")).unwrap();
    assert_eq!(earlier, "of an earlier session");
    // A cell of a sandbox cannot do it.
    std::fs::remove_dir_all(folder.join(".husk")).unwrap();
    host.ok("2");
    assert_eq!(cells(&folder).len(), 2);
}

#[test]
fn the_notebook_is_a_resource_that_tells_of_changes() {
    let (mut host, folder) = host(|_| {});
    host.ok("1");
    let uri = "husk://sessions/main/notebook";
    let read = host.call("resources/read", json!({ "uri": uri }));
    assert_eq!(read["result"]["contents"][0]["text"], text(&folder));
    host.call("resources/subscribe", json!({ "uri": uri }));
    host.ok("2");
    let updated = host.wait(|message| message["method"] == "notifications/resources/updated");
    assert_eq!(updated["params"]["uri"], uri);
    // What came before the subscription is no news.
    host.messages_so_far();
    host.tool("notebook_run_cell", json!({ "code": "3", "session": "other" }));
    host.wait(|message| message["method"] == "notifications/resources/list_changed");
    let listed = host.call("resources/list", json!({}));
    let uris: Vec<&str> = listed["result"]["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| resource["uri"].as_str().unwrap())
        .collect();
    assert_eq!(uris[2..], [uri, "husk://sessions/other/notebook"]);
}
