//! Which system calls a kernel may make: the seccomp filters.
//!
//! A list of what is denied, in several filters, because each can give only one answer. What they
//! are is a pure function of a few facts; [`apply`] puts them in force for this thread and all that
//! it becomes.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Size, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use super::{
    plan::Plan,
    settings::{Level, Network},
};

/// What decides over a kernel's system calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calls {
    /// Whether it may have internet sockets.
    internet: bool,
    /// Whether it may ask for the machine's network devices.
    netlink: bool,
    /// Whether it may connect to sockets, which at level `landlock` are other programs'.
    connect: bool,
    /// Whether it may choose the processors that it runs on.
    processors: bool,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Result<T> = std::result::Result<T, seccompiler::Error>;

/// Never of use to a kernel, and each a way out or a way to be heard where nobody should.
const DENIED: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_vhangup,
    libc::SYS_syslog,
    libc::SYS_fanotify_init,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
];

#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[i64] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_sysfs,
    libc::SYS_ustat,
    libc::SYS__sysctl,
    libc::SYS_kexec_file_load,
];

#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[i64] = &[libc::SYS_kexec_file_load];

/// Memory that outlives its process and that no limit counts; at level `landlock` there is no
/// namespace that ends it.
const SYSTEM_V: &[i64] = &[libc::SYS_shmget, libc::SYS_msgget, libc::SYS_semget];

/// Calls that give a file its mode, and which of their arguments that is.
const MAKES: &[(i64, u8)] = &[
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (libc::SYS_fchmodat2, 2),
    (libc::SYS_mknodat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
];

/// Those that do so only when the file is new, as the argument before it tells.
const OPENS: &[(i64, u8)] = &[
    (libc::SYS_openat, 3),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 2),
];

/// Those that make files of any kind, and which of their arguments tells that.
const NODES: &[(i64, u8)] = &[
    (libc::SYS_mknodat, 2),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, 1),
];

/// Every kind of namespace; the last is time's, which libc has not.
const NAMESPACES: [u64; 8] = [
    libc::CLONE_NEWUSER as u64,
    libc::CLONE_NEWNS as u64,
    libc::CLONE_NEWPID as u64,
    libc::CLONE_NEWNET as u64,
    libc::CLONE_NEWIPC as u64,
    libc::CLONE_NEWUTS as u64,
    libc::CLONE_NEWCGROUP as u64,
    0x80,
];

/// Puts a character into a terminal as if it had been typed; the second on a console.
const TYPING: [u64; 2] = [libc::TIOCSTI, 0x541C];

impl Calls {
    pub(super) fn of(plan: &Plan, keeps_to_processors: bool) -> Self {
        let landlock = plan.level == Level::Landlock;
        let full = plan.network == Network::Full;
        let open = full || !landlock;
        Self { internet: open, netlink: open, connect: open, processors: !keeps_to_processors }
    }

