//! Request bodies: whether there is one, and JSON within a bound (image-api 1.1).

use std::{io, sync::Arc};

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    api::{
        error::ApiError,
        memory::{Memory, Room, SMALL},
    },
    app::App,
    config::Limits,
};

/// Whether the request brings a body: a length above 0, or a transfer coding on a method that
/// takes one.
pub(super) fn present(method: &Method, headers: &HeaderMap) -> bool {
    let coded = headers.contains_key(header::TRANSFER_ENCODING)
        && matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    coded
        || headers
            .get(header::CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes() != b"0")
}

/// A body that is refused is still read up to so many times the limit, and thrown away, so that
/// the client comes to read why instead of finding a closed connection. Enough for what somebody
/// sends by mistake; who sends more finds the connection closed.
const DRAINED: usize = 8;

/// The body as a JSON object or array within `limits.json_body` and `limits.json_timeout`, and the
/// room that it takes for as long as the request is about it.
///
/// # Errors
/// 400 without a body or when it is no JSON, 413 above the limit, 503 without room for it, 408 when
/// it breaks off or comes too slowly.
pub(super) async fn json(request: Request<Body>, app: &App) -> Result<(Value, Room), ApiError> {
    bounded(request, &app.config.limits, &app.memory).await
}

async fn bounded(
    request: Request<Body>,
    limits: &Limits,
    memory: &Arc<Memory>,
) -> Result<(Value, Room), ApiError> {
    if !present(request.method(), request.headers()) {
        return Err(ApiError::bad_request("Body expected in request."));
    }
    let mut room = memory.room();
    let read = read(request.into_body(), limits.json_body_bytes, &mut room);
    let bytes = match timeout(limits.json_timeout, read).await {
        Ok(read) => read?,
        Err(_) => return Err(incomplete("The request body did not arrive in time.")),
    };
    match serde_json::from_slice(&bytes) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => Ok((value, room)),
        Ok(_) => Err(ApiError::bad_request(
            "Unexpected body type. Expected list/dict.",
        )),
        Err(error) => Err(ApiError::bad_request(format!(
            "Malformed JSON in request body: {error}"
        ))),
    }
}

async fn read(mut body: Body, limit: usize, room: &mut Room) -> Result<Vec<u8>, ApiError> {
    let announced = body.size_hint().exact();
    let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
    let mut bytes = Vec::new();
    let mut length = 0_usize;
    let mut refused = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(broken)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if refused.is_none() {
            refused = append(&mut bytes, &data, announced, limit, room).err();
        }
        if refused.is_some() {
            // What is thrown away holds nothing.
            bytes = Vec::new();
            room.resize(0)?;
            if length > limit.saturating_mul(DRAINED) {
                break;
            }
        }
    }
    match refused {
        Some(error) => Err(error),
        None => Ok(bytes),
    }
}

/// Appends a piece. The room is taken before the memory, and that of a large body whose length is
/// known in one piece: what growing leaves behind is not counted.
fn append(
    bytes: &mut Vec<u8>,
    data: &[u8],
    announced: Option<usize>,
    limit: usize,
    room: &mut Room,
) -> Result<(), ApiError> {
    let length = bytes.len().saturating_add(data.len());
    if length > limit {
        return Err(ApiError::too_large(format!(
            "The request body is larger than {limit} bytes."
        )));
    }
    if length > bytes.capacity() {
        let doubled = bytes.capacity().saturating_mul(2);
        let wanted = announced.filter(|_| length > SMALL).unwrap_or(doubled);
        let capacity = length.max(wanted).min(limit);
        room.resize(capacity)?;
        bytes.reserve_exact(capacity - bytes.len());
    }
    bytes.extend_from_slice(data);
    Ok(())
}

/// 400 for a body that is framed wrongly, 408 for one that ends early. The connection is over.
fn broken(error: axum::Error) -> ApiError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        // What hyper says of a chunk's head that is none, or too long.
        if let Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) = kind {
            return ApiError::bad_request("The chunks of the request body are malformed.")
                .with_header(header::CONNECTION, HeaderValue::from_static("close"));
        }
        cause = error.source();
    }
    incomplete("The request body ended before it was complete.")
}

