//! Floor 3: an agent. Asks a model, carries out the tools that it calls, and tells all of it as events.
//!
//! - [`Agent::run`] takes a prompt and gives a stream of [`event::Event`]s; `run` is the loop, `ask` one
//!   question to the model, `steps` the calls of one answer, `room` what is done when the
//!   conversation grows too long.
//! - [`limits`], [`approve`], `calls` and `compact` decide, and are pure.
//! - [`conversation`] is what was said, [`transcript`] its file, [`notebook`] the cells of it.
//! - [`server`] is a tool server over MCP, [`toolbox`] all of them, behind the loop guard; [`elicit`] is
//!   what they ask of the user.
//!
//! Which model answers, and what is done when one fails, is the business of [`crate::llm`]. Knows no
//! terminal.

pub mod approve;
mod ask;
mod calls;
mod compact;
pub mod conversation;
mod driven;
pub mod elicit;
pub mod event;
pub mod limits;
pub mod notebook;
mod room;
mod run;
pub mod server;
mod settings;
mod steps;
pub mod toolbox;
pub mod transcript;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::Stream;
use tokio_util::sync::CancellationToken;

use crate::{
    base::ids::random_hex,
    llm::{cache::Prefix, error::LlmError, provider::Provider},
};

use approve::{Approver, Nobody};
use conversation::{Conversation, Entry};
use driven::Driven;
use event::Event;
use server::ServerError;
use toolbox::Toolbox;
use transcript::{Transcript, TranscriptError};

pub use settings::Settings;

/// What an agent is made of.
pub struct Parts {
    /// Whom it asks.
    pub provider: Arc<dyn Provider>,
    /// Its tools.
    pub toolbox: Toolbox,
    /// How it works.
    pub settings: Settings,
    /// Who is asked about calls that need somebody's word.
    pub approver: Arc<dyn Approver>,
    /// What was said before.
    pub conversation: Conversation,
    /// Where what is said is written down.
    pub transcript: Option<Transcript>,
}

impl Parts {
    /// A new conversation that nobody writes down, and in which nobody is asked.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>, toolbox: Toolbox) -> Self {
        Self {
            provider,
            toolbox,
            settings: Settings::default(),
            approver: Arc::new(Nobody),
            conversation: fresh(),
            transcript: None,
        }
    }
}

/// A conversation in which nothing was said yet.
#[must_use]
pub fn fresh() -> Conversation {
    let at = crate::base::clock::iso(SystemTime::now());
    Conversation::new(format!("c-{}", random_hex(6)), at)
}

/// What ends a run for which there is no way round.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No model answers.
    #[error(transparent)]
    Llm(#[from] LlmError),
    /// A tool server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The transcript.
    #[error(transparent)]
    Transcript(#[from] TranscriptError),
}

/// An agent, and its conversation.
pub struct Agent {
    provider: Arc<dyn Provider>,
    toolbox: Toolbox,
    /// How it works; a run takes what is set when it begins.
    pub settings: Settings,
    approver: Arc<dyn Approver>,
    conversation: Conversation,
    transcript: Option<Transcript>,
    prefix: Prefix,
    /// Tools whose every call was approved by the user.
    approved: BTreeSet<String>,
}

impl Agent {
    /// An agent of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { provider, toolbox, settings, approver, conversation, transcript } = parts;
        Self {
            provider,
            toolbox,
            settings,
            approver,
            conversation,
            transcript,
            prefix: Prefix::default(),
            approved: BTreeSet::new(),
        }
    }

    /// Works on a prompt until the model has said all, a limit is reached, or `stop` fires.
    ///
    /// The stream ends with [`Event::Result`] or [`Event::Error`]. The work goes on only while it is
    /// polled; if it is dropped, calls that were under way are answered as not carried out when the
    /// next run begins, so that the conversation stays one that providers take.
    pub fn run(
        &mut self,
        prompt: &str,
        stop: &CancellationToken,
    ) -> impl Stream<Item = Event> + Send + Unpin + use<'_> {
        let (prompt, stop) = (prompt.to_owned(), stop.clone());
        Driven::new(move |events| run::Run::new(self, events, stop).go(prompt))
    }

    /// What was said so far.
    #[must_use]
    pub fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// Its tools.
    #[must_use]
    pub fn toolbox(&self) -> &Toolbox {
        &self.toolbox
    }

    /// Writes what was said to a file, and what will be said.
    ///
    /// # Errors
    /// [`TranscriptError`].
    pub fn write_down(&mut self, path: &std::path::Path) -> Result<(), TranscriptError> {
        self.transcript = Some(Transcript::create(path, &self.conversation)?);
        Ok(())
    }

    /// The conversation as a notebook: what was asked and answered, and the cells that ran.
    pub async fn notebook(&self) -> String {
        let told = notebook::outputs(&self.conversation, &self.toolbox).await;
        notebook::of(&self.conversation, &told)
    }

    /// Ends the tool servers.
    pub async fn close(self) {
        self.toolbox.close().await;
    }

    /// Enters what has happened, here and in the transcript.
    fn enter(&mut self, entry: Entry) -> Result<(), AgentError> {
        let written = match &mut self.transcript {
            Some(transcript) => transcript.add(&entry),
            None => Ok(()),
        };
        // Also where the disk is full the conversation must stay one that providers take.
        self.conversation.enter(entry);
        Ok(written?)
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    millis(since)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
