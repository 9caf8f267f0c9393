//! Namespaces: how a process of this machine becomes the first one of a sandbox.
//!
//! Two forks of a process with one thread: the first keeps someone outside, who cleans up; the
//! second makes process 1. A server that is root gives the kernel a user of its own, and lends it
//! what is the server's.

use std::{
    fs,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use rustix::{
    process::{self, DumpableBehavior, Gid, Pid, Uid, set_dumpable_behavior},
    thread::{self, UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use super::{
    confine::Failure,
    plan::Plan,
    root::{self, Piece},
};

/// The user that a kernel of a server that is root sees itself as.
const INSIDE: u32 = 1000;

/// Which of the two a fork made.
pub(super) enum Side {
    Parent(Pid),
    Child,
}

/// Makes a second process of this one, which has one thread.
#[expect(unsafe_code, reason = "fork; the process has one thread, so the child may do everything")]
pub(super) fn fork() -> io::Result<Side> {
    // SAFETY: called before any thread is started, so that no lock can be held by another.
    let pid = unsafe { libc::fork() };
    match pid {
        0 => Ok(Side::Child),
        _ => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .map(Side::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Ends this process without running what the other one's end would run.
#[expect(unsafe_code, reason = "_exit")]
pub(super) fn leave(code: i32) -> ! {
    // SAFETY: it only ends the process.
    unsafe { libc::_exit(code) }
}

/// Marks everything but the standard streams to be closed when a program is run.
#[expect(unsafe_code, reason = "close_range has no safe function")]
pub(super) fn close_on_exec() {
    // SAFETY: nothing is closed now.
    unsafe { libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
}

/// Enters new namespaces, all but that of processes, which the next fork enters; the handles to
/// what the kernel may see.
pub(super) fn enter(plan: &Plan) -> Result<Vec<Piece>, Failure> {
    let collected = |error: String| ("see what is granted", io::Error::other(error));
    let (uid, gid) = (process::geteuid(), process::getegid());
    let root = uid.is_root();
    // A container may have no other user than its root, who then is an ordinary one outside of it.
    let other =
        if root { unprivileged(&read("/proc/self/uid_map"), process::getpid()) } else { None };
    let Some(kernel) = other else {
        let (uid, gid) = if root { (INSIDE, INSIDE) } else { (uid.as_raw(), gid.as_raw()) };
        unshare_user(uid, gid)?;
        unshare_rest(plan)?;
        return root::collect(plan, None).map_err(collected);
    };
    // Taken while it is still root, who may enter every folder.
    let lent = loan(kernel).map_err(|error| ("lend files to the kernel's user", error))?;
    let pieces = root::collect(plan, Some(lent.as_fd())).map_err(collected)?;
    become_user(kernel).map_err(|error| ("become the kernel's user", error))?;
    unshare_user(INSIDE, INSIDE)?;
    unshare_rest(plan)?;
    Ok(pieces)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A user that nobody else is, of those that there are: lines `INSIDE OUTSIDE COUNT` tell.
fn unprivileged(map: &str, pid: Pid) -> Option<u32> {
    let count = map.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let from_root = words.next()? == "0";
        words.nth(1)?.parse::<u32>().ok().filter(|_| from_root)
    })?;
    // Process numbers of this machine are below 2^22.
    let number = pid.as_raw_nonzero().get().unsigned_abs();
    let (first, room) =
        if count > 2_100_000_000 { (2_000_000_000, 1 << 22) } else { (count / 2, count / 2) };
    (room > 1000).then(|| first + number % room)
}

/// A user namespace that maps root's files to that user, and every other to its own owner.
fn loan(user: u32) -> io::Result<OwnedFd> {
    let (mut ready, tell_ready) = io::pipe()?;
    let (mut wait, done) = io::pipe()?;
    match fork()? {
        Side::Child => {
            drop((ready, done));
            let unshared = unshare(UnshareFlags::NEWUSER).is_ok();
            let _ = (&tell_ready).write_all(&[u8::from(unshared)]);
            let _ = wait.read(&mut [0]);
            leave(0)
        }
        Side::Parent(child) => {
            drop((tell_ready, wait));
            let mut word = [0];
            ready.read_exact(&mut word)?;
            let made = if word == [1] {
                mapped(child, user)
            } else {
                Err(io::Error::other("no user namespace can be made"))
            };
            drop(done);
            let _ = process::waitpid(Some(child), process::WaitOptions::empty());
            made
        }
    }
}

fn mapped(child: Pid, user: u32) -> io::Result<OwnedFd> {
    let folder = format!("/proc/{}", child.as_raw_nonzero());
    for map in ["uid_map", "gid_map"] {
        let limit = read("/proc/self/uid_map");
        let all = limit.split_whitespace().nth(2).and_then(|count| count.parse::<u32>().ok());
        let after = all.unwrap_or(u32::MAX).saturating_sub(user).saturating_sub(1);
        let mut lines = format!("0 {user} 1\n1 1 {}\n", user - 1);
        if after > 0 {
            lines.push_str(&format!("{0} {0} {after}\n", user + 1));
        }
        fs::write(format!("{folder}/{map}"), lines)?;
    }
    Ok(fs::File::open(format!("{folder}/ns/user"))?.into())
}

fn become_user(user: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    // Without, its own files in /proc would still be root's.
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

#[expect(unsafe_code, reason = "rustix calls it unsafe for the sake of open files")]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: FILES is never among the flags, and there is one thread.
    Ok(unsafe { thread::unshare_unsafe(flags) }?)
}

/// Enters a user namespace, as whom it is now, and seen there as `uid` and `gid`.
fn unshare_user(uid: u32, gid: u32) -> Result<(), Failure> {
    let failed = |error| ("map the user", error);
    let (out_uid, out_gid) = (process::geteuid().as_raw(), process::getegid().as_raw());
    unshare(UnshareFlags::NEWUSER).map_err(|error| ("make a user namespace", error))?;
    fs::write("/proc/self/setgroups", "deny").map_err(failed)?;
    fs::write("/proc/self/uid_map", format!("{uid} {out_uid} 1")).map_err(failed)?;
    fs::write("/proc/self/gid_map", format!("{gid} {out_gid} 1")).map_err(failed)
}

fn unshare_rest(plan: &Plan) -> Result<(), Failure> {
    let mut flags = UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    if plan.own_network() {
        flags |= UnshareFlags::NEWNET;
    }
    unshare(flags).map_err(|error| ("make namespaces for mounts, processes and network", error))
}

/// What only process 1 of the sandbox can do: its root, its loopback, its name.
pub(super) fn settle(plan: &Plan, pieces: &[Piece]) -> Result<(), Failure> {
    root::build(plan, pieces)?;
    if plan.own_network() {
        loopback_up().map_err(|error| ("bring up its loopback", error))?;
    }
    // Only a name.
    let _ = rustix::system::sethostname(b"husk");
    Ok(())
}

/// Nobody may look into process 1, which holds the lifeline, and it can do nothing any more.
pub(super) fn retire() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let none = thread::CapabilitySet::empty();
    let none = thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
    let _ = thread::set_capabilities(None, none);
}

#[expect(unsafe_code, reason = "the ioctl that brings a network device up")]
fn loopback_up() -> io::Result<()> {
    // SAFETY: a new socket, whose number is owned from here on.
    let socket = unsafe {
        let number = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(number)
    };
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    let flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or_default();
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    // SAFETY: the request lives until the call returns and has the kind that this ioctl reads.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_user_is_one_of_those_that_there_are() {
        let pid = Pid::from_raw(4242).unwrap();
        let check = |map: &str, expected| assert_eq!(unprivileged(map, pid), expected, "{map}");
        check("         0          0 4294967295\n", Some(2_000_004_242));
        check("0 100000 65536\n", Some(32768 + 4242));
        check("0 1000 1\n", None);
        check("1000 1000 1\n", None);
    }
}
