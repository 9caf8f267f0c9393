//! Clients that others wrote, over HTTP: the official Python and TypeScript SDKs, and the Inspector.

use std::process::Command;

use serde_json::Value;

use crate::{
    clients::{inspect, judge, node},
    support::{python, repository, web::Served},
};

#[test]
fn the_official_python_client_is_served_in_both_eras_and_over_the_older_transport() {
    let served = Served::start(&["--sse"]);
    let sse = format!("http://{}/sse", served.at);
    let check = |arguments: &[&str], protocol: &str| {
        let mut command = Command::new(python());
        command.arg(repository().join("tests/clients/python_client.py")).args(arguments);
        assert_eq!(judge(command)["protocol"], protocol, "{arguments:?}");
    };
    // These two speak both eras themselves.
    for script in ["python_input.py", "python_resources.py"] {
        let mut command = Command::new(python());
        command.arg(repository().join("tests/clients").join(script)).arg(served.url());
        judge(command);
    }
    check(&[&served.url()], "2026-07-28");
    check(&[&served.url(), "legacy"], "2025-11-25");
    check(&[&sse], "2025-11-25");
}

#[test]
fn the_official_typescript_clients_are_served_in_both_eras_and_over_the_older_transport() {
    let served = Served::start(&["--sse"]);
    let (http, sse) = (served.url(), format!("http://{}/sse", served.at));
    for (arguments, protocol) in [
        (&[http.as_str()][..], "2025-11-25"),
        (&[http.as_str(), "modern"], "2026-07-28"),
        (&[sse.as_str()], "2025-11-25"),
    ] {
        let mut command = Command::new(node());
        command.arg(repository().join("tests/clients/node_client.mjs")).args(arguments);
        assert_eq!(judge(command)["protocol"], protocol, "{arguments:?}");
    }
}

#[test]
fn the_inspector_is_served_over_every_transport_and_in_both_eras() {
    let served = Served::start(&["--sse"]);
    let (http, sse) = (served.url(), format!("http://{}/sse", served.at));
    let call = ["--method", "tools/call", "--tool-name", "notebook_run_cell", "--tool-args-json"];
    for (url, way) in [
        (&http, ["--transport", "http"].as_slice()),
        (&http, &["--transport", "http", "--protocol-era", "modern"]),
        (&sse, &["--transport", "sse"]),
    ] {
        let arguments = [&[url.as_str()], way, &call, &[r#"{"code": "print(6 * 7)"}"#]].concat();
        let output = inspect(&arguments);
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{way:?}: {told}\n{output:?}");
        assert!(told.contains("42"), "{way:?}: {told}");
    }
    let listed = inspect(&[&http, "--transport", "http", "--method", "tools/list", "--strict"]);
    assert!(listed.status.success(), "{listed:?}");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(listed.to_string().contains("notebook_run_cell"), "{listed}");
}
