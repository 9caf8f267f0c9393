//! Asks at the terminal whether a call may run.

use std::{
    io::IsTerminal,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustyline::{DefaultEditor, error::ReadlineError};
use tokio_util::sync::CancellationToken;

use crate::agent::approve::{Answering, Approver, Asked, Word};

/// Whether a question stands on the terminal: nothing else may be written meanwhile.
#[derive(Debug, Clone, Default)]
pub(super) struct Asking(Arc<AtomicBool>);

impl Asking {
    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }
}

/// The user at this terminal.
pub(super) struct Consent {
    asking: Asking,
    stop: Mutex<CancellationToken>,
}

impl Consent {
    /// `stop` fires when the user answers with Ctrl-C.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { asking: Asking::default(), stop: Mutex::new(stop) }
    }

    /// Another run begins.
    pub(super) fn for_run(&self, stop: CancellationToken) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = stop;
    }

    pub(super) fn asking(&self) -> Asking {
        self.asking.clone()
    }
}

impl Approver for Consent {
    fn ask<'a>(&'a self, call: Asked<'a>) -> Answering<'a> {
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            let nobody = "nobody is here to be asked (--approve and --allow say what runs unasked)";
            return Box::pin(std::future::ready(Word::No(nobody.to_owned())));
        }
        let warns = if call.destructive { ", which may change or destroy something" } else { "" };
        let question = format!("Run {}{warns}? [y]es, [a]lways, [N]o: ", call.name);
        Box::pin(async move {
            self.asking.set(true);
            // A thread of its own: it waits for a person.
            let answer = tokio::task::spawn_blocking(move || line(&question)).await;
            self.asking.set(false);
            match answer {
                Ok(Ok(answer)) => word(&answer),
                Ok(Err(ReadlineError::Interrupted)) => {
                    self.stop.lock().unwrap_or_else(PoisonError::into_inner).cancel();
                    Word::No("the user has stopped the run".to_owned())
                }
                Ok(Err(error)) => Word::No(format!("no answer could be read: {error}")),
                Err(error) => Word::No(format!("nobody could be asked: {error}")),
            }
        })
    }
}

fn line(question: &str) -> Result<String, ReadlineError> {
    DefaultEditor::new()?.readline(question)
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
