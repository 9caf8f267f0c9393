//! Which hosts a cell may reach, decided from what the settings name and from where a name leads.
//!
//! Two questions, both answered here and nowhere else: whether a host may be asked for at all
//! ([`Policy::admits`]), and, once its name has been looked up, which of its addresses may be
//! connected to ([`Policy::reachable`]). A name opens public addresses only: whoever owns it could
//! otherwise lead it to this machine or its network. What is not public must be named itself, as an
//! address. Looks nothing up and connects to nothing.

pub mod address;
mod entry;
mod refusal;
mod target;

use std::net::IpAddr;

pub use entry::{BadEntry, Entry};
pub use refusal::{Refusal, Why};
pub use target::{Host, Target};

use address::{Kind, kind};

/// What cells may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Nothing; the word of the setting that says so.
    Nothing(&'static str),
    /// What is named.
    Listed(Vec<Entry>),
}

impl Policy {
    /// Whether this host may be asked for.
    ///
    /// # Errors
    /// [`Refusal`] when nothing names it with that port.
    pub fn admits(&self, target: &Target) -> Result<(), Refusal> {
        let why = match self {
            Self::Nothing(network) => Why::Nothing(network),
            Self::Listed(entries) if entries.iter().any(|entry| entry.opens(target)) => {
                return Ok(());
            }
            Self::Listed(entries) if entries.iter().any(|entry| entry.names(&target.host)) => {
                Why::Port
            }
            Self::Listed(_) => Why::Unnamed,
        };
        Err(Refusal { target: target.clone(), why })
    }

