//! Spans to a collector over OTLP (HTTP, protobuf), as OpenTelemetry's own variables say (feature `otel`).
//!
//! Nothing is sent unless a collector is named: `OTEL_EXPORTER_OTLP_ENDPOINT` or
//! `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`. Spans are handed to a thread of their own by a queue with a bound:
//! a collector that is slow or away holds no call, and what finds no room is dropped and counted in the
//! log. Only husk's spans are sent, and no line of the log.

use std::{sync::OnceLock, time::Duration};

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::{Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

/// How long the last spans may take to be sent when the process ends.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// Names a collector for all signals, or for traces.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// What sends; one for the process.
static SENDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Why nothing is sent.
#[derive(Debug, thiserror::Error)]
#[error("no traces are sent: OpenTelemetry's variables (OTEL_…) cannot be obeyed")]
pub(super) struct NoExport(#[source] ExporterBuildError);

/// What hands spans on, where the variables name a collector.
pub(super) fn layer<S>() -> Result<Option<impl Layer<S>>, NoExport>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    if !is_wanted(|name| std::env::var(name).ok()) {
        return Ok(None);
    }
    // Whoever uses this library with a choice of its own has made it already, and keeps it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = SpanExporter::builder().with_http().build().map_err(NoExport)?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource())
        .build();
    let tracer = provider.tracer("husk");
    // A second start in one process has no subscriber of its own either.
    let _ = SENDER.set(provider);
    let ours = |of: &Metadata<'_>| {
        of.is_span() && of.target().starts_with("husk") && *of.level() <= LevelFilter::INFO
    };
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    Ok(Some(layer.with_filter(filter_fn(ours))))
}

/// Sends what is left. Blocks, for at most [`LAST_SPANS`].
pub(super) fn end() {
    let Some(sender) = SENDER.get() else { return };
    if let Err(error) = sender.shutdown_with_timeout(LAST_SPANS) {
        tracing::warn!(%error, "the last spans were not sent");
    }
}

fn is_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || set("OTEL_TRACES_EXPORTER").is_some_and(|value| value != "otlp");
    !off && ENDPOINTS.iter().any(|name| set(name).is_some())
}

/// What sends them: a name that the variables give, or husk's.
fn resource() -> Resource {
    let builder = Resource::builder();
    let named = |name: &str, part: &str| std::env::var(name).is_ok_and(|it| it.contains(part));
    let builder = match named("OTEL_SERVICE_NAME", "")
        || named("OTEL_RESOURCE_ATTRIBUTES", "service.name=")
    {
        true => builder,
        false => builder.with_service_name("husk"),
    };
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    builder.with_attribute(version).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn nothing_is_sent_where_no_collector_is_named() {
        let check = |variables: &[(&str, &str)], expected: bool| {
            let all: BTreeMap<&str, &str> = variables.iter().copied().collect();
            let wanted = is_wanted(|name| all.get(name).map(|value| (*value).to_owned()));
            assert_eq!(wanted, expected, "{variables:?}");
        };
        let named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        check(&[], false);
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], false);
        check(&[named], true);
        check(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h/v1/traces")], true);
        check(&[named, ("OTEL_SDK_DISABLED", "TRUE")], false);
        check(&[named, ("OTEL_TRACES_EXPORTER", "none")], false);
        check(&[named, ("OTEL_TRACES_EXPORTER", "otlp")], true);
    }
}
