//! `GET` and `HEAD /healthcheck`, which need no token (image-api 1.2). Whether the node is ready to
//! serve is told by `/ready` on the admin listener.

use std::net::IpAddr;

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::{
    api::error::{ApiError, Form, preferred},
    config::ApiConfig,
};

/// What a proxy adds to a request.
const PROXIED: [&str; 5] = [
    "x-forwarded",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-for",
    "x-forwarded-prefix",
];

/// 200 in the form that `Accept` asks for, 204 for HEAD; 503 for both while the configuration's files
/// say so; 404 to those that it is not meant for.
pub(super) async fn answer(
    method: &Method,
    headers: &HeaderMap,
    client: Option<IpAddr>,
    config: &ApiConfig,
) -> Result<Response, ApiError> {
    let accept = headers.get(header::ACCEPT);
    let networks = &config.healthcheck_allowed_sources;
    let meant = networks.is_empty()
        || client.is_some_and(|client| {
            let mut networks = networks.iter().filter_map(|text| Network::parse(text));
            networks.any(|network| network.has(client))
        });
    let proxied = || PROXIED.iter().any(|name| headers.contains_key(*name));
    if !meant || config.healthcheck_ignore_proxied && proxied() {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "The resource could not be found.",
        ));
    }
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let (reason, get, head) = match failing(config).await {
        Some(reason) => (reason, unavailable, unavailable),
        None => ("OK", StatusCode::OK, StatusCode::NO_CONTENT),
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

/// What the configuration's files say against it. What cannot be looked at is not there, as in the
/// reference.
async fn failing(config: &ApiConfig) -> Option<&'static str> {
    let exists = async |path| tokio::fs::try_exists(path).await.unwrap_or(false);
    if let Some(path) = &config.healthcheck_disable_file
        && exists(path).await
    {
        return Some("DISABLED BY FILE");
    }
    for path in &config.healthcheck_enable_files {
        if !exists(path).await {
            return Some("FILE PATH MISSING");
        }
    }
    None
}

/// Addresses that begin alike; those of IPv4 are taken as IPv6 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    first: u128,
    bits: u32,
}

impl Network {
    /// Of `address/bits`, or one address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        let bits = 128 - all.checked_sub(bits)?;
        Some(Self {
            first: as_v6(address) & mask(bits),
            bits,
        })
    }

    fn has(self, address: IpAddr) -> bool {
        as_v6(address) & mask(self.bits) == self.first
    }
}

fn as_v6(address: IpAddr) -> u128 {
    u128::from(match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    })
}

fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
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

    async fn probe(method: Method, accept: Option<&'static str>) -> Result<Response, ApiError> {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        }
        answer(&method, &headers, None, &ApiConfig::default()).await
    }

    async fn body(accept: Option<&'static str>) -> String {
        let response = probe(Method::GET, accept).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn networks_hold_what_begins_like_them() {
        let has = |network: &str, address: &str| {
            let network = Network::parse(network).unwrap();
            network.has(address.parse().unwrap())
        };
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("10.1.2.3/8", "10.9.9.9") && has("10.1.2.3", "10.1.2.3"));
        assert!(has("0.0.0.0/0", "9.9.9.9") && !has("0.0.0.0/0", "2001:db8::1"));
        assert!(has("::1", "::1") && has("2001:db8::/32", "2001:db8:1::"));
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0.0/a", "host", "/8"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
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
        let head = probe(Method::HEAD, None).await.unwrap();
        assert_eq!(head.status(), 204);
        let post = probe(Method::POST, None).await.unwrap_err();
        assert_eq!(post.status, 405);
    }
}
