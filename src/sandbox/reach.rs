//! What a cell is told of the network that it did not reach.
//!
//! What the kernel's proxy has refused is known; of a program that does not ask the proxy only its
//! complaint is.

use super::facts::Facts;
use crate::kernel::event::Failure;

/// Hosts that one answer tells of.
const TOLD: usize = 4;
/// Hosts that the status tells of; no more are remembered.
const REMEMBERED: usize = 32;

/// How programs complain that no name can be looked up and nobody can be reached.
const COMPLAINTS: [&str; 4] = [
    "Temporary failure in name resolution",
    "Name or service not known",
    "Network is unreachable",
    "nodename nor servname provided",
];

impl Facts {
    /// How often the proxy has refused so far.
    pub(super) fn refusals(&self) -> u64 {
        self.refused.as_ref().map_or(0, |record| record.count())
    }

    /// The newest hosts that were refused, a line each, with what would allow them.
    #[must_use]
    pub fn blocked(&self) -> Vec<String> {
        self.refused.as_ref().map(|record| record.since(0, REMEMBERED)).unwrap_or_default()
    }

    /// What a cell is told that has ended, by this exception or by none, and before which there had
    /// been so many refusals.
    pub(super) fn not_reached(&self, refusals: u64, failure: Option<&Failure>) -> Vec<String> {
        let refused = self.refused.as_ref().map(|record| record.since(refusals, TOLD));
        let refused = refused.unwrap_or_default();
        if !refused.is_empty() {
            return refused;
        }
        let (Some(report), Some(failure)) = (&self.isolation, failure) else { return refused };
        hint(report.effective, report.network, failure).map(str::to_owned).into_iter().collect()
    }
}

/// What to make of an exception of a program that did not ask the proxy.
fn hint(level: &str, network: &str, failure: &Failure) -> Option<&'static str> {
    let complains = |text: &&str| failure.value.contains(*text);
    if network == "full" || level == "none" || !COMPLAINTS.iter().any(complains) {
        return None;
    }
    Some(match (level, network) {
        ("landlock", _) => {
            "cells reach no network here (sandbox.network = \"none\"); level `landlock` gives none but \
             \"full\", level `namespaces` single hosts (\"allowlist\")"
        }
        (_, "allowlist") => {
            "hosts are reached only through the proxy in HTTP_PROXY and HTTPS_PROXY, which this did \
             not use"
        }
        _ => {
            "cells reach no network here; open hosts with sandbox.network = \"allowlist\" and \
             sandbox.network_hosts"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complaint_about_the_network_gets_a_hint() {
        let check = |level: &str, network: &str, value: &str, expected: Option<&str>| {
            let failure = Failure { value: value.to_owned(), ..Failure::default() };
            let hint = hint(level, network, &failure);
            let fits = match expected {
                Some(part) => hint.is_some_and(|hint| hint.contains(part)),
                None => hint.is_none(),
            };
            assert!(fits, "{level} {network} {value}: {hint:?}");
        };
        let names = "[Errno -3] Temporary failure in name resolution";
        check("namespaces", "none", names, Some("sandbox.network_hosts"));
        check(
            "namespaces",
            "loopback",
            "[Errno 101] Network is unreachable",
            Some("\"allowlist\""),
        );
        check("namespaces", "allowlist", names, Some("HTTPS_PROXY"));
        check("landlock", "none", names, Some("level `landlock`"));
        check("namespaces", "full", names, None);
        check("none", "none", names, None);
        check("namespaces", "none", "division by zero", None);
    }
}
