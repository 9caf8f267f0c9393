//! The workload table: what cells can still do in a sandbox.

use std::{fs, os::unix::fs::MetadataExt};

use serde_json::json;

use super::stage::As;
use crate::support::host::Answer;

#[test]
fn usual_work_goes_on_in_namespaces() {
    for user in As::all() {
        works(*user, "namespaces", &[]);
    }
}

/// What does not work there is told with the status.
#[test]
fn behind_landlock_all_goes_on_that_needs_no_connection_and_no_shared_memory() {
    for user in As::all() {
        works(*user, "landlock", &["multiprocessing", "http.server"]);
    }
}

fn works(user: As, level: &str, without: &[&str]) {
    let home = user.folder();
    let mut host = user.host(home.path(), &[("HUSK_SANDBOX_ISOLATION", level)]);
    for (code, expected) in WORK {
        let answer = host.cell(code);
        if without.iter().any(|word| code.contains(word)) {
            assert_eq!(answer.status(), "error", "{user:?} {level}: {code}: {answer:?}");
            continue;
        }
        assert_eq!(answer.status(), "ok", "{user:?} {level}: {code}: {answer:?}");
        assert!(answer.text().contains(expected), "{user:?} {level}: {code}: {}", answer.text());
    }
    if !without.is_empty() {
        let status = host.tool("sandbox_status", json!({}));
        let gaps = status.structured()["sessions"][0]["sandbox"]["gaps"].to_string();
        assert!(gaps.contains("multiprocessing pools and managers and local servers"), "{gaps}");
    }
    // What cells write is the user's afterwards.
    let made = fs::metadata(host.workspace.path().join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (user.uid(), user.uid()), "{user:?} {level}");
    let image: Answer = host.cell("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()");
    assert_eq!(image.blocks("image").len(), 1, "{image:?}");
}

const WORK: &[(&str, &str)] = &[
    ("import numpy; print((numpy.ones((300, 300)) @ numpy.ones((300, 300)))[0, 0])", "300.0"),
    ("import pandas; print(pandas.DataFrame({'a': [1, 2]}).sum()['a'])", "3"),
    (
        "from multiprocessing import Pool, Manager
with Pool(2) as pool: print(pool.map(abs, [-1, -2]))
with Manager() as manager:
    shared = manager.dict(); shared['a'] = 1; print(shared)",
        "[1, 2]\n{'a': 1}",
    ),
    (
        "import asyncio
async def both():
    return await asyncio.gather(asyncio.to_thread(pow, 2, 10), asyncio.sleep(0, 5))
print(await both())",
        "[1024, 5]",
    ),
    ("import sqlite3; print(sqlite3.connect('db').execute('select 40 + 2').fetchone())", "(42,)"),
    (
        "import subprocess; print(subprocess.check_output(['sh', '-c', 'echo of $((40+2))']))",
        "of 42",
    ),
    ("!echo shell of $((40 + 2))", "shell of 42"),
    ("!python -c 'import sys; print(sys.prefix)'", "env"),
    (
        "import http.server, threading, urllib.request
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(urllib.request.urlopen(f'http://127.0.0.1:{server.server_port}/').status)",
        "200",
    ),
    ("import tempfile; print(len(tempfile.mkdtemp()) > 3)", "True"),
    (
        "import os, pathlib; open('made', 'w').close(); pathlib.Path.home().joinpath('x').touch(); print(len(os.environ['HOME']) > 3)",
        "True",
    ),
];
