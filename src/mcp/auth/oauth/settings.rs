//! The settings of users who come with tokens of an authorization server.

use serde::{Deserialize, Serialize};
use url::Url;

/// The authorization server whose tokens are taken.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Issuer of the tokens (OAuth 2.1, JWT), such as `https://login.example.com/realms/a`; unset means
    /// that none are taken.
    pub issuer: Option<String>,
    /// Audience that a token must name: the address by which clients know this server, such as
    /// `https://husk.example.com/mcp`.
    pub audience: Option<String>,
    /// Where the issuer's keys (JWKS) are; unset means where its metadata says.
    pub jwks: Option<String>,
}

impl Settings {
    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("oauth.issuer", &self.issuer),
            ("oauth.audience", &self.audience),
            ("oauth.jwks", &self.jwks),
        ];
        let wrong = |(field, value): (&'static str, &Option<String>)| {
            let value = value.as_ref()?;
            let fits = Url::parse(value).is_ok_and(|url| is_safe(&url));
            let told =
                format!("must be an https address (http on this machine only), not {value:?}");
            (!fits).then_some((field, told))
        };
        all.into_iter().filter_map(wrong).collect()
    }
}

/// Whether nobody on the way can change what comes from there.
pub(super) fn is_safe(url: &Url) -> bool {
    let local = || match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.has_host() && (url.scheme() == "https" || (url.scheme() == "http" && local()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_others_could_answer_for_are_refused() {
        let check = |issuer: &str, fits: bool| {
            let settings = Settings { issuer: Some(issuer.to_owned()), ..Settings::default() };
            assert_eq!(settings.faults().is_empty(), fits, "{issuer}");
        };
        check("https://login.example.com/realms/a", true);
        check("http://127.0.0.1:9000", true);
        check("http://localhost:9000/x", true);
        check("http://login.example.com", false);
        check("http://localhost.evil.example", false);
        check("file:///etc/passwd", false);
        check("login.example.com", false);
        check("", false);
    }
}
