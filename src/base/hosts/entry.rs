//! What a setting names: a host, all hosts below a name, or an address, with or without a port.

use super::target::{Host, Target, split};

/// The ports of an entry that names none: HTTP and HTTPS.
const WEB: [u16; 2] = [80, 443];

/// One of the hosts that may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pattern: Pattern,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// `*`: every name but this machine's own.
    Everything,
    /// `*.example.com`: every name that ends in this, which begins with a dot.
    Below(String),
    /// That host.
    This(Host),
}

/// A text that names no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must hold hosts such as \"example.com\", \"*.example.com\", \"example.com:8443\" or \
     \"10.1.2.3\", not {0:?}"
)]
pub struct BadEntry(pub String);

impl Entry {
    /// Reads `HOST`, `*.NAME` or `*`, and `:PORT` behind it.
    ///
    /// # Errors
    /// [`BadEntry`].
    pub fn parse(text: &str) -> Result<Self, BadEntry> {
        let read = || {
            let (host, port) = split(text)?;
            let pattern = match host.strip_prefix("*.") {
                Some(below) => match Host::parse(below)? {
                    Host::Name(name) => Pattern::Below(format!(".{name}")),
                    Host::Address(_) => return None,
                },
                None if host == "*" => Pattern::Everything,
                None => Pattern::This(Host::parse(host)?),
            };
            Some(Self { pattern, port })
        };
        read().ok_or_else(|| BadEntry(text.to_owned()))
    }

    /// The text that names that target and nothing else but, for the web, its other port.
    pub(super) fn of(target: &Target) -> String {
        if WEB.contains(&target.port) {
            return target.host.to_string();
        }
        target.to_string()
    }

    /// Whether it names that host, with whatever port.
    pub(super) fn names(&self, host: &Host) -> bool {
        match (&self.pattern, host) {
            (Pattern::This(this), host) => this == host,
            (Pattern::Below(end), Host::Name(name)) => name.ends_with(end),
            (Pattern::Everything, Host::Name(name)) => {
                name != "localhost" && !name.ends_with(".localhost")
            }
            (_, Host::Address(_)) => false,
        }
    }

    /// Whether it names that host with that port.
    pub(super) fn opens(&self, target: &Target) -> bool {
        let port = match self.port {
            Some(port) => port == target.port,
            None => WEB.contains(&target.port),
        };
        port && self.names(&target.host)
    }

    /// Whether it names that very host, whatever the port: no pattern counts.
    #[must_use]
    pub fn is(&self, host: &Host) -> bool {
        self.pattern == Pattern::This(host.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_host_is_refused() {
        for wrong in [
            "",
            "*.",
            "**.a",
            "a.*",
            "*a",
            "*.*.a",
            "*.1.2.3.4",
            "*.0.1",
            "https://a",
            "a/b",
            "a:0",
            "a:b",
            "a b",
            "10.0.0.0/8",
            "user@a",
            "[::1",
            ".a",
        ] {
            assert_eq!(Entry::parse(wrong), Err(BadEntry(wrong.to_owned())), "{wrong}");
        }
        for right in
            ["*", "*:8080", "*.a", "*.a.b:1", "A", "a.", "::1", "[::1]", "[::1]:2", "bücher.de"]
        {
            assert!(Entry::parse(right).is_ok(), "{right}");
        }
    }
}
