//! Every metric of the node: names, meaning and registration in one place.
//!
//! Names are `<part>_<noun>_<unit>`, counters end in `_total`. What happens is counted where it
//! happens, through the public fields; what other parts count themselves (cache, registry, the
//! process) is copied in by [`Metrics::observe`] when somebody asks. `ops/METRICS.md` is
//! [`Metrics::document`], asserted by a test.

use std::{
    fmt::Write as _,
    sync::atomic::Ordering,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, text},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

use crate::{app::App, auth::keystone::Tokens};

/// Upper bounds of the request durations, seconds: from a metadata read to a large transfer.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0,
];

/// Pending deletes counted at most: more shows as this.
const MAX_PENDING: usize = 10_000;

/// Labels of [`Metrics::http_requests`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's template, never the path.
    route: &'static str,
    /// `GET` …, or `other`.
    method: &'static str,
    /// `2xx` …
    status: &'static str,
}

/// Label of [`Metrics::http_request_duration`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabel {
    /// The route's template.
    route: &'static str,
}

/// Why something was refused or broke.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// One of few words.
    pub reason: &'static str,
}

/// How something that was asked for came out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// One of few words.
    pub outcome: &'static str,
}

/// Label of [`Metrics::node_build`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BuildLabel {
    /// Of this program.
    version: &'static str,
}

/// How one metric is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// As it is scraped.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it counts.
    pub help: &'static str,
}

/// Declares the struct, its registration and the copying of descriptions from one list of
/// `field: type = "name", "help"`.
macro_rules! metrics {
    ($($(#[$attribute:meta])* $field:ident: $kind:ty = $name:literal, $help:literal;)*) => {
        /// The metrics of one node. Counters and gauges are atomics: cheap from any thread.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $help] $(#[$attribute])* pub $field: $kind,)*
            registry: Registry,
            descriptions: Vec<Description>,
        }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::default();
                let mut descriptions = Vec::new();
                $(let $field = <$kind as Make>::make();
                register(&mut registry, &mut descriptions, $name, $help, &$field);)*
                Self {
                    $($field,)*
                    registry,
                    descriptions,
                }
            }
        }
    };
}

/// A metric at its beginning.
trait Make {
    fn make() -> Self;
}

impl Make for Counter {
    fn make() -> Self {
        Self::default()
    }
}

impl Make for Gauge {
    fn make() -> Self {
        Self::default()
    }
}

impl Make for Histogram {
    fn make() -> Self {
        Self::new(SECONDS)
    }
}

impl<L: Clone + std::hash::Hash + Eq, M: Make> Make for Family<L, M> {
    fn make() -> Self {
        Self::new_with_constructor(M::make)
    }
}

fn register<M: Metric + Clone>(
    registry: &mut Registry,
    descriptions: &mut Vec<Description>,
    name: &'static str,
    help: &'static str,
    metric: &M,
) {
    let kind = match EncodeMetric::metric_type(metric) {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::Info | MetricType::Unknown => "unknown",
    };
    // The library adds the suffix itself, and a full stop to the help.
    let bare = name.strip_suffix("_total").unwrap_or(name);
    registry.register(bare, help, metric.clone());
    descriptions.push(Description { name, kind, help });
}

