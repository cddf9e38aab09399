//! What surrounds every request, in one pass: request id, version, caller, rendered error, and one
//! line of log.

use std::{borrow::Cow, sync::Arc, time::Instant};

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body as _;
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;

use crate::{
    api::{
        caller,
        error::ApiError,
        framing, healthcheck,
        images::{self, Turns},
        router::{self, Resource},
        schemas::Schemas,
        versions::{self, Asked},
    },
    app::App,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// What answers requests.
pub(super) struct Api {
    /// The node.
    pub(super) app: Arc<App>,
    /// The schema documents.
    pub(super) schemas: Schemas,
    /// Updates that met a conflict.
    pub(super) turns: Turns,
    /// Pages that cost more than reading their images.
    pub(super) pages: Semaphore,
}

impl Api {
    pub(super) fn new(app: Arc<App>) -> Self {
        let schemas = Schemas::new(&app.config.image_format);
        let turns = Turns::new();
        Self {
            app,
            schemas,
            turns,
            pages: Semaphore::new(images::PAGES),
        }
    }

    /// The base of absolute URLs, without a slash at its end: as configured, or as the client
    /// reached this node.
    pub(super) fn base(&self, headers: &HeaderMap) -> String {
        let api = &self.app.config.api;
        if !api.public_endpoint.is_empty() {
            return api.public_endpoint.trim_end_matches('/').to_owned();
        }
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or(&api.listen);
        format!("http://{host}")
    }
}

/// Answers one request.
pub(super) async fn serve(api: &Api, request: Request<Body>) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let accept = request.headers().get(header::ACCEPT).cloned();
    let limit = api.app.config.limits.max_request_id_length;
    let mut route = "";
    let (id, result) = match adopted(request.headers().get(&REQUEST_ID), limit) {
        Ok(id) => (id, answer(api, request, &mut route).await),
        Err(error) => (generated(), Err(error)),
    };
    let mut response = match result {
        Ok(response) => response,
        Err(error) => error.render(accept.as_ref()),
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = error.render(accept.as_ref());
    }
    let elapsed = started.elapsed();
    api.app
        .metrics
        .request(route, &method, response.status(), elapsed);
    tracing::info!(
        target: "glimpse::access",
        {
            request.id = id.to_str().unwrap_or_default(),
            http.method = method.as_str(),
            http.route = route,
            http.status = response.status().as_u16(),
            http.bytes = announced(&response),
            duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        },
        "request"
    );
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

async fn answer(
    api: &Api,
    request: Request<Body>,
    route: &mut &'static str,
) -> Result<Response, ApiError> {
    framing::check(&request)?;
    if request.method() == Method::OPTIONS {
        return Ok(Response::new(Body::empty()));
    }
    let uri = request.uri().clone();
    // Decoded before it is split, so that an escaped slash separates as a plain one does.
    let path: Cow<'_, str> = percent_decode_str(uri.path())
        .decode_utf8()
        .map_err(|_| ApiError::bad_request("The path contains characters that are not UTF-8."))?;
    if path == "/healthcheck" {
        *route = "/healthcheck";
        return healthcheck::answer(request.method(), request.headers().get(header::ACCEPT));
    }
    match versions::negotiate(&path, request.headers()) {
        Asked::Versions(status) => {
            *route = "/versions";
            Ok(versions::document(status, &api.base(request.headers())))
        }
        Asked::Root => {
            *route = "/v2";
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::FOUND;
            response
                .headers_mut()
                .insert(header::LOCATION, HeaderValue::from_static("/v2/"));
            Ok(response)
        }
        Asked::Resource(rest) => {
            let resource = Resource::find(rest);
            *route = resource.map_or("unknown", Resource::template);
            let context =
                caller::identify(&api.app, request.headers(), || api.base(request.headers()))?;
            router::call(api, context, resource, request).await
        }
    }
}

/// Bytes of the body, as far as the head of the answer tells.
fn announced(response: &Response) -> u64 {
    let length = || {
        let length = response.headers().get(header::CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok()
    };
    let exact = response.body().size_hint().exact();
    exact.or_else(length).unwrap_or_default()
}

/// The client's request id, with `req-` before it, or a new one where it sends none.
fn adopted(sent: Option<&HeaderValue>, limit: usize) -> Result<HeaderValue, ApiError> {
    let Some(text) = sent.and_then(|value| value.to_str().ok()) else {
        return Ok(generated());
    };
    if text.len() > limit {
        return Err(ApiError::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("The request id is longer than {limit} characters."),
        ));
    }
    if text.starts_with("req-") {
        return Ok(sent.cloned().unwrap_or_else(generated));
    }
    Ok(HeaderValue::try_from(format!("req-{text}")).unwrap_or_else(|_| generated()))
}

/// `req-` and a random UUID.
fn generated() -> HeaderValue {
    let mut text = *b"req-00000000-0000-0000-0000-000000000000";
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    if let Some(place) = text.last_chunk_mut::<{ uuid::fmt::Hyphenated::LENGTH }>() {
        id.hyphenated().encode_lower(place);
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("req-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adopt(text: &'static str) -> Result<HeaderValue, u16> {
        adopted(Some(&HeaderValue::from_static(text)), 64).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn a_clients_request_id_is_adopted() {
        assert_eq!(adopt("req-1").unwrap(), "req-1");
        assert_eq!(adopt("1").unwrap(), "req-1");
        assert!(adopt("0123456789012345678901234567890123456789012345678901234567890123").is_ok());
        assert_eq!(
            adopt("01234567890123456789012345678901234567890123456789012345678901234"),
            Err(431)
        );
    }

    #[test]
    fn a_new_request_id_is_made_where_none_is_sent() {
        let (one, two) = (adopted(None, 64).unwrap(), adopted(None, 64).unwrap());
        assert_ne!(one, two);
        let text = one.to_str().unwrap();
        assert_eq!(text.len(), 40);
        assert!(uuid::Uuid::parse_str(text.strip_prefix("req-").unwrap()).is_ok());
    }
}
