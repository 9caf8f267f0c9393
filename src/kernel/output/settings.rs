//! How much output an answer holds and how much is kept: the settings, and what they may be. Bounds
//! nothing itself.

/// How much of a cell's output an answer holds, and how much of it is kept.
#[derive(
    Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Most text of one answer in bytes; of more, the beginning and the end are shown.
    pub max_text_bytes: usize,
    /// Most images of one answer.
    pub max_images: usize,
    /// Most bytes of one image in an answer (before base64); larger ones are scaled down.
    pub max_image_bytes: usize,
    /// Most bytes of output kept on disk for each session; then the oldest goes.
    pub max_kept_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_text_bytes: 8 * 1024,
            max_images: 10,
            max_image_bytes: 1 << 20,
            max_kept_bytes: 256 << 20,
        }
    }
}

impl Settings {
    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let check = |field, value: u64, low: u64, high: u64| {
            (!(low..=high).contains(&value))
                .then(|| (field, format!("must be {low} to {high}, not {value}")))
        };
        [
            check("max_text_bytes", self.max_text_bytes as u64, 1024, 1 << 20),
            check("max_images", self.max_images as u64, 0, 200),
            check("max_image_bytes", self.max_image_bytes as u64, 16 << 10, 16 << 20),
            check("max_kept_bytes", self.max_kept_bytes, 1 << 20, 64 << 30),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
