//! What holds of a kernel at a Jupyter Server holds of one on a host.

use serde_json::json;

use super::site::Site;
use crate::support::asked::{HANDSHAKE, cell_asks};

#[test]
fn cells_run_on_a_host_as_ever() {
    let Some(site) = Site::start() else { return };
    let mut host = site.launch(&[]);
    host.introduce(HANDSHAKE, &json!({ "elicitation": {} }));
    assert_eq!(
        host.ok("import os, sys, time\nx = 41\nprint('out'); print('err', file=sys.stderr)\nx + 1"),
        "out\nerr\n42"
    );
    let error = host.cell("print('before'); 1/0");
    assert_eq!(error.structured()["error"]["name"], "ZeroDivisionError", "{error:?}");
    let long = host.ok("for n in range(5000): print('line', n)");
    assert!(long.starts_with("line 0\n") && long.contains("line 4999"), "{long}");
    let listing = host.tool("notebook_inspect", json!({ "name": "x" }));
    assert!(listing.text().contains("repr:\n41"), "{listing:?}");
    let running = host.begin_cell("time.sleep(1000)");
    let stopped = host.tool("notebook_interrupt", json!({}));
    assert_eq!(stopped.structured()["by"], "interrupt", "{stopped:?}");
    assert_eq!(host.result(running).status(), "interrupted");
    let late = json!({ "code": "time.sleep(1000)", "timeout": 0.5 });
    let late = host.tool("notebook_run_cell", late);
    assert_eq!(late.status(), "timeout", "{late:?}");
    assert_eq!(host.ok("x"), "41");
    let died = host.cell("os._exit(7)");
    assert_eq!(died.status(), "kernel_died", "{died:?}");
    let told = "the kernel is gone: its gateway says that it died";
    assert!(died.text().contains(told), "{died:?}");
    let next = host.cell("'x' in globals()");
    assert!(next.text().starts_with("False[this is a fresh kernel"), "{next:?}");
    let reset = host.tool("sandbox_reset", json!({}));
    assert_eq!(reset.structured()["generation"], 3, "{reset:?}");
    let exits = host.cell("exit()");
    assert!(exits.text().contains("the cell called exit()"), "{exits:?}");
    let name = cell_asks(&mut host, "name = input('Your name? '); print('hello', name)");
    let answer = name.ends_with(&mut host, "Zoë");
    assert!(answer.text().starts_with("hello Zoë\n"), "{answer:?}");
}
