//! The init of one kernel: what this binary does when it is run as `husk __init`.
//!
//! Its standard input is a socket to the server, the lifeline. On it the server sends its order, then
//! signal numbers, one byte each, which go to the kernel's process group; init answers with the
//! lines of [`word`], and at last with `exited CODE`, `killed SIGNAL`, or `full BYTES` where a kernel was
//! killed because its group's memory was full. When the kernel ends or the
//! lifeline closes, init kills everything that descends from it, removes the run folder and the control
//! group, and ends.
//! It is single-purpose and small: no runtime, no configuration, no logging.
//!
//! At level `namespaces` it splits: one stays outside, waits and removes the run folder; the other
//! is process 1 of the sandbox and does the rest. Everything that is done to make a sandbox is done
//! here, where there is one thread, and never between fork and exec of the server.

use std::{
    ffi::OsString,
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

#[cfg(target_os = "linux")]
use std::net::Ipv4Addr;

use rustix::{
    io::Errno,
    process::{self, Pid, WaitId, WaitIdOptions, WaitOptions},
};

#[cfg(target_os = "linux")]
use super::{
    bridge, network,
    plan::Plan,
    spaces::{self, Side},
    stand_in::StandIns,
};
use super::{
    cgroup::{Group, Held},
    settings::Level,
    start, tree,
    word::{self, Order},
};

/// The word that makes this binary an init.
pub const WORD: &str = "__init";

/// The line that tells of a kernel that somebody has killed.
const KILLED: &str = "killed 9";

/// How often, a millisecond apart, everything below init is killed and reaped: what sleeps in the
/// kernel of the operating system for longer cannot be waited for.
const ROUNDS: u32 = 1000;

/// Connections to the proxy's port that wait to be taken.
#[cfg(target_os = "linux")]
const WAITING: i32 = 1024;

/// The kernel's process id while it may be signalled: taken away before it is reaped, so that no
/// signal can reach a stranger who got its number.
type Target = Arc<Mutex<Option<Pid>>>;

/// Runs as init if the arguments say so: `__init RUN_FOLDER PROGRAM ARGUMENTS…`.
///
/// Call it first in `main` of every program that embeds husk. It returns only where the program
/// was not started as an init.
pub fn run_if_asked() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|word| word == WORD) {
        let run_folder = args.next().map(PathBuf::from);
        let code = supervise(run_folder.as_deref(), args.collect());
        std::process::exit(code);
    }
}

fn supervise(run_folder: Option<&Path>, command: Vec<OsString>) -> i32 {
    // Without a lifeline and a plan nobody asked for this: a person typed the word.
    let Ok(lifeline) = lifeline() else { return 2 };
    let Ok(order) = word::receive(&lifeline) else { return 2 };
    // A terminal's Ctrl-C is for the server, which tells init what to do.
    let _ = process::setsid();
    adopt_orphans();
    tend_to(Arc::new(lifeline), run_folder, command, &order)
}

/// What is removed when everything has ended.
#[derive(Clone, Default)]
struct Left {
    run_folder: Option<PathBuf>,
    group: Group,
}

impl Left {
    fn remove(&self) {
        if let Some(folder) = &self.run_folder {
            let _ = std::fs::remove_dir_all(folder);
        }
        self.group.remove();
    }
}

/// The control group of the kernel.
fn group(order: &Order) -> Held {
    if order.plan.level == Level::None || order.plan.rehearsal {
        return Held::default();
    }
    Group::make(&order.plan.limits)
}

#[cfg(target_os = "linux")]
fn tend_to(
    lifeline: Arc<UnixStream>,
    run_folder: Option<&Path>,
    command: Vec<OsString>,
    order: &Order,
) -> i32 {
    spaces::close_on_exec();
    let held = group(order);
    let left = Left { run_folder: run_folder.map(Path::to_owned), group: held.group.clone() };
    if order.plan.level != Level::Namespaces {
        return tend(lifeline, left, command, order, held, || ());
    }
    let denied = |step: &str, error: std::io::Error| {
        tell(&lifeline, &format!("denied {step}: {error}"));
        left.group.remove();
        1
    };
    let stand_ins = match order.plan.rehearsal {
        true => Ok(StandIns::default()),
        false => StandIns::make(&order.plan),
    };
    // Held by both sides of the fork: whoever lives longer.
    let stand_ins = match stand_ins {
        Ok(stand_ins) => stand_ins,
        Err(error) => return denied("keep what others trust from cells", error),
    };
    match spaces::fork() {
        Ok(Side::Child) => build(lifeline, command, order, held),
        Ok(Side::Parent(_)) => {
            let code = stay_outside(lifeline, &left);
            stand_ins.remove();
            code
        }
        Err(error) => denied("fork", error),
    }
}

#[cfg(not(target_os = "linux"))]
fn tend_to(
    lifeline: Arc<UnixStream>,
    run_folder: Option<&Path>,
    command: Vec<OsString>,
    order: &Order,
) -> i32 {
    let left = Left { run_folder: run_folder.map(Path::to_owned), group: Group::default() };
    tend(lifeline, left, command, order, group(order), || ())
}

