//! The commands of a chat: lines that begin with `/`. Pure.

use std::path::PathBuf;

use crate::agent::limits::Limits;

/// What a line asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Help,
    Tools,
    Usage,
    Cost,
    /// Tells the model, or chooses another.
    Model(Option<String>),
    Save(PathBuf),
    Export(PathBuf),
    /// Tells the limits, or sets one.
    Budget(Option<Budget>),
    Exit,
}

/// A limit that is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Budget {
    Usd(f64),
    Tokens(u64),
    Turns(u32),
    ToolCalls(u32),
    /// All but the turns.
    Off,
}

/// What the commands are.
pub(super) const HELP: &str = "\
/tools            the tools that the model may call
/usage            tokens of this conversation, and how many came from the provider's cache
/cost             what it has cost, estimated
/budget           the limits; /budget usd 2, tokens 500000, turns 20, tool-calls 50, or off
/model [NAME]     the model, or another one from now on
/save FILE        write what was said, and what will be said, to a transcript
/export FILE      write a notebook: what was asked and answered, and the cells that ran
/exit             the end (also Ctrl-D); Ctrl-C stops what is under way
A line that ends with \\ goes on in the next one.
";

/// Reads a line that begins with `/`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(line: &str) -> Result<Command, String> {
    let (word, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    let file = || match rest {
        "" => Err(format!("name a file: {word} FILE")),
        file => Ok(PathBuf::from(file)),
    };
    match word {
        "/help" | "/?" => Ok(Command::Help),
        "/tools" => Ok(Command::Tools),
        "/usage" => Ok(Command::Usage),
        "/cost" => Ok(Command::Cost),
        "/model" => Ok(Command::Model((!rest.is_empty()).then(|| rest.to_owned()))),
        "/save" => Ok(Command::Save(file()?)),
        "/export" => Ok(Command::Export(file()?)),
        "/budget" if rest.is_empty() => Ok(Command::Budget(None)),
        "/budget" => budget(rest).map(|budget| Command::Budget(Some(budget))),
        "/exit" | "/quit" => Ok(Command::Exit),
        _ => Err(format!("there is no command {word}; /help tells them")),
    }
}

fn budget(text: &str) -> Result<Budget, String> {
    let (what, number) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let number = number.trim();
    let wrong = || format!("`{number}` is no number for {what}");
    match what {
        "usd" => match number.parse() {
            Ok(usd) if usd > 0.0 && f64::is_finite(usd) => Ok(Budget::Usd(usd)),
            _ => Err(wrong()),
        },
        "tokens" => number.parse().map(Budget::Tokens).map_err(|_| wrong()),
        "turns" => number.parse().map(Budget::Turns).map_err(|_| wrong()),
        "tool-calls" => number.parse().map(Budget::ToolCalls).map_err(|_| wrong()),
        "off" => Ok(Budget::Off),
        _ => Err("a budget is usd, tokens, turns or tool-calls and a number, or off".to_owned()),
    }
}

impl Budget {
    /// The limits with this one.
    pub(super) fn set(self, limits: Limits) -> Limits {
        match self {
            Self::Usd(usd) => Limits { usd: Some(usd), ..limits },
            Self::Tokens(tokens) => Limits { tokens: Some(tokens), ..limits },
            Self::Turns(turns) => Limits { turns, ..limits },
            Self::ToolCalls(calls) => Limits { tool_calls: Some(calls), ..limits },
            Self::Off => Limits { turns: limits.turns, ..Limits::default() },
        }
    }
}

/// The limits in a line.
pub(super) fn told(limits: &Limits) -> String {
    let parts = [
        Some(format!("{} turns a prompt", limits.turns)),
        limits.tool_calls.map(|calls| format!("{calls} calls of tools a prompt")),
        limits.time.map(|time| format!("{} s a prompt", time.as_secs_f64())),
        limits.tokens.map(|tokens| format!("{tokens} tokens")),
        limits.usd.map(|usd| format!("${usd}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_or_the_fault_is_told() {
        let check = |line: &str, expected: Result<Command, &str>| match (read(line), expected) {
            (Err(fault), Err(part)) => assert!(fault.contains(part), "{line}: {fault}"),
            (got, expected) => assert_eq!(got, expected.map_err(str::to_owned), "{line}"),
        };
        check("/tools", Ok(Command::Tools));
        check(" /model  claude-x ", Ok(Command::Model(Some("claude-x".to_owned()))));
        check("/model", Ok(Command::Model(None)));
        check("/save a b.jsonl", Ok(Command::Save("a b.jsonl".into())));
        check("/export", Err("name a file"));
        check("/budget", Ok(Command::Budget(None)));
        check("/budget usd 2.5", Ok(Command::Budget(Some(Budget::Usd(2.5)))));
        check("/budget usd -1", Err("no number"));
        check("/budget tokens many", Err("no number"));
        check("/budget sheep 3", Err("a budget is"));
        check("/dance", Err("no command /dance"));
    }

    #[test]
    fn a_budget_changes_one_limit_and_off_all_but_the_turns() {
        let limits = Budget::Turns(7).set(Budget::Usd(1.0).set(Limits::default()));
        assert_eq!(told(&limits), "7 turns a prompt, $1");
        assert_eq!(told(&Budget::Off.set(limits)), "7 turns a prompt");
    }
}
