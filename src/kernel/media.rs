//! Which representation of an output is shown: an image, else markdown, else plain text.

use serde_json::Value;

use super::event::{self, Bundle};

/// The representation that is shown.
pub(super) enum Shown {
    Image { mime: &'static str, base64: String },
    Text(String),
    Nothing,
}

impl Shown {
    /// Chooses one of an output's representations.
    pub(super) fn choose(Bundle(mut data): Bundle) -> Self {
        for mime in ["image/png", "image/jpeg"] {
            if let Some(Value::String(base64)) = data.remove(mime)
                && let Some(base64) = clean(base64)
            {
                return Self::Image { mime, base64 };
            }
        }
        for mime in ["text/markdown", "text/plain"] {
            if let Some(value) = data.remove(mime) {
                return Self::Text(event::text(Some(value)));
            }
        }
        match data.keys().next() {
            Some(_) => {
                let kinds: Vec<&str> = data.keys().map(String::as_str).collect();
                Self::Text(format!("[output without text: {}]", kinds.join(", ")))
            }
            None => Self::Nothing,
        }
    }
}

/// Base64 without its line breaks, or nothing where it is not base64: a host would choke on it.
fn clean(mut text: String) -> Option<String> {
    use base64::Engine;
    text.retain(|c| !c.is_ascii_whitespace());
    let valid =
        base64::engine::general_purpose::STANDARD.decode(&text).is_ok_and(|raw| !raw.is_empty());
    valid.then_some(text)
}
