//! Cells that attack the server through what it reads from the kernel.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{host::Host, processes::Watched};

/// Finds the accepted connections of the kernel's iopub socket and writes to them what ZeroMQ
/// would never write.
const NINE_BYTES: &str = r"
import os, stat
header = bytes([2]) + (10**12).to_bytes(8, 'big')
for entry in os.listdir('/proc/self/fd'):
    fd = int(entry)
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            os.write(fd, header)
    except OSError:
        pass
import time; time.sleep(30)
";

#[test]
fn nine_bytes_on_the_kernels_sockets_end_that_kernel_and_not_the_server() {
    let mut host = Host::start(&[]);
    let answer = host.cell(NINE_BYTES);
    assert_eq!(answer.status(), "kernel_died", "{answer:?}");
    let text = answer.text();
    assert!(
        text.contains("announced a frame of 1000000000000 bytes; the cap is 268435456"),
        "{text}"
    );
    let next = host.cell("'alive'");
    assert_eq!(next.status(), "ok");
    assert_eq!(next.structured()["generation"], 2);
}

#[test]
fn replies_and_displays_of_any_shape_end_their_cell() {
    let mut host = Host::start(&[]);
    let mut check = |code: &str| {
        let code = format!(
            "from IPython.display import publish_display_data as show\nip = get_ipython()\n{code}\nprint('end')"
        );
        let answer = host.cell(&code);
        assert_eq!(answer.status(), "ok", "{code}: {answer:?}");
        assert!(answer.text().contains("end\n"), "{answer:?}");
    };
    check("ip.payload_manager.write_payload({'source': 'custom', 'x': 1}, single=False)");
    check(
        "ip.payload_manager.write_payload({'source': 'set_next_input', 'text': 'x'}, single=False)",
    );
    check("show({'text/html': 5})");
    check("show({'image/png': 5, 'text/plain': ['a', 'b']})");
    check("show({'application/vnd.dataresource+json': 'no'})");
    check(
        "ip.kernel.session.send(ip.kernel.iopub_socket, 'stream', {'name': 'odd', 'text': 7}, ip.kernel.get_parent())",
    );
    check(
        "ip.kernel.session.send(ip.kernel.iopub_socket, 'unheard_of', {}, ip.kernel.get_parent())",
    );
    check(
        "ip.kernel.session.send(ip.kernel.iopub_socket, 'status', 'no object', ip.kernel.get_parent())",
    );
}

#[test]
fn thirty_thousand_flushed_lines_arrive_though_the_server_stands_still_for_two_seconds() {
    let mut host = Host::start(&[]);
    let server = Pid::from_raw(i32::try_from(host.child.id()).unwrap()).unwrap();
    let go = host.workspace.path().join("go");
    // Progress is asked for and not read, so that the host's pipe fills as well.
    let id = host.begin_cell(&format!(
        "
import os, time
while not os.path.exists({go:?}): time.sleep(0.01)
for n in range(30_000): print(f'{{n:05}}' + 'x' * 994, flush=True)"
    ));
    kill_process(server, Signal::STOP).unwrap();
    std::fs::write(&go, "").unwrap();
    // The time itself is the subject: what the kernel prints meanwhile nobody reads.
    std::thread::sleep(Duration::from_secs(2));
    kill_process(server, Signal::CONT).unwrap();
    let answer = host.result(id);
    assert_eq!(answer.status(), "ok", "{answer:?}");
    assert_eq!(answer.structured()["output"]["text_bytes"], 30_000_006);
    assert!(answer.text().starts_with("begun\n00000x") && answer.text().contains("\n29999x"));
}

#[test]
fn a_closed_stdout_does_not_break_the_next_cells() {
    let mut host = Host::start(&[]);
    host.cell("import sys; sys.stdout.close(); sys.stderr.close()");
    assert_eq!(host.ok("print('works')"), "works\n");
}