metrics! {
    node_build: Family<BuildLabel, Gauge> = "node_build",
        "Always 1; the label says which version runs";
    node_start: Gauge = "node_start_seconds",
        "When this process began, seconds since the Unix epoch";
    process_resident: Gauge = "process_resident_bytes",
        "Memory of the process that is resident, mapped pool included";
    process_anonymous: Gauge = "process_anonymous_bytes",
        "Resident memory that belongs to no file";
    process_open_files: Gauge = "process_open_files",
        "File descriptors in use";
    log_dropped_lines: Counter = "log_dropped_lines_total",
        "Lines of the log that were lost: its reader did not keep up, or is gone";

    policy_reloads: Counter = "policy_reloads_total",
        "Times that the policy was read again, because its files had changed or on demand";
    policy_reload_failures: Counter = "policy_reload_failures_total",
        "Changes of the policy's files that cannot be used";
    policy_stale: Gauge = "policy_stale",
        "1: the policy's files cannot be used as they are now, and the rules of before hold";
    policy_remote_failures: Counter = "policy_remote_failures_total",
        "Questions to servers that the policy's rules name which were not answered, and refused";

    http_connections: Gauge = "http_connections",
        "Connections to the API that are open";
    http_accepted_connections: Counter = "http_accepted_connections_total",
        "Connections to the API that were taken";
    http_refused_connections: Counter = "http_refused_connections_total",
        "Connections to the API past a bound (of all, or of one peer), answered 503 or dropped";
    http_failed_connections: Counter = "http_failed_connections_total",
        "Connections to the API that ended with an error: cut, late, slow or not HTTP";
    http_panics: Counter = "http_panics_total",
        "Requests whose handler panicked, answered 500";
    http_last_panic: Gauge = "http_last_panic_seconds",
        "When a handler panicked last, seconds since the Unix epoch; 0: never";
    http_requests: Family<RequestLabels, Counter> = "http_requests_total",
        "Requests answered, by route template, method and class of status";
    http_request_duration: Family<RouteLabel, Histogram> = "http_request_duration_seconds",
        "Time from the head of a request to the head of its answer, by route template";
    http_held: Gauge = "http_held_bytes",
        "Bytes of large JSON bodies and answers in memory (limits.json_memory)";
    http_refused_memory: Counter = "http_refused_memory_total",
        "JSON bodies and answers that were answered 503 because others hold limits.json_memory";
    http_refused_turns: Counter = "http_refused_turns_total",
        "Listings and PATCHes that were answered 503 because their turn did not come within limits.turn_timeout";
    http_received_bytes: Counter = "http_received_bytes_total",
        "Bytes read from connections to the API, heads included";
    http_sent_bytes: Counter = "http_sent_bytes_total",
        "Bytes written to connections to the API, heads included";

    auth_cache_hits: Counter = "auth_cache_hits_total",
        "Tokens about which the answer of the identity service was remembered";
    auth_cache_misses: Counter = "auth_cache_misses_total",
        "Tokens about which it was not: the request asked, or waited for another one's answer";
    auth_validations: Family<OutcomeLabel, Counter> = "auth_validations_total",
        "Questions to the identity service about tokens, by outcome (valid, invalid; failed: late, unreachable or a wrong answer)";
    auth_validation_duration: Histogram = "auth_validation_duration_seconds",
        "Time that such a question took";
    auth_cached_tokens: Gauge = "auth_cached_tokens",
        "Valid tokens that are remembered";

    upload_transfers: Gauge = "upload_transfers",
        "Uploads in progress";
    upload_finished: Counter = "upload_finished_total",
        "Uploads that made an image active";
    upload_failed: Counter = "upload_failed_total",
        "Uploads whose head was in order and that failed all the same: the registry did not let them begin, or data, store or client failed";
    upload_refused: Family<ReasonLabel, Counter> = "upload_refused_total",
        "Uploads that were refused because of a bound of this node, by reason (slots)";
    upload_bytes: Counter = "upload_bytes_total",
        "Bytes of image data taken in, of uploads whose data came whole";
    download_transfers: Gauge = "download_transfers",
        "Downloads in progress";
    download_begun: Counter = "download_begun_total",
        "Downloads begun: answers with image data, their first chunk at hand";
    download_refused: Family<ReasonLabel, Counter> = "download_refused_total",
        "Downloads that were answered 503, by reason (slots; unreadable: the first chunk could not be had; cache: there was no room for it; manifest: it is lost, and no store has the data that it is made from)";
    download_left: Counter = "download_left_total",
        "Downloads that had begun and that the client broke off";
    download_broken: Counter = "download_broken_total",
        "Downloads that had begun and were broken off because the rest could not be read or was damaged";
    download_bytes: Counter = "download_bytes_total",
        "Bytes of image data handed to connections";

    registry_term: Gauge = "registry_term",
        "Raft term";
    registry_leader: Gauge = "registry_leader",
        "Whether this node leads the group (1) or not (0)";
    registry_committed: Gauge = "registry_committed_index",
        "Last log entry that is committed";
    registry_applied: Gauge = "registry_applied_index",
        "Last log entry that is applied";
    registry_durable: Gauge = "registry_durable_index",
        "Last log entry whose effect on the tables survives a power cut";
    registry_first: Gauge = "registry_first_index",
        "First entry that is still in the log";
    registry_clock_behind: Gauge = "registry_clock_behind_seconds",
        "How far this node's clock is behind the latest time in the registry; until it has caught up, times of images stand still";
    registry_images: Gauge = "registry_images",
        "Images in the registry";
    reaper_pending_deletes: Gauge = "reaper_pending_deletes",
        "Deleted images and broken uploads whose data waits to be removed (10000: or more)";

    reaper_objects: Counter = "reaper_objects_total",
        "Objects of deleted images that were removed from stores";
    reaper_uploads: Counter = "reaper_uploads_total",
        "Uploads of dead processes that were undone";
    reaper_orphans: Counter = "reaper_orphans_total",
        "Objects without an image that were removed from stores";
    reaper_manifests: Counter = "reaper_manifests_total",
        "Manifests that no image names any more and that were removed";

    cache_hits: Counter = "cache_hits_total",
        "Chunks found in the cache";
    cache_misses: Counter = "cache_misses_total",
        "Chunks that had to be filled";
    cache_shared_fills: Counter = "cache_shared_fills_total",
        "Readers that waited for another reader's fill";
    cache_fill: Counter = "cache_fill_bytes_total",
        "Bytes filled into the cache";
    cache_checks: Counter = "cache_checks_total",
        "Chunks in the cache that were compared with their names again";
    cache_corrupt_slots: Counter = "cache_corrupt_slots_total",
        "Slots whose bytes did not match their name; refilled, never served";
    cache_stale_slots: Counter = "cache_stale_slots_total",
        "Slots that after a crash did not hold what the index said; refilled, never served";
    cache_corrupt_sources: Counter = "cache_corrupt_sources_total",
        "Chunks from a store that did not match their name; never served";
    cache_failed_sources: Counter = "cache_failed_sources_total",
        "Times that no store gave a chunk that was asked for: its object is lost, cut short or out of reach";
    cache_unpooled: Counter = "cache_unpooled_total",
        "Chunks served from memory because no slot could be had or written";
    cache_refused_unpooled: Counter = "cache_refused_unpooled_total",
        "Chunks for which there was neither a slot nor room in cache.unpooled_memory";
    cache_refused_growth: Counter = "cache_refused_growth_total",
        "Times that the cache could not grow because the disk has no room that need not stay free";
    cache_busy_slots: Counter = "cache_busy_slots_total",
        "Slots passed over for a fill because what they held was still on its way to a client";
    cache_evictions: Counter = "cache_evictions_total",
        "Slots that were reused";
    cache_prefetched_images: Counter = "cache_prefetched_images_total",
        "Images that were fetched into the cache because that was asked for";
    cache_prefetch_failures: Counter = "cache_prefetch_failures_total",
        "Images whose fetch into the cache was given up";
    cache_used_slots: Gauge = "cache_used_slots",
        "Slots in use";
    cache_slots: Gauge = "cache_slots",
        "Slots in all";
}

