//! What an answer shows of a cell's output: a part of it, bounded, with what is left out counted.

use super::{
    Image, Item, Totals,
    log::{Displayed, Log, Piece, What},
    spool::Spool,
};

/// The longest image that is shown or scaled down, in bytes of base64: what decodes it must hold it
/// whole.
const LARGEST_IMAGE: u64 = (16 << 20) / 3 * 4;

/// What an answer may still hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of text.
    pub text: usize,
    /// Images.
    pub images: usize,
}

impl Room {
    /// What is left of it beside a view.
    #[must_use]
    pub fn beside(self, view: &View) -> Self {
        let texts = view.items.iter().map(|item| match item {
            Item::Text(text) => text.len(),
            Item::Image(_) => 0,
        });
        let images = view.items.iter().filter(|item| matches!(item, Item::Image(_))).count();
        Self {
            text: self.text.saturating_sub(texts.sum()),
            images: self.images.saturating_sub(images),
        }
    }
}

/// A part of a cell's output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// In the order in which they stand in the notebook.
    pub items: Vec<Item>,
    /// The offset at which it begins.
    pub from: u64,
    /// The offset at which the next part begins.
    pub next: u64,
    /// The totals of the whole output.
    pub totals: Totals,
    /// Numbers of displays of which this shows less than there is.
    pub partly: Vec<u64>,
    /// Bytes of text of this part that it leaves out.
    pub omitted: u64,
}

/// A piece's part that is in view: bytes `from..to` of its text.
struct Part<'a> {
    piece: &'a Piece,
    from: u64,
    to: u64,
    /// Shown as an image, not as text.
    image: Option<&'a Displayed>,
}

impl Part<'_> {
    fn text_len(&self) -> u64 {
        if self.image.is_some() { 0 } else { self.to - self.from }
    }
}

/// Shows what came at or after the offset `from`.
pub(super) fn view(log: &Log, from: u64, room: Room, spool: &Spool) -> View {
    let mut view = View { from, next: log.end, totals: totals(log, spool), ..View::default() };
    let parts = parts(log, from, room, &mut view);
    let whole: u64 = parts.iter().map(Part::text_len).sum();
    let window = Window::of(whole, room.text as u64);
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    let (mut at, mut shown) = (0, 0);
    for part in &parts {
        if let Some(display) = part.image {
            let side = if at > window.head { &mut tail } else { &mut head };
            side.extend(image(display, spool).map(Item::Image));
            continue;
        }
        let len = part.text_len();
        for (side, (begin, end)) in [&mut head, &mut tail].into_iter().zip(window.of_part(at, len))
        {
            let text = part.piece.text.read(part.from + begin, part.from + end, spool);
            shown += text.len() as u64;
            append(side, Item::Text(text));
        }
        at += len;
    }
    view.omitted = whole.saturating_sub(shown);
    view.items = head;
    if view.omitted > 0 {
        let note = format!("\n[… {} bytes of output left out …]\n", view.omitted);
        append(&mut view.items, Item::Text(note));
    }
    tail.into_iter().for_each(|item| append(&mut view.items, item));
    view
}

/// The two ends of a text that is too long.
struct Window {
    head: u64,
    tail: u64,
}

impl Window {
    fn of(whole: u64, most: u64) -> Self {
        if whole <= most {
            return Self { head: whole, tail: whole };
        }
        Self { head: most / 2, tail: whole - most / 2 }
    }

    /// The parts of a text of `len` bytes at `at` that are shown at either end, counted from its
    /// own beginning; they may be empty.
    fn of_part(&self, at: u64, len: u64) -> [(u64, u64); 2] {
        let end = at + len;
        let (head, tail) = (self.head.clamp(at, end), self.tail.clamp(at, end));
        [(0, head - at), (tail - at, len)]
    }
}

/// What of each piece is in view; displays that it shows only in part are noted.
fn parts<'a>(log: &'a Log, from: u64, room: Room, view: &mut View) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let mut images = 0;
    for piece in &log.pieces {
        let len = piece.text.len();
        let skipped = from.saturating_sub(piece.at);
        if skipped >= len {
            continue;
        }
        let mut part = Part { piece, from: skipped, to: len, image: None };
        match &piece.what {
            What::Stream { .. } => {}
            // An image is shown whole, or was shown before.
            What::Display(display) if skipped > 0 && display.image.is_some() => continue,
            What::Display(display) => {
                if display.partly {
                    view.partly.push(display.number);
                }
                if images < room.images && display.image.is_some_and(|at| fits(display, at)) {
                    images += 1;
                    part.image = Some(display);
                } else if display.image.is_some() {
                    view.partly.push(display.number);
                }
            }
            What::Error(_) | What::Page => {}
        }
        parts.push(part);
    }
    parts
}

fn fits(display: &Displayed, at: usize) -> bool {
    display.kept.get(at).is_some_and(|kept| kept.span.len <= LARGEST_IMAGE)
}

fn image(display: &Displayed, spool: &Spool) -> Option<Image> {
    let kept = display.kept.get(display.image?)?;
    let base64 = String::from_utf8(spool.read(kept.span, 0, kept.span.len)).ok()?;
    (base64.len() as u64 == kept.span.len).then(|| Image {
        mime: kept.mime.clone(),
        base64,
        number: display.number,
    })
}

fn append(items: &mut Vec<Item>, item: Item) {
    match (items.last_mut(), item) {
        (_, Item::Text(text)) if text.is_empty() => {}
        (Some(Item::Text(last)), Item::Text(text)) => last.push_str(&text),
        (_, item) => items.push(item),
    }
}

/// The totals of all that stands.
pub(super) fn totals(log: &Log, spool: &Spool) -> Totals {
    let of = |image: bool| log.pieces.iter().filter(move |piece| piece.is_image() == image);
    Totals {
        text_bytes: of(false).map(|piece| piece.text.len()).sum(),
        images: of(true).count() as u64,
        dropped_bytes: of(false).map(|piece| piece.text.dropped(spool)).sum(),
        flattened: log.flattened,
    }
}
