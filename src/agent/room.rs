//! Makes room when the conversation has filled three quarters of what the model can read: old results
//! first, and if that is not enough, the model sums up what is old.

use super::{
    compact::{self, KEPT},
    conversation::Entry,
    event::Now,
    run::{Halt, Run},
};
use crate::llm::{
    message::Block,
    request::{Request, ToolChoice},
};

/// What a model is asked for.
const SUM_UP: &str = "Sum up the conversation so far, for yourself: what the user wants, what was \
done and found (with the numbers, names, files and variables that matter), what failed, and what is \
left to do. Write nothing else.";

impl Run<'_> {
    /// Makes room if it is needed, or in any case: then the model has said that it is.
    pub(super) async fn make_room(&mut self, in_any_case: bool) -> Result<(), Halt> {
        let window = self.agent.settings.window;
        let size = self.agent.conversation.size(self.before());
        if !in_any_case && size < window / 4 * 3 {
            return Ok(());
        }
        let kept = if in_any_case { 1 } else { KEPT };
        let calls = compact::clearable(self.agent.conversation.messages(), kept);
        let cleared = calls.len();
        if cleared > 0 {
            self.agent.enter(Entry::Cleared { calls })?;
            let message = format!("the results of {cleared} older calls are left out to make room");
            self.status(Now::Compacted, "results", &message, None);
        }
        let enough = self.agent.conversation.size(self.before()) < window / 2;
        if enough && (cleared > 0 || !in_any_case) {
            return Ok(());
        }
        self.sum_up(window / 4).await
    }

    /// Has the model sum up all but the newest messages, which are at most so many tokens.
    async fn sum_up(&mut self, most: u64) -> Result<(), Halt> {
        let messages = self.agent.conversation.messages();
        let Some(kept_from) = compact::cut(messages, most) else { return Ok(()) };
        let count = kept_from;
        let mut question = self.question();
        question.messages.truncate(kept_from);
        let question = asking(question);
        let answer = self.answer_to(question, false).await?;
        self.count(&answer)?;
        let text = answer.reply.text();
        if text.trim().is_empty() {
            tracing::warn!("the model has summed up nothing; the conversation stays as it is");
            return Ok(());
        }
        self.agent.enter(Entry::Summed { text, kept_from })?;
        let message = format!("{count} older messages are summed up to make room");
        self.status(Now::Compacted, "summary", &message, None);
        Ok(())
    }
}

/// The request with what is asked for at its end. The tools stay, for the conversation names them, and
/// none may be called.
fn asking(mut request: Request) -> Request {
    if let Some(last) = request.messages.last_mut() {
        last.content.push(Block::text(SUM_UP));
    }
    request.tool_choice = (!request.tools.is_empty()).then_some(ToolChoice::None);
    request
}
