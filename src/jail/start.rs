//! Runs a kernel's program, confined as the plan says. Called by init, which then watches it.

use std::{
    ffi::OsString,
    io::{self, PipeReader, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use rustix::process::{self, Pid};
use serde::{Deserialize, Serialize};

use super::{cgroup::Door, plan::Plan, report::Layer, seatbelt, settings::Level, word::Order};

/// What the child says of itself before it becomes the kernel.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Said {
    /// Why it is in no control group, if there was one to enter.
    pub(super) outside: Option<String>,
    /// What holds it.
    pub(super) layers: Vec<Layer>,
}

/// Starts it: its process id, the layers that hold it, and what it will write to its stdout and
/// stderr; or the line that tells why not.
///
/// It goes through `door` into its control group; where that cannot be, the group is not told as one
/// that holds it.
pub(super) fn start(
    command: Vec<OsString>,
    order: &Order,
    door: Door,
) -> Result<(Pid, Said, [PipeReader; 2]), String> {
    let plan = &order.plan;
    let shown = command.first().ok_or("failed no program given")?.to_string_lossy().into_owned();
    let words = match plan.level {
        Level::Seatbelt => {
            seatbelt::wrapped(command, plan).map_err(|why| format!("denied {why}"))?
        }
        _ => command,
    };
    let mut words = words.into_iter();
    let program = words.next().ok_or("failed no program given")?;
    let failed = |error: io::Error| format!("failed {shown}: {error}");
    let (mut said, say) = io::pipe().map_err(failed)?;
    let (out, to_out) = io::pipe().map_err(failed)?;
    let (err, to_err) = io::pipe().map_err(failed)?;
    let mut command = Command::new(&program);
    command.args(words).stdin(Stdio::null()).stdout(to_out).stderr(to_err);
    command.current_dir(&plan.folder);
    command.env_clear().envs(order.environment.iter().map(|(name, value)| (name, value)));
    confined(&mut command, plan.clone(), door, say);
    let child = command.spawn();
    // Held by the command: the pipe ends when nobody can write to it.
    drop(command);
    let mut text = String::new();
    let _ = said.read_to_string(&mut text);
    let said = match serde_json::from_str::<Result<Said, String>>(&text) {
        Ok(Err(why)) => return Err(format!("denied {why}")),
        Ok(Ok(said)) => said,
        Err(_silent) => Said::default(),
    };
    let child = child.map_err(failed)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.map(|pid| (pid, said, [out, err])).ok_or_else(|| "failed no process id".to_owned())
}

/// The kernel leads a session of its own, so that its group can be signalled, dies with init, and
/// can do what the plan gives.
#[expect(unsafe_code, reason = "what is done between fork and exec; init has one thread there")]
fn confined(command: &mut Command, plan: Plan, mut door: Door, mut say: io::PipeWriter) {
    // SAFETY: init has started no thread yet, so that no lock is held in the child for ever.
    unsafe {
        command.pre_exec(move || {
            process::setsid()?;
            let outside = door.enter().err().map(|error| error.to_string());
            let shared_out = door.processors && outside.is_none();
            let said = confine(&plan, shared_out).map(|layers| Said { outside, layers });
            let failed = said.is_err();
            say.write_all(&serde_json::to_vec(&said)?)?;
            if failed {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            // A profile is rehearsed by a program that runs under it.
            if plan.rehearsal && plan.level != Level::Seatbelt {
                std::process::exit(0);
            }
            Ok(())
        });
    }
}

#[cfg(target_os = "linux")]
fn confine(plan: &Plan, shared_out: bool) -> Result<Vec<Layer>, String> {
    let _ = process::set_parent_process_death_signal(Some(process::Signal::KILL));
    super::confine::confine(plan, shared_out).map_err(|(step, error)| format!("{step}: {error}"))
}

#[cfg(not(target_os = "linux"))]
fn confine(plan: &Plan, _shared_out: bool) -> Result<Vec<Layer>, String> {
    match plan.level {
        Level::None => Ok(Vec::new()),
        Level::Seatbelt => seatbelt::limit(&plan.limits).map(|layer| vec![layer]),
        _ => Err("keep to a level of another operating system".to_owned()),
    }
}
