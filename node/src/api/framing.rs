//! What HTTP asks of a request's head before anybody reads what it asks for: whose it is and where
//! it ends must be beyond doubt (RFC 9112 3.2, 6.1), or a proxy and we could see different requests.

use std::net::Ipv6Addr;

use http::{HeaderValue, Request, Version, header};

use crate::api::error::ApiError;

/// 400, and the end of the connection, where the head is ambiguous.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), ApiError> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (host.is_none() && request.version() >= Version::HTTP_11) {
        return Err(refused("A request must have exactly one Host header."));
    }
    if host.is_some_and(|host| !is_authority(host.as_bytes())) {
        return Err(refused("The Host header must be a host and a port."));
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() {
            return Err(refused(
                "The only Transfer-Encoding that is understood is \"chunked\", once.",
            ));
        }
    }
    Ok(())
}

/// Whether it is a host and maybe a port, or empty (RFC 9110 7.2): links are made of it, so nothing
/// that ends or escapes from one is taken.
pub(super) fn is_authority(host: &[u8]) -> bool {
    let host = match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) => match host.split_at(colon) {
            (name, [_, port @ ..]) if port.iter().all(u8::is_ascii_digit) => name,
            _ => host,
        },
        None => host,
    };
    if let Some(address) = host
        .strip_prefix(b"[")
        .and_then(|rest| rest.strip_suffix(b"]"))
    {
        return std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    }
    host.iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte))
}

fn refused(message: &str) -> ApiError {
    ApiError::bad_request(message)
        .with_header(header::CONNECTION, HeaderValue::from_static("close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(version: Version, headers: &[(&'static str, &'static str)]) -> u16 {
        let mut request = Request::builder().version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap()).map_or_else(|error| error.status.as_u16(), |()| 200)
    }

    #[test]
    fn a_request_names_one_host() {
        assert_eq!(status(Version::HTTP_11, &[("host", "a")]), 200);
        assert_eq!(status(Version::HTTP_11, &[("host", "")]), 200);
        assert_eq!(status(Version::HTTP_11, &[]), 400);
        assert_eq!(status(Version::HTTP_10, &[]), 200);
        for version in [Version::HTTP_10, Version::HTTP_11] {
            assert_eq!(status(version, &[("host", "a"), ("host", "a")]), 400);
        }
    }

    #[test]
    fn a_host_that_is_none_is_refused() {
        for host in [
            "images.example.org",
            "images_1.example.org:9292",
            "127.0.0.1:80",
            "[::1]",
            "[2001:db8::1]:9292",
            "a:",
        ] {
            assert_eq!(status(Version::HTTP_11, &[("host", host)]), 200, "{host}");
        }
        for host in [
            "a\", error=\"x",
            "a/b",
            "a?b",
            "a#b",
            "user@a",
            "a b",
            "a,b",
            "<a>",
            "a:b",
            "a:1:2",
            "::1",
            "[::1",
            "[a]",
            "[::1]x",
            "a%22",
        ] {
            assert_eq!(status(Version::HTTP_11, &[("host", host)]), 400, "{host}");
        }
    }

    #[test]
    fn chunked_once_is_the_only_coding() {
        let coded = |codings: &[&'static str]| {
            let codings = codings.iter().map(|coding| ("transfer-encoding", *coding));
            let headers: Vec<_> = std::iter::once(("host", "a")).chain(codings).collect();
            status(Version::HTTP_11, &headers)
        };
        assert_eq!(coded(&["chunked"]), 200);
        assert_eq!(coded(&["Chunked"]), 200);
        for bad in [
            &["gzip"][..],
            &["gzip, chunked"],
            &["chunked, chunked"],
            &["chunked", "chunked"],
            &["identity"],
            &[""],
        ] {
            assert_eq!(coded(bad), 400, "{bad:?}");
        }
    }
}
