//! Which files a kernel may open: Landlock, for this thread and all that it becomes.
//!
//! What the machine's kernel does not know of Landlock is left out; how much that is, is told.

use std::os::fd::OwnedFd;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{self, Mode, OFlags};

use super::plan::{Access, DEVICES, Plan};

/// The newest that is asked for.
const ABI: ABI = ABI::V7;

/// What of Landlock is in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct InForce {
    /// Its version on this machine; 0 where there is none.
    pub(super) version: i32,
    /// Whether signals and abstract sockets end at the sandbox too.
    pub(super) scoped: bool,
}

/// Puts the plan's rules in force. A path that is not there is passed over.
pub(super) fn confine(plan: &Plan) -> Result<InForce, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    for grant in plan.grants.iter().filter(|grant| grant.kept.is_none()) {
        rules = allow(rules, grant.seen.as_os_str().as_encoded_bytes(), rights(grant.access))?;
    }
    rules = allow(rules, b"/proc", AccessFs::from_read(ABI))?;
    if plan.level == super::settings::Level::Namespaces {
        for own in [&b"/tmp"[..], b"/dev/shm"] {
            rules = allow(rules, own, rights(Access::Write))?;
        }
        rules = allow(rules, b"/dev/pts", rights(Access::Device) | AccessFs::ReadDir)?;
    }
    for device in DEVICES {
        rules = allow(rules, device.as_bytes(), rights(Access::Device))?;
    }
    let status = rules.restrict_self()?;
    let version = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as i32,
        _ => 0,
    };
    let enforced = status.ruleset != RulesetStatus::NotEnforced;
    let version = if enforced { version } else { 0 };
    Ok(InForce { version, scoped: version >= ABI::V6 as i32 })
}

fn allow(
    rules: RulesetCreated,
    path: &[u8],
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match open(path) {
        // The rights of a folder mean nothing for a file.
        Some((handle, true)) => rules.add_rule(PathBeneath::new(handle, rights)),
        Some((handle, false)) => {
            rules.add_rule(PathBeneath::new(handle, rights & AccessFs::from_file(ABI)))
        }
        None => Ok(rules),
    }
}

/// A handle to what is at a path, and whether that is a folder.
fn open(path: &[u8]) -> Option<(OwnedFd, bool)> {
    let handle = fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = fs::fstat(&handle).ok()?;
    let folder = fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::Directory;
    Some((handle, folder))
}

fn rights(access: Access) -> BitFlags<AccessFs> {
    let read = AccessFs::from_read(ABI);
    match access {
        Access::Read => read,
        Access::Write => {
            let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
            AccessFs::from_all(ABI) & !devices
        }
        Access::Run => {
            read | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeSock
                | AccessFs::RemoveFile
        }
        Access::Device => {
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev
        }
    }
}
