//! Makes room in a conversation: first the results of old calls go, which can be had again, and only
//! then older messages are summed up.
//!
//! Pure: it says what would go, and takes it away. Calls and their results stay together.

use crate::{
    base::budget,
    llm::message::{Block, Message, Role, Source},
};

/// Results of the last so many calls always stay.
pub(super) const KEPT: usize = 3;

/// A result of fewer tokens is not worth clearing.
const WORTH: u64 = 60;

/// What stands in place of a result.
const CLEARED: &str = "[this result was left out to make room; call the tool again if you need it]";

/// What stands before a summary.
const SUMMARY: &str = "[What came before was summed up to make room:]\n";

/// Tokens of a message, estimated.
pub(super) fn size(message: &Message) -> u64 {
    message.content.iter().map(tokens).sum()
}

fn tokens(block: &Block) -> u64 {
    match block {
        Block::Text { text, .. } => budget::tokens(text),
        Block::Image { source: Source::Base64 { data, .. }, .. } => {
            budget::image_tokens(data.len() as u64 / 4 * 3)
        }
        Block::Image { source: Source::Url { .. }, .. } => budget::image_tokens(u64::MAX),
        Block::Thinking { thinking, .. } => budget::tokens(thinking),
        Block::RedactedThinking { data } => budget::tokens(data),
        Block::ToolUse { name, input, .. } => {
            budget::tokens(name) + budget::tokens(&input.to_string())
        }
        Block::ToolResult { content, .. } => content.iter().map(tokens).sum(),
    }
}

/// The calls whose results can go: all but the last `kept`, and only those worth it.
pub(super) fn clearable(messages: &[Message], kept: usize) -> Vec<String> {
    let result = |block: &Block| match block {
        Block::ToolResult { tool_use_id, .. } => Some((tool_use_id.clone(), tokens(block))),
        _ => None,
    };
    let all: Vec<_> =
        messages.iter().flat_map(|message| &message.content).filter_map(result).collect();
    let old = all.len().saturating_sub(kept);
    all.into_iter().take(old).filter(|(_, size)| *size > WORTH).map(|(id, _)| id).collect()
}

/// Takes the results of these calls away.
pub(super) fn clear(messages: &mut [Message], calls: &[String]) {
    for block in messages.iter_mut().flat_map(|message| &mut message.content) {
        if let Block::ToolResult { tool_use_id, content, .. } = block
            && calls.contains(tool_use_id)
        {
            *content = vec![Block::text(CLEARED)];
        }
    }
}

/// Where a conversation may be cut, so that at most so many tokens stay: before an answer of the model,
/// for the results of its calls stand behind it.
pub(super) fn cut(messages: &[Message], most: u64) -> Option<usize> {
    let mut cuts = Vec::new();
    let mut size_behind = 0;
    for (at, message) in messages.iter().enumerate().rev() {
        size_behind += size(message);
        // The first message alone is not worth a summary.
        if message.role == Role::Assistant && at >= 2 {
            cuts.push((at, size_behind));
        }
    }
    // The earliest that fits; if even the last answer is too large, that one.
    let fitting = cuts.iter().rev().find(|(_, size)| *size <= most);
    fitting.or_else(|| cuts.first()).map(|(at, _)| *at)
}

/// Puts a summary in place of all messages before `kept_from`.
pub(super) fn replace(messages: &mut Vec<Message>, text: &str, kept_from: usize) {
    let kept = messages.split_off(kept_from.min(messages.len()));
    let summary = Block::text(format!("{SUMMARY}{text}"));
    *messages = vec![Message { role: Role::User, content: vec![summary] }];
    messages.extend(kept);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::conversation::tests::{calls, gives, says, user};

    fn long(word: &str) -> String {
        format!("{word} ").repeat(200)
    }

    #[test]
    fn old_results_go_first_and_the_last_ones_stay() {
        let mut messages = vec![user("?")];
        for id in ["a", "b", "c", "d", "e"] {
            messages.extend([calls(id), gives(id, &long("word"))]);
        }
        messages.extend([calls("f"), gives("f", "short")]);
        let gone = clearable(&messages, KEPT);
        assert_eq!(gone, ["a", "b", "c"]);
        let before: u64 = messages.iter().map(size).sum();
        clear(&mut messages, &gone);
        assert!(messages.iter().map(size).sum::<u64>() < before / 2 + 100);
        assert_eq!(clearable(&messages, KEPT), Vec::<String>::new());
        // The call itself still stands there, and its result is still one.
        assert_eq!(messages[1], calls("a"));
    }

    #[test]
    fn a_cut_stands_before_an_answer_and_leaves_what_fits() {
        let messages =
            vec![user("1"), says(&long("a")), user("2"), calls("x"), gives("x", "1"), says("end")];
        assert_eq!(cut(&messages, 1_000_000), Some(3));
        assert_eq!(cut(&messages, 3), Some(5));
        assert_eq!(cut(&messages, 0), Some(5));
        assert_eq!(cut(&messages[..2], 0), None);
        let mut messages = messages;
        replace(&mut messages, "so far", 3);
        assert_eq!(messages.len(), 4);
        assert!(
            matches!(&messages[0].content[0], Block::Text { text, .. } if text.ends_with("so far"))
        );
    }

    /// A conversation of exchanges: whether each has calls, and how much they give.
    fn any_conversation() -> impl Strategy<Value = Vec<Message>> {
        let one = (0..4usize, 0..300usize);
        proptest::collection::vec(one, 1..12).prop_map(|exchanges| {
            let mut messages = Vec::new();
            for (number, (steps, size)) in exchanges.into_iter().enumerate() {
                messages.push(user("question"));
                for step in 0..steps {
                    let id = format!("{number}-{step}");
                    messages.extend([calls(&id), gives(&id, &"word ".repeat(size))]);
                }
                messages.push(says("answer"));
            }
            messages
        })
    }

    /// Every call is answered by the very next message, and every result belongs to a call.
    fn is_valid(messages: &[Message]) -> bool {
        let ids = |message: Option<&Message>, results: bool| {
            let blocks = message.map(|message| message.content.as_slice()).unwrap_or_default();
            let id = |block: &Block| match block {
                Block::ToolUse { id, .. } if !results => Some(id.clone()),
                Block::ToolResult { tool_use_id, .. } if results => Some(tool_use_id.clone()),
                _ => None,
            };
            blocks.iter().filter_map(id).collect::<Vec<_>>()
        };
        messages.first().is_some_and(|first| first.role == Role::User)
            && ids(messages.first(), true).is_empty()
            && (0..messages.len())
                .all(|at| ids(messages.get(at), false) == ids(messages.get(at + 1), true))
    }

    proptest! {
        #[test]
        fn whatever_goes_calls_and_results_stay_together(
            mut messages in any_conversation(), most in 0..3000u64, kept in 0..5usize
        ) {
            prop_assert!(is_valid(&messages));
            let gone = clearable(&messages, kept);
            clear(&mut messages, &gone);
            prop_assert!(is_valid(&messages));
            if let Some(at) = cut(&messages, most) {
                let before = messages.len();
                replace(&mut messages, "sum", at);
                prop_assert!(is_valid(&messages));
                prop_assert!(messages.len() < before);
            }
        }
    }
}
