//! What a tool answers: as the model gets it, and as the loop guard compares it.

use std::time::Duration;

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::Value;

use crate::{
    agent::{calls::bounded, event::Image},
    base::canon::Digest,
    guard::{Answer, Denial, Ending, dedup::normal},
    llm::message::{Block, Source},
};

/// What a call gave, or why it was not carried out.
#[derive(Debug, Clone)]
pub struct ToolAnswer {
    /// Words, one block each.
    pub texts: Vec<String>,
    /// Images.
    pub images: Vec<Image>,
    /// Its structured answer.
    pub structured: Value,
    /// How it ended.
    pub ending: Ending,
}

/// Images that models can see. Others are named and left out.
const SEEN: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

impl ToolAnswer {
    /// An answer in words.
    pub(in crate::agent) fn words(text: String, ending: Ending) -> Self {
        Self { texts: vec![text], images: Vec::new(), structured: Value::Null, ending }
    }

    /// What a server has answered, with at most so many bytes of text.
    pub(super) fn of(result: CallToolResult, most: usize) -> Self {
        let ending = if result.is_error == Some(true) { Ending::Raised } else { Ending::Done };
        let structured = result.structured_content.unwrap_or(Value::Null);
        let mut answer = Self { texts: Vec::new(), images: Vec::new(), structured, ending };
        result.content.into_iter().for_each(|block| answer.take(block));
        if answer.texts.is_empty() && answer.images.is_empty() && !answer.structured.is_null() {
            answer.texts.push(answer.structured.to_string());
        }
        let whole: usize = answer.texts.iter().map(String::len).sum();
        if whole > most {
            answer.texts = vec![bounded(answer.texts.join("\n"), most)];
        }
        answer
    }

    fn take(&mut self, block: ContentBlock) {
        match block {
            ContentBlock::Text(text) => self.texts.push(text.text),
            ContentBlock::Image(image) if SEEN.contains(&image.mime_type.as_str()) => {
                self.images.push(Image { media_type: image.mime_type, data: image.data });
            }
            ContentBlock::Image(image) => {
                self.texts
                    .push(format!("[an image of type {}, which is not shown]", image.mime_type));
            }
            ContentBlock::Audio(audio) => {
                self.texts.push(format!("[audio of type {}, which is not heard]", audio.mime_type));
            }
            ContentBlock::Resource(resource) => self.texts.push(match resource.resource {
                ResourceContents::TextResourceContents { text, .. } => text,
                ResourceContents::BlobResourceContents { uri, .. } => format!("[the file {uri}]"),
                _ => "[a resource of a kind that is not known]".to_owned(),
            }),
            ContentBlock::ResourceLink(link) => self.texts.push(format!("[see {}]", link.uri)),
            _ => self.texts.push("[something of a kind that is not known]".to_owned()),
        }
    }

    /// Whether the model is told that it failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.ending != Ending::Done
    }

    /// All words.
    #[must_use]
    pub fn text(&self) -> String {
        self.texts.join("\n")
    }

    /// As the model gets it.
    #[must_use]
    pub fn block(&self, id: &str) -> Block {
        let texts = self.texts.iter().filter(|text| !text.is_empty()).map(Block::text);
        let images = self.images.iter().map(|image| Block::Image {
            source: Source::Base64 {
                media_type: image.media_type.clone(),
                data: image.data.clone(),
            },
            cache_control: None,
        });
        let mut content: Vec<_> = texts.chain(images).collect();
        if content.is_empty() {
            content.push(Block::text("(nothing)"));
        }
        let (tool_use_id, is_error) = (id.to_owned(), self.failed());
        Block::ToolResult { tool_use_id, content, is_error, cache_control: None }
    }
}

impl Answer for ToolAnswer {
    fn ending(&self) -> &Ending {
        &self.ending
    }

    fn cost(&self) -> u64 {
        // Budgets of an agent count what the model reads, and that is counted by its provider.
        0
    }

    fn result(&self) -> Option<Digest> {
        if self.texts.is_empty() && self.images.is_empty() && !self.failed() {
            return None;
        }
        let texts: Vec<_> = self.texts.iter().map(|text| normal::normalised(text)).collect();
        let images = self.images.iter().map(|image| image.data.as_bytes());
        Some(Digest::of_parts(texts.iter().map(|text| text.as_bytes()).chain(images)))
    }

    fn deduplicated(&self) -> bool {
        self.structured.get("deduplicated") == Some(&Value::Bool(true))
    }

    fn hinted(mut self, hint: String) -> Self {
        self.texts.push(format!("[{hint}]"));
        self
    }

    fn denied(denial: Denial) -> Self {
        let hint = denial.hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        Self::words(format!("{}{hint}", denial.reason), Ending::Denied)
    }

    fn late(after: Duration) -> Self {
        let seconds = after.as_secs();
        Self::words(
            format!("the call took longer than {seconds} s, and was given up"),
            Ending::Fault("late".to_owned()),
        )
    }

    fn cancelled() -> Self {
        Self::words("not finished: the call was cancelled".to_owned(), Ending::GivenUp)
    }

    fn panicked(what: &str) -> Self {
        Self::words(format!("the agent itself failed ({what})"), Ending::Fault(what.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(result: Value) -> ToolAnswer {
        ToolAnswer::of(serde_json::from_value(result).unwrap(), 1000)
    }

    #[test]
    fn all_kinds_of_content_become_words_and_images() {
        let answer = answer(json!({"content": [
            {"type": "text", "text": "a"},
            {"type": "image", "mimeType": "image/png", "data": "AA"},
            {"type": "image", "mimeType": "image/tiff", "data": "AA"},
            {"type": "resource", "resource": {"uri": "x://a", "text": "inside"}},
            {"type": "resource_link", "uri": "x://b", "name": "b"},
        ], "isError": true}));
        let expected =
            ["a", "[an image of type image/tiff, which is not shown]", "inside", "[see x://b]"];
        assert_eq!(answer.texts, expected);
        assert_eq!(answer.images.len(), 1);
        let Block::ToolResult { content, is_error, .. } = answer.block("t") else { panic!() };
        assert_eq!((content.len(), is_error), (5, true));
    }

    #[test]
    fn an_answer_that_is_only_structured_is_shown_as_json() {
        assert_eq!(answer(json!({"structuredContent": {"a": 1}})).texts, ["{\"a\":1}"]);
        let Block::ToolResult { content, .. } = answer(json!({"content": []})).block("t") else {
            panic!()
        };
        assert_eq!(content, [Block::text("(nothing)")]);
    }

    #[test]
    fn a_long_answer_is_bounded() {
        let long = answer(json!({"content": [{"type": "text", "text": "x".repeat(5000)}]}));
        assert!(long.text().len() < 1100 && long.text().contains("left out"));
    }
}
