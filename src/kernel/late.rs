//! Cells that have ended and may still put something out: threads, subprocesses, displays that a
//! later cell updates.

use std::{collections::VecDeque, sync::Arc};

use super::{
    cell::Cell,
    event::{Display, Event},
    output::Output,
};

/// How many ended cells are still listened to.
const MOST: usize = 64;

/// The last cells of a kernel.
#[derive(Default)]
pub(super) struct Earlier(VecDeque<(String, Arc<Output>)>);

impl Earlier {
    /// A cell has ended.
    pub(super) fn ended(&mut self, cell: &Cell) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back((cell.request.clone(), Arc::clone(&cell.output)));
    }

    /// Takes what the cell of that request puts out after its end; whether it was one of them.
    pub(super) fn hear(&self, request: &str, event: Event) -> bool {
        let Some((_, output)) = self.0.iter().rev().find(|(id, _)| id == request) else {
            return false;
        };
        match event {
            Event::Stream { stderr, text } => drop(output.stream(stderr, &text)),
            Event::Display(display) | Event::Update(display) => drop(output.display(display)),
            Event::Error(failure) => drop(output.failure(failure)),
            Event::Clear { wait } => output.clear(wait),
            _ => return false,
        }
        true
    }

    /// Replaces a display in the newest cell that has one of that id; whether there is one.
    pub(super) fn update(&self, display: &Display) -> bool {
        self.0.iter().rev().any(|(_, output)| output.update(display))
    }
}
