//! Where the store is, and how it is waited for.

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::StoreError;
use crate::base::secret::Secret;

/// What is shown of an address that cannot be read: nothing of it.
const HIDDEN: &str = "postgres://…";
/// What a query of such an address may say.
const PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];
/// Seconds that a call may wait for the store.
const TIMEOUTS: std::ops::RangeInclusive<f64> = 0.1..=600.0;
const CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=1000;

/// Where what outlives a server is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// PostgreSQL database that all servers share which serve the same sessions, such as
    /// `postgres://husk@db.example.com/husk?sslmode=verify-full`; needs a husk with the feature
    /// `postgres`. Unset means `husk.sqlite` in the data folder, for the servers of one machine.
    #[schemars(with = "Option<String>")]
    pub url: Option<Url>,
    /// Seconds that a call waits for the store.
    pub timeout: f64,
    /// Most connections to `url`; one more hears of changes.
    pub connections: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { url: None, timeout: 5.0, connections: 4 }
    }
}

impl Settings {
    /// How long a call waits for the store.
    pub(super) fn patience(&self) -> Duration {
        Duration::try_from_secs_f64(self.timeout).unwrap_or(Duration::MAX)
    }

    /// Whether this husk can speak to the database that is named.
    ///
    /// # Errors
    /// [`StoreError::NotBuilt`].
    pub fn can_be_used(&self) -> Result<(), StoreError> {
        let named = self.url.as_ref().filter(|_| cfg!(not(feature = "postgres")));
        named.map_or(Ok(()), |url| Err(StoreError::NotBuilt { database: url.to_string() }))
    }

    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if let Some(wrong) = self.url.as_ref().and_then(Url::fault) {
            faults.push(("url", wrong));
        }
        if !TIMEOUTS.contains(&self.timeout) {
            let (least, most) = (TIMEOUTS.start(), TIMEOUTS.end());
            faults.push((
                "timeout",
                format!("must be {least} to {most} seconds, not {}", self.timeout),
            ));
        }
        if !CONNECTIONS.contains(&self.connections) {
            let (least, most) = (CONNECTIONS.start(), CONNECTIONS.end());
            faults.push((
                "connections",
                format!("must be {least} to {most}, not {}", self.connections),
            ));
        }
        faults
    }
}

/// Where a PostgreSQL database is. What shows it leaves its password out.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Url(Secret);

impl Url {
    /// An address as the settings have it.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Secret::new(text))
    }

    /// The whole, with its password.
    #[cfg(feature = "postgres")]
    pub(super) fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// What the address says under that name.
    #[cfg(feature = "postgres")]
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let url = url::Url::parse(self.reveal()).ok()?;
        let told = url.query_pairs().filter(|(key, _)| key == name);
        told.last().map(|(_, value)| value.into_owned())
    }

    /// A text that may be such an address, as it may be shown.
    #[must_use]
    pub fn shown(text: &str) -> String {
        let Ok(mut url) = url::Url::parse(text) else { return HIDDEN.to_owned() };
        // Beyond an `@` that is not encoded stands the rest of a password.
        let torn =
            [url.path(), url.query().unwrap_or_default(), url.fragment().unwrap_or_default()]
                .iter()
                .any(|part| part.contains('@'));
        if torn || !is_postgres(&url) || url.set_password(None).is_err() {
            return HIDDEN.to_owned();
        }
        let shown: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(key, _)| key != "password" && is_parameter(key))
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect();
        url.set_fragment(None);
        url.set_query(None);
        if !shown.is_empty() {
            url.query_pairs_mut().extend_pairs(shown);
        }
        url.to_string()
    }

    fn fault(&self) -> Option<String> {
        let text = self.0.reveal();
        let url = url::Url::parse(text).ok().filter(|_| Self::shown(text) != HIDDEN);
        let Some(url) = url else {
            return Some(
                "must be such as postgres://USER:PASSWORD@HOST/DATABASE, with %40 for an `@` and so on \
                 in a password"
                    .to_owned(),
            );
        };
        if let Some((key, _)) = url.query_pairs().find(|(key, _)| !is_parameter(key)) {
            return Some(format!("knows no `{key}`; known: {}", PARAMETERS.join(", ")));
        }
        #[cfg(feature = "postgres")]
        return super::postgres::address::fault(self);
        #[cfg(not(feature = "postgres"))]
        None
    }
}

fn is_postgres(url: &url::Url) -> bool {
    matches!(url.scheme(), "postgres" | "postgresql")
}

fn is_parameter(key: &str) -> bool {
    PARAMETERS.contains(&key) || (key.starts_with("options[") && key.ends_with(']'))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Self::shown(self.0.reveal()))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Url {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Url::shown(text), expected);
            let url = Url::new(text.to_owned());
            assert_eq!((url.to_string(), format!("{url:?}")), (expected.into(), expected.into()));
            assert_eq!(serde_json::to_value(&url).unwrap(), expected);
        };
        check("postgres://me:hunter2@db/husk", "postgres://me@db/husk");
        check(
            "postgres://db:5433/husk?user=me&password=hunter2",
            "postgres://db:5433/husk?user=me",
        );
        check("postgres://me:x@db/h?sslmode=require", "postgres://me@db/h?sslmode=require");
        check("postgres://me:x@db/h?pasword=hunter2", "postgres://me@db/h");
        for torn in ["postgres://me:1/hunter2@db/h", "postgres://me:1?hunter2@db/h", "hunter2", ""]
        {
            check(torn, HIDDEN);
        }
        check("postgres://me:1#hunter2@db/h", HIDDEN);
    }

    #[test]
    fn what_is_no_address_is_told_without_showing_it() {
        let check = |text: &str, expected: &str| {
            let told = Url::new(text.to_owned()).fault().unwrap_or_default();
            assert!(told.contains(expected) && !told.contains("hunter2"), "{text}: {told}");
        };
        check("mysql://me:hunter2@db/husk", "postgres://");
        for torn in ["hunter2", "postgres://me:1?hunter2@db/h", "postgres://me:hunter2"] {
            check(torn, "%40");
        }
        check("postgres://me:hunter2@db/husk?sslmod=require", "`sslmod`");
        assert_eq!(Url::new("postgres://me:hunter2@db/husk".into()).fault(), None);
        #[cfg(feature = "postgres")]
        check("postgres://me:hunter2@db/husk?sslmode=always", "ssl_mode");
    }
}
