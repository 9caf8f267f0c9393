//! Answers that other servers may have to give once more.

use rmcp::model::ContentBlock;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Reply;
use crate::guard::Ending;

/// The longest answer that is kept, in bytes of JSON.
const MOST: usize = 256 * 1024;

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    content: Vec<ContentBlock>,
    structured: Value,
    failed: bool,
}

impl Reply {
    /// The answer as it is kept, if it is a whole one: not a question, and of a cell that is over.
    #[must_use]
    pub fn to_be_kept(&self) -> Option<String> {
        let structured = self.structured.as_ref().filter(|_| self.instead.is_none())?;
        let status = structured.get("status").and_then(Value::as_str)?;
        if matches!(status, "running" | "queued") {
            return None;
        }
        let whole = Self::keeps(&self.content, structured, self.failed);
        if whole.len() <= MOST {
            return Some(whole);
        }
        let is_text = |block: &&ContentBlock| matches!(block, ContentBlock::Text(_));
        let mut texts: Vec<_> = self.content.iter().filter(is_text).cloned().collect();
        texts.push(ContentBlock::text("[what else there was is too large to be told again]"));
        let texts = Self::keeps(&texts, structured, self.failed);
        (texts.len() <= MOST).then_some(texts)
    }

    /// An answer as it is kept.
    pub(in crate::mcp) fn keeps(
        content: &[ContentBlock],
        structured: &Value,
        failed: bool,
    ) -> String {
        json!({ "content": content, "structured": structured, "failed": failed }).to_string()
    }

    /// An answer that was kept; nothing where that was another husk's.
    #[must_use]
    pub fn kept(kept: &str) -> Option<Self> {
        let Kept { content, structured, failed } = serde_json::from_str(kept).ok()?;
        Some(Self::new(content, Some(structured), failed, Ending::Done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(content: Vec<ContentBlock>, status: &str) -> Reply {
        let structured = json!({ "status": status, "cell": "c1", "error": null });
        Reply::new(content, Some(structured), false, Ending::Done)
    }

    #[test]
    fn a_whole_answer_is_kept_and_given_again() {
        let content = vec![ContentBlock::text("42"), ContentBlock::image("aGk=", "image/png")];
        let kept = reply(content.clone(), "ok").to_be_kept().unwrap();
        let again = Reply::kept(&kept).unwrap();
        assert_eq!((again.content, again.failed), (content, false));
        assert_eq!(again.structured.unwrap()["cell"], "c1");
        for status in ["running", "queued"] {
            assert_eq!(reply(Vec::new(), status).to_be_kept(), None, "{status}");
        }
        assert!(Reply::kept("{}").is_none());
    }

    #[test]
    fn what_is_too_large_is_left_out_and_said_so() {
        let image = ContentBlock::image("a".repeat(MOST), "image/png");
        let kept = reply(vec![ContentBlock::text("42"), image], "ok").to_be_kept().unwrap();
        assert!(kept.len() < 1000 && kept.contains("42") && kept.contains("too large"), "{kept}");
        let text = ContentBlock::text("a".repeat(MOST));
        assert_eq!(reply(vec![text], "ok").to_be_kept(), None);
    }
}
