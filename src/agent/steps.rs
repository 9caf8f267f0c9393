//! The calls of one answer are carried out: each is looked up, approved and made, and every one gets a
//! result, whatever happens.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    approve::{Asked, Need, Word, need},
    ask::Call,
    calls::batches,
    conversation::{Called, Entry},
    event::{Event, Now, Status, ToolResult},
    millis, now_ms,
    run::{Halt, Run},
    server::{Progress, answer::ToolAnswer},
    toolbox::Known,
};
use crate::{
    guard::Ending,
    llm::message::{Message, Role},
};

/// A call that may be made.
struct Ready<'a> {
    at: usize,
    call: &'a Call,
    known: Known,
}

/// What came of a call.
struct Came {
    at: usize,
    called: Called,
    answer: ToolAnswer,
}

impl Run<'_> {
    /// Carries the calls of an answer out. Their results are one message, in the order of the calls.
    pub(super) async fn carry_out(&mut self, calls: Vec<Call>) -> Result<(), Halt> {
        let known = |call: &Call| self.agent.toolbox.find(&call.name);
        let reads: Vec<bool> =
            calls.iter().map(|call| known(call).is_some_and(|known| known.tool.reads)).collect();
        let mut answers = BTreeMap::new();
        let mut end = Ok(());
        for batch in batches(&reads) {
            let part = calls.iter().enumerate().skip(batch.start).take(batch.len());
            end = self.carry_out_part(part, &mut answers).await;
            if end.is_err() {
                break;
            }
        }
        let why = end.as_ref().err().map(Halt::reason).unwrap_or_default();
        let mut content = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            let answer = answers.remove(&at).unwrap_or_else(|| {
                let answer = refused(&why);
                self.tell_result(call, &answer);
                answer
            });
            content.push(answer.block(&call.id));
        }
        self.agent.enter(Entry::Message { message: Message { role: Role::User, content } })?;
        end
    }

    /// Calls that may run side by side.
    async fn carry_out_part<'c>(
        &mut self,
        part: impl Iterator<Item = (usize, &'c Call)>,
        answers: &mut BTreeMap<usize, ToolAnswer>,
    ) -> Result<(), Halt> {
        let (mut ready, mut end) = (Vec::new(), Ok(()));
        for (at, call) in part {
            end = self.may_call(ready.len());
            if end.is_err() {
                break;
            }
            let (id, name, input) = (call.id.clone(), call.name.clone(), call.input.clone());
            self.tell(Event::ToolUse { id, name, input });
            match self.looked_up(call).await {
                Ok(known) => ready.push(Ready { at, call, known }),
                Err(answer) => {
                    self.tell_result(call, &answer);
                    answers.insert(at, answer);
                }
            }
        }
        for Came { at, called, answer } in self.side_by_side(ready).await {
            self.tool_calls += 1;
            self.agent.enter(Entry::Tool(called))?;
            answers.insert(at, answer);
        }
        end
    }

    fn may_call(&self, under_way: usize) -> Result<(), Halt> {
        if self.stop.is_cancelled() {
            return Err(Halt::Cancelled);
        }
        let used = self.used(u32::try_from(under_way).unwrap_or(u32::MAX));
        match self.agent.settings.limits.before_tool(&used) {
            Some(reached) => Err(Halt::Limit(reached)),
            None => Ok(()),
        }
    }

    /// The tool of a call that may be made.
    async fn looked_up(&mut self, call: &Call) -> Result<Known, ToolAnswer> {
        if let Some(fault) = &call.fault {
            return Err(refused(fault));
        }
        let Some(known) = self.agent.toolbox.find(&call.name).cloned() else {
            let names = self.agent.toolbox.described().into_iter().map(|tool| tool.name);
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(refused(&format!("there is no tool `{}`; there are {names}", call.name)));
        };
        if self.agent.approved.contains(&call.name) {
            return Ok(known);
        }
        match need(&self.agent.settings, &call.name, known.tool.reads) {
            Need::Nothing => Ok(known),
            Need::Refused(why) => Err(refused(why)),
            Need::Word => self.asked(call, known).await,
        }
    }

    /// Asks the user about a call.
    async fn asked(&mut self, call: &Call, known: Known) -> Result<Known, ToolAnswer> {
        let (name, input) = (call.name.as_str(), &call.input);
        let approver = Arc::clone(&self.agent.approver);
        let question = approver.ask(Asked { name, input, destructive: known.tool.destructive });
        let word = tokio::select! {
            biased;
            () = self.stop.cancelled() => Word::No("the user has stopped the run".to_owned()),
            word = question => word,
        };
        match word {
            Word::Yes => Ok(known),
            Word::Always => {
                self.agent.approved.insert(call.name.clone());
                Ok(known)
            }
            Word::No(why) => Err(refused(&format!("the user does not allow it: {why}"))),
        }
    }

    /// Makes calls. When the time is up or the user gives up, they are taken back, and still answer.
    async fn side_by_side(&self, ready: Vec<Ready<'_>>) -> Vec<Came> {
        let (toolbox, settings) = (&self.agent.toolbox, &self.agent.settings);
        let token = self.stop.child_token();
        let made = ready.into_iter().map(|Ready { at, call, known }| {
            let (progress, token) = (self.progress(call), token.clone());
            async move {
                let (begun, started) = (Instant::now(), now_ms());
                let arguments = call.input.clone();
                let answer = toolbox.call(&known, arguments, settings, progress, &token).await;
                self.tell_result_after(call, &answer, millis(begun.elapsed()));
                let called = Called {
                    id: call.id.clone(),
                    server: known.server.name.clone(),
                    tool: known.tool.name.clone(),
                    at: started,
                    structured: answer.structured.clone(),
                };
                Came { at, called, answer }
            }
        });
        let made = join_all(made);
        tokio::pin!(made);
        tokio::select! {
            came = &mut made => came,
            _ = self.time_is_up() => {
                token.cancel();
                made.await
            }
        }
    }

    /// Tells how far a call is.
    fn progress(&self, call: &Call) -> Progress {
        let (events, id) = (self.teller(), call.id.clone());
        Arc::new(move |message| {
            let _ = events.send(Event::Status(Status {
                now: Now::Progress,
                reason: "progress".to_owned(),
                message: message.to_owned(),
                about: Some(id.clone()),
            }));
        })
    }

    fn tell_result(&self, call: &Call, answer: &ToolAnswer) {
        self.tell_result_after(call, answer, 0);
    }

    fn tell_result_after(&self, call: &Call, answer: &ToolAnswer, duration_ms: u64) {
        self.tell(Event::ToolResult(ToolResult {
            id: call.id.clone(),
            name: call.name.clone(),
            text: answer.text(),
            images: answer.images.clone(),
            is_error: answer.failed(),
            duration_ms,
        }));
    }
}

/// The answer to a call that is not made.
fn refused(why: &str) -> ToolAnswer {
    ToolAnswer::words(format!("not carried out: {why}"), Ending::Denied)
}
