//! A host and a port, as somebody asks for them.
//!
//! A host is read as a browser reads it: without regard to case, with one final dot or none, and
//! whatever stands for an IPv4 address (`127.1`, `0x7f000001`) is one.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// Longest name of a host, in bytes.
const LONGEST: usize = 253;

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A name, in small letters and without a final dot.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address with or without brackets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse::<Ipv6Addr>() {
            return Some(Self::Address(address.into()));
        }
        // What is encoded has been hidden from somebody.
        if bare.is_some() || text.contains('%') || text.len() > LONGEST + 1 {
            return None;
        }
        match url::Host::parse(text).ok()? {
            url::Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(&name);
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                let whole = name
                    .split('.')
                    .all(|label| (1..=63).contains(&label.len()) && label.bytes().all(plain));
                (whole && name.len() <= LONGEST).then(|| Self::Name(name.to_owned()))
            }
            url::Host::Ipv4(address) => Some(Self::Address(address.into())),
            url::Host::Ipv6(address) => Some(Self::Address(address.into())),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port, never 0.
    pub port: u16,
}

impl Target {
    /// Reads `HOST:PORT`; `HOST` alone only where there is a port for that.
    #[must_use]
    pub fn parse(text: &str, port: Option<u16>) -> Option<Self> {
        let (host, given) = split(text)?;
        let port = given.or(port)?;
        Some(Self { host: Host::parse(host)?, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The host and the port of a text, of which only the latter has been read.
pub(super) fn split(text: &str) -> Option<(&str, Option<u16>)> {
    // Of an address without brackets no part is a port.
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text, None));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse::<u16>().ok().filter(|port| digits && *port > 0)?;
            Some((host, Some(port)))
        }
        _ => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_host_is_read_whatever_it_is_written_like() {
        let check = |text: &str, expected: Option<&str>| {
            let target = Target::parse(text, Some(80));
            assert_eq!(target.map(|target| target.to_string()).as_deref(), expected, "{text}");
        };
        check("example.com", Some("example.com:80"));
        check("EXAMPLE.com.:443", Some("example.com:443"));
        check("bücher.example", Some("xn--bcher-kva.example:80"));
        check("a_b.example", Some("a_b.example:80"));
        check("127.0.0.1:8080", Some("127.0.0.1:8080"));
        for loopback in ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0x7f000001."] {
            check(loopback, Some("127.0.0.1:80"));
        }
        check("[::1]:8080", Some("[::1]:8080"));
        check("::1", Some("[::1]:80"));
        check("[::FFFF:127.0.0.1]", Some("[::ffff:127.0.0.1]:80"));
        for wrong in [
            "",
            ":80",
            ".",
            "a..b",
            ".a",
            "a:0",
            "a:65536",
            "a:+1",
            "a:",
            "a b",
            "a/b",
            "a@b",
            "%31.a",
            "[::1",
            "::1]",
            "[::1%eth0]",
            "[a]",
            "a\r\nb",
            "a\0b",
            "http://a",
            "*.a",
            "256.1.1.1",
            "1.2.3.4.5",
        ] {
            check(wrong, None);
        }
        assert_eq!(Target::parse("example.com", None), None);
        assert_eq!(Host::parse(&format!("{}.a", "x".repeat(64))), None);
        assert_eq!(Host::parse(&"x.".repeat(200)), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(text in "\\PC{0,40}", port in 1u16..) {
            if let Some(target) = Target::parse(&text, Some(port)) {
                let shown = target.to_string();
                prop_assert!(shown.bytes().all(|byte| byte.is_ascii_graphic()), "{shown}");
                prop_assert_eq!(Target::parse(&shown, None), Some(target));
            }
        }
    }
}
