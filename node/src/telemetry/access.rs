//! The line of one request, written straight into the log's buffer: with the general machinery it
//! would be a large part of what a small request costs.

use std::{
    io::Write as _,
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use glimpse_registry::image::{ImageId, Timestamp};

use super::{ACCESS, Shared};
use crate::api::timestamp;

/// The access log of this process.
static LOG: OnceLock<AccessLog> = OnceLock::new();

/// Where lines of requests go, if anywhere.
pub struct AccessLog(Option<Sink>);

struct Sink {
    shared: Arc<Shared>,
    human: bool,
    /// Whether lines are written now.
    on: AtomicBool,
}

/// What a line says; `ops/LOGS.md` has the names and the values.
#[derive(Debug)]
pub struct Access<'a> {
    /// `X-Openstack-Request-Id`
    pub id: &'a str,
    /// Of the request.
    pub method: &'a str,
    /// The route's template.
    pub route: &'static str,
    /// Of the answer; 0: there was none.
    pub status: u16,
    /// Of the answer's body, as far as the connection took them.
    pub bytes: u64,
    /// From the request's head to the end of its answer.
    pub duration: Duration,
    /// How the answer ended.
    pub outcome: &'static str,
    /// Where the connection comes from.
    pub client: Option<IpAddr>,
    /// The caller's project.
    pub project: Option<&'a str>,
    /// The image in the path, if it names one.
    pub image: Option<ImageId>,
    /// Of a download: why chunks were not at hand, the worst cause, and how many.
    pub cache: Option<(&'static str, u32)>,
}

/// The one that [`super::start`] has set up.
pub fn access_log() -> &'static AccessLog {
    static OFF: AccessLog = AccessLog(None);
    LOG.get().unwrap_or(&OFF)
}

/// The first one stays.
pub(super) fn set(shared: Arc<Shared>, human: bool, on: bool) {
    let on = AtomicBool::new(on);
    let _: Result<(), AccessLog> = LOG.set(AccessLog(Some(Sink { shared, human, on })));
}

impl AccessLog {
    /// Whether lines go anywhere.
    pub fn is_on(&self) -> bool {
        let sink = self.0.as_ref();
        sink.is_some_and(|sink| sink.on.load(Ordering::Relaxed))
    }

    /// Writes lines from now on, or no more.
    pub(super) fn switch(&self, on: bool) {
        if let Some(sink) = &self.0 {
            sink.on.store(on, Ordering::Relaxed);
        }
    }

