//! The init of one kernel: what this binary does when it is run as `husk __init`.
//!
//! Its standard input is a socket to the server, the lifeline. On it the server sends its order, then
//! signal numbers, one byte each, which go to the kernel's process group; init answers with the
//! lines of [`word`], and at last with `exited CODE`, `killed SIGNAL`, or `full BYTES` where a kernel was
//! killed because its group's memory was full. When the kernel ends, or the lifeline closes and nobody
//! takes it up in time ([`lifeline`]), init kills everything that descends from it, removes the run
//! folder and the control group, and ends.
//! It is single-purpose and small: no runtime, no configuration, no logging.
//!
//! At level `namespaces` it splits: one stays outside, waits and removes the run folder; the other
//! is process 1 of the sandbox and does the rest. Everything that is done to make a sandbox is done
//! here, where there is one thread, and never between fork and exec of the server.

use std::{
    ffi::OsString,
    fs::File,
    io::{PipeReader, Read, Write},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
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
    lifeline::{self, Lifeline, Said},
    settings::Level,
    start, tree, watch,
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

/// How long the last of what a kernel wrote is passed on after its end.
const PASSED_ON: Duration = Duration::from_millis(200);

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
    let Ok(server) = standard_input() else { return 2 };
    let Ok(order) = word::receive(&server) else { return 2 };
    // A terminal's Ctrl-C is for the server, which tells init what to do.
    let _ = process::setsid();
    adopt_orphans();
    let listener = lifeline::listen(run_folder.filter(|_| !order.plan.rehearsal));
    tend_to(Ends { lifeline: Lifeline::new(server), listener }, run_folder, command, &order)
}

/// What init holds for the server, and for who may come after it.
struct Ends {
    lifeline: Lifeline,
    listener: Option<UnixListener>,
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
fn tend_to(ends: Ends, run_folder: Option<&Path>, command: Vec<OsString>, order: &Order) -> i32 {
    spaces::close_on_exec();
    let held = group(order);
    let left = Left { run_folder: run_folder.map(Path::to_owned), group: held.group.clone() };
    if order.plan.level != Level::Namespaces {
        return tend(ends, left, command, order, held, || ());
    }
    let denied = |step: &str, error: std::io::Error| {
        ends.lifeline.tell(&format!("denied {step}: {error}"));
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
        Ok(Side::Child) => build(ends, command, order, held),
        Ok(Side::Parent(_)) => {
            let code = stay_outside(ends, &left);
            stand_ins.remove();
            code
        }
        Err(error) => denied("fork", error),
    }
}

#[cfg(not(target_os = "linux"))]
fn tend_to(ends: Ends, run_folder: Option<&Path>, command: Vec<OsString>, order: &Order) -> i32 {
    let left = Left { run_folder: run_folder.map(Path::to_owned), group: Group::default() };
    tend(ends, left, command, order, group(order), || ())
}

/// Makes the sandbox; becomes, by another fork, its process 1.
#[cfg(target_os = "linux")]
fn build(ends: Ends, command: Vec<OsString>, order: &Order, held: Held) -> i32 {
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
        offer(&ends.lifeline, plan).map_err(|error| ("open the proxy's port", error))?;
        bridge::open(&plan.bridges).map_err(|error| ("reach the kernel's ports", error))
    });
    match bridges {
        Ok(bridges) => {
            let after = || {
                spaces::retire();
                bridge::serve(bridges);
            };
            tend(ends, Left::default(), command, order, held, after)
        }
        Err((step, error)) => {
            ends.lifeline.tell(&format!("denied {step}: {error}"));
            1
        }
    }
}

/// Opens the one way out of the kernel's own network, which is served outside.
#[cfg(target_os = "linux")]
fn offer(lifeline: &Lifeline, plan: &Plan) -> std::io::Result<()> {
    if !plan.own_network() {
        return Ok(());
    }
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, network::PORT))?;
    rustix::net::listen(&listener, WAITING)?;
    lifeline.offer(listener)
}

/// Waits until everything in the sandbox has ended, then removes what is left.
#[cfg(target_os = "linux")]
fn stay_outside(ends: Ends, left: &Left) -> i32 {
    // The server must see the lifeline close when process 1, which has the other copy, ends.
    drop(ends);
    while !matches!(process::wait(WaitOptions::empty()), Err(Errno::CHILD)) {}
    end(left);
    0
}

