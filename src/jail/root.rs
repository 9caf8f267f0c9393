//! The file system that a kernel sees: an empty root with what the plan grants in its places.
//!
//! First a handle to each granted tree is taken ([`collect`]), by who may enter where it is; then,
//! as the first process of the sandbox, the new root is made of them ([`build`]). What is not
//! granted has no name there.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::symlink,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2},
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
        mount_change, move_mount, open_tree, unmount,
    },
    process::{chdir, pivot_root},
};

use super::{
    confine::Failure,
    plan::{Access, Grant, Plan},
    watch::LEAST_FILE,
};

/// Where the new root is put together; covered by it.
const SITE: &str = "/tmp";

/// What may be mounted where.
pub(super) enum Piece {
    /// A tree of this machine.
    Tree(PathBuf, OwnedFd),
    /// A link as it is on this machine.
    Link(PathBuf, PathBuf),
    /// Nothing, over what is there: a link that a cell may have made.
    Cover(PathBuf),
}

impl Piece {
    fn seen(&self) -> &Path {
        match self {
            Self::Tree(seen, _) | Self::Link(seen, _) | Self::Cover(seen) => seen,
        }
    }
}

/// Takes a handle to every granted tree. What is lent is used in the name of whom `lent` maps to.
pub(super) fn collect(plan: &Plan, lent: Option<BorrowedFd<'_>>) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    for grant in &plan.grants {
        let lent = lent.filter(|_| grant.lent);
        let found = match grant.kept {
            Some(_) => kept(grant, &plan.folder, lent),
            None => piece(grant, lent),
        };
        match found {
            Ok(piece) => pieces.push(piece),
            Err(error) if grant.optional && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("open `{}`: {error}", grant.path.display())),
        }
    }
    // Parents before what lies in them.
    pieces.sort_by_key(|piece| piece.seen().components().count());
    Ok(pieces)
}

fn piece(grant: &Grant, lent: Option<BorrowedFd<'_>>) -> io::Result<Piece> {
    // `/lib` is often a link to `usr/lib`. Other links are followed: they may lead to what is hidden.
    let top = grant.path.parent().is_some_and(|parent| parent.parent().is_none());
    if top && let Ok(target) = fs::read_link(&grant.path) {
        return Ok(Piece::Link(grant.seen.clone(), target));
    }
    let tree = open_tree(CWD, &grant.path, copied())?;
    set_access(&tree, grant, lent)?;
    Ok(Piece::Tree(grant.seen.clone(), tree))
}

fn copied() -> OpenTreeFlags {
    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE
}

/// A part of the workspace, found without following any link in it.
fn kept(grant: &Grant, workspace: &Path, lent: Option<BorrowedFd<'_>>) -> io::Result<Piece> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = open(workspace, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let name = grant.path.strip_prefix(workspace).map_err(io::Error::other)?;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let found = openat2(&folder, name, flags, Mode::empty(), inside)?;
    let kind = FileType::from_raw_mode(fstat(&found)?.st_mode);
    if !matches!(kind, FileType::Directory | FileType::RegularFile) {
        return Ok(Piece::Cover(grant.seen.clone()));
    }
    let tree = open_tree(&found, "", copied() | OpenTreeFlags::AT_EMPTY_PATH)?;
    set_access(&tree, grant, lent)?;
    Ok(Piece::Tree(grant.seen.clone(), tree))
}

fn set_access(tree: &OwnedFd, grant: &Grant, lent: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let read_only = if grant.access == Access::Read { libc::MOUNT_ATTR_RDONLY } else { 0 };
    let no_devices = if grant.access == Access::Device { 0 } else { libc::MOUNT_ATTR_NODEV };
    let attributes = libc::MOUNT_ATTR_NOSUID | read_only | no_devices;
    set_attributes(tree, attributes, lent)
}

