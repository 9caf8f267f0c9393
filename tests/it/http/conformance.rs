//! The conformance suite of MCP, released and newest, against `husk serve` itself: the scenarios that need
//! no fixture of the suite's own.

use std::process::Command;

use crate::{
    clients::{installed, node},
    support::web::Served,
};

/// What both versions of the suite ask.
const BOTH: [&str; 5] = [
    "server-initialize",
    "ping",
    "tools-list",
    "dns-rebinding-protection",
    "server-sse-multiple-streams",
];
/// What the newest asks beside.
const NEWEST: [&str; 3] = ["server-session-lifecycle", "http-header-validation", "caching"];

fn conforms(suite: &str, url: &str, scenario: &str) {
    // Beside the Inspector, wherever that is.
    let place = "target/test-node/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";
    let inspector = installed("HUSK_TEST_INSPECTOR", place);
    let packages = inspector.ancestors().find(|folder| folder.ends_with("node_modules")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(node());
    command.arg(packages.join(suite).join("dist/index.js")).current_dir(home.path());
    command.args(["server", "--url", url, "--scenario", scenario]);
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let passed =
        told.lines().any(|line| line.starts_with("Passed: ") && line.contains(", 0 failed"));
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && passed, "{suite} {scenario}:\n{told}\n{why}");
}

#[test]
fn the_scenarios_that_need_no_fixture_pass() {
    let served = Served::start(&[]);
    for scenario in BOTH {
        conforms("conformance-released", &served.url(), scenario);
    }
    for scenario in BOTH.into_iter().chain(NEWEST) {
        conforms("@modelcontextprotocol/conformance", &served.url(), scenario);
    }
}
