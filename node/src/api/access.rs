//! What a request leaves in the log: one line, when its answer has ended, was broken off, or never
//! came because the client had left.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use crate::{
    data::download::ChunkUse,
    telemetry::{Access, AccessLog},
};

/// A body so small leaves with its head: its line is written at once.
const SMALL: u64 = 64 << 10;

/// A request under way; its line is written when this is dropped.
pub(super) struct Line {
    log: &'static AccessLog,
    id: HeaderValue,
    method: Method,
    started: Instant,
    /// The route's template.
    pub(super) route: &'static str,
    /// Of a download.
    pub(super) chunks: Option<Arc<ChunkUse>>,
    status: u16,
    bytes: u64,
    outcome: &'static str,
}

impl Line {
    pub(super) fn new(log: &'static AccessLog, method: Method, id: HeaderValue) -> Self {
        Self {
            log,
            id,
            method,
            started: Instant::now(),
            route: "unknown",
            chunks: None,
            status: 0,
            bytes: 0,
            outcome: "abandoned",
        }
    }

    /// Since the request's head was read.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Follows the answer to the end of its body.
    pub(super) fn answered(mut self, response: Response) -> Response {
        self.status = response.status().as_u16();
        self.outcome = "complete";
        let bodiless = self.method == Method::HEAD
            || matches!(
                response.status(),
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
            );
        if bodiless || !self.log.is_on() {
            return response;
        }
        match response.body().size_hint().exact() {
            Some(bytes) if bytes <= SMALL && self.chunks.is_none() => {
                self.bytes = bytes;
                response
            }
            Some(_) | None => {
                self.outcome = "broken";
                response.map(|body| Body::new(Followed { body, line: self }))
            }
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
            outcome: self.outcome,
            cache: self.chunks.as_ref().map(|chunks| chunks.seen()),
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
                    self.line.outcome = "complete";
                }
            }
            Some(Err(_)) => {}
            None => self.line.outcome = "complete",
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
    async fn a_body_that_is_dropped_or_fails_is_logged_as_broken() {
        for frames in 1..=3 {
            let (log, text) = AccessLog::kept(false);
            let lost = Err(std::io::Error::other("lost"));
            let mut response = line(log, Method::GET).answered(pieces(lost));
            for _ in 0..frames {
                let _ = response.body_mut().frame().await.unwrap();
            }
            drop(response);
            let bytes = if frames == 1 { 5 } else { 8 };
            assert_eq!(said(&text()), (200, bytes, "broken".to_owned()));
        }
    }

    #[test]
    fn a_request_without_an_answer_is_logged_as_abandoned() {
        let (log, text) = AccessLog::kept(false);
        drop(line(log, Method::PUT));
        assert_eq!(said(&text()), (0, 0, "abandoned".to_owned()));
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
        for (missed, filled, cause) in [(0, 0, "hit"), (2, 1, "fill"), (2, 0, "shared")] {
            let (log, text) = AccessLog::kept(false);
            let chunks = Arc::new(ChunkUse::default());
            let mut line = line(log, Method::GET);
            line.chunks = Some(Arc::clone(&chunks));
            let response = line.answered(Response::new(Body::from("hello")));
            for _ in 0..missed {
                chunks.miss();
            }
            for _ in 0..filled {
                chunks.fill();
            }
            response.into_body().collect().await.unwrap();
            let value: serde_json::Value = serde_json::from_str(&text()).unwrap();
            assert_eq!(value["cache"], cause);
            assert_eq!(value["cache.missed"], missed);
        }
    }
}
