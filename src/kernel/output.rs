//! What a cell put out, bounded: the beginning and the end of its text, and its images, in order.
//!
//! However much a cell prints, an [`Output`] holds at most the settings' text and images; what is
//! left out is counted. It chooses one representation of each output (image, else markdown, else
//! plain text) and takes ANSI codes away. It knows nothing of MCP.

use super::{
    ansi::Ansi,
    ends::Ends,
    event::{Bundle, Failure},
    media::Shown,
};

/// How much of a cell's output an answer holds.
#[derive(
    Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Most text of one answer in bytes; of more, the beginning and the end are kept.
    pub max_text_bytes: usize,
    /// Most images of one answer.
    pub max_images: usize,
    /// Most bytes of all images of one answer together (before base64).
    pub max_image_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_text_bytes: 32 * 1024, max_images: 40, max_image_bytes: 16 << 20 }
    }
}

impl Settings {
    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let check = |field, value: usize, low: usize, high: usize| {
            (!(low..=high).contains(&value))
                .then(|| (field, format!("must be {low} to {high}, not {value}")))
        };
        [
            check("max_text_bytes", self.max_text_bytes, 1024, 1 << 20),
            check("max_images", self.max_images, 0, 200),
            check("max_image_bytes", self.max_image_bytes, 0, 64 << 20),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// One piece of output, in the order in which it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Text of streams, results and errors, ANSI codes taken away.
    Text(String),
    /// An image.
    Image(Image),
}

/// An image as the kernel sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `image/png` or `image/jpeg`.
    pub mime: &'static str,
    /// Base64 without white space.
    pub base64: String,
    /// `display_id` of the output that it is.
    pub id: Option<String>,
}

/// The totals of a cell's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Bytes of text, kept or not.
    pub text_bytes: u64,
    /// Images, kept or not.
    pub images: u64,
    /// Whether anything was left out.
    pub truncated: bool,
}

/// A cell's output while it grows.
pub struct Output {
    settings: Settings,
    ends: Ends,
    images: usize,
    image_bytes: usize,
    totals: Totals,
    clear_next: bool,
    /// A block stands at the end without its newline: whatever follows begins a new line.
    block_open: bool,
    ansi: Ansi,
}

