//! Where the marks go that make a provider keep the beginning of a prompt.
//!
//! A provider takes at most four; it reads tools, system prompt and messages in this order, and a
//! mark keeps all that is before it. It finds what it kept under a mark of the next request within 20
//! blocks before that. So, in the order of what they are worth:
//!
//! 1. the newest message: what the next request finds;
//! 2. the system prompt, with the tools before it: what other conversations find;
//! 3. the end of the user's turn before: what the last request marked as its newest message. It is
//!    found however many blocks the turn in between has;
//! 4. the last large content of the user, where it is not one of these: a document stays though the
//!    conversation after it is rewound or compacted. Else the tools alone: they stay though the
//!    system prompt changes.
//!
//! Pure: the marks are put into a copy.

use super::{minimum, seed};
use crate::{
    base::budget,
    llm::{
        message::{Block, Mark, Role, Ttl},
        request::Request,
    },
};

/// The most marks of a request.
pub(super) const MOST: usize = 4;

/// How marks are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// As this module says.
    #[default]
    Progressive,
    /// The selection by size that this one has replaced, for comparison: tools, system prompt, the
    /// largest contents of the user, the newest results of tools.
    Seed,
    /// None.
    Off,
}

/// What a plan heeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How marks are put.
    pub mode: Mode,
    /// For how long tools, system prompt and documents are kept.
    pub fixed: Ttl,
    /// From how many tokens on a content of the user is large.
    pub large: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { mode: Mode::default(), fixed: Ttl::FiveMinutes, large: 10_000 }
    }
}

/// A place of a mark; places are ordered as a provider reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Of a tool.
    Tool(usize),
    /// Of a part of the system prompt.
    System(usize),
    /// Of a block of a message.
    Block(usize, usize),
}

/// The request without any marks.
#[must_use]
pub fn stripped(request: &Request) -> Request {
    let mut bare = request.clone();
    bare.tools.iter_mut().for_each(|tool| tool.cache_control = None);
    let messages = bare.messages.iter_mut().flat_map(|message| &mut message.content);
    for block in bare.system.iter_mut().chain(messages) {
        if let Block::ToolResult { content, .. } = block {
            content.iter_mut().filter_map(Block::mark_mut).for_each(|mark| *mark = None);
        }
        if let Some(mark) = block.mark_mut() {
            *mark = None;
        }
    }
    bare
}

/// The request with marks as the rules say, in place of those that it has.
#[must_use]
pub fn marked(request: &Request, rules: &Rules) -> Request {
    let mut marked = stripped(request);
    let mut places = match rules.mode {
        Mode::Progressive => places(request, rules),
        Mode::Seed => seed::places(request, rules.large),
        Mode::Off => Vec::new(),
    };
    places.sort_unstable();
    places.dedup();
    let fixed = if rules.mode == Mode::Seed { Ttl::FiveMinutes } else { rules.fixed };
    // What is kept for an hour has to come before what is not.
    let newest = request.messages.len().saturating_sub(1);
    let fixed_until = places.iter().take_while(|place| !is_tail(**place, newest)).count();
    for (number, place) in places.into_iter().take(MOST).enumerate() {
        let ttl = if number < fixed_until { fixed } else { Ttl::FiveMinutes };
        put(&mut marked, place, Mark::new(ttl));
    }
    marked
}

/// The ends of the last two turns of the user move on with each request.
fn is_tail(place: Place, newest: usize) -> bool {
    matches!(place, Place::Block(message, _) if message + 2 >= newest)
}

fn put(request: &mut Request, place: Place, mark: Mark) {
    let block = match place {
        Place::Tool(at) => {
            if let Some(tool) = request.tools.get_mut(at) {
                tool.cache_control = Some(mark);
            }
            return;
        }
        Place::System(at) => request.system.get_mut(at),
        Place::Block(message, at) => {
            request.messages.get_mut(message).and_then(|message| message.content.get_mut(at))
        }
    };
    if let Some(slot) = block.and_then(Block::mark_mut) {
        *slot = Some(mark);
    }
}

