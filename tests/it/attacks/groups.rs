//! Control groups: bounds for all processes of a kernel together, where this machine lets a server make
//! one, and what stands in for them where it does not.

use std::{fs, path::PathBuf, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::stage::As;
use crate::support::{host::Host, processes::Watched};

/// A layer of the kernel's isolation, as `sandbox_status` tells it.
pub(super) fn layer(host: &mut Host, name: &str) -> Value {
    let status = host.tool("sandbox_status", json!({}));
    let layers =
        status.structured()["sessions"][0]["sandbox"]["layers"].as_array().unwrap().clone();
    layers.into_iter().find(|layer| layer["name"] == name).unwrap_or(Value::Null)
}

/// The folders of the kernel's control groups that husk has made.
fn groups(host: &mut Host) -> Vec<PathBuf> {
    let status = host.tool("sandbox_status", json!({}));
    let pid = status.structured()["sessions"][0]["pid"].as_u64().unwrap();
    let told = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let own = told.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        path.contains("/husk-")
            .then(|| PathBuf::from(format!("/sys/fs/cgroup/{controllers}{path}")))
    });
    own.collect()
}

fn child_of(pid: u32) -> i32 {
    let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let children: String = tasks.map(|task| of(task.unwrap())).collect();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_control_group_is_tried_and_goes_with_its_kernel() {
    for (user, level) in
        As::all().iter().flat_map(|user| [(*user, "namespaces"), (*user, "landlock")])
    {
        let home = user.folder();
        let mut host = user.host(home.path(), &[("HUSK_SANDBOX_ISOLATION", level)]);
        host.ok("1");
        let told = layer(&mut host, "cgroup");
        let made = groups(&mut host);
        if made.is_empty() {
            // Why, and what is done instead.
            assert_eq!(told["state"], "absent", "{user:?} {level}: {told}");
            assert!(!told["detail"].as_str().unwrap().is_empty());
            let watch = layer(&mut host, "watch");
            assert!(watch["detail"].as_str().unwrap().contains("memory together"), "{watch}");
            continue;
        }
        assert_eq!(told["state"], "enforced", "{user:?} {level}: {told}");
        assert!(told["detail"].as_str().unwrap().contains("pids.max 1024"), "{told}");
        assert!(made.iter().all(|folder| folder.is_dir()), "{made:?}");
        // A cell can neither see nor leave it.
        let cell = "import glob; print(glob.glob('/sys/fs/cgroup/*'))";
        assert!(host.ok(cell).contains("[]"), "{user:?} {level}");
        host.tool("notebook_interrupt", json!({ "restart": true }));
        assert!(made.iter().all(|folder| !folder.exists()), "{user:?} {level}: {made:?}");
        let second = groups(&mut host);
        drop(host);
        assert!(second.iter().all(|folder| !folder.exists()), "{user:?} {level}: {second:?}");
    }
}

#[test]
fn what_a_killed_server_has_left_is_removed_by_the_next() {
    let user = As::all()[0];
    let home = user.folder();
    let mut host = user.host(home.path(), &[("HUSK_SANDBOX_ISOLATION", "namespaces")]);
    let kernel = host.ok("import os; os.getpid()");
    let kernel = Watched::hold(host.outside(&kernel));
    let left = groups(&mut host);
    let init = Pid::from_raw(child_of(host.child.id())).unwrap();
    kill_process(init, Signal::KILL).unwrap();
    host.child.kill().unwrap();
    kernel.must_end_within(Duration::from_secs(10), "the kernel");
    drop(host);
    let mut next = user.host(home.path(), &[("HUSK_SANDBOX_ISOLATION", "namespaces")]);
    next.ok("1");
    assert!(left.iter().all(|folder| !folder.exists()), "{left:?}");
    // Its own is another one.
    assert_eq!(groups(&mut next).len(), left.len());
}

#[test]
fn a_kernel_uses_no_more_processors_than_it_may() {
    const SPIN: &str = "import time, os
start = (time.monotonic(), time.process_time())
while time.monotonic() < start[0] + 2: pass
(time.process_time() - start[1]) / (time.monotonic() - start[0])";
    for user in As::all() {
        let home = user.folder();
        let mut host = user.host(home.path(), &[("HUSK_SANDBOX_CPUS", "0.5")]);
        let share: f64 = host.ok(SPIN).trim().parse().unwrap();
        let told = layer(&mut host, "cgroup");
        if told["detail"].as_str().unwrap().contains("cpu.") && told["state"] == "enforced" {
            assert!(share < 0.6, "{user:?}: {share}");
        } else {
            // Whole processors only, and no way back to the others.
            assert_eq!(host.ok("len(os.sched_getaffinity(0))"), "1", "{user:?}");
            let answer = host.cell("os.sched_setaffinity(0, range(os.cpu_count()))");
            assert_eq!(answer.structured()["error"]["name"], "PermissionError", "{answer:?}");
            let limits = layer(&mut host, "limits");
            assert!(limits["detail"].as_str().unwrap().contains("Processors: "), "{limits}");
        }
        assert_eq!(host.ok("os.environ['OMP_NUM_THREADS']"), "'1'");
    }
}

#[test]
fn a_kernel_that_uses_too_much_processor_time_is_ended_and_the_answer_names_the_limit() {
    for user in As::all() {
        let home = user.folder();
        let mut host = user.host(home.path(), &[("HUSK_SANDBOX_CPU_SECONDS", "4")]);
        // In a process that has ended, and in one that goes on.
        let code = "import subprocess, sys
subprocess.run([sys.executable, '-c', 'import time\\nwhile time.process_time() < 1.5: pass'])
while True: pass";
        let answer = host.cell(code);
        assert_eq!(answer.status(), "kernel_died", "{user:?}: {answer:?}");
        let told = " s of 4 s, the limit of processor time (setting `sandbox.cpu_seconds`)";
        assert!(answer.text().contains(told), "{user:?}: {}", answer.text());
        assert!(host.ok("6 * 7").starts_with("42"));
    }
}
