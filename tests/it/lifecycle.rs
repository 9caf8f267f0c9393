//! Nothing is left behind, however a server, a host or a call ends.

use std::{path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{host::Host, processes::Watched};

/// A cell that starts a child, and a daemon that has left its session and its parent.
const CHILDREN: &str = "
import os, subprocess
child = subprocess.Popen(['sleep', '1000'])
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, str(os.getpid()).encode())
        os.execvp('sleep', ['sleep', '1000'])
    os._exit(0)
os.wait()
print(os.getpid(), child.pid, int(os.read(read, 20)))";

/// A server with a kernel, a child and a daemon, all of which run.
pub(crate) fn family(host: &mut Host) -> Vec<Watched> {
    let text = host.ok(CHILDREN);
    text.split_whitespace().map(|pid| Watched::hold(host.outside(pid))).collect()
}

pub(crate) fn must_all_end(family: &[Watched]) {
    for (member, who) in family.iter().zip(["the kernel", "its child", "its daemon"]) {
        member.must_end_within(Duration::from_secs(2), who);
    }
}

pub(crate) fn server(host: &Host) -> Pid {
    Pid::from_raw(i32::try_from(host.child.id()).unwrap()).unwrap()
}

#[test]
fn the_end_of_input_ends_the_server_and_all_kernels() {
    let mut host = Host::start(&[]);
    let family = family(&mut host);
    let begun = Instant::now();
    host.close_stdin();
    assert!(host.child.wait().unwrap().success());
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    must_all_end(&family);
}

#[test]
fn the_end_of_input_ends_a_server_that_is_busy() {
    let mut host = Host::start(&[]);
    let family = family(&mut host);
    host.begin_cell("while True: pass");
    let begun = Instant::now();
    host.close_stdin();
    assert!(host.child.wait().unwrap().success());
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    must_all_end(&family);
}

#[test]
fn signals_end_the_server_and_all_kernels() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut host = Host::start(&[]);
        let family = family(&mut host);
        kill_process(server(&host), signal).unwrap();
        assert!(host.child.wait().unwrap().success(), "{signal:?}");
        must_all_end(&family);
    }
}

#[test]
fn a_killed_server_leaves_nothing() {
    let mut host = Host::start(&[]);
    let family = family(&mut host);
    let init = host.ok("import os; os.getppid()");
    let init = host.outside(&init);
    // The second of its arguments is where the kernel's sockets are.
    let words = std::fs::read_to_string(format!("/proc/{init}/cmdline")).unwrap();
    let run_folder = Path::new(words.split('\0').nth(2).unwrap());
    assert!(run_folder.is_dir(), "{}", run_folder.display());
    // Of a sandbox the parent of its init, outside, ends last; otherwise that is the server.
    let status = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    let inits = [init, parent.parse().unwrap()].map(Watched::hold);
    kill_process(server(&host), Signal::KILL).unwrap();
    must_all_end(&family);
    // The killed server itself is this test's to reap.
    host.child.wait().unwrap();
    for init in inits {
        init.must_end_within(Duration::from_secs(2), "the init");
    }
    assert!(!run_folder.exists(), "{} is left", run_folder.display());
}

#[test]
fn a_kernel_that_dies_takes_its_children_along() {
    let mut host = Host::start(&[]);
    let family = family(&mut host);
    assert_eq!(host.cell("os._exit(1)").status(), "kernel_died");
    must_all_end(&family);
}

#[test]
fn a_cancelled_call_stops_its_cell_and_frees_the_kernel() {
    let mut host = Host::start(&[]);
    host.ok("kept = 1");
    let id = host.begin_cell("import time; time.sleep(1000)");
    let begun = Instant::now();
    host.notify("notifications/cancelled", json!({ "requestId": id }));
    assert_eq!(host.ok("kept"), "1");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let answered = host.messages_so_far().iter().any(|message| message["id"] == id);
    assert!(!answered, "a cancelled call was answered");
}

#[test]
fn a_call_cancelled_in_the_queue_never_runs() {
    let mut host = Host::start(&[]);
    host.ok("ran = []");
    let running = host.begin_cell("import time; time.sleep(0.5)");
    let queued = host.begin("notebook_run_cell", json!({ "code": "ran.append(1)" }));
    host.notify("notifications/cancelled", json!({ "requestId": queued }));
    assert_eq!(host.result(running).status(), "ok");
    assert_eq!(host.ok("ran"), "[]");
}

#[test]
fn a_call_cancelled_while_its_kernel_starts_never_runs() {
    let mut host = Host::start(&[]);
    let call = host.begin("notebook_run_cell", json!({ "code": "open('ran', 'w').close()" }));
    host.notify("notifications/cancelled", json!({ "requestId": call }));
    assert_eq!(host.ok("import os; os.path.exists('ran')"), "False");
}

#[test]
fn cancelling_again_and_again_keeps_the_variables() {
    let mut host = Host::start(&[]);
    host.ok("kept = 1");
    for _ in 0..15 {
        let call = host.begin_cell("import time; time.sleep(0.02)");
        host.notify("notifications/cancelled", json!({ "requestId": call }));
    }
    let answer = host.cell("kept");
    assert_eq!(answer.structured()["generation"], 1, "{answer:?}");
    assert_eq!(answer.text(), "1");
}

#[test]
fn a_daemon_whose_name_is_not_unicode_ends_too() {
    let mut host = Host::start(&[]);
    let code = "
import ctypes, os, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, b'\\xff\\xfe', 0, 0, 0)
        os.write(write, str(os.getpid()).encode())
        time.sleep(1000)
    os._exit(0)
os.wait()
print(int(os.read(read, 20)))";
    let daemon = host.ok(code);
    let daemon = Watched::hold(host.outside(&daemon));
    host.close_stdin();
    daemon.must_end_within(Duration::from_secs(2), "the daemon");
}

#[test]
fn a_call_under_way_is_answered_after_the_end_of_input() {
    let mut host = Host::start(&[]);
    let id = host.begin_cell("import time; time.sleep(0.1); 'done'");
    host.close_stdin();
    assert_eq!(host.result(id).text(), "begun\n'done'");
}
