//! What a cell puts out: kept whole, on disk up to a bound, and shown in parts that are bounded.
//!
//! An [`Output`] grows while its cell runs and is read at any time: by the answer to the call, by
//! later answers that show what is new, by resources, by the notebook. It folds progress bars, takes
//! ANSI codes away and chooses one representation of each display. It knows nothing of MCP.

mod ansi;
mod log;
mod media;
mod settings;
mod spool;
mod text;
mod view;
mod whole;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::{Log, What};
pub use settings::Settings;
pub use spool::Spool;
pub use view::{Room, View};
pub use whole::Whole;

use super::event::{Display, Failure};

/// One piece of what an answer shows, in the order in which it came.
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
    pub mime: String,
    /// Base64 without white space.
    pub base64: String,
    /// The number of the display in its cell.
    pub number: u64,
}

/// The totals of a cell's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Bytes of text.
    pub text_bytes: u64,
    /// Images.
    pub images: u64,
    /// Bytes of text that are not kept any more.
    pub dropped_bytes: u64,
    /// Displays of which only the text is kept, because there were too many.
    pub flattened: u64,
}

/// A text without its terminal escapes.
#[must_use]
pub fn without_escapes(text: &str) -> String {
    ansi::Ansi::default().strip(text)
}

/// A cell's output. Shared by who writes it and who reads it.
pub struct Output {
    settings: Settings,
    spool: Arc<Spool>,
    log: Mutex<Log>,
}

impl Output {
    /// Nothing yet.
    #[must_use]
    pub fn new(settings: Settings, spool: Arc<Spool>) -> Self {
        Self { settings, spool, log: Mutex::default() }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds text of a stream; returns it without its escapes.
    pub fn stream(&self, stderr: bool, raw: &str) -> String {
        self.log().stream(stderr, raw, &self.spool)
    }

    /// Adds a display; returns the text that it shows.
    pub fn display(&self, display: Display) -> String {
        self.log().display(display, &self.spool)
    }

    /// Replaces the displays of that id; whether there are any.
    pub fn update(&self, display: &Display) -> bool {
        self.log().update(display, &self.spool)
    }

    /// Adds an exception as its traceback; returns the text.
    pub fn failure(&self, failure: Failure) -> String {
        let what = What::Error(Box::new(failure.clipped()));
        let name = if failure.name.is_empty() { "error" } else { &failure.name };
        let text = match failure.traceback {
            traceback if traceback.is_empty() => format!("{name}: {}", failure.value),
            traceback => traceback,
        };
        self.log().block(text, what, &self.spool)
    }

    /// Adds what the kernel wants shown beside the outputs; returns the text.
    pub fn page(&self, text: &str) -> String {
        self.log().block(text.to_owned(), What::Page, &self.spool)
    }

    /// Withdraws what there is, at once or with the next output.
    pub fn clear(&self, wait: bool) {
        self.log().clear(wait);
    }

    /// Its cell has ended: nothing of it needs to stay in memory.
    pub fn settle(&self) {
        self.log().settle(&self.spool);
    }

    /// Most bytes of one image in an answer.
    #[must_use]
    pub fn max_image_bytes(&self) -> usize {
        self.settings.max_image_bytes
    }

    /// The totals so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        view::totals(&self.log(), &self.spool)
    }

    /// Whether there is something that no answer has shown.
    #[must_use]
    pub fn has_news(&self) -> bool {
        let log = self.log();
        log.end > log.told
    }

    /// What an answer may hold.
    #[must_use]
    pub fn room(&self) -> Room {
        Room { text: self.settings.max_text_bytes, images: self.settings.max_images }
    }

    /// What came since the offset `from`, or since the last time; counts as shown from here on.
    pub fn show(&self, from: Option<u64>) -> View {
        self.show_within(from, self.room())
    }

    /// The same where an answer has no more room than that.
    pub fn show_within(&self, from: Option<u64>, room: Room) -> View {
        let mut log = self.log();
        let from = from.unwrap_or(log.told).min(log.end);
        let view = view::view(&log, from, room, &self.spool);
        log.tell();
        view
    }

