//! The last steps before a kernel's program runs: limits, no privileges, Landlock, seccomp, and the
//! proof that they hold.
//!
//! In this order, since each takes away what the ones before it need. Runs in the process that is
//! about to become the kernel, which has one thread.

use std::io;

use rustix::{
    process::{Resource, Rlimit, getpid, setrlimit},
    thread::{self, CapabilitySet, CapabilitySets, CpuSet},
};

use super::{
    calls::Calls,
    files,
    plan::{Limits, Plan},
    proof,
    report::Layer,
    settings::Level,
    tree,
};

/// How much sooner than other programs a kernel is ended when the machine has no memory left.
const FIRST_TO_GO: &str = "500";

/// Why a step failed: which, and the cause.
pub(super) type Failure = (&'static str, io::Error);

/// Takes from this process all that the plan does not give. What was put in force. `shared_out` is
/// whether a control group already bounds its processors.
pub(super) fn confine(plan: &Plan, shared_out: bool) -> Result<Vec<Layer>, Failure> {
    match plan.level {
        Level::None => return Ok(Vec::new()),
        Level::Seatbelt => {
            return Err(("use a profile of macOS", io::ErrorKind::Unsupported.into()));
        }
        Level::Landlock | Level::Namespaces => {}
    }
    let failed = |step| move |error: rustix::io::Errno| (step, io::Error::from(error));
    limit(plan).map_err(failed("set the limits"))?;
    let processors = plan.limits.processors.filter(|_| !shared_out);
    processors.map_or(Ok(()), stay_on).map_err(failed("keep to some processors"))?;
    // Of no consequence where it cannot be said: a container without /proc/self.
    let _ = std::fs::write("/proc/self/oom_score_adj", FIRST_TO_GO);
    drop_privileges().map_err(failed("give up all privileges"))?;
    let in_force = files::confine(plan)
        .map_err(|error| ("restrict files by Landlock", io::Error::other(error.to_string())))?;
    if plan.level == Level::Landlock && in_force.version == 0 {
        let error = "this machine's Linux has no Landlock, or it is not enabled";
        return Err(("restrict files by Landlock", io::Error::other(error)));
    }
    let refused = |error: seccompiler::Error| {
        ("restrict system calls by seccomp", io::Error::other(error.to_string()))
    };
    let programs = Calls::of(plan, processors.is_some()).programs().map_err(refused)?;
    let steps = super::calls::apply(&programs).map_err(refused)?;
    let proven = proof::prove(plan).map_err(|error| ("prove that it is isolated", error))?;
    Ok(vec![Layer::landlock(in_force), Layer::seccomp(programs.len(), steps), proven])
}

fn limit(plan: &Plan) -> rustix::io::Result<()> {
    let Limits { memory, pids, open_files, file_size, .. } = plan.limits;
    // In a user namespace only its own tasks count, elsewhere all of this user's.
    let others = if plan.level == Level::Namespaces { 0 } else { tree::tasks_of_this_user() };
    let set = |resource, value| {
        // What a parent was denied a child cannot have.
        let most = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let value = Some(value).map(|value: u64| value.min(most));
        setrlimit(resource, Rlimit { current: value, maximum: value })
    };
    set(Resource::Core, 0)?;
    set(Resource::Data, memory)?;
    set(Resource::Nproc, others + pids)?;
    set(Resource::Nofile, open_files)?;
    set(Resource::Memlock, 8 << 20)?;
    match file_size {
        Some(size) => set(Resource::Fsize, size),
        None => Ok(()),
    }
}

/// Keeps to as many processors as so many thousandths of one come to. Which ones differs from kernel
/// to kernel.
fn stay_on(thousandths: u64) -> rustix::io::Result<()> {
    let allowed = thread::sched_getaffinity(None)?;
    let here: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|at| allowed.is_set(*at)).collect();
    let wanted = usize::try_from(thousandths.div_ceil(1000)).unwrap_or(usize::MAX).max(1);
    let first = usize::try_from(getpid().as_raw_nonzero().get()).unwrap_or(0) % here.len().max(1);
    let mut kept = CpuSet::new();
    for at in here.iter().cycle().skip(first).take(wanted.min(here.len())) {
        kept.set(*at);
    }
    thread::sched_setaffinity(None, &kept)
}

/// No capability now, none by running another program, none by a bit on its file.
fn drop_privileges() -> rustix::io::Result<()> {
    for bit in 0..64 {
        let Some(capability) = CapabilitySet::from_bits(1 << bit) else { break };
        // Denied to an ordinary user, who has none to drop.
        let _ = thread::remove_capability_from_bounding_set(capability);
    }
    let _ = thread::clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    thread::set_capabilities(None, none)?;
    thread::set_no_new_privs(true)
}
