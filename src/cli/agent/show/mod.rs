//! What a terminal sees of a run: the answer as it is written, each call with what came of it, plots,
//! and a line that turns while something takes its time.
//!
//! Where standard output is no terminal, only the last answer goes there: what was shown could not be
//! taken back. What happens on the way is told on standard error in either case.

mod markdown;
mod pictures;
mod spinner;

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, interval_at};
use unicode_width::UnicodeWidthStr;

use super::{flags::Flags, user::Asking};
use crate::agent::event::{Ended, Event, Now, Status, ToolResult, Usage, Why};

use markdown::Markdown;
pub(super) use markdown::plain;
use pictures::Pictures;
use spinner::Spinner;

/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(120);

/// Lines of a call's arguments and of its result that are shown.
const LINES: usize = 16;

/// A run as it is shown.
pub(super) struct Show {
    /// Whether standard output is a terminal.
    live: bool,
    markdown: Markdown,
    pictures: Pictures,
    spinner: Spinner,
    asking: Asking,
    /// Rows of the answer that is being written.
    rows: usize,
}

impl Show {
    pub(super) fn new(flags: &Flags, asking: Asking) -> Self {
        let live = std::io::stdout().is_terminal();
        Self {
            live,
            markdown: Markdown::default(),
            pictures: Pictures::new(live, flags.plots.clone()),
            spinner: Spinner::new(live && std::io::stderr().is_terminal()),
            asking,
            rows: 0,
        }
    }

    /// The next event; the spinner turns until it comes.
    pub(super) async fn next(
        &mut self,
        events: &mut (impl Stream<Item = Event> + Unpin),
    ) -> Option<Event> {
        let mut turns = interval_at(Instant::now() + TURN, TURN);
        loop {
            tokio::select! {
                biased;
                event = events.next() => {
                    self.spinner.clear();
                    return event;
                }
                _ = turns.tick() => {
                    if !self.asking.is_on() {
                        self.spinner.turn(Instant::now());
                    }
                }
            }
        }
    }

    /// Shows an event.
    ///
    /// # Errors
    /// When a plot cannot be saved.
    pub(super) fn event(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Init(_) => self.spinner.begin("thinking"),
            Event::TextDelta { text } => {
                if self.live {
                    let shown = self.markdown.feed(text);
                    self.answer(&shown);
                }
            }
            Event::Reset { reason } => self.reset(reason),
            Event::ToolUse { name, input, .. } => {
                self.end_answer();
                self.call(name, input);
            }
            Event::ToolResult(result) => self.result(result)?,
            Event::Status(status) => self.status(status),
            Event::Usage(usage) => {
                self.end_answer();
                self.usage(usage);
            }
            Event::Result(ended) => self.ended(ended),
            Event::Error { message } => {
                self.end_answer();
                self.spinner.end();
                tell(&format!("husk: {}\n", plain(message)));
            }
        }
        Ok(())
    }

    /// Shows words of the answer, and counts their rows, so that they can be taken back.
    fn answer(&mut self, shown: &str) {
        self.rows += rows(shown, columns());
        print(shown);
    }

    fn end_answer(&mut self) {
        if self.live {
            let rest = self.markdown.finish();
            print(&rest);
        }
        self.rows = 0;
    }

    /// Takes back what was shown of the answer.
    fn reset(&mut self, reason: &str) {
        self.markdown = Markdown::default();
        let rows = std::mem::take(&mut self.rows);
        if !self.live || rows == 0 {
            return;
        }
        if rows < height() {
            print(&format!("\u{1b}[{rows}A\u{1b}[0J"));
        } else {
            print("\n[what stands above does not count: the answer begins anew]\n");
        }
        tell(&dim(&format!("[the answer begins anew: {}]", plain(reason))));
    }

    fn call(&mut self, name: &str, input: &serde_json::Value) {
        let code = input.get("code").and_then(serde_json::Value::as_str);
        let about = code.map_or_else(|| input.to_string(), str::to_owned);
        let told = format!("▸ {}\n{}", plain(name), indented(&plain(&about)));
        tell(&dim(&told));
        self.spinner.begin(name);
    }

    fn result(&mut self, result: &ToolResult) -> Result<(), String> {
        self.spinner.end();
        let text = indented(&plain(&result.text));
        let mark = if result.is_error { "✗ " } else { "" };
        let time = match result.duration_ms {
            0..1000 => String::new(),
            #[expect(clippy::cast_precision_loss, reason = "seconds with one digit")]
            ms => format!("({:.1} s)", ms as f64 / 1000.0),
        };
        let head = format!("{mark}{time}");
        let head = if head.is_empty() { head } else { format!("  {head}\n") };
        tell(&dim(&format!("{head}{text}")));
        for image in &result.images {
            let shown = self.pictures.show(image)?;
            if self.live { print(&shown) } else { tell(&shown) }
        }
        self.spinner.begin("thinking");
        Ok(())
    }

    fn status(&mut self, status: &Status) {
        match status.now {
            Now::Progress => self.spinner.says(&status.message),
            now => {
                let word = serde_json::to_value(now).unwrap_or_default();
                let word = word.as_str().unwrap_or_default();
                let about = status.about.as_deref().map(|it| format!(" {it}")).unwrap_or_default();
                tell(&dim(&format!("[{word}{about}: {}]", plain(&status.message))));
            }
        }
    }

    /// What an answer took, and how much of it came from the provider's cache.
    fn usage(&mut self, usage: &Usage) {
        if self.live {
            tell(&dim(&told(usage)));
        }
    }

    fn ended(&mut self, ended: &Ended) {
        self.end_answer();
        self.spinner.end();
        if !self.live && !ended.text.is_empty() {
            print(&format!("{}\n", ended.text.trim_end()));
        }
        let what = match ended.why {
            Why::EndTurn => return,
            Why::MaxTokens => {
                "the answer was cut off: it was as long as one may be (--answer-tokens)"
            }
            Why::Refusal => "the model declined to answer",
            Why::Limit => "a limit was reached",
            Why::Cancelled => "stopped",
        };
        let message = ended.message.as_deref().map(|it| format!(": {it}")).unwrap_or_default();
        tell(&format!("husk: {what}{message}\n"));
    }
}

