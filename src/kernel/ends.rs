//! The beginning and the end of a long output: however much is added, at most so much text stays,
//! and how much went is counted. Images stay where they stand.

use std::collections::VecDeque;

use super::output::{Image, Item};

/// Pieces of output in their order, without the middle of their text.
pub(super) struct Ends {
    head: Vec<Item>,
    head_room: usize,
    tail: VecDeque<Item>,
    tail_bytes: usize,
    /// Bytes of text that the tail keeps.
    keep: usize,
    omitted: u64,
}

impl Ends {
    /// Keeps at most `most` bytes of text, half of it at each end.
    pub(super) fn new(most: usize) -> Self {
        Self {
            head: Vec::new(),
            head_room: most / 2,
            tail: VecDeque::new(),
            tail_bytes: 0,
            keep: most / 2,
            omitted: 0,
        }
    }

    /// Adds text.
    pub(super) fn push_text(&mut self, text: &str) {
        let (head, rest) = text.split_at(floor(text, self.head_room.min(text.len())));
        if !head.is_empty() {
            self.head_room -= head.len();
            append(&mut self.head, head);
        }
        if rest.is_empty() {
            return;
        }
        // Once anything is in the tail, the head is closed: order must hold.
        self.head_room = 0;
        // Of one huge piece only its own end can stay.
        let keep = self.keep;
        let (gone, rest) = rest.split_at(floor(rest, rest.len().saturating_sub(2 * keep)));
        self.omitted += gone.len() as u64;
        self.tail_bytes += rest.len();
        match self.tail.back_mut() {
            Some(Item::Text(last)) if last.len() < 4096 => last.push_str(rest),
            _ => self.tail.push_back(Item::Text(rest.to_owned())),
        }
        self.shrink(keep);
    }

    /// Drops text from the front of the tail until `keep` bytes are left.
    fn shrink(&mut self, keep: usize) {
        let mut index = 0;
        while self.tail_bytes > keep {
            let excess = self.tail_bytes - keep;
            let Some(item) = self.tail.get_mut(index) else { return };
            let Item::Text(text) = item else {
                index += 1;
                continue;
            };
            let cut = ceil(text, excess.min(text.len()));
            text.drain(..cut);
            let emptied = text.is_empty();
            self.tail_bytes -= cut;
            self.omitted += cut as u64;
            if emptied {
                self.tail.remove(index);
            }
        }
    }

    /// Adds an image.
    pub(super) fn push_image(&mut self, image: Image) {
        if self.tail.is_empty() {
            self.head.push(Item::Image(image));
        } else {
            self.tail.push_back(Item::Image(image));
        }
    }

    /// The image of that `display_id`.
    pub(super) fn image_mut(&mut self, id: &str) -> Option<&mut Image> {
        self.head.iter_mut().chain(self.tail.iter_mut()).find_map(|item| match item {
            Item::Image(image) if image.id.as_deref() == Some(id) => Some(image),
            _ => None,
        })
    }

    /// The last piece.
    pub(super) fn last(&self) -> Option<&Item> {
        self.tail.back().or(self.head.last())
    }

    /// Bytes of text that are left out.
    pub(super) fn omitted(&self) -> u64 {
        self.omitted
    }

    /// The pieces that were kept, with a line that says how much is missing between them.
    pub(super) fn items(&self) -> Vec<Item> {
        let mut items = self.head.clone();
        if self.omitted > 0 {
            let note = format!("\n[… {} bytes of output left out …]\n", self.omitted);
            append(&mut items, &note);
        }
        for item in &self.tail {
            match item {
                Item::Text(text) => append(&mut items, text),
                image @ Item::Image(_) => items.push(image.clone()),
            }
        }
        items
    }
}

fn append(items: &mut Vec<Item>, text: &str) {
    match items.last_mut() {
        Some(Item::Text(last)) => last.push_str(text),
        _ => items.push(Item::Text(text.to_owned())),
    }
}

/// The largest character boundary at or below `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// The smallest character boundary at or above `at`.
fn ceil(text: &str, at: usize) -> usize {
    (at..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}