fn places(request: &Request, rules: &Rules) -> Vec<Place> {
    let newest = request.messages.len().checked_sub(1);
    let tail = newest.and_then(|newest| (0..=newest).rev().find_map(|at| end_of(request, at)));
    let system = last(&request.system).map(Place::System);
    let before = newest.and_then(|newest| turn_before(request, newest));
    let large = large(request, rules.large);
    let tools = request.tools.len().checked_sub(1).map(Place::Tool);
    // Without a system prompt the tools are the beginning that other conversations share.
    let beginning = system.or(tools);
    let wanted = [tail, beginning, before, large, tools];
    let sizes = Sizes::of(request);
    let least = minimum::tokens(request.params.model.as_deref().unwrap_or_default());
    let mut places: Vec<Place> = Vec::new();
    for place in wanted.into_iter().flatten() {
        let fits = places.len() < MOST && !places.contains(&place);
        if fits && sizes.may_reach(place, least) {
            places.push(place);
        }
    }
    places
}

/// The last block of a message that can have a mark.
pub(super) fn end_of(request: &Request, message: usize) -> Option<Place> {
    let at = last(&request.messages.get(message)?.content)?;
    Some(Place::Block(message, at))
}

/// The last of these that can have a mark: no thoughts, and no empty text.
pub(super) fn last(blocks: &[Block]) -> Option<usize> {
    blocks.iter().rposition(|block| match block {
        Block::Text { text, .. } => !text.is_empty(),
        Block::Image { .. } | Block::ToolUse { .. } | Block::ToolResult { .. } => true,
        Block::Thinking { .. } | Block::RedactedThinking { .. } => false,
    })
}

/// The end of the user's turn before the newest one.
fn turn_before(request: &Request, newest: usize) -> Option<Place> {
    let of_user = |at: &usize| request.messages.get(*at).is_some_and(|it| it.role == Role::User);
    let turn = (0..=newest).rev().find(of_user)?;
    let before = (0..turn).rev().find(of_user)?;
    end_of(request, before)
}

/// The last large content of the user.
fn large(request: &Request, least: u64) -> Option<Place> {
    let is_large = |block: &Block| match block {
        // No text has more tokens than bytes.
        Block::Text { text, .. } => text.len() as u64 > least && budget::tokens(text) > least,
        _ => false,
    };
    request.messages.iter().enumerate().rev().filter(|(_, it)| it.role == Role::User).find_map(
        |(at, message)| {
            let block = message.content.iter().rposition(is_large)?;
            Some(Place::Block(at, block))
        },
    )
}

/// The tokens of a block, estimated.
pub(super) fn tokens(block: &Block) -> u64 {
    match block {
        Block::Text { text, .. } => budget::tokens(text),
        Block::Image { .. } => budget::image_tokens(u64::MAX),
        Block::Thinking { thinking, .. } => budget::tokens(thinking),
        Block::RedactedThinking { data } => data.len() as u64 / 4,
        Block::ToolUse { input, name, .. } => {
            budget::tokens(&input.to_string()) + budget::tokens(name)
        }
        Block::ToolResult { content, .. } => content.iter().map(tokens).sum(),
    }
}

/// The tokens up to tools, system prompt and each message. Only as many messages are looked at as
/// are needed to reach what any model wants.
struct Sizes {
    tools: u64,
    system: u64,
    messages: Vec<u64>,
}

impl Sizes {
    /// Beyond this nothing needs to be known.
    const ENOUGH: u64 = 10_000;

    fn of(request: &Request) -> Self {
        let of_tool = |tool: &crate::llm::request::Tool| {
            budget::tokens(&tool.description) + budget::tokens(&tool.input_schema.to_string())
        };
        let tools = request.tools.iter().map(of_tool).sum();
        let system = tools + request.system.iter().map(tokens).sum::<u64>();
        let mut sum = system;
        let messages = request.messages.iter().map(|message| {
            if sum < Self::ENOUGH {
                sum += message.content.iter().map(tokens).sum::<u64>();
            }
            sum
        });
        let messages = messages.collect();
        Self { tools, system, messages }
    }

    /// Whether what is before this place may be enough to be kept: the estimate can be a third off.
    fn may_reach(&self, place: Place, least: u64) -> bool {
        let tokens = match place {
            Place::Tool(_) => self.tools,
            Place::System(_) => self.system,
            Place::Block(message, _) => self.messages.get(message).copied().unwrap_or_default(),
        };
        tokens + tokens / 2 >= least
    }
}
