//! The settings: what there is to set, and how `husk.toml`, `HUSK_*` and flags become one `Config`.
//!
//! Settings are read once, at the start; [`load`] shows all faults of all sources together. This
//! module does not act on a setting: it starts nothing, creates no folder and looks nothing up on
//! `PATH`. The sections belong to the modules that obey them, and so do their limits.

use std::path::PathBuf;

use etcetera::BaseStrategy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::guard::{breaker, dedup, limiter};
use crate::jail;
use crate::kernel::{gateway, output, relay};
use crate::mcp::{audit, transport::http};
use crate::notebook::record;
use crate::sandbox::{CellSettings, LaunchSettings, SessionSettings};
use crate::{replica, store, tenant};

mod faults;
mod file;
mod keys;
mod layers;
mod nearest;
mod order;
mod origin;
mod paths;
mod sources;
mod table;
mod texts;
mod tighten;

pub use faults::{Fault, Faults, NotTheProjects};
pub use keys::{Key, keys, markdown_table};
pub use layers::{Loaded, load};
pub use origin::{Origin, Position};
pub use sources::{Flag, Sources, user_file};

/// Everything that can be set, after all sources were read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the session that is used when a call names none: 1 to 64 of `A-Z a-z 0-9 . _ -`,
    /// not starting with `.` or `-`.
    pub session: Option<String>,
    /// Folder in which kernels start. In a file a relative path starts at that file's folder,
    /// elsewhere at the current folder; `~/` is the home folder.
    pub workspace: Option<PathBuf>,
    /// Python interpreter for kernels: a path as for `workspace`, or a bare name to find on `PATH`.
    pub python: Option<PathBuf>,
    /// Name of the installed kernelspec to start.
    pub kernel: Option<String>,
    /// Connection file of a running kernel that the default session talks to, a path as for
    /// `workspace`.
    pub connection_file: Option<PathBuf>,
    /// Folder for what husk keeps, a path as for `workspace`; unset means `husk` in the platform's
    /// data folder.
    pub data_dir: Option<PathBuf>,
    /// What is logged, as a tracing filter.
    pub log: String,
    /// How cells run.
    pub cells: CellSettings,
    /// How kernels start.
    pub launch: LaunchSettings,
    /// How long sessions and their kernels live.
    pub sessions: SessionSettings,
    /// How much of a cell's output one answer carries, and how much is kept.
    pub output: output::Settings,
    /// How sessions are recorded.
    pub notebook: record::Settings,
    /// How kernels are isolated, and what they may reach.
    pub sandbox: jail::Settings,
    /// What a kernel may send before it is ended.
    pub wire: relay::Settings,
    /// Which repeated calls are refused.
    pub dedup: dedup::Settings,
    /// When a tool that fails is not tried for a while.
    pub breaker: breaker::Settings,
    /// How much may be used.
    pub limits: limiter::Settings,
    /// Who reaches `husk serve --http`, and how much of it.
    pub http: http::settings::Settings,
    /// What is written down of calls.
    pub audit: audit::Settings,
    /// At which Redis users get accounts.
    pub tenant: tenant::Settings,
    /// Where what outlives a server is kept.
    pub store: store::Settings,
    /// Limits and idempotency keys that hold over all servers.
    pub shared: replica::Settings,
    /// Where kernels run, if not here.
    pub gateway: gateway::settings::Settings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            session: None,
            workspace: None,
            python: None,
            kernel: None,
            connection_file: None,
            data_dir: None,
            log: "warn,husk=info,rmcp=error".to_owned(),
            cells: CellSettings::default(),
            launch: LaunchSettings::default(),
            sessions: SessionSettings::default(),
            output: output::Settings::default(),
            notebook: record::Settings::default(),
            sandbox: jail::Settings::default(),
            wire: relay::Settings::default(),
            dedup: dedup::Settings::default(),
            breaker: breaker::Settings::default(),
            limits: limiter::Settings::default(),
            http: http::settings::Settings::default(),
            audit: audit::Settings::default(),
            tenant: tenant::Settings::default(),
            store: store::Settings::default(),
            shared: replica::Settings::default(),
            gateway: gateway::settings::Settings::default(),
        }
    }
}