    /// Why output is kept in memory only, when the disk failed.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.spool.fault()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::event::Representation, *};

    const SMALL: Settings = Settings {
        max_text_bytes: 1024,
        max_images: 2,
        max_image_bytes: 100,
        max_kept_bytes: 1 << 20,
    };

    fn output() -> Output {
        Output::new(SMALL, Arc::new(Spool::new(std::env::temp_dir(), SMALL.max_kept_bytes)))
    }

    fn display(mime: &str, value: &str, id: Option<&str>) -> Display {
        let one = Representation { mime: mime.into(), value: value.into(), json: false };
        Display { bundle: vec![one], id: id.map(str::to_owned), ..Display::default() }
    }

    fn shown(view: View) -> String {
        let show = |item: Item| match item {
            Item::Text(text) => text,
            Item::Image(image) => format!("<{} {}>", image.mime, image.base64),
        };
        view.items.into_iter().map(show).collect()
    }

    #[test]
    fn keeps_order_and_starts_results_on_their_own_line() {
        let output = output();
        output.stream(false, "a");
        output.display(display("text/plain", "42", None));
        output.display(display("image/png", "iVBORw0KGgoA\n", None));
        output.stream(true, "\u{1b}[31mred\u{1b}[0m");
        assert_eq!(shown(output.show(None)), "a\n42<image/png iVBORw0KGgoA>\nred");
        let totals = output.totals();
        assert_eq!((totals.text_bytes, totals.images), (8, 1));
    }

    #[test]
    fn an_escape_code_cut_between_two_messages_is_still_taken_away() {
        let output = output();
        output.stream(false, "x\u{1b}[3");
        output.stream(false, "1my");
        assert_eq!(shown(output.show(None)), "xy");
    }

    #[test]
    fn images_over_the_limit_are_named() {
        let output = output();
        for _ in 0..3 {
            output.display(display("image/png", "iVBORw0KGgoA", None));
        }
        let view = output.show(None);
        assert_eq!((view.totals.images, view.partly.as_slice()), (3, [3].as_slice()));
        assert!(shown(view).ends_with("\n[output 3: image/png, 9 bytes]"));
    }

    #[test]
    fn updates_replace_in_place_and_are_news() {
        let output = output();
        output.display(display("image/png", "iVBORw0KGgoA", Some("d")));
        output.stream(false, "after\n");
        assert!(output.update(&display("image/png", "iVBORw0KGgoB", Some("d"))));
        assert!(!output.update(&display("image/png", "iVBORw0KGgoB", Some("other"))));
        assert_eq!(shown(output.show(None)), "<image/png iVBORw0KGgoB>\nafter\n");
        output.stream(false, "more\n");
        output.update(&display("text/plain", "new", Some("d")));
        output.stream(false, "end");
        assert_eq!(shown(output.show(None)), "newmore\nend");
        assert_eq!(shown(output.show(Some(0))), "new\nafter\nmore\nend");
    }

    #[test]
    fn a_long_result_can_be_read_in_parts() {
        let output = output();
        output.display(display("text/plain", &"x".repeat(3000), None));
        assert!(output.show(None).omitted > 0);
        assert_eq!(shown(output.show(Some(2000))), "x".repeat(1000));
    }

    #[test]
    fn a_line_that_is_taken_back_is_a_change() {
        let output = output();
        output.stream(false, "10%");
        let before = output.version();
        output.stream(false, "\r20%");
        assert_ne!(output.version(), before);
    }

    #[test]
    fn an_update_of_many_displays_is_kept_once() {
        let output = output();
        for _ in 0..100 {
            output.display(display("text/markdown", "old", Some("d")));
        }
        output.update(&display("text/markdown", &"y".repeat(20_000), Some("d")));
        let totals = output.totals();
        assert_eq!((totals.text_bytes, totals.dropped_bytes), (100 * 20_000 + 99, 0));
    }

