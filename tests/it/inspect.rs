//! Looking at variables without running code.

use serde_json::{Value, json};

use crate::support::{host::Host, kernels};

fn look(host: &mut Host, arguments: Value) -> (String, Value) {
    let answer = host.tool("notebook_inspect", arguments);
    (answer.text(), answer.structured().clone())
}

fn variable<'a>(listing: &'a Value, name: &str) -> &'a Value {
    let all = listing["variables"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {listing}"))
}

#[test]
fn variables_are_listed_with_type_extent_and_value() {
    let mut host = Host::start(&[]);
    host.ok("
import numpy as np, pandas as pd
n = 42; text = 'abc' * 100; numbers = np.zeros((3, 4)); _hidden = 1
frame = pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']})
def double(x): return 2 * x
class Own:
    def __repr__(self): global ran; ran = True; return 'own'
own = Own(); ran = False");
    let (text, listing) = look(&mut host, json!({}));
    assert_eq!(variable(&listing, "n")["type"], "int");
    assert_eq!(variable(&listing, "n")["repr"], "42");
    assert_eq!(variable(&listing, "text")["length"], 300);
    assert_eq!(variable(&listing, "numbers")["shape"], json!([3, 4]));
    assert_eq!(variable(&listing, "frame")["shape"], json!([2, 2]));
    assert!(text.contains("n: int = 42\n"), "{text}");
    assert!(text.contains("double") && text.contains("np"), "{text}");
    assert!(!text.contains("_hidden") && !text.contains("get_ipython"), "{text}");
    assert_eq!(host.ok("ran"), "False", "a repr of the user's ran");
}

#[test]
fn one_name_is_told_at_length() {
    let mut host = Host::start(&[]);
    host.ok("
import pandas as pd
frame = pd.DataFrame({'a': [1, 2], 'b': ['x', 'y']})
def double(x, *, times=2):
    'Doubles it.'
    return times * x");
    let (text, found) = look(&mut host, json!({ "name": "double" }));
    assert_eq!(found["signature"], "(x, *, times=2)", "{found}");
    assert!(text.contains("Doubles it."), "{text}");
    let (_, found) = look(&mut host, json!({ "name": "frame" }));
    assert_eq!(found["shape"], json!([2, 2]));
    assert_eq!(found["columns"][0], json!(["a", "int64"]), "{found}");
    let (text, _) = look(&mut host, json!({ "name": "frames" }));
    assert!(text.contains("there is frame"), "{text}");
    let (text, _) = look(&mut host, json!({ "name": "__import__('os').getpid()" }));
    assert!(text.contains("not a name") || text.contains("only"), "{text}");
}

#[test]
fn it_answers_while_a_cell_runs_and_does_not_touch_it() {
    let mut host = Host::start(&[]);
    host.ok("import time, matplotlib.pyplot as plt; plt.figure(); n = 0");
    let go = host.workspace.path().join("go");
    let cell = host.begin_cell(&format!(
        "
import os
plt.plot([1, 2]); half_done = plt.gcf().number
while not os.path.exists({go:?}): n += 1
print(plt.get_fignums() == [half_done])"
    ));
    let (text, listing) = look(&mut host, json!({}));
    assert_eq!(variable(&listing, "n")["type"], "int", "{text}");
    let (_, found) = look(&mut host, json!({ "name": "half_done" }));
    assert_eq!(found["type"], "int");
    std::fs::write(&go, "").unwrap();
    let answer = host.result(cell);
    assert!(answer.text().contains("True\n"), "the figure was taken away: {answer:?}");
    assert_eq!(answer.blocks("image").len(), 1);
}

#[test]
fn a_look_that_came_too_late_does_not_end_all_looks() {
    let mut host = Host::start(&[]);
    host.ok("import time; n = 1");
    host.begin_cell("time.sleep(1000)");
    let (text, answer) = look(&mut host, json!({ "wait": 0.0001 }));
    assert_eq!(answer["denied"]["code"], "late", "{text}");
    let mut tries = 0..500;
    while look(&mut host, json!({})).1["variables"].is_null() {
        assert!(tries.next().is_some(), "the subshell is never asked again");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_kernel_that_dies_after_a_look_still_leaves_its_last_words() {
    let mut host = Host::start(&[]);
    host.ok("0");
    let go = host.workspace.path().join("go");
    let cell = host.begin_cell(&format!(
        "
import os, time
while not os.path.exists({go:?}): time.sleep(0.01)
print('last words'); os._exit(3)"
    ));
    look(&mut host, json!({}));
    std::fs::write(&go, "").unwrap();
    let answer = host.result(cell);
    assert_eq!(answer.status(), "kernel_died");
    assert!(answer.text().contains("last words"), "{answer:?}");
}

#[test]
fn nothing_stays_behind() {
    let mut host = Host::start(&[]);
    host.ok("
import sys
def state(): return [n for n in globals() if n[:2] != '_i' and n != 'before'], len(In), len(Out), set(sys.modules)
before = None");
    host.ok("before = state()");
    look(&mut host, json!({}));
    look(&mut host, json!({ "name": "state" }));
    // In has grown by the cell that asks, and by nothing else.
    let changed = "now = state(); [a == b for a, b in zip(before, now)], now[1] - before[1]";
    assert_eq!(host.ok(changed), "([True, False, True, True], 1)");
}

#[test]
fn a_look_that_hangs_is_interrupted_and_the_kernel_goes_on() {
    let mut host = Host::start(&[]);
    host.ok("
class Slow:
    def __repr__(self): import time; time.sleep(1000)
slow = Slow(); kept = 1");
    let (text, answer) = look(&mut host, json!({ "name": "slow", "wait": 0.5 }));
    assert_eq!(answer["denied"]["code"], "late", "{text}");
    assert_eq!(host.ok("kept"), "1");
}

#[test]
fn what_a_kernel_does_not_offer_is_said() {
    let kernels = kernels();
    let python = kernels.join("bin/python");
    let mut host = Host::start_with(&[("HUSK_PYTHON", python.to_str().unwrap())]);
    let (text, answer) = look(&mut host, json!({ "session": "nobody" }));
    assert_eq!(answer["denied"]["code"], "no_such_session", "{text}");
    host.ok("n = 5");
    let (_, listing) = look(&mut host, json!({}));
    assert_eq!(variable(&listing, "n")["repr"], "5");
    // ipykernel 6 has no subshells.
    host.begin_cell("while True: pass");
    let (text, answer) = look(&mut host, json!({}));
    assert_eq!(answer["denied"]["code"], "kernel_busy", "{text}");
    assert!(text.contains("busy with cell c2, and it has no subshells"), "{text}");
}