/// 408. What follows of the body, if anything, is not waited for.
fn incomplete(message: &str) -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
        .with_header(header::CONNECTION, HeaderValue::from_static("close"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{StreamExt, stream};

    use super::*;

    /// With room for all.
    async fn json(request: Request<Body>, limits: &Limits) -> Result<Value, ApiError> {
        let read = bounded(request, limits, &Memory::new(64 << 20)).await;
        read.map(|(value, _)| value)
    }

    fn limits(json_body_bytes: usize) -> Limits {
        Limits {
            json_body_bytes,
            ..Limits::default()
        }
    }

    async fn read(body: &'static str, limit: usize) -> Result<Value, u16> {
        let request = Request::post("/")
            .header(header::CONTENT_LENGTH, body.len())
            .body(Body::from(body))
            .unwrap();
        json(request, &limits(limit))
            .await
            .map_err(|error| error.status.as_u16())
    }

    #[tokio::test]
    async fn only_objects_and_arrays_are_taken() {
        assert_eq!(read("{}", 10).await, Ok(serde_json::json!({})));
        assert_eq!(read("[]", 10).await, Ok(serde_json::json!([])));
        for text in ["", "1", "\"x\"", "null", "{", "{} x", "\u{0}"] {
            assert_eq!(read(text, 10).await, Err(400), "{text}");
        }
    }

    #[tokio::test]
    async fn a_body_above_the_limit_is_413() {
        assert!(read("[1,2,3,4,5]", 11).await.is_ok());
        assert_eq!(read("[1,2,3,4,5]", 10).await, Err(413));
    }

    #[tokio::test]
    async fn a_body_in_many_pieces_is_put_together_and_bounded() {
        let pieces = |count: usize| {
            let pieces =
                (0..count).map(|at| Ok::<_, std::io::Error>(if at == 0 { "[1" } else { ",1" }));
            let end = std::iter::once(Ok("]"));
            Request::post("/")
                .header(header::TRANSFER_ENCODING, "chunked")
                .body(Body::from_stream(stream::iter(pieces.chain(end))))
                .unwrap()
        };
        let read = json(pieces(5), &limits(11)).await.unwrap();
        assert_eq!(read, serde_json::json!([1, 1, 1, 1, 1]));
        assert_eq!(json(pieces(6), &limits(11)).await.unwrap_err().status, 413);
        assert_eq!(
            json(pieces(1_000_000), &limits(11))
                .await
                .unwrap_err()
                .status,
            413
        );
    }

    #[tokio::test]
    async fn bodies_hold_no_more_memory_than_they_may() {
        let memory = Memory::new(4 * SMALL);
        let limits = limits(4 * SMALL);
        let piece = || Ok::<_, io::Error>(vec![b' '; 2 * SMALL - 1]);
        let request = |body| {
            Request::post("/")
                .header(header::TRANSFER_ENCODING, "chunked")
                .body(body)
                .unwrap()
        };
        // Begins and never ends, and holds what it has brought.
        let begun = stream::iter([piece(), piece()]).chain(stream::pending());
        let standing = bounded(request(Body::from_stream(begun)), &limits, &memory);
        let mut standing = Box::pin(standing);
        assert!(futures_util::poll!(&mut standing).is_pending());
        let held = memory.held();
        assert!(held >= 3 * SMALL as u64, "{held}");
        // A large one comes to its end and is refused; a small one is read.
        let large = stream::iter([piece(), Ok(b"{}".to_vec())]);
        let error = bounded(request(Body::from_stream(large)), &limits, &memory)
            .await
            .unwrap_err();
        assert_eq!(error.status, 503);
        assert!(error.retry_after.is_some());
        assert_eq!(memory.held(), held);
        let small = bounded(request(Body::from("{}")), &limits, &memory).await;
        assert_eq!(small.unwrap().0, serde_json::json!({}));
        drop(standing);
        assert_eq!(memory.held(), 0);
        let large = stream::iter([piece(), Ok(b"{}".to_vec())]);
        let read = bounded(request(Body::from_stream(large)), &limits, &memory).await;
        // While the request is about it.
        assert!(memory.held() > 0);
        drop(read.unwrap());
        assert_eq!(memory.held(), 0);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_408() {
        let cut = stream::iter([Ok("["), Err(std::io::Error::other("reset by peer"))]);
        let request = Request::post("/")
            .header(header::TRANSFER_ENCODING, "chunked")
            .body(Body::from_stream(cut))
            .unwrap();
        assert_eq!(json(request, &limits(11)).await.unwrap_err().status, 408);
    }

    #[tokio::test]
    async fn chunks_that_are_none_are_400() {
        for (kind, status) in [
            (io::ErrorKind::InvalidInput, 400),
            (io::ErrorKind::InvalidData, 400),
            (io::ErrorKind::UnexpectedEof, 408),
            (io::ErrorKind::ConnectionReset, 408),
        ] {
            let bad = stream::iter([Ok("["), Err(io::Error::new(kind, "chunk"))]);
            let request = Request::post("/")
                .header(header::TRANSFER_ENCODING, "chunked")
                .body(Body::from_stream(bad))
                .unwrap();
            assert_eq!(json(request, &limits(11)).await.unwrap_err().status, status);
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_408_and_closes() {
        let slow = stream::pending::<Result<&str, std::io::Error>>();
        let request = Request::post("/")
            .header(header::TRANSFER_ENCODING, "chunked")
            .body(Body::from_stream(slow))
            .unwrap();
        let limits = Limits {
            json_timeout: Duration::from_millis(10),
            ..limits(11)
        };
        let error = json(request, &limits).await.unwrap_err();
        assert_eq!(error.status, 408);
        assert_eq!(
            error.headers,
            [(header::CONNECTION, HeaderValue::from_static("close"))]
        );
    }

    #[test]
    fn a_transfer_coding_counts_only_where_the_method_takes_a_body() {
        let mut headers = HeaderMap::new();
        assert!(!present(&Method::POST, &headers));
        headers.insert(header::TRANSFER_ENCODING, "chunked".parse().unwrap());
        assert!(present(&Method::POST, &headers));
        assert!(!present(&Method::DELETE, &headers));
        headers.clear();
        headers.insert(header::CONTENT_LENGTH, "0".parse().unwrap());
        assert!(!present(&Method::GET, &headers));
        headers.insert(header::CONTENT_LENGTH, "7".parse().unwrap());
        assert!(present(&Method::GET, &headers));
    }
}
