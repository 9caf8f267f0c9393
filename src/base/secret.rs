//! Text that must not appear in logs: its `Debug` shows that it is there, never what it is, and so does
//! what it is written as. As a setting it is read like any text.

use serde::{Deserialize, Serialize, Serializer};

/// What is shown instead.
pub const HIDDEN: &str = "…";

/// A secret text, for example the key that signs a kernel's messages.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself; every caller of this is a place to look at in a review.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_shows_it() {
        let secret = super::Secret::new("hunter2".into());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(serde_json::to_value(&secret).unwrap(), "…");
    }
}