/// Why an upload or a download is refused; every reason is shown from the start, as 0.
const VALIDATIONS: &[&str] = &["valid", "invalid", "failed"];
const UPLOAD_REASONS: &[&str] = &["slots"];
const DOWNLOAD_REASONS: &[&str] = &["slots", "unreadable", "cache", "manifest"];

impl Metrics {
    /// The metrics of a node that starts. What has a reason is there before its first event, so that
    /// a rate over it sees that one too.
    pub fn new() -> Self {
        let metrics = Self::default();
        for (family, reasons) in [
            (&metrics.upload_refused, UPLOAD_REASONS),
            (&metrics.download_refused, DOWNLOAD_REASONS),
        ] {
            for reason in reasons {
                drop(family.get_or_create(&ReasonLabel { reason }));
            }
        }
        for outcome in VALIDATIONS {
            drop(
                metrics
                    .auth_validations
                    .get_or_create(&OutcomeLabel { outcome }),
            );
        }
        metrics
    }

    /// Counts one validation of a token.
    pub fn count_validation(&self, outcome: &'static str) {
        self.auth_validations
            .get_or_create(&OutcomeLabel { outcome })
            .inc();
    }

    /// Counts one answered request. `route` is the template (`/v2/images/{id}`), never the path:
    /// each one costs memory.
    pub fn request(
        &self,
        route: &'static str,
        method: &http::Method,
        status: http::StatusCode,
        duration: Duration,
    ) {
        let labels = RequestLabels {
            route,
            method: method_label(method),
            status: status_class(status),
        };
        self.http_requests.get_or_create(&labels).inc();
        self.http_request_duration
            .get_or_create(&RouteLabel { route })
            .observe(duration.as_secs_f64());
    }

