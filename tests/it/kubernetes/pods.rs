//! Kernels as pods: a real Enterprise Gateway with the manifests' kernelspec, variables and rights, before a stand-in for
//! the API server, in which pods are processes.

mod cluster;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::web::Client;
use cluster::Cluster;

/// A cell of the session `s`: how it ended, and what it put out.
fn cell(client: &mut Client, code: &str) -> (String, String) {
    let answer = ask(client, json!({ "code": code, "session": "s" }));
    let status = answer["structuredContent"]["status"].as_str().map(str::to_owned);
    let text = answer["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    (status.unwrap_or_else(|| panic!("{answer}")), text)
}

fn ask(client: &mut Client, arguments: Value) -> Value {
    client.call("notebook_run_cell", arguments)
}

#[test]
fn a_kernel_is_a_pod_from_its_start_to_its_end() {
    let Some(cluster) = Cluster::start() else { return };
    let mut served = cluster.stage.replica(0);
    let mut alice = served.client(Some(&cluster.stage.token("alice")));
    // What the gateway has in its environment is in the pod's as well, but for its token.
    let names = "import os\nx = 41\nprint([it for it in os.environ if 'TOKEN' in it], os.environ['KERNEL_NAMESPACE'])";
    assert_eq!(cell(&mut alice, names).1.trim(), "[] husk-kernels");
    let first = cluster.says("created ");
    assert!(first.starts_with("husk-"), "{first}");

    let endless = json!({ "code": "while True: pass", "session": "s", "timeout": 1 });
    assert_eq!(ask(&mut alice, endless)["structuredContent"]["status"], "timeout");
    assert_eq!(cell(&mut alice, "x + 1"), ("ok".to_owned(), "42".to_owned()));

    // A pod that has ended is another one's turn, whoever is the first to make it: husk or the gateway.
    assert_eq!(cell(&mut alice, "os._exit(5)").0, "kernel_died");
    assert!(cell(&mut alice, "'x' in globals()").1.starts_with("False"));
    assert_eq!(ask(&mut alice, json!({ "code": "1", "session": "t" }))["isError"], false);

    served.terminate();
    let said = cluster.ends();
    let of = |word: &str| -> BTreeSet<String> {
        said.iter().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect()
    };
    let mut created = of("created ");
    created.insert(first);
    assert!(created.len() >= 3, "{said:?}");
    assert_eq!(of("deleted "), created, "{said:?}");
    // The rights of the manifests are enough, and its pods are what the API takes.
    assert!(
        !said.iter().any(|line| line.starts_with("denied") || line.starts_with("invalid")),
        "{said:?}"
    );
}

#[test]
fn a_gateway_that_was_killed_finds_its_pods_again() {
    let Some(mut cluster) = Cluster::start() else { return };
    let served = cluster.stage.replica(0);
    let mut alice = served.client(Some(&cluster.stage.token("alice")));
    assert_eq!(cell(&mut alice, "x = 41; x").1, "41");
    cluster.kill_the_gateway();
    cluster.start_the_gateway();
    // The end of a cell that runs into the gap may not be seen; the kernel stays the same one.
    let seen = (0..10).map(|_| cell(&mut alice, "x + 1")).find(|(status, _)| {
        assert!(["ok", "unseen"].contains(&status.as_str()), "{status}");
        status == "ok"
    });
    assert_eq!(seen.unwrap().1, "42");
}