    #[test]
    fn clear_withdraws_at_once_or_with_the_next_output() {
        let output = output();
        output.stream(false, "old");
        output.clear(true);
        assert_eq!(shown(output.show(Some(0))), "old");
        output.stream(false, "new");
        assert_eq!(shown(output.show(None)), "new");
        output.clear(false);
        assert_eq!(shown(output.show(Some(0))), "");
        assert!(!output.has_news());
    }

    #[test]
    fn a_million_displays_are_bounded_and_none_is_lost() {
        let output = output();
        for n in 0..5000 {
            output.display(display("text/plain", &n.to_string(), None));
        }
        let view = output.show(None);
        assert_eq!(view.totals.text_bytes, 10 + 90 * 2 + 900 * 3 + 4000 * 4 + 4999);
        assert!(view.totals.flattened > 0);
        assert!(shown(view).ends_with("4998\n4999"));
    }

    proptest! {
        // Each case makes a file.
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn nothing_is_shown_twice_and_nothing_is_lost(
            steps in prop::collection::vec(("[aäß€\n]{0,300}", any::<bool>(), 0u8..4), 0..30),
        ) {
            let output = output();
            let (mut whole, mut read) = (String::new(), String::new());
            for (text, stderr, step) in steps {
                whole.push_str(&text);
                output.stream(stderr, &text);
                if step == 0 {
                    read.push_str(&shown(output.show(None)));
                }
            }
            let rest = output.show(None);
            if rest.omitted == 0 && !read.contains("left out") {
                read.push_str(&shown(rest));
                prop_assert_eq!(read, whole);
            }
        }

        #[test]
        fn with_displays_updates_and_clears_each_word_is_shown_once(
            steps in prop::collection::vec((0u8..8, any::<bool>(), 0u8..3), 0..60),
        ) {
            let output = output();
            let (mut read, mut streamed, mut latest) = (String::new(), Vec::new(), [None; 3]);
            for (n, (step, flag, id)) in steps.into_iter().enumerate() {
                let word = format!("<{n}>");
                let shows = display("text/plain", &word, Some(&id.to_string()));
                let place = &mut latest[id as usize];
                match step {
                    0..3 => {
                        output.stream(flag, &word);
                        streamed.push(n);
                    }
                    3 if place.is_none() => {
                        output.display(shows);
                        *place = Some(n);
                    }
                    4 if output.update(&shows) => *place = Some(n),
                    5 if flag => {
                        output.clear(false);
                        (streamed, latest) = (Vec::new(), [None; 3]);
                    }
                    _ => read.push_str(&shown(output.show(None))),
                }
                let (whole, len) = output.text_range(0, u64::MAX);
                prop_assert_eq!(whole.len() as u64, len);
            }
            read.push_str(&shown(output.show(None)));
            for n in 0..60 {
                let count = read.matches(&format!("<{n}>")).count();
                let stands = streamed.contains(&n) || latest.contains(&Some(n));
                prop_assert!(count == 1 || count == 0 && !stands, "{} {} {}", n, count, read);
            }
        }

        #[test]
        fn text_is_bounded_and_what_is_missing_is_counted(pieces in prop::collection::vec(("[aäß€\n]{0,700}", any::<bool>()), 0..20)) {
            let output = output();
            let mut whole = String::new();
            for (piece, stderr) in &pieces {
                whole.push_str(piece);
                output.stream(*stderr, piece);
            }
            let view = output.show(None);
            prop_assert_eq!(view.totals.text_bytes, whole.len() as u64);
            let omitted = view.omitted as usize;
            let kept = shown(view);
            if whole.len() <= SMALL.max_text_bytes {
                prop_assert_eq!(&kept, &whole);
            } else {
                let (head, rest) = kept.split_once("\n[… ").unwrap();
                let (count, tail) = rest.split_once(" bytes of output left out …]\n").unwrap();
                prop_assert_eq!(count.parse::<usize>().unwrap(), omitted);
                prop_assert_eq!(head.len() + omitted + tail.len(), whole.len());
                prop_assert!(head.len() + tail.len() <= SMALL.max_text_bytes);
                prop_assert!(whole.starts_with(head) && whole.ends_with(tail));
            }
        }
    }
}
