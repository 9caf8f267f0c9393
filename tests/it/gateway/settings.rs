//! The settings of a gateway: what is refused, and what is never shown.

use super::server::{Gateway, Kind, TOKEN};
use crate::support::husk;

#[test]
fn a_token_that_is_not_taken_is_told_with_the_way_out_and_without_the_token() {
    let gateway = Gateway::start(Kind::JupyterServer);
    let mut host = gateway.launch(None, &[("HUSK_GATEWAY_TOKEN", "expired-token")]);
    host.initialize("2025-11-25");
    let denied = host.cell("1");
    assert_eq!(denied.structured()["denied"]["code"], "kernel_start_failed", "{denied:?}");
    assert!(denied.text().contains("refuses it (403"), "{denied:?}");
    assert!(denied.text().contains("HUSK_GATEWAY_TOKEN"), "{denied:?}");
    assert!(!denied.text().contains("expired-token"), "{denied:?}");
}

#[test]
fn a_token_that_expires_in_the_middle_of_a_cell_is_told_with_the_way_out() {
    let mut gateway = Gateway::start(Kind::JupyterServer);
    let mut host = gateway.host();
    let running = host.begin_cell("import time; time.sleep(1000)");
    gateway.takes("another-token");
    gateway.kill();
    gateway.begin();
    let ended = host.result(running);
    assert_eq!(ended.status(), "kernel_died", "{ended:?}");
    let next = host.cell("1");
    assert_eq!(next.structured()["denied"]["code"], "kernel_start_failed", "{next:?}");
    for answer in [ended, next] {
        let text = answer.text();
        assert!(text.contains("refuses it (403") && text.contains("HUSK_GATEWAY_TOKEN"), "{text}");
    }
}

#[test]
fn what_cannot_be_obeyed_at_a_gateway_is_told_at_the_start() {
    let check = |settings: &[(&str, &str)], expected: &str| {
        let mut command = husk();
        command.args(["run", "-c", "1"]).env("HUSK_GATEWAY_URL", "http://127.0.0.1:9");
        let data = tempfile::tempdir().unwrap();
        let output = command
            .env("HUSK_DATA_DIR", data.path())
            .envs(settings.iter().copied())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{expected}: {said}");
    };
    check(&[], "`sandbox.isolation = \"none\"`");
    let none = ("HUSK_SANDBOX_ISOLATION", "none");
    check(&[none, ("HUSK_SANDBOX_PIDS", "64")], "`sandbox.pids` cannot be obeyed");
    check(&[none, ("HUSK_GATEWAY_TOKEN", "a b")], "without spaces");
}

#[test]
fn husk_config_does_not_show_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = husk();
    command.args(["config"]).current_dir(folder.path());
    let output = command.env("HUSK_GATEWAY_TOKEN", TOKEN).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let line = shown.lines().find(|line| line.starts_with("gateway.token")).unwrap();
    assert!(line.contains("\"…\"") && line.ends_with("# HUSK_GATEWAY_TOKEN"), "{line}");
    assert!(!shown.contains(TOKEN));
    // A project that names one is refused, and its text is not shown either.
    std::fs::write(folder.path().join("husk.toml"), format!("gateway.token = '{TOKEN}'")).unwrap();
    let refused = husk().arg("config").current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("gateway.token") && !said.contains(TOKEN), "{said}");
}
