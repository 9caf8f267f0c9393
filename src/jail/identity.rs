//! Which process a number means: the same one as before, or a stranger who got it since.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process of this machine, since it was last booted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: i32,
    /// When it was started, in ticks since the boot; unknown where there is no `/proc`.
    started: Option<u64>,
    /// Which boot; unknown where the system does not tell.
    boot: Option<String>,
}

impl Identity {
    /// The process that has that number now.
    #[must_use]
    pub fn of(pid: i32) -> Self {
        Self { pid, started: started(pid), boot: boot() }
    }

    /// Whether that very process runs. Where nobody can tell, nothing speaks against it.
    #[must_use]
    pub fn lives(&self) -> bool {
        *self == Self::of(self.pid)
    }
}

/// Field 22 of `/proc/PID/stat`, counted from the end of the name. Source: proc_pid_stat(5). A process
/// that has ended and was not waited for runs no more.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let runs = fields.next().is_some_and(|state| state != "Z" && state != "X");
    fields.nth(18)?.parse().ok().filter(|_| runs)
}

fn boot() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(boot.trim().to_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_until_it_ends_and_never_a_stranger() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let identity = Identity::of(i32::try_from(child.id()).unwrap());
        assert!(identity.started.is_some() && identity.lives());
        let stranger =
            Identity { started: identity.started.map(|ticks| ticks + 1), ..identity.clone() };
        assert!(!stranger.lives());
        let earlier = Identity { boot: Some("another".to_owned()), ..identity.clone() };
        assert!(!earlier.lives());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!identity.lives());
    }
}
