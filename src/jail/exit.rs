//! How a kernel ended, in words for a reader who did not see it.

use std::fmt;

use super::watch::Over;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Ended by husk, because it used more than it may.
    Over(Over),
    /// Its init ended without telling.
    Unknown,
    /// On another machine, by itself or by somebody, and nobody tells how.
    Elsewhere,
}

impl Exit {
    /// What the end most likely means, for a reader who did not see it.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Code(0) => "the process ended itself, for example by exit()",
            Self::Code(137) | Self::Signal(9) => "most likely killed for using too much memory",
            Self::Code(_) => "the process ended itself, for example by os._exit()",
            Self::Signal(11 | 7) => "a crash in native code (invalid memory access)",
            Self::Signal(6) => "native code aborted, for example on a failed assertion",
            Self::Signal(4) => "native code for another processor (illegal instruction)",
            Self::Signal(2 | 15) => "something asked the process to end",
            Self::Signal(24) => "the limit of CPU time was reached",
            Self::Signal(25) => "the limit of file size was reached",
            Self::Signal(_) => "ended by a signal",
            Self::Over(over) => over.bound.words(),
            Self::Unknown => "its supervisor was killed too",
            Self::Elsewhere => "its gateway does not tell how",
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "signal {number} ({name})"),
                None => write!(f, "signal {number}"),
            },
            Self::Over(over) => write!(f, "killed: {over}"),
            Self::Unknown => write!(f, "unknown exit"),
            Self::Elsewhere => write!(f, "ended at its gateway"),
        }
    }
}

fn signal_name(number: i32) -> Option<&'static str> {
    let names = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (15, "SIGTERM"),
        (24, "SIGXCPU"),
        (25, "SIGXFSZ"),
        (31, "SIGSYS"),
    ];
    names.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}
