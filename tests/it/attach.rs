//! Kernels that somebody else started, and kernels that a call names.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{host::Host, kernels, python};

/// A kernel as a human starts one.
struct Foreign {
    child: Child,
    file: PathBuf,
    _folder: TempDir,
}

impl Foreign {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("theirs.json");
        let child = Command::new(python())
            .args(["-m", "ipykernel_launcher", "-f"])
            .arg(&file)
            .current_dir(folder.path())
            .env("IPYTHONDIR", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut foreign = Self { child, file, _folder: folder };
        foreign.wait_for_file();
        foreign
    }

    /// Nothing tells that a kernel has written its file but the file.
    fn wait_for_file(&mut self) {
        let whole = |path: &Path| {
            let text = std::fs::read(path).unwrap_or_default();
            serde_json::from_slice::<serde_json::Value>(&text).is_ok()
        };
        while !whole(&self.file) {
            assert!(self.child.try_wait().unwrap().is_none(), "the kernel ended");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn file(&self) -> &str {
        self.file.to_str().unwrap()
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_kernel_that_a_human_started_is_shared_and_survives() {
    let mut foreign = Foreign::start();
    let mut first = Host::start(&["--connection-file", foreign.file()]);
    first.ok("shared = 42");
    let status = first.tool("sandbox_status", json!({}));
    let session = &status.structured()["sessions"][0];
    assert_eq!(session["state"], "idle", "{session}");
    assert!(session["kernel"].as_str().unwrap().starts_with("ipython"), "{session}");
    assert_eq!(session.get("pid"), None);
    let restart = first.tool("notebook_interrupt", json!({ "restart": true }));
    assert_eq!(restart.structured()["denied"]["code"], "not_our_kernel", "{restart:?}");
    drop(first);
    assert!(foreign.child.try_wait().unwrap().is_none(), "husk ended a kernel that is not its own");
    let mut second = Host::start(&["--connection-file", foreign.file()]);
    assert_eq!(second.ok("shared"), "42");
    let answer = second.cell("1/0");
    assert_eq!(answer.structured()["error"]["name"], "ZeroDivisionError");
    // Other sessions have kernels of husk's own.
    let own = second.tool("notebook_run_cell", json!({ "code": "shared", "session": "own" }));
    assert_eq!(own.structured()["error"]["name"], "NameError", "{own:?}");
}

#[test]
fn a_cell_in_it_is_interrupted_and_one_that_resists_is_left_behind() {
    let mut foreign = Foreign::start();
    let mut host = Host::start(&["--connection-file", foreign.file()]);
    host.begin_cell("import time; time.sleep(1000)");
    let stopped = host.tool("notebook_interrupt", json!({}));
    assert_eq!(stopped.structured()["by"], "interrupt", "{stopped:?}");
    let answer = host.tool(
        "notebook_run_cell",
        json!({ "timeout": 0.3, "code": "
import time; end = time.time() + 4
while time.time() < end:
    try: time.sleep(0.1)
    except KeyboardInterrupt: pass" }),
    );
    assert_eq!(answer.status(), "timeout", "{answer:?}");
    assert!(answer.text().contains("the kernel is not husk's"), "{answer:?}");
    assert_eq!(host.ok("6 * 7"), "42");
    assert!(foreign.child.try_wait().unwrap().is_none());
}

#[test]
fn what_somebody_else_runs_in_it_is_never_interrupted() {
    let foreign = Foreign::start();
    let mut human = Host::start(&["--connection-file", foreign.file()]);
    let mut host = Host::start(&["--connection-file", foreign.file()]);
    host.ok("import time");
    let running = human.begin_cell("time.sleep(5); 'undisturbed'");
    let looked = host.tool("notebook_inspect", json!({ "wait": 0.2 }));
    assert_eq!(looked.structured()["denied"]["code"], "late", "{looked:?}");
    let answer = host.tool("notebook_run_cell", json!({ "code": "1", "timeout": 0.2 }));
    assert!(answer.text().contains("or run it later"), "{answer:?}");
    let undisturbed = human.result(running);
    assert!(undisturbed.text().ends_with("'undisturbed'"), "{undisturbed:?}");
}

#[test]
fn its_end_is_told_and_nothing_takes_its_place() {
    let mut foreign = Foreign::start();
    let mut host = Host::start(&["--connection-file", foreign.file()]);
    host.ok("1");
    let running = host.begin_cell("import time; time.sleep(1000)");
    foreign.child.kill().unwrap();
    let answer = host.result(running);
    assert_eq!(answer.status(), "kernel_died", "{answer:?}");
    assert!(answer.text().contains("husk was only attached to it"), "{answer:?}");
    std::fs::remove_file(&foreign.file).unwrap();
    let next = host.cell("1");
    assert_eq!(next.structured()["denied"]["code"], "kernel_start_failed", "{next:?}");
    assert!(next.text().contains("cannot read the connection file"), "{next:?}");
}

#[test]
fn files_that_name_no_kernel_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("k.json");
    let info = |key: &str, scheme: &str| {
        json!({ "ip": "127.0.0.1", "transport": "tcp", "shell_port": 1, "iopub_port": 2,
            "stdin_port": 3, "control_port": 4, "hb_port": 5, "key": key,
            "signature_scheme": scheme })
        .to_string()
    };
    for (text, expected) in [
        ("{".to_owned(), "cannot use the connection file"),
        (info("", "hmac-sha256"), "it has no key"),
        (info("k", "hmac-md5"), "husk cannot sign with `hmac-md5`"),
    ] {
        std::fs::write(&file, text).unwrap();
        let mut host = Host::start(&["--connection-file", file.to_str().unwrap()]);
        let answer = host.cell("1");
        assert!(answer.text().contains(expected), "{expected}: {answer:?}");
    }
}

#[test]
fn a_session_may_name_a_file_where_the_settings_allow_it() {
    let foreign = Foreign::start();
    let session = format!("file:{}", foreign.file());
    let call = json!({ "code": "import os; os.getpid()", "session": session });
    let mut strict = Host::start(&[]);
    let refused = strict.tool("notebook_run_cell", call.clone());
    assert!(refused.text().contains("launch.attach = true"), "{refused:?}");
    let mut host = Host::start_with(&[("HUSK_LAUNCH_ATTACH", "true")]);
    let answer = host.tool("notebook_run_cell", call);
    assert_eq!(answer.text(), foreign.child.id().to_string());
    let name = answer.structured()["session"].as_str().unwrap().to_owned();
    assert!(name.starts_with("file-theirs-"), "{name}");
    let listing = host.tool("notebook_inspect", json!({ "session": session, "name": "os" }));
    assert_eq!(listing.structured()["type"], "module", "{listing:?}");
}

#[test]
fn files_of_one_name_in_two_folders_are_two_sessions() {
    let (one, other) = (Foreign::start(), Foreign::start());
    let mut host = Host::start_with(&[("HUSK_LAUNCH_ATTACH", "true")]);
    let run = |host: &mut Host, session: &str, code: &str| {
        host.tool("notebook_run_cell", json!({ "code": code, "session": session }))
    };
    let mut names = Vec::new();
    for foreign in [&one, &other] {
        let session = format!("file:{}", foreign.file());
        let answer = run(&mut host, &session, "import os; os.getpid()");
        assert_eq!(answer.text(), foreign.child.id().to_string(), "{answer:?}");
        names.push(answer.structured()["session"].as_str().unwrap().to_owned());
    }
    assert_ne!(names[0], names[1]);
    // The same file in other words is the same session, and so is the name that was answered.
    let folder = one.file.parent().unwrap();
    std::os::unix::fs::symlink(folder, host.workspace.path().join("link")).unwrap();
    for session in ["file:link/theirs.json", &names[0]] {
        let answer = run(&mut host, session, "os.getpid()");
        assert_eq!(answer.text(), one.child.id().to_string(), "{session}: {answer:?}");
        assert_eq!(answer.structured()["session"], names[0], "{session}");
    }
    // Without the file, which a kernel takes along, its cells are still known.
    std::fs::remove_file(&one.file).unwrap();
    let session = format!("file:{}", one.file());
    let known = host.tool("notebook_wait_cell", json!({ "cell": "c1", "session": session }));
    assert_eq!(known.structured()["session"], names[0], "{known:?}");
}

#[test]
fn a_call_may_name_the_kernel_of_a_new_session() {
    let python = kernels().join("bin/python");
    let mut host = Host::start_with(&[("HUSK_PYTHON", python.to_str().unwrap())]);
    let call = |session: &str, kernel: &str| json!({ "code": "(* 6 7)", "session": session, "kernel": kernel });
    let answer = host.tool("notebook_run_cell", call("scheme", "calysto_scheme"));
    assert_eq!((answer.status(), answer.text().trim()), ("ok", "42"));
    let other = host.tool("notebook_run_cell", call("scheme", "python3"));
    assert_eq!(other.structured()["denied"]["code"], "other_kernel", "{other:?}");
    let unknown = host.tool("notebook_run_cell", call("new", "cobol"));
    assert!(unknown.text().contains("no kernel named `cobol`; found"), "{unknown:?}");
}
