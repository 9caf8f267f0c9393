//! The first start on a machine without ipykernel, and kernels that are asked for by name.

use serde_json::json;

use crate::support::{host::Host, husk, python};

#[test]
fn without_ipykernel_husk_makes_an_environment_and_says_so_meanwhile() {
    let workspace = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut command = husk();
    command
        .env("PATH", "/usr/bin:/bin")
        .env_remove("VIRTUAL_ENV")
        .env_remove("CONDA_PREFIX")
        .env("HUSK_DATA_DIR", data.path())
        .env("HUSK_LAUNCH_PACKAGES", "ipykernel")
        .env("HUSK_CELLS_WAIT", "600")
        .current_dir(workspace.path());
    let mut host = Host::run(command, workspace);
    host.initialize("2025-11-25");
    let id = host.send(
        "tools/call",
        json!({
            "name": "notebook_run_cell", "arguments": { "code": "import sys; sys.prefix" },
            "_meta": { "progressToken": "p" },
        }),
    );
    host.wait(|message| {
        message["params"]["message"].as_str().is_some_and(|text| text.contains("environment"))
    });
    let answer = host.result(id);
    assert_eq!(answer.status(), "ok", "{answer:?}");
    let prefix = answer.text();
    assert!(prefix.contains(data.path().to_str().unwrap()), "{prefix}");
}

#[test]
fn a_kernelspec_is_started_by_its_name() {
    let mut host = Host::start(&["--kernel", "python3"]);
    assert_eq!(host.ok("6 * 7"), "42");
    let status = host.tool("sandbox_status", json!({}));
    let program = status.structured()["sessions"][0]["program"].as_str().unwrap().to_owned();
    let prefix = python().parent().unwrap().to_owned();
    assert!(program.starts_with(prefix.to_str().unwrap()), "{program}");
}

#[test]
fn a_kernel_that_cannot_start_is_an_answer_with_the_reason() {
    let workspace = tempfile::tempdir().unwrap();
    let kernel = workspace.path().join("kernels/broken");
    std::fs::create_dir_all(&kernel).unwrap();
    let spec = json!({
        "argv": ["sh", "-c", "echo it says why >&2; exit 3", "{connection_file}"],
        "display_name": "broken", "language": "none",
    });
    std::fs::write(kernel.join("kernel.json"), spec.to_string()).unwrap();
    let mut command = husk();
    command
        .args(["--kernel", "broken"])
        .env("JUPYTER_PATH", workspace.path())
        .current_dir(workspace.path());
    let mut host = Host::run(command, workspace);
    host.initialize("2025-11-25");
    let answer = host.cell("1");
    assert!(answer.is_error());
    assert_eq!(answer.structured()["denied"]["code"], "kernel_start_failed");
    let text = answer.text();
    assert!(
        text.contains("ended with exit code 3 before it answered; it wrote:\nit says why"),
        "{text}"
    );
    let status = host.tool("sandbox_status", json!({}));
    assert_eq!(status.structured()["sessions"][0]["state"], "error");
}
