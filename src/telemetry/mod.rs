//! Logs: on stderr only, since stdout belongs to MCP; and with the feature `otel` spans to a collector.

#[cfg(feature = "otel")]
mod otlp;

#[cfg(feature = "otel")]
use tracing_subscriber::registry::LookupSpan;
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
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    #[cfg(not(feature = "otel"))]
    let _ = registry.try_init();
    #[cfg(feature = "otel")]
    exporting(registry);
    Ok(())
}

/// The same, with spans to a collector. What is wrong with that stands in no server's way.
#[cfg(feature = "otel")]
fn exporting<S>(registry: S)
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static,
{
    let (layer, why) = match otlp::layer() {
        Ok(layer) => (layer, None),
        Err(why) => (None, Some(why)),
    };
    let _ = registry.with(layer).try_init();
    if let Some(why) = why {
        tracing::warn!(error = &why as &dyn std::error::Error, "traces");
    }
}

/// Sends what has not been sent yet, at the end of the process; blocks for two seconds at most.
pub fn end() {
    #[cfg(feature = "otel")]
    otlp::end();
}
