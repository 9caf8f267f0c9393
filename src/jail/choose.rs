//! Which level of isolation a kernel gets: the strongest of those asked for that works, seen by
//! doing it in a process that is thrown away.
//!
//! There is no silent way down: where none works, the error names for each level what is missing
//! and what mends it.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    exit::Exit,
    grants::Ground,
    plan::{Plan, Refused},
    process::{Command, Process, SpawnError},
    report::{Layer, Report},
    settings::{Isolation, Level, Settings},
};

/// How long a rehearsal may take; it takes about ten milliseconds.
const REHEARSAL: Duration = Duration::from_secs(20);

/// A level that does not work here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The level.
    pub level: Level,
    /// What could not be done, and the cause.
    pub why: String,
}

impl Missing {
    /// What mends it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        let about = |words: &[&str]| words.iter().any(|word| self.why.contains(word));
        if about(&["user namespace", "map the user", "namespaces for mounts"]) {
            "allow user namespaces (sysctl user.max_user_namespaces above 0, and on Ubuntu \
             kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile for husk; in \
             Docker --security-opt seccomp=unconfined --security-opt systempaths=unconfined)"
        } else if about(&["/proc"]) {
            "in a container, unmask /proc (Docker: --security-opt systempaths=unconfined)"
        } else if about(&["Landlock"]) {
            "use Linux 5.13 or newer with `landlock` among its security modules (boot with lsm=landlock,…)"
        } else if about(&["seccomp"]) {
            "use a Linux with seccomp filters (CONFIG_SECCOMP_FILTER)"
        } else if about(&["on this operating system"]) {
            "use a level of this operating system (`auto` finds it)"
        } else if about(&["cannot give", "may not be opened"]) {
            "do what is said here"
        } else if about(&["open `", "what is granted", "lend"]) {
            "give a path that exists, on a file system that can be mounted with mapped users \
             (ext4, xfs, btrfs, tmpfs), or run husk as an ordinary user"
        } else {
            "see the log with --log husk=debug"
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: cannot {}", self.level, self.why)
    }
}

/// No level that may be used works here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no isolation that the settings allow works here (sandbox.isolation = \"{}\", \
     sandbox.min_isolation = \"{min}\"), so no kernel is started:{}",
    .asked.word(), each(.missing)
)]
pub struct Unavailable {
    /// What was asked for.
    pub asked: Isolation,
    /// The weakest level allowed.
    pub min: Level,
    /// Each level that was tried.
    pub missing: Vec<Missing>,
}

fn each(missing: &[Missing]) -> String {
    missing.iter().map(|each| format!("\n  {each}; to mend it: {}", each.remedy())).collect()
}

/// A level that works, and why stronger ones do not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Choice {
    asked: Isolation,
    /// What kernels get.
    pub level: Level,
    missing: Vec<Missing>,
}

impl Choice {
    /// What holds that kernel, started with that plan.
    ///
    /// # Errors
    /// The promised layer that is not in force, seen from outside.
    pub fn report(&self, plan: &Plan, process: &Process) -> Result<Report, Unproven> {
        let passed_over = self.missing.iter().map(ToString::to_string).collect();
        let report = Report::of(self.asked, plan, passed_over, process);
        match report.broken() {
            Some(layer) => Err(Unproven { level: plan.level, layer: layer.clone() }),
            None => Ok(report),
        }
    }
}

/// A layer that a level promises is not in force.
#[derive(Debug, thiserror::Error)]
#[error("the kernel is not isolated as level `{level}` promises ({}: {}), so it was ended", .layer.name, .layer.detail)]
pub struct Unproven {
    level: Level,
    layer: Layer,
}

/// Tries the levels that the settings ask for on this ground, in a run folder made for that.
///
/// # Errors
/// [`Unavailable`] when none works.
pub async fn choose(
    settings: &Settings,
    ground: &Ground,
    init: PathBuf,
) -> Result<Choice, Unavailable> {
    let mut missing = Vec::new();
    let asked = settings.isolation;
    for level in asked.levels(settings.min_isolation) {
        match rehearse(settings, level, ground, init.clone()).await {
            Ok(()) => return Ok(Choice { asked, level, missing }),
            Err(why) => missing.push(Missing { level, why }),
        }
    }
    Err(Unavailable { asked, min: settings.min_isolation, missing })
}

/// Does everything but the last step, and throws it away.
async fn rehearse(
    settings: &Settings,
    level: Level,
    ground: &Ground,
    init: PathBuf,
) -> Result<(), String> {
    if level == Level::None {
        return Ok(());
    }
    if cfg!(target_os = "macos") != (level == Level::Seatbelt) {
        return Err("be had on this operating system".to_owned());
    }
    let mut plan = Plan::make(settings, level, ground)
        .map_err(|refused: Refused| format!("plan it: {refused}"))?;
    plan.rehearsal = true;
    let command = Command {
        program: "/usr/bin/true".into(),
        args: Vec::new(),
        plan,
        environment: Vec::new(),
        run_folder: ground.run.clone(),
        init,
    };
    match tokio::time::timeout(REHEARSAL, Process::spawn(&command)).await {
        Ok(Ok(process)) => {
            // Only a profile is put in force after its process has said that all is done.
            let exit = match level {
                Level::Seatbelt => process.exited().await,
                _ => Exit::Code(0),
            };
            process.all_ended().await;
            match exit {
                Exit::Code(0) => Ok(()),
                exit => Err(format!("run a program by sandbox-exec: {exit}")),
            }
        }
        Ok(Err(SpawnError::Denied { why, .. })) => Err(why),
        Ok(Err(error)) => Err(format!("start: {error}")),
        Err(_elapsed) => Err(format!("finish within {} s", REHEARSAL.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_what_mends_it() {
        let check = |why: &str, remedy: &str| {
            let missing = Missing { level: Level::Namespaces, why: why.to_owned() };
            assert!(missing.remedy().contains(remedy), "{why}: {}", missing.remedy());
        };
        check("make a user namespace: Operation not permitted", "max_user_namespaces");
        check("mount a /proc of its own: Operation not permitted", "systempaths");
        check("restrict files by Landlock: not enabled", "lsm=landlock");
        check("see what is granted: open `/data`: No such file", "path that exists");
        let missing =
            vec![Missing { level: Level::Landlock, why: "restrict files by Landlock: no".into() }];
        let error = Unavailable { asked: Isolation::Auto, min: Level::Landlock, missing };
        let text = error.to_string();
        assert!(text.contains("sandbox.min_isolation = \"landlock\""), "{text}");
        assert!(
            text.contains(
                "`landlock`: cannot restrict files by Landlock: no; to mend it: use Linux 5.13"
            ),
            "{text}"
        );
    }
}
