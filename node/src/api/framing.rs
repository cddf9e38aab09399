//! What HTTP asks of a request's head before anybody reads what it asks for: whose it is and where
//! it ends must be beyond doubt (RFC 9112 3.2, 6.1), or a proxy and we could see different requests.

use http::{HeaderValue, Request, Version, header};

use crate::api::error::ApiError;

/// 400, and the end of the connection, where the head is ambiguous.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), ApiError> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let named = hosts.next().is_some();
    if hosts.next().is_some() || (!named && request.version() >= Version::HTTP_11) {
        return Err(refused("A request must have exactly one Host header."));
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
