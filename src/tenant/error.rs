//! Why there is no account.

use crate::{
    redis_client::{CLIENT, ClientError, distrust},
    tls::{Cures, Distrust, TlsError},
};

const CURES: Cures = Cures {
    authorities: "`tenant.redis_ca`",
    address: "`tenant.redis_url` or `tenant.redis_nodes`",
    client: CLIENT,
};

/// Why an account cannot be made, changed or ended. No text of it holds a password.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// The settings' address.
    #[error(
        "`{node}` cannot be reached at all; correct `tenant.redis_url`, `tenant.redis_nodes` or \
         `tenant.redis_ca`"
    )]
    Address {
        /// As it may be shown.
        node: String,
        /// Why not.
        source: ClientError,
    },
    /// Whom to trust.
    #[error("TLS to Redis cannot be set up (`tenant.redis_ca`)")]
    Tls(#[from] TlsError),
    /// There is no TLS: one of the two does not trust the other.
    #[error("Redis at `{node}` {}", .why.told(&CURES))]
    Untrusted {
        /// Where.
        node: String,
        /// Why.
        why: Distrust,
        /// The cause.
        source: redis::RedisError,
    },
    /// It does not answer, or refuses what only an account that may make others can do.
    #[error("Redis at `{node}` cannot {deed}")]
    Node {
        /// Where.
        node: String,
        /// What was to be done.
        deed: &'static str,
        /// Why not.
        source: redis::RedisError,
    },
    /// It is too old.
    #[error("Redis at `{node}` is version {version}; accounts need 7.0 or newer")]
    Version {
        /// Where.
        node: String,
        /// What it says.
        version: String,
    },
    /// None takes writes.
    #[error("none of `tenant.redis_url` and `tenant.redis_nodes` is the node that takes writes")]
    NoPrimary,
    /// Somebody else's account.
    #[error(
        "Redis has a user `{0}` that husk did not make, or whose record is lost; `husk tenant revoke` ends it"
    )]
    Foreign(String),
    /// Others change it all the time.
    #[error("the account `{0}` is being changed by others; try again")]
    Busy(String),
    /// It does not hold.
    #[error("the account `{name}` is not handed out: at `{node}` it {what}")]
    Untrue {
        /// The account.
        name: String,
        /// Where.
        node: String,
        /// What it may or may not.
        what: String,
    },
    /// The kernel's way to it.
    #[error("the kernel's way to Redis cannot be opened")]
    Relay(#[source] std::io::Error),
}

impl TenantError {
    /// What it is that there is no connection to a node.
    pub(super) fn unreached(node: String, source: redis::RedisError) -> Self {
        match distrust(&source) {
            Some(why) => Self::Untrusted { node, why, source },
            None => Self::Node { node, deed: "be reached", source },
        }
    }
}
