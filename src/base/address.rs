//! The address of a service with a password in it, which nothing that shows the address shows.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use super::secret::Secret;

/// What is shown of an address that cannot be read: nothing of it.
const HIDDEN: &str = "…";

/// What an address of a Redis must be.
pub const FORM: &str = "must be such as rediss://USER:PASSWORD@HOST:PORT, redis://… or unix:///SOCKET, with %40 for an `@` and so \
     on in a password";

/// An address. What shows it leaves its password out, and its query, which may hold one.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Address(Secret);

impl Address {
    /// An address as the settings have it.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Secret::new(text))
    }

    /// Whether it is one of a Redis.
    #[must_use]
    pub fn is_redis(&self) -> bool {
        let Some(url) = self.url() else { return false };
        match url.scheme() {
            // A fragment switches the check of certificates off.
            "redis" | "rediss" => url.has_host() && url.fragment().is_none(),
            "unix" | "redis+unix" => url.path().len() > 1,
            _ => false,
        }
    }

    /// The whole, with its password; nothing where it is no address.
    #[must_use]
    pub fn url(&self) -> Option<Url> {
        let url = Url::parse(self.0.reveal()).ok()?;
        // Beyond an `@` that is not encoded stands the rest of a password.
        let parts =
            [url.path(), url.query().unwrap_or_default(), url.fragment().unwrap_or_default()];
        (!parts.iter().any(|part| part.contains('@'))).then_some(url)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(mut url) = self.url() else { return f.write_str(HIDDEN) };
        url.set_query(None);
        url.set_fragment(None);
        match url.password().is_none() || url.set_password(None).is_ok() {
            true => f.write_str(url.as_str()),
            false => f.write_str(HIDDEN),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_of_a_redis_is_told() {
        let check = |text: &str, fits: bool| {
            assert_eq!(Address::new(text.to_owned()).is_redis(), fits, "{text}");
        };
        check("redis://db", true);
        check("rediss://admin:x@db:6380", true);
        check("unix:///run/redis.sock", true);
        for other in ["rediss://db/#insecure", "http://db", "redis:", "unix:", "db:6379", ""] {
            check(other, false);
        }
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        let check = |text: &str, expected: &str| {
            let address = Address::new(text.to_owned());
            let shown = (address.to_string(), format!("{address:?}"));
            assert_eq!(shown, (expected.to_owned(), expected.to_owned()));
            assert_eq!(serde_json::to_value(&address).unwrap(), expected);
        };
        check("rediss://admin:hunter2@db:6380/0", "rediss://admin@db:6380/0");
        check("redis://:hunter2@db", "redis://db");
        check("redis://db?password=hunter2", "redis://db");
        check("unix:///run/redis.sock?pass=hunter2", "unix:///run/redis.sock");
        for torn in ["redis://me:1/hunter2@db", "redis://me:1?hunter2@db", "hunter2", ""] {
            check(torn, HIDDEN);
        }
    }
}
