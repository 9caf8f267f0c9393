//! Jupyter Enterprise Gateway on several hosts, as `examples/enterprise-gateway` sets it up. Every host is
//! namespaces of this machine, with an SSH server of its own: it takes root, and Linux.

mod cells;
mod engine;
mod hosts;
mod machine;
mod site;

use serde_json::json;

use crate::support::host::{Answer, Host};

/// A cell that tells where it is.
const WHERE: &str = "
import getpass, os, socket
kept = 'kept'
print(socket.gethostname(), os.environ['SSH_CONNECTION'].split()[2], getpass.getuser(), os.readlink('/proc/self/ns/net'))";

/// Runs a cell; its answer once it has begun, for a start over SSH may take longer than a call.
fn cell(host: &mut Host, session: &str, code: &str) -> Answer {
    let mut answer = host.tool("notebook_run_cell", json!({ "code": code, "session": session }));
    for _ in 0..5 {
        if answer.status() != "queued" {
            break;
        }
        let cell = answer.structured()["cell"].clone();
        answer = host.tool("notebook_wait_cell", json!({ "cell": cell, "session": session }));
    }
    answer
}

/// What [`WHERE`] prints in that session: the host's name, its address, the user, the network.
fn place(host: &mut Host, session: &str) -> [String; 4] {
    let answer = cell(host, session, WHERE);
    assert_eq!(answer.status(), "ok", "{answer:?}");
    let text = answer.text();
    let words: Vec<_> = text.split_whitespace().take(4).map(str::to_owned).collect();
    words.try_into().unwrap()
}

/// A host with two sessions on two hosts: their names.
fn two_sessions(host: &mut Host) -> [String; 2] {
    // husk starts the first one's kernel by itself: the next one begun is the other's.
    let first = host.ok(WHERE).split(' ').next().unwrap().to_owned();
    let [second, ..] = place(host, "other");
    [first, second]
}
