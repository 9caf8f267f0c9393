//! The self-test of a kernel's isolation: the process that is about to become the kernel tries what it
//! must not be able to do. Where one of it succeeds there is no kernel.
//!
//! A few deeds that take microseconds, one for each layer; the whole table is `husk doctor --attack`.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::{
    plan::Plan,
    report::{Layer, State},
};

/// A deed by its name, and whether it is refused; nothing where the plan allows it.
type Deed = (&'static str, fn(&Plan) -> Option<bool>);

const DEEDS: &[Deed] = &[
    ("writing into the home", |plan| {
        let home = Some(plan.home.as_path()).filter(|home| !home.as_os_str().is_empty())?;
        Some(no_new_file(home))
    }),
    ("writing into the system", |_| Some(no_new_file(Path::new("/usr")))),
    ("reading the system's passwords", |_| Some(File::open("/etc/shadow").is_err())),
    ("reading another program's variables", |_| Some(fs::read("/proc/1/environ").is_err())),
    ("a packet socket", |_| Some(no_socket(libc::AF_PACKET))),
    ("an internet socket", |plan| plan.offline().then(|| no_socket(libc::AF_INET))),
    // Last: one that succeeds changes this process.
    ("a user namespace", |_| Some(no_namespace())),
];

/// Tries each of them.
///
/// # Errors
/// The first that is not refused.
pub(super) fn prove(plan: &Plan) -> io::Result<Layer> {
    let mut refused = Vec::new();
    for (deed, is_refused) in DEEDS {
        match is_refused(plan) {
            Some(true) => refused.push(*deed),
            Some(false) => return Err(io::Error::other(format!("{deed} was not refused"))),
            None => {}
        }
    }
    let detail = format!("tried and refused: {}", refused.join(", "));
    Ok(Layer::new("self-test", State::Enforced, detail))
}

fn no_new_file(folder: &Path) -> bool {
    let file = folder.join(".husk-self-test");
    let made = File::create_new(&file);
    if made.is_ok() {
        let _ = fs::remove_file(&file);
    }
    made.is_err()
}

#[expect(unsafe_code, reason = "a socket of a kind that rustix has no name for")]
fn no_socket(family: i32) -> bool {
    // SAFETY: it only makes a socket, which this process keeps until it ends; it then ends at once.
    unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) < 0 }
}

#[expect(unsafe_code, reason = "rustix calls it unsafe for the sake of open files")]
fn no_namespace() -> bool {
    // SAFETY: FILES is not among the flags, and there is one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }.is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jail::{Ground, Level, Settings};

    #[test]
    fn what_is_not_refused_is_named() {
        let home = tempfile::tempdir().unwrap();
        let ground = Ground {
            workspace: "/w".into(),
            run: "/r".into(),
            programs: Vec::new(),
            home: Some(home.path().into()),
            state: "/s".into(),
            memory: 1,
            settings: None,
            record: None,
        };
        let plan = Plan::make(&Settings::default(), Level::Landlock, &ground).unwrap();
        // This test is in no sandbox.
        let error = prove(&plan).unwrap_err().to_string();
        assert_eq!(error, "writing into the home was not refused");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
