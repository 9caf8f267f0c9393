//! Which paths are opened to a kernel, and which may not be.
//!
//! A list of what is allowed, never all with exceptions. Looks at no file: what is there and what
//! is not is seen when the plan is carried out.

use std::path::{Path, PathBuf};

use super::{
    plan::{Access, DEVICES, Grant, Missing, Refused},
    settings::Settings,
};

/// What every program needs, as far as it is there.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    "/etc/alternatives",
    "/etc/bash.bashrc",
    "/etc/ca-certificates",
    "/etc/debian_version",
    "/etc/fonts",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/inputrc",
    "/etc/ipython",
    "/etc/jupyter",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/magic",
    "/etc/matplotlibrc",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/python3",
    "/etc/R",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
];

/// What other programs later run or trust, in a workspace: cells may read it only.
///
/// `.git` as a whole: a file `.git/commondir`, or a `.git` that is a file, leads git to hooks and a
/// configuration elsewhere, and `.git/modules` has more of them. Folders are kept from cells also where
/// there are none yet, and so are two files. The rest is read in a home only, which is no workspace, or
/// not before its owner has agreed.
const TRUSTED: &[(&str, Absent)] = &[
    (".git", Absent::Folder),
    (".vscode", Absent::Folder),
    (".idea", Absent::Folder),
    (".zed", Absent::Folder),
    (".devcontainer", Absent::Folder),
    (".claude", Absent::Folder),
    (".codex", Absent::Folder),
    (".cursor", Absent::Folder),
    (".gemini", Absent::Folder),
    (".windsurf", Absent::Folder),
    (".mcp.json", Absent::File("{\"mcpServers\": {}}\n")),
    ("husk.toml", Absent::File("# Kept from cells by husk, and gone with the last kernel here.\n")),
    (".gitconfig", Absent::Left),
    (".bashrc", Absent::Left),
    (".bash_profile", Absent::Left),
    (".bash_login", Absent::Left),
    (".profile", Absent::Left),
    (".zshrc", Absent::Left),
    (".zshenv", Absent::Left),
    (".zprofile", Absent::Left),
    (".envrc", Absent::Left),
    (".ripgreprc", Absent::Left),
];

/// See [`Missing`].
#[derive(Clone, Copy)]
enum Absent {
    Left,
    Folder,
    File(&'static str),
}

impl Absent {
    fn missing(self) -> Missing {
        match self {
            Self::Left => Missing::Left,
            Self::Folder => Missing::Folder,
            Self::File(text) => Missing::File(text.to_owned()),
        }
    }
}

/// Where things are on this machine.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The folder in which the kernel works.
    pub workspace: PathBuf,
    /// The part of the run folder that the kernel may see.
    pub run: PathBuf,
    /// What of Python and other programs lies outside the system's own folders.
    pub programs: Vec<PathBuf>,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// husk's own folder, with the workspaces that it makes.
    pub state: PathBuf,
    /// Bytes of memory that this machine has.
    pub memory: u64,
    /// The folder of the user's own `husk.toml`.
    pub settings: Option<PathBuf>,
    /// The folder in the workspace, by its name there, in which husk records cells.
    pub record: Option<PathBuf>,
}

impl Ground {
    /// Whether a path may be opened to cells, to read or to write.
    #[must_use]
    pub fn allows(&self, path: &Path) -> bool {
        is_system(path) || judge(path, "", self).is_ok()
    }
}

pub(super) fn grants(
    settings: &Settings,
    ground: &Ground,
    seen_run: &Path,
    scratch: Option<&PathBuf>,
    keeps: bool,
) -> Result<Vec<Grant>, Refused> {
    let grant = |path: &Path, access, lent, optional| Grant {
        path: path.to_owned(),
        seen: path.to_owned(),
        access,
        lent,
        optional,
        kept: None,
    };
    let mut all: Vec<Grant> =
        SYSTEM.iter().map(|path| grant(Path::new(path), Access::Read, false, true)).collect();
    all.extend(DEVICES.iter().map(|path| grant(Path::new(path), Access::Device, false, true)));
    let asked = [
        ("the program of the kernel", Access::Read, &ground.programs),
        ("`sandbox.fs_read`", Access::Read, &settings.fs_read),
        ("`sandbox.fs_write`", Access::Write, &settings.fs_write),
    ];
    for (what, access, paths) in asked {
        let below = |path: &PathBuf| {
            path.starts_with(&ground.workspace)
                || access == Access::Read && settings.fs_write.iter().any(|w| path.starts_with(w))
        };
        for path in paths.iter().filter(|path| !is_system(path) && !below(path)) {
            judge(path, what, ground)?;
            all.push(grant(path, access, true, false));
        }
    }
    judge(&ground.workspace, "the workspace", ground)?;
    let written = settings.fs_write.iter().map(|path| (path, "`sandbox.fs_write`"));
    for (path, what) in written.chain([(&ground.workspace, "the workspace")]) {
        keep_settings(path, what, ground)?;
    }
    all.push(grant(&ground.workspace, Access::Write, true, false));
    if keeps {
        let kept = kept(settings, ground);
        all.extend(kept.map(|(path, missing)| Grant {
            kept: Some(missing),
            ..grant(&path, Access::Read, true, true)
        }));
    }
    all.extend(scratch.map(|scratch| grant(scratch, Access::Write, true, false)));
    let seen = seen_run.to_owned();
    all.push(Grant { seen, ..grant(&ground.run, Access::Run, true, false) });
    Ok(all)
}

/// What is kept from cells in the workspace, unless the settings open it by name.
fn kept(settings: &Settings, ground: &Ground) -> impl Iterator<Item = (PathBuf, Missing)> {
    let trusted = TRUSTED.iter().map(|(name, absent)| (Path::new(name), absent.missing()));
    // It is made before the kernel is.
    let record = ground.record.iter().map(|name| (name.as_path(), Missing::Left));
    let open = |path: &Path| settings.fs_write.iter().any(|write| path.starts_with(write));
    let all = trusted.chain(record).map(|(name, missing)| (ground.workspace.join(name), missing));
    all.filter(move |(path, _)| !open(path))
}

/// Whether the path is open in any case.
fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

/// Refuses what would let cells write the user's own settings, which may loosen what they like.
fn keep_settings(path: &Path, what: &'static str, ground: &Ground) -> Result<(), Refused> {
    match &ground.settings {
        Some(own) if own.starts_with(path) || path.starts_with(own) => {
            let why = "holds your own settings of husk";
            Err(Refused::Root { path: path.to_owned(), what, why })
        }
        _ => Ok(()),
    }
}

/// Refuses what would open the whole machine, all that is the user's, or what is husk's.
fn judge(path: &Path, what: &'static str, ground: &Ground) -> Result<(), Refused> {
    let refused = |why| Err(Refused::Root { path: path.to_owned(), what, why });
    let holds = |other: &Path| other.starts_with(path);
    if path.parent().is_none() {
        return refused("is the whole machine");
    }
    if ground.home.as_deref().is_some_and(holds) {
        return refused("holds your home");
    }
    if holds(&ground.state) {
        return refused("holds what husk keeps");
    }
    let made_for_kernels = ["workspaces", "envs"].map(|name| ground.state.join(name));
    if path.starts_with(&ground.state)
        && !made_for_kernels.iter().any(|made| path != made && path.starts_with(made))
    {
        return refused("is part of what husk keeps");
    }
    if ["/proc", "/sys", "/dev", "/run", "/etc", "/boot"].iter().any(|own| path == Path::new(own)) {
        return refused("belongs to the operating system");
    }
    Ok(())
}
