//! The loop: the model is asked, its calls are carried out, until it calls nothing more.
//!
//! Every way out leaves a conversation in which no call is open.

use tokio::{
    sync::mpsc::UnboundedSender,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Agent, AgentError,
    conversation::{Entry, not_carried_out},
    event::{Ended, Event, Init, Now, Status, Why},
    limits::{Reached, Used},
    millis,
};
use crate::{
    base::causes,
    llm::{
        message::{Block, Message, Role},
        reply::Stop,
    },
};

/// One prompt on its way.
pub(super) struct Run<'a> {
    pub(super) agent: &'a mut Agent,
    events: UnboundedSender<Event>,
    /// Fires when whoever asked gives up.
    pub(super) stop: CancellationToken,
    begun: Instant,
    pub(super) turns: u32,
    pub(super) tool_calls: u32,
    /// The words of the last answer.
    pub(super) text: String,
}

/// Why a run does not go on.
pub(super) enum Halt {
    /// Whoever asked gave up.
    Cancelled,
    /// A limit is reached.
    Limit(Reached),
    /// Something failed.
    Failed(AgentError),
}

impl<E: Into<AgentError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Halt {
    /// Why a call was not carried out, for the model.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Cancelled => "the user has stopped the run".to_owned(),
            Self::Limit(reached) => format!("the run has reached its limit: {}", reached.message),
            Self::Failed(_) => "the run has failed".to_owned(),
        }
    }
}

impl<'a> Run<'a> {
    pub(super) fn new(
        agent: &'a mut Agent,
        events: UnboundedSender<Event>,
        stop: CancellationToken,
    ) -> Self {
        let begun = Instant::now();
        Self { agent, events, stop, begun, turns: 0, tool_calls: 0, text: String::new() }
    }

    pub(super) async fn go(mut self, prompt: String) {
        let mut end = self.work(prompt).await;
        let why = end.as_ref().err().map_or_else(|| "the model went on".to_owned(), Halt::reason);
        if let Err(error) = self.close_open(&why) {
            end = Err(error.into());
        }
        let ended = match end {
            Ok(why) => self.ended(why, None),
            Err(Halt::Cancelled) => self.ended(Why::Cancelled, None),
            Err(Halt::Limit(reached)) => self.ended(Why::Limit, Some(reached)),
            Err(Halt::Failed(error)) => Event::Error { message: causes::told(&error, ": ") },
        };
        self.tell(ended);
    }

    async fn work(&mut self, prompt: String) -> Result<Why, Halt> {
        self.close_open("the run before it ended")?;
        self.refresh().await?;
        self.begin(prompt)?;
        loop {
            self.may_go_on()?;
            self.make_room(false).await?;
            let answer = self.ask().await?;
            let stop = answer.reply.stop.clone();
            let calls = self.take(answer)?;
            if calls.is_empty() || stop == Stop::Refusal {
                return Ok(match stop {
                    Stop::MaxTokens => Why::MaxTokens,
                    Stop::Refusal => Why::Refusal,
                    _ => Why::EndTurn,
                });
            }
            self.carry_out(calls).await?;
        }
    }

    fn begin(&mut self, prompt: String) -> Result<(), Halt> {
        let agent = &self.agent;
        self.tell(Event::Init(Init {
            conversation: agent.conversation.id().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: agent.settings.model.clone(),
            servers: agent.toolbox.servers(),
            tools: agent.toolbox.described().into_iter().map(|tool| tool.name).collect(),
            messages: agent.conversation.messages().len(),
        }));
        let message = Message { role: Role::User, content: vec![Block::text(prompt)] };
        Ok(self.agent.enter(Entry::Message { message })?)
    }

    async fn refresh(&mut self) -> Result<(), Halt> {
        if self.agent.toolbox.refresh().await? {
            self.status(Now::Tools, "changed", "the tools of a server have changed", None);
        }
        Ok(())
    }

    fn may_go_on(&self) -> Result<(), Halt> {
        if self.stop.is_cancelled() {
            return Err(Halt::Cancelled);
        }
        match self.agent.settings.limits.before_turn(&self.used(0)) {
            Some(reached) => Err(Halt::Limit(reached)),
            None => Ok(()),
        }
    }

    /// What was used so far, with so many calls that are about to be carried out.
    pub(super) fn used(&self, calls: u32) -> Used {
        let taken = self.agent.conversation.taken();
        let read = taken.input_tokens + taken.cache_read_tokens + taken.cache_write_tokens;
        Used {
            turns: self.turns,
            tool_calls: self.tool_calls + calls,
            tokens: read + taken.output_tokens,
            usd: taken.cost_usd,
            time: self.begun.elapsed(),
        }
    }

    /// Waits until the time of this run is up, or for ever.
    pub(super) fn time_is_up(&self) -> impl Future<Output = Halt> + Send + use<> {
        let (limits, mut used) = (self.agent.settings.limits, self.used(0));
        let until = limits.time.map(|time| self.begun + time);
        async move {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
            used.time = limits.time.unwrap_or_default();
            limits.before_tool(&used).map_or(Halt::Cancelled, Halt::Limit)
        }
    }

    /// Answers the calls that nobody has answered, so that no provider refuses the conversation.
    fn close_open(&mut self, why: &str) -> Result<(), AgentError> {
        let open = self.agent.conversation.open_calls();
        if open.is_empty() {
            return Ok(());
        }
        let content = open.iter().map(|id| not_carried_out(id, why)).collect();
        let message = Message { role: Role::User, content };
        self.agent.enter(Entry::Message { message })
    }

    fn ended(&mut self, why: Why, reached: Option<Reached>) -> Event {
        let conversation = &self.agent.conversation;
        Event::Result(Ended {
            text: std::mem::take(&mut self.text),
            why,
            limit: reached.as_ref().map(|reached| reached.limit),
            message: reached.map(|reached| reached.message),
            conversation: conversation.id().to_owned(),
            turns: self.turns,
            tool_calls: self.tool_calls,
            duration_ms: millis(self.begun.elapsed()),
            total: conversation.taken(),
        })
    }

    /// Tells an event. Who no longer listens has dropped the stream, and this run with it.
    pub(super) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    pub(super) fn teller(&self) -> UnboundedSender<Event> {
        self.events.clone()
    }

    pub(super) fn status(&self, now: Now, reason: &str, message: &str, about: Option<String>) {
        let (reason, message) = (reason.to_owned(), message.to_owned());
        self.tell(Event::Status(Status { now, reason, message, about }));
    }
}
