//! Sends traces to an OpenTelemetry collector, where the standard environment variables name one. What is sent are the spans of
//! a closed list with the fields that they declare; log lines are not.
//!
//! A thread of its own sends them in batches. Where nobody takes them, they are dropped: nothing waits for a collector.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData};
use tracing::{Metadata, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

/// The service's name where nobody gives it another.
const SERVICE_NAME: &str = env!("CARGO_PKG_NAME");

/// The spans that are sent: those that end, and say something without their log lines.
const SPANS: [&str; 7] = ["run", "plan", "api.request", "git.look", "git.fetch", "git.read", "http.request"];

/// How long the last spans may take to get out.
const FLUSH: Duration = Duration::from_secs(2);

/// Traces that are being sent.
pub(super) struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Sends traces if the environment names a collector. Secrets may be among its settings, so no error repeats them.
    pub(super) fn from_environment() -> anyhow::Result<Option<Self>> {
        let is_set = |name: &str| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
        let is_disabled =
            std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let named = is_set(OTEL_EXPORTER_OTLP_ENDPOINT) || is_set(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT);
        if is_disabled || !named {
            return Ok(None);
        }
        let exporter = SpanExporter::builder().with_http().build().ok().context(
            "send traces; OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://collector:4318, \
             OTEL_EXPORTER_OTLP_PROTOCOL http/protobuf or unset, and OTEL_EXPORTER_OTLP_COMPRESSION unset",
        )?;
        let exporter = Patient { exporter, failing: AtomicBool::new(false) };
        let provider =
            SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
        Ok(Some(Self { provider }))
    }

    /// Makes what spans go through.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let layer: OpenTelemetryLayer<S, SdkTracer> =
            tracing_opentelemetry::layer().with_tracer(self.provider.tracer(SERVICE_NAME));
        let wanted = |metadata: &Metadata<'_>| {
            let ours = metadata.target().split("::").next() == Some(SERVICE_NAME);
            ours && metadata.is_span() && SPANS.contains(&metadata.name())
        };
        layer
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(wanted))
    }

    /// Sends what has not been sent, for two seconds at most.
    pub(super) async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH));
        if !matches!(tokio::time::timeout(FLUSH, ended).await, Ok(Ok(Ok(())))) {
            tracing::warn!("the last traces could not be sent");
        }
    }
}

/// Says whose spans these are: as the environment does, or by our own name and version.
fn resource() -> Resource {
    let named = |text: String| text.split(',').any(|pair| pair.trim_start().starts_with("service.name="));
    let is_named = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty())
        || std::env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(named);
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let builder = Resource::builder().with_attribute(version);
    if is_named { builder } else { builder.with_service_name(SERVICE_NAME) }.build()
}

/// Says once that a collector takes nothing, and once that it does again.
#[derive(Debug)]
struct Patient {
    exporter: SpanExporter,
    failing: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for Patient {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        let failed_before = self.failing.swap(result.is_err(), Ordering::Relaxed);
        match (&result, failed_before) {
            // The error's own words may repeat the collector's address with its login.
            (Err(_), false) => tracing::warn!(
                spans,
                "traces can't be sent and are dropped until they can: the collector is away, slow or refuses them; look at \
                 OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS"
            ),
            (Ok(()), true) => tracing::info!("traces are sent again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