/// Sets attributes of a tree and of all that is mounted in it.
#[expect(unsafe_code, reason = "a system call that neither rustix nor libc has a function for")]
fn set_attributes(tree: &OwnedFd, set: u64, lent: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mapped = if lent.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: set | mapped,
        attr_clr: 0,
        propagation: 0,
        userns_fd: lent.map_or(0, |handle| u64::try_from(handle.as_raw_fd()).unwrap_or(0)),
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path and the structure live until the call returns, and its size is told.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the new root of those pieces, and enters it for good.
pub(super) fn build(plan: &Plan, pieces: &[Piece]) -> Result<(), Failure> {
    let failed = |step| move |error: rustix::io::Errno| (step, io::Error::from(error));
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(failed("keep mounts to itself"))?;
    tmpfs(SITE, 16 << 20, "0755").map_err(failed("mount an empty root"))?;
    chdir(SITE).map_err(failed("enter the empty root"))?;
    furnish(plan).map_err(|error| ("make the folders of the new root", error))?;
    for piece in pieces {
        place(piece).map_err(|error| {
            let told = format!("`{}`: {error}", piece.seen().display());
            ("mount what is granted", io::Error::new(error.kind(), told))
        })?;
    }
    mount_own(plan)?;
    pivot_root(".", ".").map_err(failed("change the root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(failed("leave the old root"))?;
    chdir("/").map_err(failed("enter the new root"))?;
    let root = open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(failed("hold the new root"))?;
    seal(&root).map_err(|error| ("seal the new root", error))
}

/// What is mounted there becomes read-only, the root itself for one; what is mounted in it stays as it is.
#[expect(unsafe_code, reason = "a system call that neither rustix nor libc has a function for")]
fn seal(mount: &OwnedFd) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path and the structure live until the call returns, and its size is told.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Folders and links that every program expects.
fn furnish(plan: &Plan) -> io::Result<()> {
    for folder in ["proc", "tmp", "dev/shm", "dev/pts", "etc", "run", "var/tmp", "home"] {
        fs::create_dir_all(folder)?;
    }
    let links = [
        ("/proc/self/fd", "dev/fd"),
        ("/proc/self/fd/0", "dev/stdin"),
        ("/proc/self/fd/1", "dev/stdout"),
        ("/proc/self/fd/2", "dev/stderr"),
        ("pts/ptmx", "dev/ptmx"),
    ];
    for (target, link) in links {
        symlink(target, link)?;
    }
    tmpfs("tmp", plan.limits.tmp, "1777")?;
    Ok(tmpfs("dev/shm", plan.limits.tmp, "1777")?)
}

fn place(piece: &Piece) -> io::Result<()> {
    let inside = piece.seen().strip_prefix("/").unwrap_or(piece.seen());
    if let Some(parent) = inside.parent() {
        fs::create_dir_all(parent)?;
    }
    let tree = match piece {
        Piece::Tree(..) if inside.as_os_str().is_empty() => return Ok(()),
        Piece::Tree(_, tree) => tree,
        Piece::Link(_, target) => return symlink(target, inside),
        Piece::Cover(_) => return cover(inside),
    };
    let folder = FileType::from_raw_mode(fstat(tree)?.st_mode) == FileType::Directory;
    match (inside.exists(), folder) {
        (true, _) => {}
        (false, true) => fs::create_dir(inside)?,
        (false, false) => drop(fs::File::create(inside)?),
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(tree.as_fd(), "", CWD, inside, flags)?)
}

/// Puts an empty file over whatever is there, also over a link itself.
fn cover(inside: &Path) -> io::Result<()> {
    let nothing = Path::new("run/.nothing");
    drop(fs::File::create(nothing)?);
    let cover = open_tree(CWD, nothing, copied())?;
    seal(&cover)?;
    let there = open(inside, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(cover.as_fd(), "", &there, "", flags)?)
}

/// What is the sandbox's own: its processes and its terminals.
fn mount_own(plan: &Plan) -> Result<(), Failure> {
    let failed = |step| move |error: rustix::io::Errno| (step, io::Error::from(error));
    let none = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "proc", "proc", none, c"hidepid=invisible")
        .or_else(|_| mount("proc", "proc", "proc", none, None))
        .map_err(failed("mount a /proc of its own"))?;
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount("devpts", "dev/pts", "devpts", terminals, c"newinstance,ptmxmode=0666,mode=620")
        .map_err(failed("mount terminals of its own"))?;
    // A home of its own; the user's is not there.
    let home = plan.scratch.join("home");
    let home = home.strip_prefix("/").unwrap_or(&home);
    fs::create_dir_all(home).map_err(|error| ("make a home", error))
}

fn tmpfs(place: &str, bytes: u64, mode: &str) -> rustix::io::Result<()> {
    // A file without content takes memory too.
    let files = bytes / LEAST_FILE;
    let options = format!("size={bytes},nr_inodes={files},mode={mode}");
    let options = CString::new(options).unwrap_or_default();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", place, "tmpfs", flags, options.as_c_str())
}
