//! The settings of sessions and of starting kernels.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long cells may run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CellSettings {
    /// Seconds that a cell may run when the call does not say.
    pub timeout: f64,
    /// Seconds to wait after each step of stopping a cell (interrupt, SIGINT), before the kernel is killed.
    pub interrupt_grace: f64,
    /// Most sessions, each with a kernel of its own.
    pub max_sessions: usize,
    /// Most cells of a session that wait behind the one under way.
    pub max_queued: usize,
    /// Seconds that a call waits for its cell before it hands back the cell's id; unset means 50, or
    /// 170 for Claude Code (hosts cut calls that take longer).
    pub wait: Option<f64>,
    /// Seconds after its end for which a call with the same idempotency key is answered from a cell.
    pub replay_seconds: u64,
}

impl Default for CellSettings {
    fn default() -> Self {
        Self {
            timeout: 3600.0,
            interrupt_grace: 1.0,
            max_sessions: 16,
            max_queued: 64,
            wait: None,
            replay_seconds: 600,
        }
    }
}

/// The longest timeout of a cell in seconds: a day.
pub(crate) const MAX_TIMEOUT: f64 = 86_400.0;
/// How long a user may take for an answer to `input()`; a cell's own time stands still that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

impl CellSettings {
    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if !(self.timeout > 0.0 && self.timeout <= MAX_TIMEOUT) {
            faults.push((
                "timeout",
                format!(
                    "must be more than 0 and at most {MAX_TIMEOUT} seconds, not {}",
                    self.timeout
                ),
            ));
        }
        if !(0.1..=30.0).contains(&self.interrupt_grace) {
            faults.push((
                "interrupt_grace",
                format!("must be 0.1 to 30 seconds, not {}", self.interrupt_grace),
            ));
        }
        if !(1..=1000).contains(&self.max_sessions) {
            faults.push(("max_sessions", format!("must be 1 to 1000, not {}", self.max_sessions)));
        }
        if !(0..=10_000).contains(&self.max_queued) {
            faults.push(("max_queued", format!("must be 0 to 10000, not {}", self.max_queued)));
        }
        if let Some(wait) = self.wait.filter(|wait| !(0.0..=MAX_TIMEOUT).contains(wait)) {
            faults.push(("wait", format!("must be 0 to {MAX_TIMEOUT} seconds, not {wait}")));
        }
        if self.replay_seconds > 86_400 {
            let wrong = format!("must be 0 to 86400 seconds, not {}", self.replay_seconds);
            faults.push(("replay_seconds", wrong));
        }
        faults
    }
}

/// How long sessions and their kernels live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionSettings {
    /// Seconds that the kernel of a named session outlives its server; 0 ends it with the server, as
    /// that of a session without a name always does.
    pub keep_alive: f64,
    /// Seconds without a cell after which a kernel is ended; unset means never.
    pub idle_timeout: Option<f64>,
    /// Seconds after its start at which a kernel is ended, whatever it does; unset means never.
    pub max_age: Option<f64>,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { keep_alive: 1800.0, idle_timeout: None, max_age: None }
    }
}

/// The longest time that a kernel is kept, in seconds: a week.
const MAX_KEPT: f64 = 7.0 * 86_400.0;

impl SessionSettings {
    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if !(0.0..=MAX_KEPT).contains(&self.keep_alive) {
            let wrong = format!("must be 0 to {MAX_KEPT} seconds, not {}", self.keep_alive);
            faults.push(("keep_alive", wrong));
        }
        for (field, value) in [("idle_timeout", self.idle_timeout), ("max_age", self.max_age)] {
            if let Some(value) = value.filter(|value| !(1.0..=366.0 * 86_400.0).contains(value)) {
                faults.push((field, format!("must be 1 to 31622400 seconds, not {value}")));
            }
        }
        faults
    }
}

/// How kernels are started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LaunchSettings {
    /// Seconds that a kernel may take until it answers.
    pub timeout: f64,
    /// Kernels that are kept ready, so that a new session, a restart or a reset need not wait; each takes
    /// the memory of an idle kernel. 0 for none.
    pub pool: usize,
    /// What husk installs into its own Python environment when it finds none with ipykernel.
    pub packages: Vec<String>,
    /// Whether a call may name the connection file of a running kernel (session `file:PATH`).
    pub attach: bool,
}

impl Default for LaunchSettings {
    fn default() -> Self {
        let packages = ["ipykernel", "numpy", "pandas", "matplotlib"];
        Self {
            timeout: 60.0,
            pool: 1,
            packages: packages.map(str::to_owned).to_vec(),
            attach: false,
        }
    }
}

impl LaunchSettings {
    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if !(1.0..=600.0).contains(&self.timeout) {
            faults.push(("timeout", format!("must be 1 to 600 seconds, not {}", self.timeout)));
        }
        if self.pool > 16 {
            faults.push(("pool", format!("must be 0 to 16, not {}", self.pool)));
        }
        for package in self.packages.iter().filter(|name| !is_requirement(name)) {
            faults.push((
                "packages",
                format!(
                    "must name packages or paths, not {package:?}; \
                     if a requirement holds a comma, write the list as [\"a>=1,<2\", \"b\"]"
                ),
            ));
        }
        faults
    }
}

/// Whether an installer would read this as something to install. One that starts with `-` would
/// be an option of the installer, one that starts with `<` is the second half of `a>=1,<2`.
fn is_requirement(package: &str) -> bool {
    package.starts_with(|first: char| first.is_ascii_alphanumeric() || matches!(first, '.' | '/'))
}