    /// Writes one line.
    pub fn write(&self, access: &Access<'_>) {
        let Some(Sink { shared, human, .. }) = &self.0 else {
            return;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        // Writing to a vector does not fail.
        shared.append_with(|out| {
            let _ = if *human {
                write_human(out, now, access)
            } else {
                write_json(out, now, access)
            };
        });
    }

    /// One that keeps what is written, for tests.
    #[cfg(test)]
    pub(crate) fn kept(human: bool) -> (&'static Self, impl Fn() -> String) {
        let shared = Arc::new(Shared::new(1 << 20));
        let sink = Sink {
            shared: Arc::clone(&shared),
            human,
            on: AtomicBool::new(true),
        };
        let text = move || String::from_utf8(shared.buffer.lock().lines.clone()).unwrap();
        (Box::leak(Box::new(Self(Some(sink)))), text)
    }
}

/// RFC 3339 with microseconds, as the other lines have it.
fn write_time(out: &mut Vec<u8>, now: Duration) -> std::io::Result<()> {
    timestamp::write(out, Timestamp(now.as_secs().saturating_mul(1_000_000)));
    out.pop();
    write!(out, ".{:06}Z", now.subsec_micros())
}

/// Piece by piece: formatting machinery costs a small request as much as its lookup.
fn write_json(out: &mut Vec<u8>, now: Duration, access: &Access<'_>) -> std::io::Result<()> {
    fn text(out: &mut Vec<u8>, before: &str, text: &str) {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    fn number(out: &mut Vec<u8>, before: &str, number: u64) -> serde_json::Result<()> {
        out.extend_from_slice(before.as_bytes());
        serde_json::to_writer(out, &number)
    }
    out.extend_from_slice(b"{\"timestamp\":\"");
    write_time(out, now)?;
    out.extend_from_slice(b"\",\"level\":\"INFO\",\"message\":\"request\",\"request.id\":");
    serde_json::to_writer(&mut *out, access.id)?;
    // Neither methods nor routes have a character that JSON escapes.
    text(out, ",\"http.method\":\"", access.method);
    text(out, "\",\"http.route\":\"", access.route);
    number(out, "\",\"http.status\":", access.status.into())?;
    number(out, ",\"http.bytes\":", access.bytes)?;
    let micros = u64::try_from(access.duration.as_micros()).unwrap_or(u64::MAX);
    number(out, ",\"duration_us\":", micros)?;
    text(out, ",\"outcome\":\"", access.outcome);
    out.push(b'"');
    if let Some(client) = access.client {
        write!(out, ",\"client.address\":\"{client}\"")?;
    }
    if let Some(project) = access.project {
        out.extend_from_slice(b",\"project.id\":");
        serde_json::to_writer(&mut *out, project)?;
    }
    if let Some(image) = access.image {
        write!(out, ",\"image.id\":\"{image}\"")?;
    }
    if let Some((cache, missed)) = access.cache {
        text(out, ",\"cache\":\"", cache);
        number(out, "\",\"cache.missed\":", missed.into())?;
    }
    text(out, ",\"target\":\"", ACCESS);
    out.extend_from_slice(b"\"}\n");
    Ok(())
}

fn write_human(out: &mut Vec<u8>, now: Duration, access: &Access<'_>) -> std::io::Result<()> {
    write_time(out, now)?;
    write!(
        out,
        "  INFO {ACCESS}: request request.id={:?} http.method={} http.route={} http.status={} \
         http.bytes={} duration_us={} outcome={}",
        access.id,
        access.method,
        access.route,
        access.status,
        access.bytes,
        access.duration.as_micros(),
        access.outcome,
    )?;
    if let Some(client) = access.client {
        write!(out, " client.address={client}")?;
    }
    if let Some(project) = access.project {
        write!(out, " project.id={project:?}")?;
    }
    if let Some(image) = access.image {
        write!(out, " image.id={image}")?;
    }
    if let Some((cache, missed)) = access.cache {
        write!(out, " cache={cache} cache.missed={missed}")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESSED: Access<'static> = Access {
        id: "req-a\"\\b",
        method: "GET",
        route: "/v2/images/{id}/file",
        status: 206,
        bytes: 7,
        duration: Duration::from_micros(1234),
        outcome: "broken",
        client: Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        project: Some("a\"b"),
        image: Some(ImageId([7; 16])),
        cache: Some(("absent", 3)),
    };

    #[test]
    fn a_json_line_is_one_object_with_every_field() {
        let (log, text) = AccessLog::kept(false);
        log.write(&ACCESSED);
        log.write(&Access {
            client: None,
            project: None,
            image: None,
            cache: None,
            ..ACCESSED
        });
        let text = text();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let [first, second] = lines.as_slice() else {
            panic!("{text}");
        };
        let mut first = first.clone();
        let time = first["timestamp"].take();
        assert_eq!(
            time.as_str().unwrap().len(),
            "2026-01-31T23:59:59.123456Z".len()
        );
        assert_eq!(
            first,
            serde_json::json!({
                "timestamp": null, "level": "INFO", "message": "request",
                "target": "glimpse::access", "request.id": "req-a\"\\b", "http.method": "GET",
                "http.route": "/v2/images/{id}/file", "http.status": 206, "http.bytes": 7,
                "duration_us": 1234, "outcome": "broken", "client.address": "127.0.0.1",
                "project.id": "a\"b", "image.id": "07070707-0707-0707-0707-070707070707",
                "cache": "absent", "cache.missed": 3,
            })
        );
        for left_out in ["client.address", "project.id", "image.id", "cache"] {
            assert_eq!(second.get(left_out), None, "{left_out}");
        }
    }

    #[test]
    fn a_human_line_is_one_line_whatever_the_client_sends() {
        let (log, text) = AccessLog::kept(true);
        log.write(&Access {
            id: "a\nb",
            ..ACCESSED
        });
        let text = text();
        assert_eq!(text.lines().count(), 1, "{text}");
        let wanted = "request.id=\"a\\nb\" http.method=GET http.route=/v2/images/{id}/file \
             http.status=206 http.bytes=7 duration_us=1234 outcome=broken client.address=127.0.0.1 \
             project.id=\"a\\\"b\" image.id=07070707-0707-0707-0707-070707070707 \
             cache=absent cache.missed=3\n";
        assert!(text.ends_with(wanted), "{text}");
    }

    #[test]
    fn lines_past_the_bound_are_dropped_whole() {
        let shared = Arc::new(Shared::new(600));
        let log = AccessLog(Some(Sink {
            shared: Arc::clone(&shared),
            human: false,
            on: AtomicBool::new(true),
        }));
        for _ in 0..5 {
            log.write(&ACCESSED);
        }
        let lines = shared.buffer.lock().lines.clone();
        assert!(!lines.is_empty() && lines.len() <= 600 && lines.ends_with(b"}\n"));
    }
}