    /// The filters, in the order in which they are put in force.
    pub(super) fn programs(self) -> Result<Vec<BpfProgram>> {
        let arch =
            TargetArch::try_from(std::env::consts::ARCH).map_err(seccompiler::Error::Backend)?;
        let compile = |rules: Rules, errno: i32| -> Result<BpfProgram> {
            let deny = SeccompAction::Errno(errno.unsigned_abs());
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, deny, arch)
                .map_err(seccompiler::Error::Backend)?;
            filter.try_into().map_err(seccompiler::Error::Backend)
        };
        let mut all = Vec::new();
        if cfg!(target_arch = "x86_64") {
            all.push(no_x32());
        }
        // Programs then fall back to `clone` and `openat`, whose arguments a filter can see.
        let unseen = [libc::SYS_clone3, libc::SYS_openat2].map(|call| (call, Vec::new()));
        all.push(compile(BTreeMap::from(unseen), libc::ENOSYS)?);
        if !self.netlink {
            // libzmq aborts the process on any other refusal.
            let netlink = vec![rule(&[(0, Is::Eq, family(libc::AF_NETLINK))])?];
            all.push(compile(BTreeMap::from([(libc::SYS_socket, netlink)]), libc::EOPNOTSUPP)?);
        }
        all.push(compile(self.denied()?, libc::EPERM)?);
        Ok(all)
    }

    fn denied(self) -> Result<Rules> {
        let mut rules: Rules =
            DENIED.iter().chain(DENIED_HERE).map(|call| (*call, Vec::new())).collect();
        let namespaces = NAMESPACES.iter().map(|flag| rule(&[(0, Is::MaskedEq(*flag), *flag)]));
        rules.insert(libc::SYS_clone, namespaces.collect::<Result<_>>()?);
        let typing = TYPING.iter().map(|request| rule(&[(1, Is::Eq, *request)]));
        rules.insert(libc::SYS_ioctl, typing.collect::<Result<_>>()?);
        rules.insert(libc::SYS_socket, self.sockets()?);
        let other = vec![rule(&[(0, Is::Ne, family(libc::AF_UNIX))])?];
        rules.insert(libc::SYS_socketpair, other);
        for (call, mode) in MAKES {
            rules.entry(*call).or_default().extend(lending(*mode, &[])?);
        }
        for (call, mode) in OPENS {
            for new in [libc::O_CREAT, libc::O_TMPFILE & !libc::O_DIRECTORY] {
                let new = u64::from(new.unsigned_abs());
                let created = (mode - 1, Is::MaskedEq(new), new);
                rules.entry(*call).or_default().extend(lending(*mode, &[created])?);
            }
        }
        for (call, mode) in NODES {
            rules.entry(*call).or_default().extend(devices(*mode)?);
        }
        if !self.connect {
            rules.insert(libc::SYS_connect, Vec::new());
            rules.extend(SYSTEM_V.iter().map(|call| (*call, Vec::new())));
        }
        if !self.processors {
            rules.insert(libc::SYS_sched_setaffinity, Vec::new());
        }
        Ok(rules)
    }

    /// Sockets that are refused.
    fn sockets(self) -> Result<Vec<SeccompRule>> {
        let mut allowed = vec![libc::AF_UNIX, libc::AF_NETLINK];
        let internet = [libc::AF_INET, libc::AF_INET6];
        if self.internet {
            allowed.extend(internet);
        }
        let none_of: Vec<_> = allowed.iter().map(|each| (0, Is::Ne, family(*each))).collect();
        let mut rules = vec![rule(&none_of)?];
        for each in internet {
            let each = (0, Is::Eq, family(each));
            rules.push(rule(&[each.clone(), (1, Is::MaskedEq(0xf), libc::SOCK_RAW as u64)])?);
            // Only TCP and UDP: multipath TCP, for one, is not seen by who watches TCP.
            let protocols = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];
            let others = protocols.iter().map(|known| (2, Is::Ne, known.unsigned_abs().into()));
            rules.push(rule(&std::iter::once(each).chain(others).collect::<Vec<_>>())?);
        }
        if !self.connect {
            // A datagram needs no connection to reach another program.
            let unix = (0, Is::Eq, family(libc::AF_UNIX));
            rules.push(rule(&[unix, (1, Is::MaskedEq(0xf), libc::SOCK_DGRAM as u64)])?);
        }
        Ok(rules)
    }
}

/// Files that run as who owns them, which outside of the sandbox is the server's user. `mode` is which
/// argument tells, `also` what else must be so.
fn lending(mode: u8, also: &[(u8, Is, u64)]) -> Result<Vec<SeccompRule>> {
    let bits = [libc::S_ISUID, libc::S_ISGID].map(u64::from);
    let of = |bit: u64| rule(&[&[(mode, Is::MaskedEq(bit), bit)], also].concat());
    bits.into_iter().map(of).collect()
}

/// Device files; pipes and sockets may be made. `mode` is which argument tells.
fn devices(mode: u8) -> Result<Vec<SeccompRule>> {
    let kinds = [libc::S_IFCHR, libc::S_IFBLK];
    kinds
        .iter()
        .map(|kind| rule(&[(mode, Is::MaskedEq(libc::S_IFMT.into()), (*kind).into())]))
        .collect()
}

fn family(family: i32) -> u64 {
    family.unsigned_abs().into()
}

/// All of the conditions on the arguments.
fn rule(conditions: &[(u8, Is, u64)]) -> Result<SeccompRule> {
    let each = conditions.iter().map(|(argument, is, value)| {
        let size = if matches!(is, Is::MaskedEq(_)) { Size::Qword } else { Size::Dword };
        SeccompCondition::new(*argument, size, is.clone(), *value)
    });
    let all = each.collect::<std::result::Result<_, _>>().map_err(seccompiler::Error::Backend)?;
    SeccompRule::new(all).map_err(seccompiler::Error::Backend)
}

