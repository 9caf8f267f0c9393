//! Markdown in a terminal, line by line as it comes.
//!
//! Blocks (headings, lists, quotes, fences, tables) are told by their lines, so that nothing waits for
//! the end of a list; what stands inside of a line is taken apart as CommonMark. What a model writes is
//! untrusted: no control character reaches the terminal.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use unicode_width::UnicodeWidthStr;

#[cfg(test)]
const ESCAPE: char = '\u{1b}';
const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const ITALIC: &str = "\u{1b}[3m";
const UNDERLINE: &str = "\u{1b}[4m";
const STRUCK: &str = "\u{1b}[9m";
const CODE: &str = "\u{1b}[36m";
const OFF: &str = "\u{1b}[0m";

/// Text that is being shown.
#[derive(Debug, Default)]
pub(super) struct Markdown {
    /// The line that is not whole yet.
    line: String,
    /// What ends the code that is being shown.
    fence: Option<String>,
    /// Lines of a table that is not whole yet.
    table: Vec<String>,
}

impl Markdown {
    /// Takes text, and gives what of it can be shown.
    pub(super) fn feed(&mut self, text: &str) -> String {
        let mut shown = String::new();
        for part in text.split_inclusive('\n') {
            self.line.push_str(part);
            if let Some(line) = self.line.strip_suffix('\n') {
                let line = plain(line);
                self.line.clear();
                self.take(&line, &mut shown);
            }
        }
        shown
    }

    /// What is left at the end.
    pub(super) fn finish(&mut self) -> String {
        let mut shown = String::new();
        let line = plain(&std::mem::take(&mut self.line));
        if !line.is_empty() {
            self.take(&line, &mut shown);
        }
        self.end_table(&mut shown);
        self.fence = None;
        shown
    }

    fn take(&mut self, line: &str, shown: &mut String) {
        let inner = line.trim_start();
        if let Some(fence) = &self.fence {
            let ends = inner.trim_end().chars().all(|c| fence.starts_with(c))
                && inner.trim_end().len() >= fence.len();
            if ends {
                self.fence = None;
            } else {
                *shown += &format!("  {CODE}{line}{OFF}\n");
            }
            return;
        }
        if inner.starts_with('|') {
            self.table.push(line.to_owned());
            return;
        }
        self.end_table(shown);
        match fence(inner) {
            Some((fence, language)) => {
                self.fence = Some(fence);
                if !language.is_empty() {
                    *shown += &format!("  {DIM}{language}{OFF}\n");
                }
            }
            None => *shown += &format!("{}\n", block(line)),
        }
    }

    fn end_table(&mut self, shown: &mut String) {
        if !self.table.is_empty() {
            *shown += &table(&std::mem::take(&mut self.table));
        }
    }
}

/// A text without control characters, but for tabs and ends of lines.
pub(in crate::cli::agent) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\t' | '\n')).collect()
}

/// The fence with which a line begins code, and the code's language.
fn fence(line: &str) -> Option<(String, &str)> {
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.chars().take_while(|c| *c == mark).count();
    let language = line.get(length..)?.trim();
    let is_fence = length >= 3 && !language.contains('`');
    is_fence.then(|| (mark.to_string().repeat(length), language))
}

/// A line that is no code and no table.
fn block(line: &str) -> String {
    let inner = line.trim_start();
    let indent = line.get(..line.len() - inner.len()).unwrap_or_default();
    let level = inner.chars().take_while(|c| *c == '#').count();
    if let Some(title) = inner.get(level..).and_then(|rest| rest.strip_prefix(' '))
        && (1..=6).contains(&level)
    {
        let under = if level == 1 { UNDERLINE } else { "" };
        return format!("{BOLD}{under}{}{OFF}", inline(title.trim()));
    }
    if let Some(quoted) = inner.strip_prefix('>') {
        return format!("{indent}{DIM}│{OFF} {}", inline(quoted.trim_start()));
    }
    let rule = inner.trim_end();
    if rule.len() >= 3 && ["-", "*", "_"].iter().any(|mark| rule.replace(mark, "").is_empty()) {
        return format!("{DIM}────────────────{OFF}");
    }
    for mark in ["- ", "* ", "+ "] {
        if let Some(item) = inner.strip_prefix(mark) {
            return format!("{indent}• {}", inline(item));
        }
    }
    let digits = inner.chars().take_while(char::is_ascii_digit).count();
    let (number, rest) = inner.split_at(digits);
    match rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") ")) {
        Some(item) if digits > 0 => format!("{indent}{number}. {}", inline(item)),
        _ => format!("{indent}{}", inline(inner)),
    }
}

