//! Which calls need somebody's word first.
//!
//! A tool that only reads never does: its server's annotations say which ones do. What they say is a
//! server's own word; who does not trust it gives its tools no room (`never`, or a sandbox).

use std::{future::Future, pin::Pin};

use serde_json::Value;

use super::settings::Settings;

/// Which tools run unasked, beside those that only read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Approve {
    /// None: the user is asked.
    #[default]
    Ask,
    /// None, and nobody is asked.
    Never,
    /// All.
    Always,
    /// Those of a list, and nobody is asked.
    List,
}

/// A call for which somebody's word is needed.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The tool, as the model names it.
    pub name: &'a str,
    /// Its arguments.
    pub input: &'a Value,
    /// Whether it may destroy something, as its server says.
    pub destructive: bool,
}

/// Somebody's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// This call may run.
    Yes,
    /// Every call of this tool may run from now on.
    Always,
    /// It may not, and what to tell the model.
    No(String),
}

/// Somebody's word on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Word> + Send + 'a>>;

/// Somebody who is asked.
pub trait Approver: Send + Sync {
    /// Asks about a call.
    fn ask<'a>(&'a self, call: Asked<'a>) -> Answering<'a>;
}

/// Where nobody is there to ask.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Approver for Nobody {
    fn ask<'a>(&'a self, _: Asked<'a>) -> Answering<'a> {
        Box::pin(std::future::ready(Word::No("nobody is here to be asked".to_owned())))
    }
}

/// What is done about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    Word,
    /// It is not carried out, for this reason.
    Refused(&'static str),
}

/// What a call of this tool needs.
pub(super) fn need(settings: &Settings, name: &str, reads: bool) -> Need {
    if reads || settings.allowed.contains(name) {
        return Need::Nothing;
    }
    match settings.approve {
        Approve::Always => Need::Nothing,
        Approve::Ask => Need::Word,
        Approve::Never => Need::Refused("only tools that read are allowed here"),
        Approve::List => Need::Refused("it is not on the user's list of allowed tools"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_reads_runs_and_the_rest_as_it_is_approved() {
        let check = |approve, name: &str, reads, expected: &str| {
            let allowed = ["listed".to_owned()].into();
            let settings = Settings { approve, allowed, ..Settings::default() };
            let got = match need(&settings, name, reads) {
                Need::Nothing => "runs",
                Need::Word => "asks",
                Need::Refused(_) => "refused",
            };
            assert_eq!(got, expected, "{approve:?} {name} {reads}");
        };
        for approve in [Approve::Ask, Approve::Never, Approve::Always, Approve::List] {
            check(approve, "any", true, "runs");
            check(approve, "listed", false, "runs");
        }
        check(Approve::Ask, "any", false, "asks");
        check(Approve::Never, "any", false, "refused");
        check(Approve::Always, "any", false, "runs");
        check(Approve::List, "any", false, "refused");
    }
}
