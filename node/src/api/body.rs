//! Request bodies: whether there is one, and JSON within a bound (image-api 1.1).

use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::api::error::ApiError;

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

/// The body as a JSON object or array of at most `limit` bytes.
///
/// # Errors
/// 400 without a body or when it is no JSON, 413 above the limit, 408 when it breaks off.
pub(super) async fn json(request: Request<Body>, limit: usize) -> Result<Value, ApiError> {
    if !present(request.method(), request.headers()) {
        return Err(ApiError::bad_request("Body expected in request."));
    }
    let collected = Limited::new(request.into_body(), limit).collect().await;
    let bytes = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(ApiError::too_large(format!(
                "The request body is larger than {limit} bytes."
            )));
        }
        Err(_) => {
            return Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "The request body ended before it was complete.",
            ));
        }
    };
    match serde_json::from_slice(&bytes) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => Ok(value),
        Ok(_) => Err(ApiError::bad_request(
            "Unexpected body type. Expected list/dict.",
        )),
        Err(error) => Err(ApiError::bad_request(format!(
            "Malformed JSON in request body: {error}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(body: &'static str, limit: usize) -> Result<Value, u16> {
        let request = Request::post("/")
            .header(header::CONTENT_LENGTH, body.len())
            .body(Body::from(body))
            .unwrap();
        json(request, limit)
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
