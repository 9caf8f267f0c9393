//! Kernels other than the usual ipykernel, each a real one: what holds for all, and where they
//! differ, that the difference is told.

use std::{fs, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    host::{Answer, Host},
    husk, kernels,
    processes::Watched,
    python,
};

/// What an interrupt leaves of the variables.
#[derive(Clone, Copy, PartialEq)]
enum Interrupt {
    Keeps,
    /// The kernel dies of it.
    Kills,
}

/// A kernel, and the same few deeds in its language.
struct Kernel {
    /// What goes with `--kernel`; without, it is the ipykernel of the interpreter.
    name: Option<&'static str>,
    /// How the kernel and its language call themselves, without their versions.
    told: [&'static str; 2],
    /// A cell, and the text that it puts out.
    output: [&'static str; 2],
    /// Sets a variable, and raises unless it is set.
    keeps: [&'static str; 2],
    /// A cell that fails; the name and the message of its error.
    fails: [&'static str; 3],
    /// Asks the user for input, which nobody can give; what the error says.
    asks: Option<[&'static str; 2]>,
    /// Says `begun`, and never ends.
    endless: &'static str,
    interrupt: Interrupt,
    /// Kills the kernel.
    dies: &'static str,
}

/// What kernels say of input where the host cannot be asked for any.
const NO_INPUT: &str = "this frontend does not support input requests";

const IPYKERNEL_6: Kernel = Kernel {
    name: None,
    told: ["ipython 9.", "python 3."],
    output: ["import ipykernel; print(ipykernel.__version__.split('.')[0])", "6\n"],
    keeps: ["x = 5", "assert x == 5"],
    fails: ["print('before'); 1/0", "ZeroDivisionError", "division by zero"],
    asks: Some(["input()", NO_INPUT]),
    endless: "print('begun', flush=True)\nwhile True: pass",
    interrupt: Interrupt::Keeps,
    dies: "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
};

const BASH: Kernel = Kernel {
    name: Some("bash"),
    told: ["bash_kernel 0.", "bash"],
    output: ["echo $((40 + 2)); echo of stderr >&2", "42\nof stderr\n"],
    keeps: ["x=5", "[ \"$x\" = 5 ]"],
    fails: ["echo before; nosuchcommand", "", "127"],
    asks: None,
    // Of a command that the shell is just starting, the kernel's Ctrl-C is lost now and then.
    endless: "echo begun; while :; do :; done",
    interrupt: Interrupt::Keeps,
    // The shell's parent is the kernel.
    dies: "kill -9 $PPID",
};

const SCHEME: Kernel = Kernel {
    name: Some("calysto_scheme"),
    told: ["scheme 2.", "scheme"],
    output: ["(display \"a\") (+ 40 2)", "a\n42"],
    keeps: ["(define x 5)", "(if (= x 5) 'fine (car 5))"],
    fails: ["(car 5)", "RunTimeError", "car called on non-pair 5"],
    asks: Some(["(input \"q\")", NO_INPUT]),
    endless: "(display \"begun\") (let loop () (loop))",
    interrupt: Interrupt::Keeps,
    dies: "(import \"os\") (os.kill (os.getpid) 9)",
};

/// Deno as it installs itself, which is to be interrupted by SIGINT and dies of it.
const DENO: Kernel = Kernel {
    name: Some("deno"),
    told: ["Deno kernel 2.", "typescript "],
    output: ["const n: number = 40; console.log(n + 2)", "42\n"],
    keeps: ["let x = 5", "if (x !== 5) throw new Error('not kept')"],
    fails: ["throw new TypeError('boo')", "TypeError", "boo"],
    asks: None,
    endless: "console.log('begun'); while (true) {}",
    interrupt: Interrupt::Kills,
    dies: "Deno.kill(Deno.pid, 'SIGKILL')",
};

#[cfg(target_arch = "x86_64")]
const XEUS_PYTHON: Kernel = Kernel {
    name: Some("xpython"),
    told: ["xeus-python 0.", "python 3."],
    output: ["print('a'); 40 + 2", "a\n42"],
    keeps: ["x = 5", "assert x == 5"],
    fails: ["1/0", "<class 'ZeroDivisionError'>", "division by zero"],
    asks: Some(["input()", NO_INPUT]),
    endless: "print('begun', flush=True)\nwhile True: pass",
    interrupt: Interrupt::Kills,
    dies: "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
};

/// The command line of bash_kernel and Deno, as their installers write them.
const BASH_ARGV: [&str; 5] =
    ["{prefix}/bin/python", "-m", "bash_kernel", "-f", "{connection_file}"];
const DENO_ARGV: [&str; 5] =
    ["{prefix}/bin/deno", "jupyter", "--kernel", "--conn", "{connection_file}"];

/// Writes a `kernel.json` where `JUPYTER_PATH` is.
fn install(jupyter: &Path, name: &str, argv: &[&str], more: Value) {
    let folder = jupyter.join("kernels").join(name);
    fs::create_dir_all(&folder).unwrap();
    let prefix = kernels().display().to_string();
    let argv: Vec<String> = argv.iter().map(|word| word.replace("{prefix}", &prefix)).collect();
    let mut spec = json!({ "argv": argv, "display_name": name, "language": "any" });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fs::write(folder.join("kernel.json"), spec.to_string()).unwrap();
}

/// A server for `kernel`, which finds kernels in the environment of `tests/run` and in what
/// `install` writes, and none of the user's own.
fn start(kernel: Option<&str>, install: impl Fn(&Path)) -> Host {
    let root = tempfile::tempdir().unwrap();
    let [home, jupyter, workspace] =
        ["home", "jupyter", "workspace"].map(|name| root.path().join(name));
    fs::create_dir(&home).unwrap();
    fs::create_dir(&workspace).unwrap();
    install(&jupyter);
    let mut command = husk();
    command.arg("--python").arg(kernels().join("bin/python"));
    command.args(kernel.iter().flat_map(|name| ["--kernel", *name]));
    command.env("HOME", home).env("JUPYTER_PATH", jupyter);
    command.current_dir(workspace);
    let mut host = Host::run(command, root);
    host.initialize("2025-11-25");
    host
}

/// Starts a cell that says `begun` by itself, and waits until it has.
fn begin(host: &mut Host, code: &str) -> u64 {
    let call = json!({
        "name": "notebook_run_cell", "arguments": { "code": code },
        "_meta": { "progressToken": "begun" },
    });
    let id = host.send("tools/call", call);
    host.wait(|message| {
        message["params"]["message"].as_str().is_some_and(|text| text.contains("begun"))
    });
    id
}

fn is_lost(answer: &Answer) -> bool {
    answer.structured()["state_lost"] == true
}

fn generation(answer: &Answer) -> u64 {
    answer.structured()["generation"].as_u64().unwrap()
}

/// All that must hold of every kernel.
fn check(kernel: &Kernel, install: impl Fn(&Path)) {
    let mut host = start(kernel.name, install);
    says_what_it_is_and_runs(&mut host, kernel);
    errors_are_told(&mut host, kernel);
    an_endless_cell_is_stopped(&mut host, kernel);
    a_cancelled_cell_frees_the_kernel(&mut host, kernel);
    a_death_is_told_at_once(&mut host, kernel);
}

fn says_what_it_is_and_runs(host: &mut Host, kernel: &Kernel) {
    let [code, text] = kernel.output;
    let mut came = host.ok(code);
    // Deno publishes some output after it has said `idle`: husk gives that to no cell.
    for _ in 0..4 {
        if kernel.name == DENO.name && came != text {
            came = host.ok(code);
        }
    }
    assert_eq!(came, text);
    let status = host.tool("sandbox_status", json!({}));
    let session = &status.structured()["sessions"][0];
    for (member, begin) in ["kernel", "language"].into_iter().zip(kernel.told) {
        let told = session[member].as_str().unwrap();
        assert!(told.starts_with(begin), "{session}");
    }
    assert_eq!(session["state"], "idle", "{session}");
    assert_eq!(session["generation"], 1, "{session}");
}

fn errors_are_told(host: &mut Host, kernel: &Kernel) {
    let [set, get] = kernel.keeps;
    assert_eq!(host.cell(get).status(), "error");
    host.ok(set);
    let [code, name, message] = kernel.fails;
    let answer = host.cell(code);
    assert_eq!(answer.status(), "error", "{answer:?}");
    assert!(answer.is_error());
    assert_eq!(answer.structured()["error"], json!({ "name": name, "value": message }));
    assert!(answer.text().contains(message), "{answer:?}");
    assert_eq!(answer.text().contains("before"), code.contains("before"), "{answer:?}");
    if let Some([code, why]) = kernel.asks {
        let answer = host.cell(code);
        assert_eq!(answer.status(), "error", "{answer:?}");
        let told = answer.structured()["error"]["value"].as_str().unwrap().to_lowercase();
        assert!(told.contains(why), "{answer:?}");
    }
    // Neither the state nor the kernel has suffered.
    let next = host.cell(get);
    assert_eq!((next.status(), is_lost(&next), generation(&next)), ("ok", false, 1));
}

fn an_endless_cell_is_stopped(host: &mut Host, kernel: &Kernel) {
    let begun = Instant::now();
    let code = json!({ "code": kernel.endless, "timeout": 1 });
    let answer = host.tool("notebook_run_cell", code);
    assert_eq!(answer.status(), "timeout", "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(answer.text().contains("by an interrupt; "), "{answer:?}");
    after_an_interrupt(host, kernel, 1, Some(answer));
}

fn a_cancelled_cell_frees_the_kernel(host: &mut Host, kernel: &Kernel) {
    host.ok(kernel.keeps[0]);
    let before = generation(&host.cell(kernel.keeps[1]));
    let call = begin(host, kernel.endless);
    host.notify("notifications/cancelled", json!({ "requestId": call }));
    after_an_interrupt(host, kernel, before, None);
}

/// What the next cell finds is what the answers say. `stopped` is the answer to the stopped one.
fn after_an_interrupt(host: &mut Host, kernel: &Kernel, before: u64, stopped: Option<Answer>) {
    let lost = kernel.interrupt == Interrupt::Kills;
    if let Some(stopped) = stopped {
        assert_eq!(is_lost(&stopped), lost, "{stopped:?}");
        assert_eq!(stopped.text().contains("variables are kept"), !lost, "{stopped:?}");
    }
    let next = host.cell(kernel.keeps[1]);
    assert_eq!(next.status(), if lost { "error" } else { "ok" }, "{next:?}");
    assert_eq!(is_lost(&next), lost, "{next:?}");
    assert_eq!(generation(&next), before + u64::from(lost), "{next:?}");
}

fn a_death_is_told_at_once(host: &mut Host, kernel: &Kernel) {
    let [set, get] = kernel.keeps;
    host.ok(set);
    let status = host.tool("sandbox_status", json!({}));
    let pid = status.structured()["sessions"][0]["pid"].as_i64().unwrap();
    let process = Watched::hold(i32::try_from(pid).unwrap());
    let begun = Instant::now();
    let answer = host.cell(kernel.dies);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!((answer.status(), is_lost(&answer)), ("kernel_died", true), "{answer:?}");
    assert!(answer.text().contains("signal 9 (SIGKILL)"), "{answer:?}");
    process.must_end_within(Duration::from_secs(1), "the kernel");
    let next = host.cell(get);
    assert_eq!((next.status(), is_lost(&next)), ("error", true), "{next:?}");
    assert_eq!(generation(&next), generation(&answer) + 1);
    let answer = host.cell(set);
    assert_eq!((answer.status(), is_lost(&answer)), ("ok", false), "{answer:?}");
}

#[test]
fn ipykernel_6_keeps_the_promises() {
    check(&IPYKERNEL_6, |_| {});
}

#[test]
fn a_shell_keeps_the_promises() {
    check(&BASH, |jupyter| install(jupyter, "bash", &BASH_ARGV, json!({ "env": { "PS1": "$" } })));
}

#[test]
fn a_scheme_keeps_the_promises() {
    check(&SCHEME, |_| {});
}

#[test]
fn a_kernel_without_python_keeps_the_promises() {
    check(&DENO, |jupyter| install(jupyter, "deno", &DENO_ARGV, json!({})));
}

#[test]
fn a_kernel_that_dies_of_sigint_keeps_its_variables_when_it_is_interrupted_by_message() {
    let kernel = Kernel { interrupt: Interrupt::Keeps, ..DENO };
    let by_message = json!({ "interrupt_mode": "message" });
    check(&kernel, |jupyter| install(jupyter, "deno", &DENO_ARGV, by_message.clone()));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn another_python_that_dies_of_sigint_keeps_the_promises() {
    check(&XEUS_PYTHON, |_| {});
}

/// Deno, behind a command line that does not tell that it is Deno.
#[test]
fn a_kernel_that_dies_over_unix_sockets_is_started_anew_over_tcp() {
    let script = "exec \"$1/deno\" jupyter --kernel --conn \"$0\"";
    let argv = ["/bin/sh", "-c", script, "{connection_file}", "{prefix}/bin"];
    let mut host = start(Some("hidden"), |jupyter| install(jupyter, "hidden", &argv, json!({})));
    let answer = host.cell("throw new Error(String(40 + 2))");
    assert_eq!(answer.structured()["error"]["value"], "42", "{answer:?}");
    assert_eq!((is_lost(&answer), generation(&answer)), (false, 1), "{answer:?}");
}

/// One word more than usual: husk does not start such an ipykernel by its own launcher.
const NO_HISTORY: &str = "--HistoryManager.enabled=False";

/// Counts the interrupts that come as messages.
const COUNT_REQUESTS: &str = "
requests = 0
handlers = get_ipython().kernel.control_handlers
def counted(*args, handler=handlers['interrupt_request']):
    global requests
    requests += 1
    return handler(*args)
handlers['interrupt_request'] = counted";

#[test]
fn interrupts_go_the_way_that_the_kernelspec_names() {
    let seven = python().display().to_string();
    for python in [&seven, "{prefix}/bin/python"] {
        for (mode, requests) in [("signal", "0"), ("message", "1")] {
            let argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}", NO_HISTORY];
            let by = json!({ "interrupt_mode": mode });
            let mut host = start(Some("k"), |jupyter| install(jupyter, "k", &argv, by.clone()));
            host.ok(COUNT_REQUESTS);
            let call =
                begin(&mut host, "import time; print('begun', flush=True); time.sleep(1000)");
            host.notify("notifications/cancelled", json!({ "requestId": call }));
            let answer = host.cell("requests");
            assert_eq!(answer.text(), requests, "{python} {mode}");
            assert_eq!(generation(&answer), 1, "{python} {mode}");
        }
    }
}

#[test]
fn ipykernel_6_shows_images() {
    let mut host = start(None, |_| {});
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwABBAEAX+XDSwAAAABJRU5ErkJggg==";
    let code = format!(
        "from IPython.display import Image\nfrom base64 import b64decode\nImage(b64decode('{png}'))"
    );
    let answer = host.cell(&code);
    let images = answer.blocks("image");
    assert_eq!(images.len(), 1, "{answer:?}");
    assert_eq!((&images[0]["mimeType"], &images[0]["data"]), (&json!("image/png"), &json!(png)));
}

#[test]
fn ipykernel_6_loses_no_line_while_the_server_stands_still() {
    let mut host = start(None, |_| {});
    let go = host.workspace.path().join("workspace/go");
    let id = host.begin_cell(&format!(
        "
import os, time
while not os.path.exists({go:?}): time.sleep(0.01)
for n in range(5_000): print(f'{{n:04}}' + 'x' * 995, flush=True)"
    ));
    let server = Pid::from_raw(i32::try_from(host.child.id()).unwrap()).unwrap();
    kill_process(server, Signal::STOP).unwrap();
    fs::write(&go, "").unwrap();
    // The time itself is the subject: what is printed meanwhile nobody reads.
    std::thread::sleep(Duration::from_secs(1));
    kill_process(server, Signal::CONT).unwrap();
    let answer = host.result(id);
    assert_eq!(answer.structured()["output"]["text_bytes"], 5_000_006, "{answer:?}");
}

#[test]
fn a_kernel_of_another_language_has_the_trace_of_the_call_that_started_it() {
    let mut host = start(Some("bash"), |jupyter| install(jupyter, "bash", &BASH_ARGV, json!({})));
    let trace = |digit: &str| format!("00-{}-00f067aa0b1902b7-01", digit.repeat(32));
    let mut told = |digit: &str| {
        let params = json!({"name": "notebook_run_cell", "_meta": {"traceparent": trace(digit)},
            "arguments": {"code": "echo \"trace: $TRACEPARENT\"", "session": "fresh"}});
        host.call("tools/call", params).to_string()
    };
    // Its environment is its own from then on.
    for digit in ["a", "b"] {
        let text = told(digit);
        assert!(text.contains(&format!("trace: {}", trace("a"))), "{text}");
    }
}
