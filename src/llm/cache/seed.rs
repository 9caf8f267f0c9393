//! The selection of marks by size: simple, and kept for comparison. Tools have one slot; then come
//! the system prompt, the user's large contents by size, and the newest results of tools.
//!
//! Tokens are a quarter of the characters here, and only words count.

use super::plan::{MOST, Place, end_of, last};
use crate::llm::{
    message::{Block, Role},
    request::Request,
};

/// Where marks go.
pub(super) fn places(request: &Request, large: u64) -> Vec<Place> {
    let mut places: Vec<Place> = last(&request.system).map(Place::System).into_iter().collect();
    let of_user = |at: usize| request.messages.get(at).is_some_and(|it| it.role == Role::User);
    let messages = || (0..request.messages.len()).filter(|at| of_user(*at));
    let mut contents: Vec<(u64, usize)> = messages()
        .map(|at| (words(request, at), at))
        .filter(|(tokens, _)| *tokens > large)
        .collect();
    contents.sort_by_key(|(tokens, _)| std::cmp::Reverse(*tokens));
    places.extend(contents.into_iter().filter_map(|(_, at)| end_of(request, at)));
    for at in messages().collect::<Vec<_>>().into_iter().rev() {
        let blocks = request.messages.get(at).map(|it| it.content.as_slice()).unwrap_or_default();
        let results = blocks.iter().enumerate().rev();
        let results = results.filter(|(_, it)| matches!(it, Block::ToolResult { .. }));
        places.extend(results.map(|(block, _)| Place::Block(at, block)));
    }
    let mut kept = Vec::new();
    for place in places {
        if kept.len() < MOST - 1 && !kept.contains(&place) {
            kept.push(place);
        }
    }
    kept.extend(request.tools.len().checked_sub(1).map(Place::Tool));
    kept
}

fn words(request: &Request, at: usize) -> u64 {
    let blocks = request.messages.get(at).into_iter().flat_map(|message| &message.content);
    let tokens = blocks.map(|block| match block {
        Block::Text { text, .. } => text.chars().count() as u64 / 4,
        _ => 0,
    });
    tokens.sum()
}
