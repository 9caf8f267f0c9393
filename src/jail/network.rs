//! What of the network a kernel gets: which level can give it, and how programs in it find the way.
//!
//! A kernel with a network of its own has one way out: a port that the server serves. It has it also
//! where nothing may be reached, so that a program that tries learns why it does not, and the session
//! which host it was.

use std::{ffi::OsString, net::Ipv4Addr};

use super::{
    plan::{Plan, Refused},
    report,
    settings::{Level, Network},
};
use crate::base::hosts::{Entry, Host, Policy};

/// The port of the proxy, on 127.0.0.1 of a kernel's own network.
pub const PORT: u16 = 3128;

/// The kernel's own hosts, to which programs go without the proxy.
const OWN: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Refuses a network that the level cannot give: none but `namespaces` has one of its own.
pub(super) fn can_be_given(level: Level, network: Network) -> Result<(), Refused> {
    match (level, network) {
        (Level::Landlock | Level::Seatbelt, Network::Loopback)
        | (Level::Landlock | Level::Seatbelt | Level::None, Network::Allowlist) => {
            Err(Refused::Network { level, network: report::network(network) })
        }
        _ => Ok(()),
    }
}

impl Plan {
    /// Which hosts the kernel may reach by its proxy.
    #[must_use]
    pub fn policy(&self) -> Policy {
        match self.network {
            // What cannot be read has been refused with the settings.
            Network::Allowlist => Policy::Listed(self.entries().collect()),
            other => Policy::Nothing(report::network(other)),
        }
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        self.hosts.iter().filter_map(|host| Entry::parse(host).ok())
    }
}

/// The variables by which programs in that kernel find the proxy.
#[must_use]
pub fn variables(plan: &Plan) -> Vec<(OsString, OsString)> {
    if !plan.own_network() {
        return Vec::new();
    }
    let proxy = format!("http://{}:{PORT}", Ipv4Addr::LOCALHOST);
    // One that is named means the machine's, and is reached by the proxy.
    let named = |own: &str| {
        Host::parse(own).is_some_and(|host| plan.entries().any(|entry| entry.is(&host)))
    };
    let own: Vec<&str> = OWN.into_iter().filter(|own| !named(own)).collect();
    let values = [
        ("http_proxy", proxy.clone()),
        ("https_proxy", proxy.clone()),
        ("all_proxy", proxy),
        ("no_proxy", own.join(",")),
    ];
    let both = |(name, value): (&str, String)| {
        [(name.to_uppercase(), value.clone()), (name.to_owned(), value)]
    };
    values.into_iter().flat_map(both).map(|(name, value)| (name.into(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::hosts::Target,
        jail::{Ground, Settings},
    };

    fn make(network: Network, hosts: &[&str], level: Level) -> Result<Plan, Refused> {
        let ground = Ground {
            workspace: "/work".into(),
            run: "/tmp/husk-1/k".into(),
            programs: Vec::new(),
            home: None,
            state: "/state".into(),
            memory: 1000,
            settings: None,
            record: None,
        };
        let network_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Plan::make(&Settings { network, network_hosts, ..Settings::default() }, level, &ground)
    }

    #[test]
    fn a_network_of_its_own_takes_namespaces() {
        let check = |network: Network, level: Level, given: bool| {
            let made = make(network, &[], level);
            assert_eq!(made.is_ok(), given, "{network:?} {level}");
            if let Err(refused) = made {
                let word = report::network(network);
                let expected =
                    format!("level `{level}` cannot give `sandbox.network = \"{word}\"`");
                assert!(refused.to_string().starts_with(&expected), "{refused}");
            }
        };
        for network in [Network::None, Network::Loopback, Network::Allowlist, Network::Full] {
            check(network, Level::Namespaces, true);
        }
        check(Network::None, Level::Landlock, true);
        check(Network::Loopback, Level::Landlock, false);
        check(Network::Allowlist, Level::Landlock, false);
        check(Network::Full, Level::Landlock, true);
        check(Network::Allowlist, Level::None, false);
    }

    #[test]
    fn hosts_are_open_only_in_an_allowlist() {
        let target = Target::parse("example.com:443", None).unwrap();
        for (network, open) in
            [(Network::None, false), (Network::Loopback, false), (Network::Allowlist, true)]
        {
            let plan = make(network, &["example.com"], Level::Namespaces).unwrap();
            assert_eq!(plan.policy().admits(&target).is_ok(), open, "{network:?}");
        }
    }

    #[test]
    fn programs_are_told_of_the_proxy_and_of_what_goes_without_it() {
        let check = |network: Network, hosts: &[&str], expected: Option<&str>| {
            let plan = make(network, hosts, Level::Namespaces).unwrap();
            let variables = variables(&plan);
            let of = |name: &str| {
                let found = variables.iter().find(|(known, _)| known == name);
                found.and_then(|(_, value)| value.to_str())
            };
            assert_eq!(of("NO_PROXY"), expected, "{network:?} {hosts:?}");
            assert_eq!(of("no_proxy"), expected, "{network:?} {hosts:?}");
            let proxy = expected.map(|_| "http://127.0.0.1:3128");
            for name in ["HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
                assert_eq!(of(name), proxy, "{network:?} {name}");
            }
        };
        check(Network::Full, &[], None);
        check(Network::None, &[], Some("localhost,127.0.0.1,::1"));
        check(Network::Allowlist, &["*", "a.test"], Some("localhost,127.0.0.1,::1"));
        check(Network::Allowlist, &["127.0.0.1:8080"], Some("localhost,::1"));
        check(Network::Allowlist, &["localhost:1", "[::1]:2"], Some("127.0.0.1"));
    }
}
