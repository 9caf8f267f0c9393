//! Which `Host` and `Origin` a request may have: what keeps web pages of others away from a server that
//! a browser on this machine can reach.
//!
//! A page that has its own name resolve to this machine (DNS rebinding) sends that name as `Host`. An
//! address cannot be rebound, so addresses pass. Pure: knows no request.

use std::net::IpAddr;

use url::{Host, Url};

use super::settings::Settings;

/// Scheme, host and port of a web page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin that a browser writes so; nothing for `null` and whatever is more or less than one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let (host, port) = (url.host_str()?.to_owned(), url.port_or_known_default()?);
        bare.then(|| Self { scheme: url.scheme().to_owned(), host, port })
    }

    /// Whether it is a page of this machine.
    fn is_local(&self) -> bool {
        is_this_machine(&self.host)
    }
}

/// The `Host` of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    host: String,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(&format!("http://{text}/")).ok()?;
        let bare = url.path() == "/" && url.username().is_empty() && url.password().is_none();
        // A port that is 80 is none to the parser.
        let port = match url.port() {
            None if text.ends_with(":80") => Some(80),
            port => port,
        };
        let host = url.host_str()?.to_owned();
        bare.then_some(Self { host, port })
    }

    fn is_address(&self) -> bool {
        matches!(Host::parse(&self.host), Ok(Host::Ipv4(_) | Host::Ipv6(_)))
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the Host header is missing or cannot be read")]
    NoHost,
    #[error("the server is not reached under this name; its user can add it to `http.hosts`")]
    Host,
    #[error("pages of this origin may not call the server; its user can add it to `http.origins`")]
    Origin,
}

/// What passes, from the settings.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    hosts: Vec<Authority>,
    origins: Vec<Origin>,
    /// Whether only this machine reaches the server.
    local: bool,
    /// Whether names matter: no browser reaches a unix socket.
    names: bool,
}

impl Gate {
    pub(super) fn new(settings: &Settings, local: bool, names: bool) -> Self {
        let hosts = settings.hosts.iter().filter_map(|host| Authority::parse(host)).collect();
        let origins = settings.origins.iter().filter_map(|origin| Origin::parse(origin)).collect();
        Self { hosts, origins, local, names }
    }

    /// Judges a request's `Host` and `Origin`.
    pub(super) fn judge(&self, host: Option<&str>, origin: Option<&str>) -> Result<(), Refused> {
        if self.names {
            let host = host.and_then(Authority::parse).ok_or(Refused::NoHost)?;
            if !self.is_ours(&host) {
                return Err(Refused::Host);
            }
        }
        match origin {
            None => Ok(()),
            Some(origin) if self.may_call(origin, host) => Ok(()),
            Some(_) => Err(Refused::Origin),
        }
    }

    fn is_ours(&self, asked: &Authority) -> bool {
        let known = |host: &Authority| {
            host.host == asked.host && (host.port.is_none() || host.port == asked.port)
        };
        asked.is_address() || asked.host == "localhost" || self.hosts.iter().any(known)
    }

    /// Whether a page of that origin may call, and read what it gets.
    pub(super) fn may_call(&self, origin: &str, host: Option<&str>) -> bool {
        let Some(origin) = Origin::parse(origin) else { return false };
        if self.origins.contains(&origin) || (self.local && origin.is_local()) {
            return true;
        }
        // The server's own page.
        let own = host.and_then(Authority::parse);
        let default = if origin.scheme == "https" { 443 } else { 80 };
        own.is_some_and(|own| own.host == origin.host && own.port.unwrap_or(default) == origin.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(local: bool) -> Gate {
        let settings = Settings {
            hosts: vec!["husk.example.com".to_owned(), "other.example:8443".to_owned()],
            origins: vec!["https://app.example.com".to_owned()],
            ..Settings::default()
        };
        Gate::new(&settings, local, true)
    }

    #[test]
    fn names_of_others_are_refused_and_addresses_pass() {
        let check = |host: Option<&str>, expected: Result<(), Refused>| {
            assert_eq!(gate(true).judge(host, None), expected, "{host:?}");
        };
        for ours in [
            "localhost",
            "LOCALHOST:8931",
            "127.0.0.1:8931",
            "[::1]:8931",
            "192.168.1.7",
            "husk.example.com",
            "Husk.Example.com:9",
            "other.example:8443",
        ] {
            check(Some(ours), Ok(()));
        }
        for other in ["evil.example", "localhost.evil.example", "other.example", "other.example:80"]
        {
            check(Some(other), Err(Refused::Host));
        }
        for none in [None, Some(""), Some("a/b"), Some("user@localhost"), Some("[::1"), Some("a b")]
        {
            check(none, Err(Refused::NoHost));
        }
    }

    #[test]
    fn pages_of_others_are_refused() {
        let check = |local: bool, origin: &str, passes: bool| {
            let judged = gate(local).judge(Some("localhost:8931"), Some(origin));
            assert_eq!(judged.is_ok(), passes, "{local} {origin}");
        };
        check(true, "http://localhost:6274", true);
        check(true, "http://127.0.0.1", true);
        check(true, "http://[::1]:1", true);
        check(false, "http://localhost:6274", false);
        // Its own page.
        check(false, "http://localhost:8931", true);
        for local in [true, false] {
            check(local, "https://app.example.com", true);
            check(local, "https://app.example.com:443", true);
            for other in [
                "https://app.example.com:444",
                "http://app.example.com",
                "https://evil.example",
                "null",
                "",
                "file://",
                "https://app.example.com.evil.example",
                "http://localhost@evil.example",
            ] {
                check(local, other, false);
            }
        }
    }

    #[test]
    fn no_browser_reaches_a_unix_socket_so_its_name_is_free() {
        let gate = Gate::new(&Settings::default(), true, false);
        assert_eq!(gate.judge(None, None), Ok(()));
        assert_eq!(gate.judge(Some("husk"), None), Ok(()));
        assert_eq!(gate.judge(None, Some("https://evil.example")), Err(Refused::Origin));
    }
}
