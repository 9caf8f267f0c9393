//! The user at this terminal: is asked whether a call may run, and what tool servers want to know.

use std::{
    io::IsTerminal,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustyline::{DefaultEditor, error::ReadlineError};
use serde_json::Map;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::show::{plain, tell};
use crate::agent::{
    approve::{Answering, Approver, Asked, Word},
    elicit::{Elicit, Question, Reply, Replying},
};

/// Whether a question stands on the terminal: nothing else may be written meanwhile.
#[derive(Debug, Clone, Default)]
pub(super) struct Asking(Arc<AtomicBool>);

impl Asking {
    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// From now on, until what this gives is dropped.
    fn hold(&self) -> Held {
        self.0.store(true, Ordering::Relaxed);
        Held(self.clone())
    }
}

struct Held(Asking);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

/// To the beginning of the line, and away with what turns there.
const WIPED: &str = "\r\u{1b}[2K";

/// Somebody at this terminal, or nobody.
pub(super) struct User {
    asking: Asking,
    stop: Mutex<CancellationToken>,
    /// One question after the other.
    turn: Semaphore,
}

impl User {
    /// `stop` fires when the user answers with Ctrl-C.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { asking: Asking::default(), stop: Mutex::new(stop), turn: Semaphore::new(1) }
    }

    /// Whether somebody is there.
    pub(super) fn is_here() -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Another run begins.
    pub(super) fn for_run(&self, stop: CancellationToken) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = stop;
    }

    pub(super) fn asking(&self) -> Asking {
        self.asking.clone()
    }

    /// The line that is typed behind a prompt. Ctrl-C stops the run.
    async fn line(&self, prompt: String) -> Result<String, ReadlineError> {
        // A thread of its own: it waits for a person.
        let read = tokio::task::spawn_blocking(move || DefaultEditor::new()?.readline(&prompt));
        let line = read.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()));
        if matches!(line, Err(ReadlineError::Interrupted)) {
            self.stop.lock().unwrap_or_else(PoisonError::into_inner).cancel();
        }
        line
    }

    async fn may(&self, name: &str, destructive: bool) -> Word {
        let (_turn, _held) = (self.turn.acquire().await, self.asking.hold());
        let warns = if destructive { ", which may change or destroy something" } else { "" };
        let question = format!("Run {}{warns}? [y]es, [a]lways, [N]o: ", plain(name));
        match self.line(question).await {
            Ok(answer) => word(&answer),
            Err(ReadlineError::Interrupted) => Word::No("the user has stopped the run".to_owned()),
            Err(error) => Word::No(format!("no answer could be read: {error}")),
        }
    }

    /// Asks for every field, and again where the line cannot be one. At the end of the input (Ctrl-D)
    /// the user does not want to say.
    async fn fill(&self, question: &Question) -> Reply {
        let (_turn, _held) = (self.turn.acquire().await, self.asking.hold());
        tell(&format!("{WIPED}{} asks: {}\n", plain(&question.server), plain(&question.message)));
        let mut values = Map::new();
        for field in &question.fields {
            let hint = field.hint();
            let hint = if hint.is_empty() { hint } else { format!(" ({hint})") };
            let prompt = plain(&format!("{}{hint}: ", field.title));
            let value = loop {
                match self.line(prompt.clone()).await {
                    Ok(line) => match field.read(&line) {
                        Ok(value) => break value,
                        Err(fault) => tell(&format!("{}\n", plain(&fault))),
                    },
                    Err(ReadlineError::Eof) => return Reply::Decline,
                    Err(error) => {
                        tracing::debug!(%error, "a question was not answered");
                        return Reply::Cancel;
                    }
                }
            };
            values.extend(value.map(|value| (field.name.clone(), value)));
        }
        Reply::Accept(values)
    }
}

impl Approver for User {
    fn ask<'a>(&'a self, call: Asked<'a>) -> Answering<'a> {
        if !Self::is_here() {
            let nobody = "nobody is here to be asked (--approve and --allow say what runs unasked)";
            return Box::pin(std::future::ready(Word::No(nobody.to_owned())));
        }
        Box::pin(self.may(call.name, call.destructive))
    }
}

impl Elicit for User {
    fn ask<'a>(&'a self, question: &'a Question) -> Replying<'a> {
        Box::pin(self.fill(question))
    }
}

/// What an answer means. Anything else than a yes is a no, and told to the model.
fn word(answer: &str) -> Word {
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Word::Yes,
        "a" | "always" => Word::Always,
        "" | "n" | "no" => Word::No("without a reason".to_owned()),
        _ => Word::No(answer.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert_eq!(word(" Y "), Word::Yes);
        assert_eq!(word("always"), Word::Always);
        for no in ["", "n", "No", "maybe", "use a smaller sample"] {
            assert!(matches!(word(no), Word::No(_)), "{no}");
        }
        assert_eq!(word("use less"), Word::No("use less".to_owned()));
    }
}
