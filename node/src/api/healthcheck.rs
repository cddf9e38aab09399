//! `GET` and `HEAD /healthcheck`, which need no token (image-api 1.2). Whether the node is ready to
//! serve is told by `/ready` on the admin listener.

use std::path::Path;

use axum::{body::Body, response::Response};
use http::{HeaderValue, Method, StatusCode, header};

use crate::api::error::{ApiError, Form, preferred};

/// 200 in the form that `Accept` asks for, 204 for HEAD; while `disable_file` is there, 503 for both.
pub(super) async fn answer(
    method: &Method,
    accept: Option<&HeaderValue>,
    disable_file: Option<&Path>,
) -> Result<Response, ApiError> {
    let disabled = match disable_file {
        // What cannot be looked at is not there, as in the reference.
        Some(path) => tokio::fs::try_exists(path).await.unwrap_or(false),
        None => false,
    };
    let (reason, get, head) = if disabled {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        ("DISABLED BY FILE", status, status)
    } else {
        ("OK", StatusCode::OK, StatusCode::NO_CONTENT)
    };
    match *method {
        Method::HEAD => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = head;
            Ok(response)
        }
        Method::GET => {
            let (content_type, body) = match preferred(accept) {
                Form::Json => (
                    "application/json",
                    format!("{{\"detailed\":false,\"reasons\":[\"{reason}\"]}}"),
                ),
                Form::Html if explicit_html(accept) => (
                    "text/html; charset=UTF-8",
                    format!(
                        "<!DOCTYPE html>\n<html><head><title>Healthcheck Status</title></head>\n\
                         <body><h1>Result of 1 checks:</h1><p>{reason}</p></body></html>\n"
                    ),
                ),
                Form::Html | Form::Plain => ("text/plain; charset=UTF-8", reason.to_owned()),
            };
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = get;
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            Ok(response)
        }
        _ => Err(ApiError::method_not_allowed("GET, HEAD")),
    }
}

/// Probes send `*/*` and look for `OK`; only who names HTML gets HTML.
fn explicit_html(accept: Option<&HeaderValue>) -> bool {
    accept
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("html"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn body(accept: Option<&'static str>) -> String {
        let accept = accept.map(HeaderValue::from_static);
        let response = answer(&Method::GET, accept.as_ref(), None).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_form_follows_accept() {
        assert_eq!(body(None).await, "OK");
        assert_eq!(body(Some("*/*")).await, "OK");
        assert_eq!(
            body(Some("application/json")).await,
            "{\"detailed\":false,\"reasons\":[\"OK\"]}"
        );
        assert!(body(Some("text/html")).await.contains("<html>"));
    }

    #[tokio::test]
    async fn head_is_204_and_post_405() {
        let head = answer(&Method::HEAD, None, None).await.unwrap();
        assert_eq!(head.status(), 204);
        let post = answer(&Method::POST, None, None).await.unwrap_err();
        assert_eq!(post.status, 405);
    }
}