/// Starts the kernel, does `after`, and stays until the kernel has ended, or nobody wants it.
fn tend(
    ends: Ends,
    left: Left,
    command: Vec<OsString>,
    order: &Order,
    held: Held,
    after: impl FnOnce(),
) -> i32 {
    let Ends { lifeline, listener } = ends;
    let Held { mut group, door, gauge } = held;
    let (kernel, said, outputs) = match start::start(command, order, door) {
        Ok(started) => started,
        Err(line) => {
            lifeline.tell(&line);
            left.group.remove();
            return 1;
        }
    };
    after();
    let passed_on = pass_on(outputs);
    if let Some(why) = said.outside {
        group = Group::closed(&why);
    }
    if let Ok(group) = serde_json::to_string(&group) {
        lifeline.announce(&format!("group {group}"));
    }
    for layer in said.layers.iter().filter_map(|layer| serde_json::to_string(layer).ok()) {
        lifeline.announce(&format!("layer {layer}"));
    }
    lifeline.announce(&format!("started {}", kernel.as_raw_nonzero()));
    let target: Target = Arc::new(Mutex::new(Some(kernel)));
    let gauge = Arc::new(gauge);
    let is_over = {
        let (me, plan, gauge) = (process::getpid(), order.plan.clone(), Arc::clone(&gauge));
        // A group that has killed one of many processes has not ended the kernel.
        move || watch::is_over(me.as_raw_nonzero().get(), &plan) || gauge.full().is_some()
    };
    let lifeline = listen(lifeline, listener, &target, &left, is_over);
    let end_told = wait_for(kernel, &target);
    // Told by itself: the group may be gone before the server could look.
    match gauge.full().filter(|_| end_told == KILLED) {
        Some(used) => lifeline.tell(&format!("full {used}")),
        None => lifeline.tell(&end_told),
    }
    end(&left);
    // Everything that could write is dead: this ends, unless the server reads nothing.
    let _ = passed_on.recv_timeout(PASSED_ON);
    0
}

/// Hears the server, and who may come after it, on threads of their own.
fn listen(
    lifeline: Lifeline,
    listener: Option<UnixListener>,
    target: &Target,
    left: &Left,
    is_over: impl Fn() -> bool + Send + 'static,
) -> Arc<Lifeline> {
    let lifeline = Arc::new(lifeline);
    let (heard, hit) = (Arc::clone(&lifeline), Arc::clone(target));
    let left = left.clone();
    std::thread::spawn(move || obey(&heard, &hit, &left, is_over));
    if let Some(listener) = listener {
        let lifeline = Arc::clone(&lifeline);
        std::thread::spawn(move || lifeline.receive(&listener));
    }
    lifeline
}

/// Passes on what the kernel writes to its real stdout and stderr, for as long as somebody reads it:
/// a kernel that outlives its server must not die of writing.
fn pass_on([out, err]: [PipeReader; 2]) -> mpsc::Receiver<()> {
    let (over, all_over) = mpsc::channel();
    let ours = [
        std::io::stdout().as_fd().try_clone_to_owned(),
        std::io::stderr().as_fd().try_clone_to_owned(),
    ];
    for (from, to) in [out, err].into_iter().zip(ours) {
        let over = over.clone();
        std::thread::spawn(move || {
            drain(from, to.ok().map(File::from));
            // Nobody may wait for it any more.
            drop(over);
        });
    }
    all_over
}

fn drain(mut from: PipeReader, mut to: Option<File>) {
    let mut chunk = [0u8; 4096];
    while let Ok(read @ 1..) = from.read(&mut chunk) {
        let text = chunk.get(..read).unwrap_or_default();
        to.take_if(|to| to.write_all(text).is_err());
    }
}

/// Standard input as the socket that it must be.
fn standard_input() -> std::io::Result<UnixStream> {
    let stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    stream.peer_addr()?;
    // Else it would stay open as long as init: the server must see who cut it off.
    #[cfg(target_os = "linux")]
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(stream)
}

#[cfg(target_os = "linux")]
fn adopt_orphans() {
    let _ = process::set_child_subreaper(Some(process::getpid()));
}

#[cfg(not(target_os = "linux"))]
fn adopt_orphans() {}

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

/// Sends the signals that the server asks for; ends all when nobody wants the kernel any more.
fn obey(lifeline: &Lifeline, target: &Target, left: &Left, is_over: impl Fn() -> bool) {
    while let Said::Signal(number) = lifeline.said(&is_over) {
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
