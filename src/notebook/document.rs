//! A cell and its outputs as values; how they look in JSON is [`nbformat`](super::nbformat)'s.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

/// A cell that has ended, in whatever way.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// husk's id of it, `c12`; a cell with the id of an earlier one takes that one's place.
    pub id: String,
    /// The code.
    pub source: String,
    /// What the caller said it is for: a heading above it.
    pub description: Option<String>,
    /// The number that the kernel gave it.
    pub execution_count: Option<u64>,
    /// How it ended: `ok`, `error`, `timeout`, `interrupted`, `cancelled` or `kernel_died`.
    pub status: String,
    /// When the kernel began with it.
    pub started: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Which of the session's kernels ran it, from 1.
    pub generation: u64,
    /// What it put out, in order.
    pub outputs: Vec<Output>,
}

/// One output.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Text on stdout or stderr.
    Stream {
        /// Whether it is stderr.
        stderr: bool,
        /// The text.
        text: String,
    },
    /// Something shown.
    Display {
        /// Its representations by MIME type.
        data: Map<String, Value>,
        /// What the kernel says about them.
        metadata: Map<String, Value>,
    },
    /// The value of the last expression.
    Result {
        /// The cell's number.
        count: Option<u64>,
        /// Its representations by MIME type.
        data: Map<String, Value>,
        /// What the kernel says about them.
        metadata: Map<String, Value>,
    },
    /// An exception.
    Error {
        /// Its class.
        name: String,
        /// Its message.
        value: String,
        /// The traceback as the kernel formats it, ANSI codes included.
        traceback: Vec<String>,
    },
}

/// What a notebook says about its session and the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// The session's name.
    pub session: String,
    /// The kernelspec's name, for example `python3`; other programs run the notebook with it.
    pub kernel: String,
    /// The kernelspec's name for people.
    pub display_name: String,
    /// The language, for example `python`.
    pub language: String,
    /// The language's version.
    pub version: Option<String>,
    /// The MIME type of the language's files.
    pub mimetype: Option<String>,
    /// The ending of the language's files, with its dot.
    pub file_extension: Option<String>,
}