impl Output {
    /// Nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            ends: Ends::new(settings.max_text_bytes),
            images: 0,
            image_bytes: 0,
            totals: Totals::default(),
            clear_next: false,
            block_open: false,
            ansi: Ansi::default(),
        }
    }

    /// Adds text of a stream; returns it as it was added.
    pub fn text(&mut self, raw: &str) -> String {
        self.begin();
        let mut text = self.ansi.strip(raw);
        // `!command` runs on a terminal, which ends its lines so.
        if text.contains("\r\n") {
            text = text.replace("\r\n", "\n");
        }
        if !text.is_empty() && std::mem::take(&mut self.block_open) {
            text.insert(0, '\n');
        }
        self.totals.text_bytes += text.len() as u64;
        self.ends.push_text(&text);
        text
    }

    /// Adds an output in its best representation; returns its text, if it is one.
    pub fn display(&mut self, bundle: Bundle, id: Option<String>, update: bool) -> String {
        let shown = Shown::choose(bundle);
        if update && self.replace(id.as_deref(), &shown) {
            return String::new();
        }
        match shown {
            Shown::Image { mime, base64 } => {
                self.begin();
                self.image(Image { mime, base64, id });
                String::new()
            }
            Shown::Text(text) => self.block(&text),
            Shown::Nothing => String::new(),
        }
    }

    /// Adds an exception as its traceback; returns the text.
    pub fn failure(&mut self, failure: &Failure) -> String {
        if failure.traceback.is_empty() {
            let name = if failure.name.is_empty() { "error" } else { &failure.name };
            return self.block(&format!("{name}: {}", failure.value));
        }
        self.block(&failure.traceback)
    }

    /// Withdraws what there is, at once or with the next output.
    pub fn clear(&mut self, wait: bool) {
        if wait {
            self.clear_next = true;
            return;
        }
        *self = Self::new(self.settings);
    }

    /// Text that stands on lines of its own.
    fn block(&mut self, text: &str) -> String {
        let open = match self.ends.last() {
            Some(Item::Text(text)) => !text.ends_with('\n') && !self.block_open,
            _ => false,
        };
        let start = if open { "\n" } else { "" };
        let text = text.strip_suffix('\n').unwrap_or(text);
        let added = self.text(&format!("{start}{text}"));
        self.block_open = true;
        added
    }

    fn begin(&mut self) {
        if std::mem::take(&mut self.clear_next) {
            self.clear(false);
        }
    }

    fn image(&mut self, image: Image) {
        self.totals.images += 1;
        let bytes = image.base64.len() / 4 * 3;
        if self.images >= self.settings.max_images
            || self.image_bytes + bytes > self.settings.max_image_bytes
        {
            self.totals.truncated = true;
            let note =
                format!("[{} of {bytes} bytes left out: the answer's limit of images]", image.mime);
            self.block(&note);
            return;
        }
        self.images += 1;
        self.image_bytes += bytes;
        self.ends.push_image(image);
    }

    /// Replaces the image of that `display_id`; an update of anything else is shown as new.
    fn replace(&mut self, id: Option<&str>, shown: &Shown) -> bool {
        let (Some(id), Shown::Image { mime, base64 }) = (id, shown) else { return false };
        let Some(image) = self.ends.image_mut(id) else { return false };
        let (old, new) = (image.base64.len() / 4 * 3, base64.len() / 4 * 3);
        if self.image_bytes - old + new > self.settings.max_image_bytes {
            return false;
        }
        self.image_bytes = self.image_bytes - old + new;
        image.mime = mime;
        image.base64.clone_from(base64);
        true
    }

    /// The totals so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals { truncated: self.totals.truncated || self.ends.omitted() > 0, ..self.totals }
    }

    /// The pieces that were kept, with a line that says how much is missing between them.
    #[must_use]
    pub fn items(&self) -> Vec<Item> {
        self.ends.items()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const SMALL: Settings = Settings { max_text_bytes: 1024, max_images: 2, max_image_bytes: 100 };

    fn bundle(value: Value) -> Bundle {
        Bundle(value.as_object().unwrap().clone())
    }

    fn shown(output: &Output) -> String {
        let show = |item: Item| match item {
            Item::Text(text) => text,
            Item::Image(image) => format!("<{} {}>", image.mime, image.base64),
        };
        output.items().into_iter().map(show).collect()
    }

    #[test]
    fn keeps_order_and_starts_results_on_their_own_line() {
        let mut output = Output::new(SMALL);
        output.text("a");
        output.display(bundle(json!({"text/plain": "42"})), None, false);
        output.display(
            bundle(json!({"image/png": "QUJD\n", "text/plain": "<Figure>"})),
            None,
            false,
        );
        output.text("\u{1b}[31mred\u{1b}[0m");
        assert_eq!(shown(&output), "a\n42<image/png QUJD>\nred");
        assert_eq!(output.totals(), Totals { text_bytes: 8, images: 1, truncated: false });
    }

    #[test]
    fn an_escape_code_cut_between_two_messages_is_still_taken_away() {
        let mut output = Output::new(SMALL);
        output.text("x\u{1b}[3");
        output.text("1my");
        assert_eq!(shown(&output), "xy");
    }

    #[test]
    fn an_image_that_is_not_base64_is_shown_as_text() {
        let mut output = Output::new(SMALL);
        output.display(bundle(json!({"image/png": "%%%", "text/plain": "<Figure>"})), None, false);
        output.display(bundle(json!({"image/png": 7})), None, false);
        output.display(bundle(json!({"text/html": "<b>"})), None, false);
        assert_eq!(shown(&output), "<Figure>\n[output without text: text/html]");
    }

    #[test]
    fn images_over_the_limit_are_counted_and_named() {
        let mut output = Output::new(SMALL);
        for _ in 0..3 {
            output.display(bundle(json!({"image/png": "QUJD"})), None, false);
        }
        assert_eq!(output.totals(), Totals { text_bytes: 61, images: 3, truncated: true });
        assert!(
            shown(&output)
                .ends_with("[image/png of 3 bytes left out: the answer's limit of images]")
        );
    }

    #[test]
    fn updates_replace_and_clear_withdraws() {
        let mut output = Output::new(SMALL);
        output.display(bundle(json!({"image/png": "QUJD"})), Some("d".into()), false);
        output.display(bundle(json!({"image/png": "REVG"})), Some("d".into()), true);
        assert_eq!(shown(&output), "<image/png REVG>");
        output.clear(true);
        assert_eq!(shown(&output), "<image/png REVG>");
        output.text("new");
        assert_eq!(shown(&output), "new");
        output.clear(false);
        assert_eq!(shown(&output), "");
    }

    proptest! {
        #[test]
        fn text_is_bounded_and_what_is_missing_is_counted(pieces in prop::collection::vec("[aäß€\n]{0,700}", 0..20)) {
            let whole = pieces.concat();
            let mut output = Output::new(SMALL);
            for piece in &pieces {
                output.text(piece);
            }
            let kept = shown(&output);
            prop_assert_eq!(output.totals().text_bytes, whole.len() as u64);
            if whole.len() <= SMALL.max_text_bytes / 2 {
                prop_assert_eq!(&kept, &whole);
            }
            match kept.split_once("\n[… ") {
                None => prop_assert_eq!(&kept, &whole),
                Some((head, rest)) => {
                    let (count, tail) = rest.split_once(" bytes of output left out …]\n").unwrap();
                    let missing: usize = count.parse().unwrap();
                    prop_assert_eq!(head.len() + missing + tail.len(), whole.len());
                    prop_assert!(head.len() + tail.len() <= SMALL.max_text_bytes);
                    prop_assert!(whole.starts_with(head) && whole.ends_with(tail));
                }
            }
        }
    }
}