impl Config {
    /// The folder for what husk keeps: `data_dir`, else `husk` in the platform's data folder (XDG
    /// on Linux, `~/Library/Application Support` on macOS). It may not exist yet.
    ///
    /// # Errors
    /// [`Fault::NoDataFolder`] when `data_dir` is unset and this process has no home folder.
    pub fn data_dir(&self) -> Result<PathBuf, Fault> {
        if let Some(folder) = &self.data_dir {
            return Ok(folder.clone());
        }
        let platform =
            etcetera::base_strategy::choose_native_strategy().map_err(|_| Fault::NoDataFolder)?;
        Ok(platform.data_dir().join("husk"))
    }

    /// The settings that are paths, under their keys.
    fn paths_mut(&mut self) -> [(&'static str, &mut Option<PathBuf>); 12] {
        [
            ("workspace", &mut self.workspace),
            ("python", &mut self.python),
            ("connection_file", &mut self.connection_file),
            ("data_dir", &mut self.data_dir),
            ("audit.file", &mut self.audit.file),
            ("http.tls_cert", &mut self.http.tls_cert),
            ("http.tls_key", &mut self.http.tls_key),
            ("http.tokens", &mut self.http.tokens),
            ("http.workspaces", &mut self.http.workspaces),
            ("tenant.redis_ca", &mut self.tenant.redis_ca),
            ("shared.redis_ca", &mut self.shared.redis_ca),
            ("gateway.ca", &mut self.gateway.ca),
        ]
    }

    /// The settings that are lists of paths, under their keys.
    fn path_lists_mut(&mut self) -> [(&'static str, &mut Vec<PathBuf>); 2] {
        [
            ("sandbox.fs_read", &mut self.sandbox.fs_read),
            ("sandbox.fs_write", &mut self.sandbox.fs_write),
        ]
    }

    /// What is out of range, under its dotted key. Each setting is judged by itself: a limit that
    /// depends on another setting would accuse a source that says only one of the two.
    fn faults(&self) -> Vec<(String, String)> {
        let sections = [
            ("cells", self.cells.faults()),
            ("launch", self.launch.faults()),
            ("sessions", self.sessions.faults()),
            ("output", self.output.faults()),
            ("notebook", self.notebook.faults()),
            ("sandbox", self.sandbox.faults()),
            ("wire", self.wire.faults()),
            ("dedup", self.dedup.faults()),
            ("breaker", self.breaker.faults()),
            ("limits", self.limits.faults()),
            ("http", self.http.faults()),
            ("tenant", self.tenant.faults()),
            ("store", self.store.faults()),
            ("shared", self.shared.faults()),
            ("gateway", self.gateway.faults()),
        ];
        let own = self.own_faults().into_iter();
        own.map(|(key, wrong)| (key.to_owned(), wrong))
            .chain(sections.into_iter().flat_map(|(section, faults)| {
                faults.into_iter().map(move |(field, wrong)| (format!("{section}.{field}"), wrong))
            }))
            .collect()
    }

    fn own_faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if let Some(name) = self.session.as_deref().filter(|name| !is_session(name)) {
            faults.push((
                "session",
                format!(
                    "must be 1 to 64 characters of A-Z a-z 0-9 . _ - and not start with `.` or \
                     `-`, not {name:?}"
                ),
            ));
        }
        if self.kernel.as_deref() == Some("") {
            faults.push(("kernel", "must be the name of a kernelspec, not empty".to_owned()));
        }
        faults
    }
}

/// Session names become file names, so nothing in them may mean a folder, an option or a hidden
/// file.
fn is_session(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name.chars().all(|each| each.is_ascii_alphanumeric() || matches!(each, '.' | '_' | '-'))
}
