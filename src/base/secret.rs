//! Text that must not appear in logs: its `Debug` shows that it is there, never what it is.

/// A secret text, for example the key that signs a kernel's messages.
#[derive(Clone, PartialEq, Eq)]
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

#[cfg(test)]
mod tests {
    #[test]
    fn debug_does_not_show_it() {
        assert_eq!(format!("{:?}", super::Secret::new("hunter2".into())), "Secret(…)");
    }
}