#[test]
fn a_message_with_a_forged_signature_is_passed_over() {
    let mut host = Host::start(&[]);
    let code = "
ip = get_ipython(); import copy
forged = copy.copy(ip.kernel.session); forged.key = b'wrong'
forged.send(ip.kernel.iopub_socket, 'stream', {'name': 'stdout', 'text': 'forged'}, ip.kernel.get_parent())
print('true')";
    let answer = host.cell(code);
    assert!(answer.text().contains("true"), "{answer:?}");
}

#[test]
fn a_socket_in_the_place_of_the_relay_is_never_connected_to() {
    // A sandboxed cell does not even see that folder (see `attacks`).
    let mut host = Host::start_with(&[("HUSK_SANDBOX_ISOLATION", "none")]);
    // A stand-in listens where the server's own socket was, then the kernel's iopub is cut off.
    let code = "
import os, socket, sys, threading, time
inner = os.path.join(os.path.dirname(os.path.dirname(sys.argv[2])), 's', 'iopub')
try: os.unlink(inner)
except FileNotFoundError: pass
trap = socket.socket(socket.AF_UNIX); trap.bind(inner); trap.listen()
for entry in os.listdir('/proc/self/fd'):
    try:
        s = socket.socket(fileno=os.dup(int(entry)))
        accepted = s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
        if s.family == socket.AF_UNIX and accepted and str(s.getsockname()).endswith('k-2'):
            s.shutdown(socket.SHUT_RDWR)
    except OSError: pass
trap.settimeout(5)
peer, _ = trap.accept()
open('connected', 'w').close()";
    let answer = host.cell(code);
    assert_eq!(answer.status(), "kernel_died", "{answer:?}");
    assert!(
        answer.text().contains("iopub channel was closed while it went on"),
        "{}",
        answer.text()
    );
    assert!(host.ok("import os; os.path.exists('connected')").starts_with("False"));
}

#[test]
fn text_that_is_not_unicode_is_neither_lost_nor_a_success() {
    let mut host = Host::start(&[]);
    assert_eq!(
        host.ok(r"print('before'); print('name\udce9'); print('after')"),
        "before\nname\u{fffd}\nafter\n"
    );
    let answer = host.cell(r"raise ValueError('name\udce9')");
    assert_eq!(answer.status(), "error", "{answer:?}");
    assert_eq!(answer.structured()["error"]["name"], "ValueError");
}

#[test]
fn an_exception_with_a_huge_message_stays_within_bounds() {
    let mut host = Host::start(&[]);
    let answer = host.cell("raise ValueError('x' * 20_000_000)");
    assert_eq!(answer.status(), "error");
    let bytes = answer.0.to_string().len();
    assert!(bytes < 50_000, "{bytes}");
}

#[test]
fn an_escape_that_never_closes_eats_only_its_line() {
    let mut host = Host::start(&[]);
    assert_eq!(host.ok(r"print('a\x1b]0;never closed'); print('b')"), "a\nb\n");
}

#[test]
fn an_init_that_a_cell_stops_or_kills_is_overcome() {
    for (signal, isolation) in
        ["SIGSTOP", "SIGKILL"].iter().flat_map(|signal| [(signal, "none"), (signal, "auto")])
    {
        let mut host = Host::start_with(&[("HUSK_SANDBOX_ISOLATION", isolation)]);
        let (init, kernel) = (host.ok("import os; os.getppid()"), host.ok("os.getpid()"));
        let [init, kernel] = [init, kernel].map(|pid| Watched::hold(host.outside(&pid)));
        let code = format!(
            "
import ctypes, os, signal, time
ctypes.CDLL(None).prctl(1, 0)  # PR_SET_PDEATHSIG: do not die with the parent
try: os.kill(os.getppid(), signal.{signal})
except PermissionError: pass  # so says a sandbox
while True:
    try:
        while True: time.sleep(0.05)
    except KeyboardInterrupt: pass"
        );
        let answer = host.tool("notebook_run_cell", json!({ "code": code, "timeout": 1 }));
        assert!(["timeout", "kernel_died"].contains(&answer.status()), "{signal}: {answer:?}");
        assert_eq!(host.cell("1").status(), "ok", "{signal}");
        for process in [&init, &kernel] {
            process.must_end_within(Duration::from_secs(5), signal);
        }
    }
}
