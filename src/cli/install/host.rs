//! The hosts that `husk install` knows: where each keeps its user configuration, and what an MCP
//! server looks like in it. Facts only: nothing here reads or writes a file's text.
//!
//! Where the facts come from:
//!
//! - **Claude Desktop**: macOS and Windows as the setup guides of Playwright and Confluent give them,
//!   Linux after aaddrick/claude-desktop-debian issue 1. On Windows the MSIX build reads a copy of
//!   the folder inside its package (anthropics/claude-code issues 25579 and 26073), which therefore
//!   wins over `%APPDATA%` when it exists.
//! - **Claude Code**: user scope is the top-level `mcpServers` of `~/.claude.json`
//!   (anthropics/claude-code issue 4193); `CLAUDE_CONFIG_DIR` moves the file (issue 48448).
//!   Claude Code 2.1.197 lists an entry written here, in both places.
//! - **VS Code**: its "MCP configuration reference" (`servers`, required `type`), and
//!   `userDataPath.ts` in microsoft/vscode for the folder. It is the default profile's file; other
//!   profiles, Insiders and portable mode have others.
//! - **Cursor**: the global file and `mcpServers`, as guides that quote its MCP documentation give them.
//! - **Codex**: `RawMcpServerConfig` in openai/codex (`codex-rs/config/src/mcp_types.rs`), which
//!   knows both timeouts (without them: 10 s to start, 60 s a call). Codex 0.169.0 lists an entry
//!   written here, timeouts included.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{Entry, Error};

/// A program that starts MCP servers for its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Host {
    /// The Claude desktop application.
    ClaudeDesktop,
    /// Claude Code, for all projects of the user.
    ClaudeCode,
    /// Visual Studio Code, default profile.
    #[value(name = "vscode")]
    VsCode,
    /// The Cursor editor and its command line.
    Cursor,
    /// OpenAI Codex: command line, IDE extension and application.
    Codex,
}

/// The languages that hosts write their configuration in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Toml,
}

/// One member of the entry that husk writes.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) value: Value,
    /// Only offered: a value that is already there stays.
    pub(super) offered: bool,
}

impl Host {
    /// The name on the command line, such as `claude-desktop`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "claude-desktop",
            Self::ClaudeCode => "claude-code",
            Self::VsCode => "vscode",
            Self::Cursor => "cursor",
            Self::Codex => "codex",
        }
    }

    /// The file in which this host looks for its user's MCP servers.
    pub fn file(self, places: &Places) -> PathBuf {
        let folder = match self {
            Self::ClaudeDesktop => &places.claude_desktop,
            Self::ClaudeCode => &places.claude_code,
            Self::VsCode => &places.vscode,
            Self::Cursor => &places.cursor,
            Self::Codex => &places.codex,
        };
        folder.join(self.file_name())
    }

    pub(super) fn file_name(self) -> &'static str {
        match self {
            Self::ClaudeDesktop => "claude_desktop_config.json",
            Self::ClaudeCode => ".claude.json",
            Self::VsCode | Self::Cursor => "mcp.json",
            Self::Codex => "config.toml",
        }
    }

    pub(super) fn format(self) -> Format {
        match self {
            Self::Codex => Format::Toml,
            Self::ClaudeDesktop | Self::ClaudeCode | Self::VsCode | Self::Cursor => Format::Json,
        }
    }

    /// The key of the object (or table) that holds one member a server.
    pub(super) fn servers(self) -> &'static str {
        match self {
            Self::VsCode => "servers",
            Self::Codex => "mcp_servers",
            Self::ClaudeDesktop | Self::ClaudeCode | Self::Cursor => "mcpServers",
        }
    }

    pub(super) fn members(self, entry: &Entry) -> Vec<Member> {
        let ours = |name, value| Member { name, value, offered: false };
        let offered = |name, value| Member { name, value, offered: true };
        let mut members = Vec::new();
        if matches!(self, Self::ClaudeCode | Self::VsCode) {
            members.push(ours("type", json!("stdio")));
        }
        members.push(ours("command", json!(entry.command)));
        members.push(ours("args", json!(entry.args)));
        match self {
            Self::ClaudeCode => members.push(offered("env", json!({}))),
            Self::Codex => {
                members.push(offered("startup_timeout_sec", json!(30)));
                // A cell may run for long; husk bounds it itself.
                members.push(offered("tool_timeout_sec", json!(3600)));
            }
            Self::ClaudeDesktop | Self::VsCode | Self::Cursor => {}
        }
        members
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClaudeDesktop => "Claude Desktop",
            Self::ClaudeCode => "Claude Code",
            Self::VsCode => "VS Code",
            Self::Cursor => "Cursor",
            Self::Codex => "Codex",
        })
    }
}

/// The folder in which each host keeps the file that husk edits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Of `claude_desktop_config.json`.
    pub claude_desktop: PathBuf,
    /// Of `.claude.json`.
    pub claude_code: PathBuf,
    /// Of VS Code's `mcp.json`.
    pub vscode: PathBuf,
    /// Of Cursor's `mcp.json`.
    pub cursor: PathBuf,
    /// Of Codex's `config.toml`.
    pub codex: PathBuf,
}

impl Places {
    /// The folders of the user who runs this process.
    ///
    /// # Errors
    /// When no variable names the user's home folder.
    pub fn from_environment() -> Result<Self, Error> {
        Self::found(|name| std::env::var_os(name))
    }

    /// The folders that these environment variables lead to on the system husk was built for.
    ///
    /// # Errors
    /// When no variable names the user's home folder.
    pub fn found(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let folder = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home_variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
        let home = folder(home_variable).ok_or(Error::NoHome { variable: home_variable })?;
        let settings = if cfg!(windows) {
            folder("APPDATA").unwrap_or_else(|| home.join("AppData").join("Roaming"))
        } else if cfg!(target_os = "macos") {
            home.join("Library").join("Application Support")
        } else {
            folder("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"))
        };
        let packaged = folder("LOCALAPPDATA").and_then(|local| packaged_claude(&local));
        Ok(Self {
            claude_desktop: packaged.unwrap_or_else(|| settings.join("Claude")),
            claude_code: folder("CLAUDE_CONFIG_DIR").unwrap_or_else(|| home.clone()),
            vscode: settings.join("Code").join("User"),
            cursor: home.join(".cursor"),
            codex: folder("CODEX_HOME").unwrap_or_else(|| home.join(".codex")),
        })
    }
}

/// The folder that the MSIX build of Claude Desktop sees in place of `%APPDATA%\Claude`.
fn packaged_claude(local_app_data: &Path) -> Option<PathBuf> {
    let packages = std::fs::read_dir(local_app_data.join("Packages")).ok()?;
    packages
        .filter_map(Result::ok)
        .filter(|package| package.file_name().to_string_lossy().starts_with("Claude_"))
        .map(|package| package.path().join("LocalCache").join("Roaming").join("Claude"))
        .find(|folder| folder.is_dir())
}
