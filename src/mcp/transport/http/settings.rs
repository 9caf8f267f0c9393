//! The settings of the HTTP server.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::mcp::auth::oauth::settings as oauth;

/// Who reaches `husk serve --http`, and how much of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Answers with plain JSON where it can, and keeps no MCP sessions: for clients that want no stream.
    pub json_response: bool,
    /// Also serves the older transport, HTTP with server-sent events, at `/sse` and `/messages`.
    pub sse: bool,
    /// Certificate chain for TLS, a PEM file, a path as for `workspace`.
    pub tls_cert: Option<PathBuf>,
    /// Private key for TLS, a PEM file, a path as for `workspace`.
    pub tls_key: Option<PathBuf>,
    /// Address at which users reach this server and no other, such as `https://husk-1.example.com/mcp`: told
    /// to those who ask another server for a session that this one has (`store.url`).
    pub advertise: Option<String>,
    /// Names under which clients reach the server, such as `husk.example.com` or with a port. Addresses
    /// and `localhost` always do.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call the server, such as `https://app.example.com`. Pages of this
    /// machine may where the server listens on this machine only.
    pub origins: Vec<String>,
    /// File of tokens, as `husk token` keeps them, a path as for `workspace`; unset means `tokens.toml` in
    /// the data folder. Where there is one, every request needs a token.
    pub tokens: Option<PathBuf>,
    /// Tokens of an authorization server.
    pub oauth: oauth::Settings,
    /// Folder in which each user who is known by a token has a workspace, a path as for `workspace`; unset
    /// means `workspaces` in the data folder.
    pub workspaces: Option<PathBuf>,
    /// Serves whoever reaches it, though it listens where others can.
    pub without_authentication: bool,
    /// Most bytes of one request.
    pub max_body_bytes: usize,
    /// Most MCP sessions of one user; of more, the one unused for longest ends.
    pub max_sessions: usize,
    /// Seconds without a request or an open stream after which an MCP session ends. Its kernels stay.
    pub session_seconds: f64,
    /// Most kernels of all users at the same time.
    pub max_kernels: usize,
    /// Most connections at the same time.
    pub max_connections: usize,
    /// Most requests of one address a minute, before it is asked who it is; 0 for no limit. Behind a proxy
    /// all users come from one address.
    pub requests_per_minute: u32,
    /// Seconds that a client may take to send a request, and in which it must have read some of an answer.
    pub patience_seconds: f64,
    /// Seconds that calls under way may still take when the server ends.
    pub end_seconds: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            json_response: false,
            sse: false,
            tls_cert: None,
            tls_key: None,
            advertise: None,
            hosts: Vec::new(),
            origins: Vec::new(),
            tokens: None,
            oauth: oauth::Settings::default(),
            workspaces: None,
            without_authentication: false,
            max_body_bytes: 4 << 20,
            max_sessions: 500,
            session_seconds: 1800.0,
            max_kernels: 64,
            max_connections: 1024,
            requests_per_minute: 6000,
            patience_seconds: 30.0,
            end_seconds: 10.0,
        }
    }
}

impl Settings {
    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let whole = [
            ("max_body_bytes", self.max_body_bytes, 1024..=256 << 20),
            ("max_kernels", self.max_kernels, 1..=100_000),
            ("max_sessions", self.max_sessions, 1..=100_000),
            ("max_connections", self.max_connections, 1..=100_000),
        ];
        for (field, value, allowed) in whole {
            if !allowed.contains(&value) {
                let (least, most) = (allowed.start(), allowed.end());
                faults.push((field, format!("must be {least} to {most}, not {value}")));
            }
        }
        let seconds = [
            ("session_seconds", self.session_seconds, 1.0..=7.0 * 86_400.0),
            ("patience_seconds", self.patience_seconds, 1.0..=3600.0),
            ("end_seconds", self.end_seconds, 0.0..=3600.0),
        ];
        for (field, value, allowed) in seconds {
            if !allowed.contains(&value) {
                let (least, most) = (allowed.start(), allowed.end());
                faults.push((field, format!("must be {least} to {most} seconds, not {value}")));
            }
        }
        if self.requests_per_minute > 60_000_000 {
            let wrong = format!("must be 0 to 60000000, not {}", self.requests_per_minute);
            faults.push(("requests_per_minute", wrong));
        }
        if let Some(wrong) = self.advertise.as_deref().and_then(not_reachable) {
            faults.push(("advertise", wrong));
        }
        faults.extend(self.oauth.faults());
        for origin in &self.origins {
            if super::origin::Origin::parse(origin).is_none() {
                let wrong =
                    format!("must hold origins such as https://app.example.com, not {origin:?}");
                faults.push(("origins", wrong));
            }
        }
        faults
    }
}

/// What is wrong with an address at which users are to reach a server.
fn not_reachable(text: &str) -> Option<String> {
    let fits =
        |url: &url::Url| matches!(url.scheme(), "http" | "https") && url.username().is_empty();
    let url = url::Url::parse(text).ok().filter(fits);
    let whole = url.is_some() && !text.contains(char::is_whitespace);
    (!whole).then(|| format!("must be such as https://husk-1.example.com/mcp, not {text:?}"))
}
