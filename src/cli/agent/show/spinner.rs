//! The line at the bottom while something takes its time: what it is, for how long, and its last words.

use std::io::Write;

use tokio::time::Instant;

use super::markdown::plain;

/// What turns, one sign after the other.
const SIGNS: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// The most of the last words that is shown, in characters.
const LONGEST: usize = 60;

/// The line.
#[derive(Debug)]
pub(super) struct Spinner {
    /// Whether there is a terminal for it.
    on: bool,
    what: Option<(String, Instant)>,
    words: String,
    turn: usize,
    drawn: bool,
}

impl Spinner {
    pub(super) fn new(on: bool) -> Self {
        Self { on, what: None, words: String::new(), turn: 0, drawn: false }
    }

    /// Something begins.
    pub(super) fn begin(&mut self, what: &str) {
        self.words.clear();
        self.what = Some((plain(what), Instant::now()));
    }

    /// It tells how far it is.
    pub(super) fn says(&mut self, words: &str) {
        let line = words.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        self.words = plain(line).chars().take(LONGEST).collect();
    }

    /// It is over.
    pub(super) fn end(&mut self) {
        self.clear();
        self.what = None;
    }

    /// Draws the line anew.
    pub(super) fn turn(&mut self, now: Instant) {
        let Some(line) = self.line(now).filter(|_| self.on) else { return };
        self.turn += 1;
        self.drawn = true;
        write(&format!("\r\u{1b}[2K\u{1b}[2m{line}\u{1b}[0m"));
    }

    /// Takes the line away, so that something else can be written.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            write("\r\u{1b}[2K");
        }
    }

    fn line(&self, now: Instant) -> Option<String> {
        let (what, since) = self.what.as_ref()?;
        let sign = SIGNS.get(self.turn % SIGNS.len()).copied().unwrap_or_default();
        let seconds = now.saturating_duration_since(*since).as_secs();
        let time = match (seconds / 60, seconds % 60) {
            (0, seconds) => format!("{seconds} s"),
            (minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        };
        let words = if self.words.is_empty() { String::new() } else { format!("  {}", self.words) };
        Some(format!("{sign} {what} {time}{words}"))
    }
}

/// A terminal that has gone shows nothing.
fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_line_tells_what_for_how_long_and_the_last_words() {
        let mut spinner = Spinner::new(false);
        assert_eq!(spinner.line(Instant::now()), None);
        spinner.begin("run");
        spinner.says("epoch 1\nepoch 2\u{1b}[K\n\n");
        let later = Instant::now() + Duration::from_secs(65);
        assert_eq!(spinner.line(later).unwrap(), "⠋ run 1 min 05 s  epoch 2[K");
        spinner.begin("next");
        assert_eq!(spinner.line(Instant::now()).unwrap(), "⠋ next 0 s");
        spinner.end();
        assert_eq!(spinner.line(later), None);
    }
}
