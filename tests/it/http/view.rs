//! The page on which a human watches: in a real browser, and in a host of apps.

use std::process::Command;

use serde_json::json;

use crate::{
    clients::{judge, node},
    support::{
        repository,
        web::{Served, post, send},
    },
};

/// The browser that `tests/run` installs or finds.
fn browser() -> std::ffi::OsString {
    std::env::var_os("HUSK_TEST_BROWSER")
        .unwrap_or_else(|| panic!("HUSK_TEST_BROWSER is not set; run the tests with tests/run"))
}

/// A scenario of `tests/clients/view.mjs`, with a server of its own and two users.
fn check(scenario: &str, args: &[&str]) {
    let data = tempfile::tempdir().unwrap();
    let [alice, bob] = ["alice", "bob"].map(|user| Served::token(&data, user, &[]));
    let served = Served::start_in(data, args);
    let mut command = Command::new(node());
    command.env("HUSK_TEST_BROWSER", browser());
    command.arg(repository().join("tests/clients/view.mjs"));
    command.args([scenario, &served.url(), &alice, &bob]);
    judge(command);
}

#[test]
fn a_human_watches_cells_plots_and_state_as_they_come() {
    check("watch", &["--set", "limits.session.max_cells=5"]);
}

#[test]
fn what_cells_put_out_runs_nothing_in_the_page() {
    check("hostile", &[]);
}

#[test]
fn the_app_is_shown_by_the_official_host() {
    check("app", &[]);
}

#[test]
fn the_page_is_the_same_for_everybody_and_all_it_shows_takes_a_token() {
    let data = tempfile::tempdir().unwrap();
    let reads = Served::token(&data, "alice", &["notebook:read"]);
    let served = Served::start_in(data, &[]);
    let mut page = send(&served.at, "GET /view", &[], b"");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(page.text().contains("</html>"));
    let read = |headers: &[&str], uri: &str| {
        let headers =
            [&["MCP-Protocol-Version: 2026-07-28", "Mcp-Method: resources/read"], headers].concat();
        let named = format!("Mcp-Name: {uri}");
        let headers = [headers, vec![named.as_str()]].concat();
        post(
            &served.at,
            &headers,
            &json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {
            "uri": uri, "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "0"},
                "io.modelcontextprotocol/clientCapabilities": {}}}}),
        )
    };
    let auth = format!("Authorization: Bearer {reads}");
    for uri in ["husk://sessions", "husk://usage", "ui://husk/notebook"] {
        assert_eq!(read(&[], uri).status, 401, "{uri}");
        // Who may only look may watch.
        let mut answer = read(&[&auth], uri);
        assert_eq!(answer.status, 200, "{uri}");
        assert!(answer.text().contains("contents"), "{uri}");
    }
}
