//! What holds of a kernel of this machine holds of one at a gateway.

use serde_json::json;

use super::server::{Gateway, Kind};
use crate::support::asked::{HANDSHAKE, cell_asks};

#[test]
fn cells_run_at_a_jupyter_server() {
    cells_run_at(Kind::JupyterServer);
}

#[test]
fn cells_run_at_a_kernel_gateway() {
    cells_run_at(Kind::KernelGateway);
}

fn cells_run_at(kind: Kind) {
    let gateway = Gateway::start(kind);
    let mut host = gateway.host();
    assert_eq!(
        host.ok("import os, sys\nx = 41\nprint('out'); print('err', file=sys.stderr)\nx + 1"),
        "out\nerr\n42"
    );
    assert_eq!(host.ok("x += 1; x"), "42");
    // It runs there: nothing of husk's environment has come along.
    assert_eq!(host.ok("[name for name in os.environ if name.startswith('HUSK_')]"), "[]");
    let error = host.cell("print('before'); 1/0");
    assert_eq!(error.structured()["error"]["name"], "ZeroDivisionError", "{error:?}");
    assert!(error.text().starts_with("before\n"), "{error:?}");
    let plot = host.cell("import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()");
    assert_eq!(plot.blocks("image").len(), 1, "{plot:?}");
    let long = host.ok("for n in range(500): print('line', n)");
    assert!(long.starts_with("line 0\n") && long.contains("line 499"), "{long}");
    let listing = host.tool("notebook_inspect", json!({ "name": "x" }));
    assert!(listing.text().contains("repr:\n42"), "{listing:?}");
    let status = host.tool("sandbox_status", json!({}));
    let session = &status.structured()["sessions"][0];
    assert_eq!(session["isolation"], "gateway", "{session}");
    assert_eq!(session.get("pid"), None);
    assert_eq!(session.get("kept_s"), None);
    let gaps = session["sandbox"]["gaps"].to_string();
    assert!(gaps.contains("husk neither isolates nor bounds it"), "{session}");
    // A fresh kernel replaces the first one there, and none is left in the end.
    let first = gateway.kernels();
    assert_eq!(first.len(), 1);
    let reset = host.tool("sandbox_reset", json!({}));
    assert_eq!(reset.structured()["generation"], 2, "{reset:?}");
    let gone = host.cell("x");
    assert_eq!(gone.structured()["error"]["name"], "NameError", "{gone:?}");
    let other = host.tool("notebook_run_cell", json!({ "code": "7", "session": "other" }));
    assert_eq!(other.text(), "7", "{other:?}");
    let unknown =
        host.tool("notebook_run_cell", json!({ "code": "7", "session": "n", "kernel": "cobol" }));
    assert!(unknown.text().contains("cobol"), "{unknown:?}");
    drop(host);
    assert_eq!(gateway.kernels(), [""; 0]);
}

#[test]
fn a_cell_at_a_gateway_is_interrupted_or_ended_with_its_kernel() {
    let gateway = Gateway::start(Kind::JupyterServer);
    let mut host = gateway.host();
    host.ok("kept = 1; import time");
    let running = host.begin_cell("time.sleep(1000)");
    let stopped = host.tool("notebook_interrupt", json!({}));
    assert_eq!(stopped.structured()["by"], "interrupt", "{stopped:?}");
    assert_eq!(host.result(running).status(), "interrupted");
    let late =
        host.tool("notebook_run_cell", json!({ "code": "time.sleep(1000)", "timeout": 0.5 }));
    assert_eq!(late.status(), "timeout", "{late:?}");
    assert_eq!(host.ok("kept"), "1");
    let code = "
while True:
    try: time.sleep(1000)
    except KeyboardInterrupt: pass";
    let stuck = host.tool("notebook_run_cell", json!({ "code": code, "timeout": 0.5 }));
    assert_eq!(stuck.status(), "timeout", "{stuck:?}");
    assert!(stuck.text().contains("all variables and imports are lost"), "{stuck:?}");
    let fresh = host.cell("'kept' in globals()");
    assert!(fresh.text().starts_with("False"), "{fresh:?}");
    let exits = host.cell("exit()");
    assert!(exits.text().contains("the cell called exit()"), "{exits:?}");
    host.ok("1");
    drop(host);
    assert_eq!(gateway.kernels(), [""; 0]);
}

#[test]
fn a_cell_at_a_gateway_asks_the_user() {
    let gateway = Gateway::start(Kind::JupyterServer);
    let mut host = gateway.launch(None, &[]);
    host.introduce(HANDSHAKE, &json!({ "elicitation": {} }));
    let name = cell_asks(&mut host, "name = input('Your name? '); print('hello', name)");
    assert!(name.text().contains("Your name?"), "{}", name.text());
    let answer = name.ends_with(&mut host, "Zoë");
    assert!(answer.text().trim().ends_with("hello Zoë"), "{answer:?}");
}