/// Makes the sandbox; becomes, by another fork, its process 1.
#[cfg(target_os = "linux")]
fn build(lifeline: Arc<UnixStream>, command: Vec<OsString>, order: &Order, held: Held) -> i32 {
    let plan = &order.plan;
    let inside = spaces::enter(plan).and_then(|pieces| {
        let side = spaces::fork().map_err(|error| ("fork into the sandbox", error))?;
        Ok((side, pieces))
    });
    let settled = match inside {
        Ok((Side::Parent(_), _)) => return 0,
        Ok((Side::Child, pieces)) => spaces::settle(plan, &pieces),
        Err(failure) => Err(failure),
    };
    let bridges = settled.and_then(|()| {
        offer(&lifeline, plan).map_err(|error| ("open the proxy's port", error))?;
        bridge::open(&plan.bridges).map_err(|error| ("reach the kernel's ports", error))
    });
    match bridges {
        Ok(bridges) => {
            let after = || {
                spaces::retire();
                bridge::serve(bridges);
            };
            tend(lifeline, Left::default(), command, order, held, after)
        }
        Err((step, error)) => {
            tell(&lifeline, &format!("denied {step}: {error}"));
            1
        }
    }
}

/// Opens the one way out of the kernel's own network, which is served outside.
#[cfg(target_os = "linux")]
fn offer(lifeline: &UnixStream, plan: &Plan) -> std::io::Result<()> {
    if !plan.own_network() {
        return Ok(());
    }
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, network::PORT))?;
    rustix::net::listen(&listener, WAITING)?;
    word::hand_over(lifeline, &listener)
}

/// Waits until everything in the sandbox has ended, then removes what is left.
#[cfg(target_os = "linux")]
fn stay_outside(lifeline: Arc<UnixStream>, left: &Left) -> i32 {
    drop(lifeline);
    // The server must see the lifeline close when process 1, which has the other copy, ends.
    if let Ok(nothing) = std::fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(nothing);
    }
    while !matches!(process::wait(WaitOptions::empty()), Err(Errno::CHILD)) {}
    end(left);
    0
}

/// Starts the kernel, does `after`, and stays until the kernel or the server has ended.
fn tend(
    lifeline: Arc<UnixStream>,
    left: Left,
    command: Vec<OsString>,
    order: &Order,
    held: Held,
    after: impl FnOnce(),
) -> i32 {
    let Held { mut group, door, gauge } = held;
    let (kernel, said) = match start::start(command, order, door) {
        Ok(started) => started,
        Err(line) => {
            tell(&lifeline, &line);
            left.group.remove();
            return 1;
        }
    };
    after();
    if let Some(why) = said.outside {
        group = Group::closed(&why);
    }
    if let Ok(group) = serde_json::to_string(&group) {
        tell(&lifeline, &format!("group {group}"));
    }
    for layer in said.layers.iter().filter_map(|layer| serde_json::to_string(layer).ok()) {
        tell(&lifeline, &format!("layer {layer}"));
    }
    tell(&lifeline, &format!("started {}", kernel.as_raw_nonzero()));
    let target: Target = Arc::new(Mutex::new(Some(kernel)));
    let listener = {
        let (lifeline, target) = (Arc::clone(&lifeline), Arc::clone(&target));
        let left = left.clone();
        move || obey(&lifeline, &target, &left)
    };
    std::thread::spawn(listener);
    let end_told = wait_for(kernel, &target);
    // Told by itself: the group may be gone before the server could look.
    match gauge.full().filter(|_| end_told == KILLED) {
        Some(used) => tell(&lifeline, &format!("full {used}")),
        None => tell(&lifeline, &end_told),
    }
    end(&left);
    0
}

/// Standard input as the socket that it must be.
fn lifeline() -> std::io::Result<UnixStream> {
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    stream.peer_addr()?;
    Ok(stream)
}

#[cfg(target_os = "linux")]
fn adopt_orphans() {
    let _ = process::set_child_subreaper(Some(process::getpid()));
}

#[cfg(not(target_os = "linux"))]
fn adopt_orphans() {}

fn tell(mut lifeline: &UnixStream, line: &str) {
    // A server that is gone needs no answer; its end is seen by the other thread.
    let _ = writeln!(lifeline, "{}", line.replace('\n', " "));
}

/// Reaps whatever ends until the kernel does; returns the line that tells how.
fn wait_for(kernel: Pid, target: &Target) -> String {
    loop {
        // First only look: a process id is set free under the lock, so that no signal meets a
        // stranger who got the kernel's number.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        match process::waitid(WaitId::All, look) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return format!("failed cannot wait for the kernel: {error}"),
        }
        let mut target = target.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(Some((pid, status))) = process::wait(WaitOptions::NOHANG) else { continue };
        if pid == kernel {
            *target = None;
            return match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("exited {code}"),
                (None, Some(signal)) => format!("killed {signal}"),
                (None, None) => "exited -1".to_owned(),
            };
        }
    }
}

/// Sends the signals that the server asks for; ends all when the server is gone.
fn obey(mut lifeline: &UnixStream, target: &Target, left: &Left) {
    let mut byte = [0u8];
    while let Ok(1) = lifeline.read(&mut byte) {
        let [number] = byte;
        let Some(signal) = process::Signal::from_named_raw(i32::from(number)) else { continue };
        if let Some(kernel) = *target.lock().unwrap_or_else(PoisonError::into_inner) {
            // The kernel may have ended in this moment; then there is nobody to signal.
            let _ = process::kill_process_group(kernel, signal);
        }
    }
    if let Some(kernel) = *target.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = process::kill_process_group(kernel, process::Signal::KILL);
    }
    end(left);
    std::process::exit(0);
}

/// Kills and reaps everything below init, then removes what is left.
fn end(left: &Left) {
    let me = process::getpid().as_raw_nonzero().get();
    for _ in 0..ROUNDS {
        for pid in tree::below(me).into_iter().filter_map(Pid::from_raw) {
            let _ = process::kill_process(pid, process::Signal::KILL);
        }
        match process::wait(WaitOptions::NOHANG) {
            Err(Errno::CHILD) => break,
            Ok(Some(_)) => {}
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    left.remove();
}
