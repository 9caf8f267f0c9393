//! Why a host is not reached, and the setting that would open it.

use std::{fmt, net::IpAddr};

use super::{
    address::Kind,
    entry::Entry,
    target::{Host, Target},
};

/// A host that is not reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// What was asked for.
    pub target: Target,
    /// Why it is not reached.
    pub why: Why,
}

/// Why a host is not reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nothing is; the word of the setting that says so.
    Nothing(&'static str),
    /// Nothing names it.
    Unnamed,
    /// It is named with other ports.
    Port,
    /// It leads to where only a named address may.
    Address {
        /// Where.
        address: IpAddr,
        /// What is there.
        kind: Kind,
    },
    /// It was asked for inside a connection to another host.
    Inside {
        /// The other host.
        other: Host,
    },
}

impl Refusal {
    /// The entry of `sandbox.network_hosts` that would open it, if one should.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self.why {
            // Who needs that knows how to name it; nobody shall be led to it.
            Why::Address { kind: Kind::Metadata, .. } => None,
            _ if self.kind() == Some(Kind::Metadata) => None,
            Why::Inside { .. } => None,
            Why::Address { address, .. } => {
                Some(Entry::of(&Target { host: Host::Address(address), port: self.target.port }))
            }
            _ => Some(Entry::of(&self.target)),
        }
    }

    /// The kind of address that was asked for; none for a name.
    fn kind(&self) -> Option<Kind> {
        match self.target.host {
            Host::Address(address) => super::kind(address),
            Host::Name(_) => None,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blocked: {}", self.target)?;
        match &self.why {
            Why::Nothing(_) | Why::Unnamed => {
                if let Some(kind) = self.kind() {
                    write!(f, ", which is {kind}")?;
                }
            }
            Why::Port => f.write_str(", a port that is not named")?,
            Why::Address { address, kind } => write!(f, ", whose address {address} is {kind}")?,
            Why::Inside { other } => {
                write!(f, ", asked for inside a connection to {other}; connect to it by its name")?;
            }
        }
        match (self.remedy(), &self.why) {
            (None, _) => Ok(()),
            (Some(entry), Why::Nothing(network)) => write!(
                f,
                "; allow with sandbox.network = \"allowlist\" and sandbox.network_hosts = \
                 [\"{entry}\"] (now: sandbox.network = \"{network}\")"
            ),
            (Some(entry), _) => write!(f, "; allow with \"{entry}\" in sandbox.network_hosts"),
        }
    }
}