/// Calls with the numbers of x32, which the compiled filters do not know, do not exist.
fn no_x32() -> BpfProgram {
    let (load_number, at_least, answer) = (0x20, 0x35, 0x06);
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(load_number, 0, 0, 0),
        step(at_least, 0, 1, 0x4000_0000),
        step(answer, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
        step(answer, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

/// Puts the filters in force; how many instructions they are.
pub(super) fn apply(programs: &[BpfProgram]) -> Result<usize> {
    for program in programs {
        seccompiler::apply_filter(program)?;
    }
    Ok(programs.iter().map(Vec::len).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a filter answers: runs it as the kernel of the operating system does.
    fn answer(program: &BpfProgram, call: i64, args: [u64; 6]) -> u32 {
        let mut data = [0u8; 64];
        data[..4].copy_from_slice(&u32::try_from(call).unwrap().to_le_bytes());
        let arch: u32 = if cfg!(target_arch = "x86_64") { 0xC000_003E } else { 0xC000_00B7 };
        data[4..8].copy_from_slice(&arch.to_le_bytes());
        for (n, value) in args.iter().enumerate() {
            data[16 + 8 * n..24 + 8 * n].copy_from_slice(&value.to_le_bytes());
        }
        let (mut at, mut held) = (0usize, 0u32);
        loop {
            let step = &program[at];
            at += 1;
            let jump = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
            match step.code {
                0x20 => {
                    let from = step.k as usize;
                    held = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                }
                0x54 => held &= step.k,
                0x05 => at += step.k as usize,
                0x15 => at += jump(held == step.k),
                0x25 => at += jump(held > step.k),
                0x35 => at += jump(held >= step.k),
                0x06 => return step.k,
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    /// The error that a call gets at a level, or 0.
    fn refusal(level: Level, network: Network, call: i64, args: &[u64]) -> i32 {
        let full = network == Network::Full;
        let open = full || level == Level::Namespaces;
        let calls = Calls { internet: open, netlink: open, connect: open, processors: false };
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let answers = calls
            .programs()
            .unwrap()
            .iter()
            .map(|each| answer(each, call, all))
            .collect::<Vec<_>>();
        // Of several filters the one that denies has its way.
        let deny = answers.iter().find(|each| **each & 0xffff_0000 != libc::SECCOMP_RET_ALLOW);
        deny.map_or(0, |each| i32::try_from(each & 0xffff).unwrap())
    }

    #[test]
    fn each_call_gets_its_answer() {
        let check = |call: i64, args: &[u64], namespaces: i32, landlock: i32| {
            let none = Network::None;
            assert_eq!(refusal(Level::Namespaces, none, call, args), namespaces, "{call} {args:?}");
            assert_eq!(refusal(Level::Landlock, none, call, args), landlock, "{call} {args:?}");
        };
        let (unix, inet, netlink) = (1, 2, 16);
        let (stream, datagram, raw, cloexec) = (1, 2, 3, 0o2_000_000);
        check(libc::SYS_read, &[], 0, 0);
        check(libc::SYS_ptrace, &[], libc::EPERM, libc::EPERM);
        check(libc::SYS_io_uring_setup, &[], libc::EPERM, libc::EPERM);
        check(libc::SYS_clone3, &[], libc::ENOSYS, libc::ENOSYS);
        check(libc::SYS_clone, &[0x11], 0, 0);
        check(libc::SYS_clone, &[0x1000_0011], libc::EPERM, libc::EPERM);
        check(libc::SYS_socket, &[unix, stream | cloexec], 0, 0);
        check(libc::SYS_socket, &[unix, datagram | cloexec], 0, libc::EPERM);
        check(libc::SYS_socket, &[inet, stream], 0, libc::EPERM);
        check(libc::SYS_socket, &[inet, stream, 6], 0, libc::EPERM);
        check(libc::SYS_socket, &[inet, stream, 262], libc::EPERM, libc::EPERM);
        check(libc::SYS_socket, &[inet, raw, 1], libc::EPERM, libc::EPERM);
        check(libc::SYS_socket, &[netlink, raw, 0], 0, libc::EOPNOTSUPP);
        check(libc::SYS_socket, &[17, raw, 0], libc::EPERM, libc::EPERM);
        check(libc::SYS_socket, &[40, stream, 0], libc::EPERM, libc::EPERM);
        check(libc::SYS_connect, &[], 0, libc::EPERM);
        check(libc::SYS_sendto, &[], 0, 0);
        check(libc::SYS_sched_setaffinity, &[], libc::EPERM, libc::EPERM);
        check(libc::SYS_mknodat, &[0, 0, 0o020_666], libc::EPERM, libc::EPERM);
        check(libc::SYS_mknodat, &[0, 0, 0o010_666], 0, 0);
        let denied = (libc::EPERM, libc::EPERM);
        for lends in [0o4755, 0o2755, 0o6755, 0o104_755] {
            check(libc::SYS_fchmodat, &[0, 0, lends], denied.0, denied.1);
            check(libc::SYS_fchmodat2, &[0, 0, lends], denied.0, denied.1);
            check(libc::SYS_fchmod, &[0, lends], denied.0, denied.1);
            check(libc::SYS_mknodat, &[0, 0, lends], denied.0, denied.1);
            check(libc::SYS_openat, &[0, 0, 0o100 | 0o1, lends], denied.0, denied.1);
            check(libc::SYS_openat, &[0, 0, 0o20_200_002, lends], denied.0, denied.1);
            // What is there keeps its mode.
            check(libc::SYS_openat, &[0, 0, 0o200_000, lends], 0, 0);
        }
        check(libc::SYS_fchmodat, &[0, 0, 0o1777], 0, 0);
        check(libc::SYS_openat, &[0, 0, 0o101, 0o777], 0, 0);
        check(libc::SYS_openat2, &[], libc::ENOSYS, libc::ENOSYS);
        check(libc::SYS_ioctl, &[0, libc::TIOCSTI], libc::EPERM, libc::EPERM);
        check(libc::SYS_shmget, &[], 0, libc::EPERM);
        if cfg!(target_arch = "x86_64") {
            check(0x4000_0000, &[], libc::ENOSYS, libc::ENOSYS);
        }
        assert_eq!(refusal(Level::Landlock, Network::Full, libc::SYS_socket, &[inet, stream]), 0);
    }
}
