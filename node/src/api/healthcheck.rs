//! `GET` and `HEAD /healthcheck`, which need no token (image-api 1.2). Whether the node is ready to
//! serve is told by `/ready` on the admin listener.

use axum::{body::Body, response::Response};
use http::{HeaderValue, Method, StatusCode, header};

use crate::api::{
    error::{ApiError, Form, preferred},
    images,
};

/// 200 in the form that `Accept` asks for, 204 for HEAD.
pub(super) fn answer(method: &Method, accept: Option<&HeaderValue>) -> Result<Response, ApiError> {
    match *method {
        Method::HEAD => Ok(images::no_content()),
        Method::GET => {
            let (content_type, body) = match preferred(accept) {
                Form::Json => (
                    "application/json",
                    "{\"detailed\":false,\"reasons\":[\"OK\"]}",
                ),
                Form::Html if explicit_html(accept) => (
                    "text/html; charset=UTF-8",
                    "<!DOCTYPE html>\n<html><head><title>Healthcheck Status</title></head>\n\
                     <body><h1>Result of 1 checks:</h1><p>OK</p></body></html>\n",
                ),
                Form::Html | Form::Plain => ("text/plain; charset=UTF-8", "OK"),
            };
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::OK;
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
        let response = answer(&Method::GET, accept.as_ref()).unwrap();
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

    #[test]
    fn head_is_204_and_post_405() {
        assert_eq!(answer(&Method::HEAD, None).unwrap().status(), 204);
        assert_eq!(answer(&Method::POST, None).unwrap_err().status, 405);
    }
}