/// What stands inside of a line.
fn inline(text: &str) -> String {
    let mut shown = String::new();
    let mut open: Vec<String> = Vec::new();
    for event in Parser::new_ext(text, Options::ENABLE_STRIKETHROUGH) {
        match event {
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => shown += &text,
            Event::Code(code) => shown += &format!("{CODE}{code}{OFF}{}", open.concat()),
            Event::Start(tag) => {
                if let Some(style) = style(&tag) {
                    shown += style;
                    open.push(style.to_owned());
                }
                if let Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } = tag {
                    // Told at its end; kept with the styles, where it shows nothing.
                    open.push(String::new());
                    shown += &format!("{DIM}<{dest_url}>{OFF} ");
                }
            }
            Event::End(TagEnd::Link | TagEnd::Image) => {
                open.pop();
            }
            Event::End(TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough) => {
                open.pop();
                shown += &format!("{OFF}{}", open.concat());
            }
            Event::SoftBreak | Event::HardBreak => shown.push(' '),
            _ => {}
        }
    }
    // What is only marks to CommonMark was words to its writer.
    if shown.is_empty() { text.to_owned() } else { shown }
}

fn style(tag: &Tag<'_>) -> Option<&'static str> {
    match tag {
        Tag::Strong => Some(BOLD),
        Tag::Emphasis => Some(ITALIC),
        Tag::Strikethrough => Some(STRUCK),
        _ => None,
    }
}

/// A table with its columns in line.
fn table(lines: &[String]) -> String {
    let rows: Vec<Vec<&str>> = lines.iter().map(|line| cells(line)).collect();
    let is_rule = |row: &[&str]| {
        row.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| matches!(c, '-' | ':')))
    };
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let words: Vec<&Vec<&str>> = rows.iter().filter(|row| !is_rule(row)).collect();
    let width = |column: usize| {
        words.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let has_head = rows.get(1).is_some_and(|row| is_rule(row));
    let mut shown = String::new();
    for (number, row) in words.into_iter().enumerate() {
        let bold = if number == 0 && has_head { BOLD } else { "" };
        let cell = |(column, width): (usize, &usize)| {
            let cell = row.get(column).copied().unwrap_or_default();
            let pad = " ".repeat(width.saturating_sub(cell.width()));
            format!("{bold}{cell}{OFF}{pad}")
        };
        let line: Vec<_> = widths.iter().enumerate().map(cell).collect();
        shown += &format!("  {}\n", line.join("  "));
    }
    shown
}

fn cells(line: &str) -> Vec<&str> {
    let line = line.trim().trim_start_matches('|');
    line.strip_suffix('|').unwrap_or(line).split('|').map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text as it is shown, with the styles as letters.
    fn shown(text: &str) -> String {
        let mut markdown = Markdown::default();
        let mut shown = markdown.feed(text);
        shown += &markdown.finish();
        for (style, letter) in [
            (BOLD, "<b>"),
            (DIM, "<d>"),
            (ITALIC, "<i>"),
            (UNDERLINE, "<u>"),
            (STRUCK, "<s>"),
            (CODE, "<c>"),
            (OFF, "</>"),
        ] {
            shown = shown.replace(style, letter);
        }
        shown
    }

    #[test]
    fn lines_are_shown_as_what_they_are() {
        let check = |text: &str, expected: &str| assert_eq!(shown(text), expected, "{text:?}");
        check("plain\n\nwords", "plain\n\nwords\n");
        check("# One\n", "<b><u>One</>\n");
        check("## **Two**\n", "<b><b>Two</></>\n");
        check("a **b *c* d** `e` f\n", "a <b>b <i>c</><b> d</> <c>e</> f\n");
        check("- a\n  - b\n10. c\n", "• a\n  • b\n10. c\n");
        check("> said\n", "<d>│</> said\n");
        check(
            "```python\nx = 1\n  # *y*\n```\nz\n",
            "  <d>python</>\n  <c>x = 1</>\n  <c>  # *y*</>\nz\n",
        );
        check("[a](http://b)\n", "<d><http://b></> a\n");
        check("---\n", "<d>────────────────</>\n");
        check("1986\n", "1986\n");
        check("2 * 3 * 4\n", "2 * 3 * 4\n");
    }

    #[test]
    fn columns_of_a_table_stand_in_line() {
        assert_eq!(
            shown("| a | bbb |\n|---|:-:|\n| cc | d |\nend\n"),
            "  <b>a</>   <b>bbb</>\n  cc</>  d</>  \nend\n"
        );
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        assert_eq!(shown("a\u{1b}]0;title\u{7}b\u{9b}1m\n"), "a]0;titleb1m\n");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_text_comes(text in "[-#*`|> \na-c1.]{0,60}", at in 0..60usize) {
            let mut parts = Markdown::default();
            let at = at.min(text.len());
            let mut came = parts.feed(&text[..at]);
            came += &parts.feed(&text[at..]);
            came += &parts.finish();
            let mut whole = Markdown::default();
            let mut once = whole.feed(&text);
            once += &whole.finish();
            prop_assert_eq!(came, once);
        }

        #[test]
        fn any_text_can_be_shown(text in any::<String>()) {
            let mut markdown = Markdown::default();
            let shown = markdown.feed(&text) + &markdown.finish();
            let shows = |c: char| !c.is_control() || ['\n', '\t', ESCAPE].contains(&c);
            prop_assert!(shown.chars().all(shows));
        }
    }
}
