//! What a request leaves in the log: one line, when its answer has ended, was broken off, or never
//! came because the client had left. `ops/LOGS.md` has its fields.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use glimpse_registry::image::ImageId;
use http::{HeaderValue, Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use crate::{
    auth::Context as Caller,
    data::download::ChunkUse,
    serve::Client,
    telemetry::{Access, AccessLog},
};

/// A body so small leaves with its head: its line is written at once.
const SMALL: u64 = 64 << 10;

/// A request under way; its line is written when this is dropped.
pub(super) struct Line {
    log: &'static AccessLog,
    /// Of the request.
    pub(super) id: HeaderValue,
    method: Method,
    started: Instant,
    /// The route's template.
    pub(super) route: &'static str,
    /// Who is at the other end; none in tests.
    pub(super) client: Option<Client>,
    /// Once it is known.
    pub(super) caller: Option<Arc<Caller>>,
    /// In the path.
    pub(super) image: Option<ImageId>,
    /// Of a download.
    pub(super) chunks: Option<Arc<ChunkUse>>,
    status: u16,
    bytes: u64,
    /// None: the answer has not come to its end.
    outcome: Option<&'static str>,
}

impl Line {
    pub(super) fn new(log: &'static AccessLog, method: Method, id: HeaderValue) -> Self {
        Self {
            log,
            id,
            method,
            started: Instant::now(),
            route: "unknown",
            client: None,
            caller: None,
            image: None,
            chunks: None,
            status: 0,
            bytes: 0,
            outcome: None,
        }
    }

    /// Since the request's head was read.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Follows the answer to the end of its body.
    pub(super) fn answered(mut self, response: Response) -> Response {
        self.status = response.status().as_u16();
        let bodiless = self.method == Method::HEAD
            || matches!(
                response.status(),
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        if bodiless || !self.log.is_on() {
            self.outcome = Some("complete");
            return response;
        }
        match response.body().size_hint().exact() {
            Some(bytes) if bytes <= SMALL && self.chunks.is_none() => {
                self.bytes = bytes;
                self.outcome = Some("complete");
                response
            }
            Some(_) | None => response.map(|body| Body::new(Followed { body, line: self })),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.log.is_on() {
            return;
        }
        self.log.write(&Access {
            id: self.id.to_str().unwrap_or_default(),
            method: self.method.as_str(),
            route: self.route,
            status: self.status,
            bytes: self.bytes,
            duration: self.elapsed(),
            outcome: self
                .outcome
                .or(self.client.as_ref().map(Client::lost))
                .unwrap_or("left"),
            client: self.client.as_ref().map(Client::address),
            project: self
                .caller
                .as_ref()
                .and_then(|caller| caller.project_id.as_deref()),
            image: self.image,
            cache: self.chunks.as_ref().and_then(|chunks| chunks.seen()),
        });
    }
}

/// A body whose bytes are counted as the connection takes them.
struct Followed {
    body: Body,
    line: Line,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let count = frame.data_ref().map_or(0, Bytes::len);
                self.line.bytes += count as u64;
                if self.body.is_end_stream() {
                    self.line.outcome = Some("complete");
                }
            }
            Some(Err(_)) => self.line.outcome = Some("broken"),
            None => self.line.outcome = Some("complete"),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt as _;

    use super::*;

    fn line(log: &'static AccessLog, method: Method) -> Line {
        Line::new(log, method, HeaderValue::from_static("req-1"))
    }

    /// The status, bytes and outcome of the one line.
    fn said(text: &str) -> (u64, u64, String) {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let number = |key: &str| value[key].as_u64().unwrap();
        let outcome = value["outcome"].as_str().unwrap().to_owned();
        (number("http.status"), number("http.bytes"), outcome)
    }

    fn pieces(end: Result<&'static str, std::io::Error>) -> Response {
        let pieces = [Ok("12345"), Ok("678"), end];
        Response::new(Body::from_stream(stream::iter(pieces)))
    }

    #[tokio::test]
    async fn a_body_is_logged_when_it_has_ended_with_its_true_length() {
        let (log, text) = AccessLog::kept(false);
        let mut response = line(log, Method::GET).answered(pieces(Ok("9")));
        for _ in 0..3 {
            response.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(text(), "");
        }
        assert!(response.body_mut().frame().await.is_none());
        drop(response);
        assert_eq!(said(&text()), (200, 9, "complete".to_owned()));
    }

    #[tokio::test]
    async fn a_body_that_fails_is_broken_and_one_that_is_dropped_was_left() {
        for frames in 1..=3 {
            let (log, text) = AccessLog::kept(false);
            let lost = Err(std::io::Error::other("lost"));
            let mut response = line(log, Method::GET).answered(pieces(lost));
            for _ in 0..frames {
                let _ = response.body_mut().frame().await.unwrap();
            }
            drop(response);
            let (bytes, outcome) = [(5, "left"), (8, "left"), (8, "broken")][frames - 1];
            assert_eq!(said(&text()), (200, bytes, outcome.to_owned()));
        }
    }

    #[test]
    fn a_request_without_an_answer_was_left() {
        let (log, text) = AccessLog::kept(false);
        drop(line(log, Method::PUT));
        assert_eq!(said(&text()), (0, 0, "left".to_owned()));
    }

    #[tokio::test]
    async fn a_line_says_who_called_of_what_and_why_the_connection_was_lost() {
        let (log, text) = AccessLog::kept(false);
        let mut line = line(log, Method::GET);
        line.client = Some(crate::serve::client("[::ffff:192.0.2.7]:5"));
        line.caller = Some(Arc::new(Caller {
            project_id: Some("p-1".to_owned()),
            ..Caller::default()
        }));
        line.image = Some(ImageId([7; 16]));
        let large = Response::new(Body::from(vec![0; 100 << 10]));
        drop(line.answered(large));
        let value: serde_json::Value = serde_json::from_str(&text()).unwrap();
        assert_eq!(value["client.address"], "192.0.2.7");
        assert_eq!(value["project.id"], "p-1");
        assert_eq!(value["image.id"], "07070707-0707-0707-0707-070707070707");
        assert_eq!(value["outcome"], "left");
    }

    #[test]
    fn small_answers_are_logged_at_once_and_head_has_no_bytes() {
        for (method, bytes) in [(Method::GET, 5), (Method::HEAD, 0)] {
            let (log, text) = AccessLog::kept(false);
            let _response = line(log, method).answered(Response::new(Body::from("hello")));
            assert_eq!(said(&text()), (200, bytes, "complete".to_owned()));
        }
    }

    #[tokio::test]
    async fn a_download_says_where_its_chunks_came_from() {
        use glimpse_cache::Cause;
        for (causes, worst) in [
            (&[][..], "hit"),
            (&[Some(Cause::Check)], "check"),
            (&[Some(Cause::Hit)], "shared"),
            (&[Some(Cause::Shared), Some(Cause::Check)], "shared"),
            (&[Some(Cause::Absent), Some(Cause::Shared)], "absent"),
            (&[Some(Cause::Absent), Some(Cause::Evicted)], "evicted"),
            (&[Some(Cause::Stale), Some(Cause::Evicted)], "stale"),
            (&[Some(Cause::Absent), Some(Cause::Damaged)], "damaged"),
            (&[None, Some(Cause::Damaged)], "failed"),
        ] {
            let (log, text) = AccessLog::kept(false);
            let chunks = Arc::new(ChunkUse::default());
            chunks.ask();
            let mut line = line(log, Method::GET);
            line.chunks = Some(Arc::clone(&chunks));
            let response = line.answered(Response::new(Body::from("hello")));
            for cause in causes {
                chunks.miss();
                chunks.because(*cause);
            }
            response.into_body().collect().await.unwrap();
            let value: serde_json::Value = serde_json::from_str(&text()).unwrap();
            assert_eq!(value["cache"], worst);
            assert_eq!(value["cache.missed"], causes.len());
        }
    }

    #[test]
    fn a_download_that_was_left_before_its_chunks_came_says_so() {
        let (log, text) = AccessLog::kept(false);
        let chunks = Arc::new(ChunkUse::default());
        chunks.ask();
        chunks.miss();
        let mut line = line(log, Method::GET);
        line.chunks = Some(chunks);
        drop(line);
        let value: serde_json::Value = serde_json::from_str(&text()).unwrap();
        assert_eq!(value["cache"], "pending");
    }

    #[test]
    fn a_refused_download_says_nothing_of_chunks() {
        let (log, text) = AccessLog::kept(false);
        let mut line = line(log, Method::GET);
        line.chunks = Some(Arc::default());
        drop(line.answered(Response::new(Body::from("no"))));
        let value: serde_json::Value = serde_json::from_str(&text()).unwrap();
        assert_eq!(value.get("cache"), None);
        assert_eq!(value.get("cache.missed"), None);
    }
}
