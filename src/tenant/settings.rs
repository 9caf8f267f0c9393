//! At which Redis users get accounts.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::address::{Address, FORM};

/// Accounts of users at a Redis that they share.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Redis 7 or newer, by an account that may make others, such as
    /// `rediss://admin:PASSWORD@redis.example.com`; each kernel then finds an account of its user's in
    /// `REDIS_URL`. Needs a husk with the feature `redis`.
    #[schemars(with = "Option<String>")]
    pub redis_url: Option<Address>,
    /// Addresses of further nodes of a replicated Redis: rules are not replicated, and each node gets
    /// them.
    #[schemars(with = "Vec<String>")]
    pub redis_nodes: Vec<Address>,
    /// Certificates (PEM) of whom to trust for `rediss://`, a path as for `workspace`; unset means whom
    /// the system trusts.
    pub redis_ca: Option<PathBuf>,
    /// Whether a user's keys are deleted with the user's last kernel.
    pub delete_keys: bool,
}

impl Settings {
    /// Values that cannot be: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let bad = |address: &Address| (!address.is_redis()).then(|| FORM.to_owned());
        faults.extend(self.redis_url.as_ref().and_then(bad).map(|wrong| ("redis_url", wrong)));
        faults.extend(self.redis_nodes.iter().find_map(bad).map(|wrong| ("redis_nodes", wrong)));
        if !cfg!(feature = "redis") && self.redis_url.is_some() {
            let needs = "needs a husk that was built with Redis (cargo install --features redis)";
            faults.push(("redis_url", needs.to_owned()));
        }
        faults
    }
}