    /// Of the addresses that its name leads to, those that may be connected to, in their order.
    ///
    /// # Errors
    /// [`Refusal`] when the host may not be asked for, or none of its addresses may be reached.
    pub fn reachable(&self, target: &Target, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, Refusal> {
        self.admits(target)?;
        let judged = addresses.iter().map(|address| (*address, self.bars(target, *address)));
        let judged: Vec<(IpAddr, Option<Kind>)> = judged.collect();
        let open: Vec<IpAddr> =
            judged.iter().filter(|(_, kind)| kind.is_none()).map(|(address, _)| *address).collect();
        match judged.first() {
            Some((address, Some(kind))) if open.is_empty() => {
                let why = Why::Address { address: *address, kind: *kind };
                Err(Refusal { target: target.clone(), why })
            }
            _ => Ok(open),
        }
    }

    /// What keeps a host that is admitted from being reached at that address.
    fn bars(&self, target: &Target, address: IpAddr) -> Option<Kind> {
        let kind = kind(address)?;
        let itself = Target { host: Host::Address(address), port: target.port };
        // This name means this machine, by a standard and by nobody else's will.
        let local = kind == Kind::Loopback && target.host == Host::Name("localhost".to_owned());
        let named = self.admits(&itself).is_ok();
        (!local && !named).then_some(kind)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn listed(entries: &[&str]) -> Policy {
        Policy::Listed(entries.iter().map(|entry| Entry::parse(entry).unwrap()).collect())
    }

    fn target(text: &str) -> Target {
        Target::parse(text, Some(443)).unwrap()
    }

    #[test]
    fn only_what_is_named_is_admitted() {
        let policy = listed(&[
            "example.com",
            "*.example.org",
            "data.example:8443",
            "192.0.2.7",
            "[::1]:8080",
            "*.ports.example:5000",
        ]);
        let check = |text: &str, expected: bool| {
            assert_eq!(policy.admits(&target(text)).is_ok(), expected, "{text}");
        };
        check("example.com", true);
        check("EXAMPLE.com.:80", true);
        check("example.com:8080", false);
        check("www.example.com", false);
        check("example.com.evil.test", false);
        check("notexample.com", false);
        check("a.example.org", true);
        check("a.b.example.org:80", true);
        check("example.org", false);
        check("xexample.org", false);
        check("data.example:8443", true);
        check("data.example", false);
        check("192.0.2.7", true);
        check("0xc0000207:80", true);
        check("192.0.2.8", false);
        check("[::1]:8080", true);
        check("[::1]:80", false);
        check("a.ports.example:5000", true);
        check("a.ports.example:443", false);
        assert!(listed(&[]).admits(&target("example.com")).is_err());
        assert!(Policy::Nothing("none").admits(&target("example.com")).is_err());
    }

    #[test]
    fn every_name_is_not_every_address() {
        let policy = listed(&["*"]);
        assert!(policy.admits(&target("example.com")).is_ok());
        for not in ["example.com:22", "1.1.1.1", "[2606:4700::1111]", "localhost", "a.localhost"] {
            assert!(policy.admits(&target(not)).is_err(), "{not}");
        }
    }

    #[test]
    fn a_name_leads_to_public_addresses_only_unless_the_address_is_named() {
        let check = |entries: &[&str], host: &str, addresses: &[&str], expected: &[&str]| {
            let parsed = |all: &[&str]| all.iter().map(|text| text.parse().unwrap()).collect();
            let (addresses, expected): (Vec<IpAddr>, Vec<IpAddr>) =
                (parsed(addresses), parsed(expected));
            let got = listed(entries).reachable(&target(host), &addresses);
            assert_eq!(got.unwrap_or_default(), expected, "{entries:?} {host} {addresses:?}");
        };
        let one = &["example.com"];
        check(one, "example.com", &["1.1.1.1", "::1"], &["1.1.1.1"]);
        check(one, "example.com", &["127.0.0.1"], &[]);
        check(one, "example.com", &["169.254.169.254"], &[]);
        check(one, "example.com", &["::ffff:1.1.1.1"], &[]);
        check(one, "other.com", &["1.1.1.1"], &[]);
        check(&["example.com", "10.1.2.3"], "example.com", &["10.1.2.3"], &["10.1.2.3"]);
        check(&["example.com", "10.1.2.3:80"], "example.com", &["10.1.2.3"], &[]);
        check(&["example.com:80", "10.1.2.3"], "example.com:80", &["10.1.2.4"], &[]);
        check(&["10.1.2.3"], "10.1.2.3", &["10.1.2.3"], &["10.1.2.3"]);
        check(&["localhost:8080"], "localhost:8080", &["::1", "127.0.0.1"], &["::1", "127.0.0.1"]);
        check(&["localhost:8080"], "localhost:8080", &["10.0.0.1"], &[]);
        check(&["localhost:8080"], "localhost:8081", &["127.0.0.1"], &[]);
        // No address at all is no refusal: nobody knows the name.
        assert_eq!(listed(one).reachable(&target("example.com"), &[]), Ok(Vec::new()));
    }

    #[test]
    fn a_refusal_says_what_would_allow_it() {
        let check = |policy: &Policy, host: &str, addresses: &[IpAddr], expected: &str| {
            let refusal = policy.reachable(&target(host), addresses).unwrap_err();
            assert_eq!(refusal.to_string(), expected);
        };
        check(
            &Policy::Nothing("none"),
            "example.com",
            &[],
            "blocked: example.com:443; allow with sandbox.network = \"allowlist\" and \
             sandbox.network_hosts = [\"example.com\"] (now: sandbox.network = \"none\")",
        );
        let policy = listed(&["example.org"]);
        check(
            &policy,
            "example.com",
            &[],
            "blocked: example.com:443; allow with \"example.com\" in sandbox.network_hosts",
        );
        check(
            &policy,
            "example.org:22",
            &[],
            "blocked: example.org:22, a port that is not named; allow with \"example.org:22\" in \
             sandbox.network_hosts",
        );
        check(
            &policy,
            "example.org",
            &[Ipv4Addr::new(10, 1, 2, 3).into()],
            "blocked: example.org:443, whose address 10.1.2.3 is private; allow with \"10.1.2.3\" \
             in sandbox.network_hosts",
        );
        check(
            &policy,
            "example.org",
            &[Ipv4Addr::new(169, 254, 169, 254).into()],
            "blocked: example.org:443, whose address 169.254.169.254 is a cloud's metadata service",
        );
        check(
            &policy,
            "169.254.169.254:80",
            &[],
            "blocked: 169.254.169.254:80, which is a cloud's metadata service",
        );
        check(
            &listed(&["[::1]"]),
            "[::1]:8080",
            &[],
            "blocked: [::1]:8080, a port that is not named; allow with \"[::1]:8080\" in \
             sandbox.network_hosts",
        );
    }

    fn some_host() -> impl Strategy<Value = Host> {
        prop_oneof![
            prop::sample::select(vec![
                "a.example",
                "b.a.example",
                "example",
                "localhost",
                "x.test"
            ])
            .prop_map(|name| Host::Name(name.to_owned())),
            any::<[u8; 4]>().prop_map(|octets| Host::Address(octets.into())),
            any::<[u16; 8]>().prop_map(|words| Host::Address(words.into())),
        ]
    }

    fn some_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u16; 8]>().prop_map(IpAddr::from),
            prop::sample::select(vec![
                IpAddr::from(Ipv4Addr::LOCALHOST),
                IpAddr::from(Ipv6Addr::LOCALHOST),
                IpAddr::from([10, 0, 0, 1]),
                IpAddr::from([192, 168, 7, 1]),
                IpAddr::from([1, 1, 1, 1]),
            ]),
        ]
    }

    proptest! {
        #[test]
        fn who_follows_the_hints_gets_there_and_nowhere_else(
            host in some_host(),
            port in prop_oneof![Just(80u16), Just(443), 1u16..],
            address in some_address(),
        ) {
            let target = Target { host: host.clone(), port };
            let address = if let Host::Address(itself) = host { itself } else { address };
            let mut entries: Vec<Entry> = Vec::new();
            // A host, and perhaps its address.
            for _ in 0..2 {
                match Policy::Listed(entries.clone()).reachable(&target, &[address]) {
                    Ok(_) => break,
                    Err(refusal) => entries.extend(refusal.remedy().map(|text| Entry::parse(&text).unwrap())),
                }
            }
            let metadata = kind(address) == Some(Kind::Metadata);
            let got = Policy::Listed(entries.clone()).reachable(&target, &[address]);
            prop_assert_eq!(got.is_ok(), !metadata, "{:?}", entries);
            let other = Target { host: Host::Name("other.test".to_owned()), port };
            prop_assert!(Policy::Listed(entries).admits(&other).is_err());
        }

        #[test]
        fn what_may_be_connected_to_is_public_or_named(
            host in some_host(),
            port in prop::sample::select(vec![80u16, 443, 8080]),
            addresses in prop::collection::vec(some_address(), 0..6),
        ) {
            let policy = listed(&["*", "*.example:8080", "10.0.0.1", "localhost"]);
            let named = IpAddr::from([10, 0, 0, 1]);
            let local = host == Host::Name("localhost".to_owned());
            for address in policy.reachable(&Target { host, port }, &addresses).unwrap_or_default() {
                let fits = match kind(address) {
                    None => true,
                    Some(Kind::Loopback) => local,
                    Some(_) => address == named && port != 8080,
                };
                prop_assert!(fits, "{address}:{port}");
            }
        }
    }
}
