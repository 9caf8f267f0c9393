//! The init of one kernel: what this binary does when it is run as `husk __init`.
//!
//! Its standard input is a socket to the server, the lifeline. On it the server sends signal
//! numbers, one byte each, which go to the kernel's process group; init answers with the lines
//! `started PID`, `failed REASON`, `exited CODE` or `killed SIGNAL`. When the kernel ends or the
//! lifeline closes, init kills everything that descends from it, removes the run folder, and ends.
//! It is single-purpose and small: no runtime, no configuration, no logging.

use std::{
    ffi::OsString,
    io::{Read, Write},
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{self, Pid, WaitId, WaitIdOptions, WaitOptions},
};

use super::tree;

/// The word that makes this binary an init.
pub const WORD: &str = "__init";

/// How often, a millisecond apart, everything below init is killed and reaped: what sleeps in the
/// kernel of the operating system for longer cannot be waited for.
const ROUNDS: u32 = 1000;

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
    let lifeline = match lifeline() {
        Ok(lifeline) => Arc::new(lifeline),
        // Without a lifeline nobody asked for this: a person typed the word.
        Err(_) => return 2,
    };
    // A terminal's Ctrl-C is for the server, which tells init what to do.
    let _ = process::setsid();
    adopt_orphans();
    let kernel = match start(command) {
        Ok(kernel) => kernel,
        Err(reason) => {
            tell(&lifeline, &format!("failed {reason}"));
            return 1;
        }
    };
    tell(&lifeline, &format!("started {}", kernel.as_raw_nonzero()));
    let target: Target = Arc::new(Mutex::new(Some(kernel)));
    let listener = {
        let (lifeline, target) = (Arc::clone(&lifeline), Arc::clone(&target));
        let run_folder = run_folder.map(Path::to_owned);
        move || obey(&lifeline, &target, run_folder.as_deref())
    };
    std::thread::spawn(listener);
    tell(&lifeline, &wait_for(kernel, &target));
    end(run_folder);
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

fn start(command: Vec<OsString>) -> Result<Pid, String> {
    let mut words = command.into_iter();
    let program = words.next().ok_or("no program given")?;
    let mut command = Command::new(&program);
    command.args(words).stdin(Stdio::null());
    own_session(&mut command);
    let child =
        command.spawn().map_err(|error| format!("{}: {error}", program.to_string_lossy()))?;
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| "no process id".to_owned())
}

/// The kernel leads a session of its own, so that its group can be signalled, and dies with init.
#[expect(
    unsafe_code,
    reason = "the closure runs between fork and exec and makes two system calls only"
)]
fn own_session(command: &mut Command) {
    // SAFETY: setsid and prctl are async-signal-safe; nothing is allocated or locked.
    unsafe {
        command.pre_exec(|| {
            process::setsid()?;
            #[cfg(target_os = "linux")]
            process::set_parent_process_death_signal(Some(process::Signal::KILL))?;
            Ok(())
        });
    }
}

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
fn obey(mut lifeline: &UnixStream, target: &Target, run_folder: Option<&Path>) {
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
    end(run_folder);
    std::process::exit(0);
}

/// Kills and reaps everything below init, then removes the run folder.
fn end(run_folder: Option<&Path>) {
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
    if let Some(folder) = run_folder {
        let _ = std::fs::remove_dir_all(folder);
    }
}
