//! Logs: on stderr only, since stdout belongs to MCP.

use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, LevelFilter, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// A filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{filter}` is no log filter (setting `log`); write for example `warn,husk=debug`")]
pub struct BadFilter {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Who reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// A host that keeps it: with the time of each line.
    Host,
    /// A person who watches: without.
    Person,
}

/// Sends logs that pass `filter` to stderr.
///
/// # Errors
/// [`BadFilter`].
pub fn start(filter: &str, reader: Reader) -> Result<(), BadFilter> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|source| BadFilter { filter: filter.to_owned(), source })?;
    // Below info rmcp logs whole messages: what users answer to `getpass` would be among them.
    let no_messages =
        filter_fn(|of| !of.target().starts_with("rmcp") || *of.level() <= LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .compact();
    // A program that embeds husk may have a subscriber of its own; then that one counts.
    let lines = match reader {
        Reader::Host => lines.boxed(),
        Reader::Person => lines.without_time().boxed(),
    };
    let filter = parsed.and(no_messages);
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    Ok(())
}