    /// Counts one request whose handler panicked.
    pub fn note_panic(&self) {
        self.http_panics.inc();
        self.http_last_panic.set(unix_seconds());
    }

    /// Whether a handler panicked less than `within` ago.
    pub fn panicked_lately(&self, within: Duration) -> bool {
        let within = i64::try_from(within.as_secs()).unwrap_or(i64::MAX);
        self.http_panics.get() > 0 && unix_seconds() - self.http_last_panic.get() < within
    }

    /// Counts one upload that a bound of this node refused.
    pub fn refuse_upload(&self, reason: &'static str) {
        self.upload_refused
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// Counts one refused download.
    pub fn refuse_download(&self, reason: &'static str) {
        self.download_refused
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// Copies what the other parts know of themselves.
    pub fn observe(&self, app: &App) {
        let cache = app.cache.stats();
        let data = &app.data.counters;
        for (counter, value) in [
            (&self.cache_hits, cache.hits),
            (&self.cache_misses, cache.misses),
            (&self.cache_shared_fills, cache.shared_fills),
            (&self.cache_fill, cache.fill_bytes),
            (&self.cache_checks, cache.checks),
            (&self.cache_corrupt_slots, cache.corrupt_slots),
            (&self.cache_stale_slots, cache.stale_slots),
            (&self.cache_corrupt_sources, cache.corrupt_sources),
            (&self.cache_failed_sources, cache.failed_sources),
            (&self.cache_unpooled, cache.unpooled),
            (&self.cache_refused_unpooled, cache.refused_unpooled),
            (&self.cache_refused_growth, cache.refused_growth),
            (&self.cache_busy_slots, cache.busy_slots),
            (&self.cache_evictions, cache.evictions),
            (&self.upload_finished, data.uploads_finished.get()),
            (&self.upload_failed, data.uploads_failed.get()),
            (&self.upload_bytes, data.upload_bytes.get()),
            (&self.download_begun, data.downloads.get()),
            (&self.download_bytes, data.download_bytes.get()),
            (&self.download_broken, data.downloads_broken.get()),
            (&self.download_left, data.downloads_left.get()),
            (&self.reaper_objects, data.objects_reaped.get()),
            (&self.reaper_uploads, data.uploads_reaped.get()),
            (&self.reaper_orphans, data.orphans_reaped.get()),
            (&self.reaper_manifests, data.manifests_reaped.get()),
            (&self.http_refused_memory, app.memory.refused()),
            (&self.log_dropped_lines, crate::telemetry::dropped_lines()),
        ] {
            counter.inner().store(value, Ordering::Relaxed);
        }
        let status = app.registry.status();
        let view = app.registry.read_local();
        let images = view.image_count();
        let pending = view
            .pending_deletes(0, MAX_PENDING)
            .map_or(0, |pending| pending.len() as u64);
        drop(view);
        let process = Process::read();
        for (gauge, value) in [
            (&self.http_held, app.memory.held()),
            (
                &self.auth_cached_tokens,
                app.auth.tokens().map_or(0, Tokens::remembered) as u64,
            ),
            (&self.upload_transfers, app.upload_slots.running() as u64),
            (
                &self.download_transfers,
                app.download_slots.running() as u64,
            ),
            (&self.cache_used_slots, cache.used_slots),
            (&self.cache_slots, cache.slots),
            (&self.registry_term, status.term),
            (&self.registry_leader, u64::from(status.leads)),
            (&self.registry_committed, status.committed),
            (&self.registry_applied, status.applied),
            (&self.registry_durable, status.durable),
            (&self.registry_first, status.first),
            (
                &self.registry_clock_behind,
                crate::clock::behind(&app.registry).as_secs(),
            ),
            (&self.registry_images, images),
            (&self.reaper_pending_deletes, pending),
            (&self.process_resident, process.resident),
            (&self.process_anonymous, process.anonymous),
            (&self.process_open_files, process.open_files),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        let version = env!("CARGO_PKG_VERSION");
        self.node_build
            .get_or_create(&BuildLabel { version })
            .set(1);
    }

    /// The OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(16 << 10);
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    /// Every metric.
    pub fn descriptions(&self) -> &[Description] {
        &self.descriptions
    }

    /// The content of `ops/METRICS.md`.
    pub fn document() -> String {
        let mut out = String::from(
            "# Metrics\n\n\
             What `/metrics` of the admin listener (`admin.listen`) shows, in OpenMetrics text.\n\
             This file is the list in `node/src/metrics.rs`, and a test keeps it so.\n\n\
             | name | kind | meaning |\n| --- | --- | --- |\n",
        );
        for Description { name, kind, help } in Self::default().descriptions() {
            let _ = writeln!(out, "| `{name}` | {kind} | {help} |");
        }
        out
    }
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

fn method_label(method: &http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn status_class(status: http::StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// What Linux says of this process; zeros where it says nothing.
#[derive(Default)]
struct Process {
    resident: u64,
    anonymous: u64,
    open_files: u64,
}

impl Process {
    fn read() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |name: &str| {
            let kib = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
            kib.unwrap_or(0) << 10
        };
        Self {
            resident: bytes("VmRSS:"),
            anonymous: bytes("RssAnon:"),
            open_files: std::fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_every_metric_as_it_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/METRICS.md");
        let wanted = Metrics::document();
        if std::env::var_os("UPDATE_METRICS_MD").is_some() {
            std::fs::write(path, &wanted).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert_eq!(written, wanted, "run the test with UPDATE_METRICS_MD=1");
    }

    #[test]
    fn names_follow_the_rule() {
        let metrics = Metrics::default();
        let mut seen = std::collections::BTreeSet::new();
        for Description { name, kind, help } in metrics.descriptions() {
            assert!(seen.insert(name), "{name} twice");
            assert_eq!(name.ends_with("_total"), *kind == "counter", "{name}");
            assert!(name.contains('_') && !help.ends_with('.'), "{name}");
            assert!(matches!(*kind, "counter" | "gauge" | "histogram"), "{name}");
        }
    }

    #[test]
    fn a_panic_is_remembered_for_a_while() {
        let metrics = Metrics::default();
        let minute = Duration::from_secs(60);
        assert!(!metrics.panicked_lately(minute));
        metrics.note_panic();
        assert!(metrics.panicked_lately(minute));
        metrics.http_last_panic.set(unix_seconds() - 60);
        assert!(!metrics.panicked_lately(minute));
    }

    #[test]
    fn every_reason_is_there_before_its_first_event_and_in_the_description() {
        let metrics = Metrics::new();
        let text = metrics.encode();
        let help = |name: &str| {
            let mut all = metrics.descriptions().iter();
            all.find(|one| one.name == name).unwrap().help
        };
        for (name, reasons) in [
            ("upload_refused_total", UPLOAD_REASONS),
            ("download_refused_total", DOWNLOAD_REASONS),
        ] {
            for reason in reasons {
                let line = format!("{name}{{reason=\"{reason}\"}} 0");
                assert!(
                    text.lines().any(|have| have == line),
                    "{line} not in\n{text}"
                );
                assert!(help(name).contains(reason), "{reason}");
            }
        }
    }

    #[test]
    fn what_is_counted_is_scraped_under_its_name() {
        let metrics = Metrics::default();
        let route = "/v2/images/{id}";
        for _ in 0..2 {
            metrics.request(
                route,
                &http::Method::GET,
                http::StatusCode::NOT_FOUND,
                Duration::from_millis(3),
            );
        }
        metrics.refuse_upload("slots");
        metrics.download_broken.inc();
        let text = metrics.encode();
        for line in [
            r#"http_requests_total{route="/v2/images/{id}",method="GET",status="4xx"} 2"#,
            r#"http_request_duration_seconds_bucket{le="0.005",route="/v2/images/{id}"} 2"#,
            r#"http_request_duration_seconds_count{route="/v2/images/{id}"} 2"#,
            r#"upload_refused_total{reason="slots"} 1"#,
            "download_broken_total 1",
            "download_transfers 0",
        ] {
            assert!(
                text.lines().any(|have| have == line),
                "{line} not in\n{text}"
            );
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