/// What an answer took, in a line.
fn told(usage: &Usage) -> String {
    let this = usage.this;
    let read = this.input_tokens + this.cache_read_tokens + this.cache_write_tokens;
    let cost = usage.total.cost_usd.map(|usd| format!(", ${usd:.4} so far")).unwrap_or_default();
    let kept = if usage.kept { ", kept from before" } else { "" };
    format!(
        "[{}: {read} tokens read, {:.0} % of them from the cache, {} written{kept}{cost}]",
        usage.model,
        usage.cache_share * 100.0,
        this.output_tokens
    )
}

/// Rows that a text takes.
fn rows(text: &str, columns: usize) -> usize {
    let row = |line: &str| {
        let words = without_styles(line);
        words.width().div_ceil(columns).max(1)
    };
    text.lines().map(row).sum()
}

/// A line without the styles that husk gave it.
fn without_styles(line: &str) -> String {
    let mut words = String::new();
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once("\u{1b}[") {
        words += before;
        rest = behind.split_once('m').map_or("", |(_, after)| after);
    }
    words + rest
}

fn columns() -> usize {
    terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0).max(1))
}

fn height() -> usize {
    terminal_size::terminal_size().map_or(24, |(_, height)| usize::from(height.0))
}

/// The first lines of a text, set in.
fn indented(text: &str) -> String {
    let mut shown: Vec<String> = text.lines().take(LINES).map(|line| format!("  {line}")).collect();
    let left = text.lines().count().saturating_sub(LINES);
    if left > 0 {
        shown.push(format!("  … {left} lines more"));
    }
    shown.join("\n")
}

fn dim(text: &str) -> String {
    if std::io::stderr().is_terminal() {
        format!("\u{1b}[2m{text}\u{1b}[0m\n")
    } else {
        format!("{text}\n")
    }
}

/// Writes to standard output. A reader that has gone (`| head`) is no error of the run's.
pub(super) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

pub(super) fn tell(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_as_the_terminal_wraps_them() {
        assert_eq!(rows("", 10), 0);
        assert_eq!(rows("a\n\nb\n", 10), 3);
        assert_eq!(rows("\u{1b}[1m0123456789\u{1b}[0m\n", 10), 1);
        assert_eq!(rows("0123456789a\n", 10), 2);
        assert_eq!(rows("漢字漢字漢字\n", 10), 2);
    }

    #[test]
    fn of_long_texts_the_first_lines_are_shown() {
        let text = "x\n".repeat(20);
        assert!(indented(&text).ends_with("  … 4 lines more"));
    }
}
