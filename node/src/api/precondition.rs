//! `If-Match` and `If-None-Match` on the image record (RFC 9110 13.1.1, 13.1.2, 13.2.2). Its strong
//! `ETag` is the record's version.

use glimpse_registry::image::Version;
use http::{HeaderMap, HeaderValue, Method, header};

use crate::http::conditional::{self, Condition};

/// A condition does not hold: 412, and nothing is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

/// What a read is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// The record.
    Whole,
    /// 304: the client has it.
    Unchanged,
}

/// The `ETag` of a version.
pub(super) fn etag(version: Version) -> HeaderValue {
    // Digits and quotes are always a header value.
    HeaderValue::try_from(quoted(version)).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// Whether the request carries a condition at all.
pub(super) fn conditional(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_NONE_MATCH)
}

/// The conditions of a GET.
pub(super) fn read(headers: &HeaderMap, version: Version) -> Result<Read, Failed> {
    match judge(&Method::GET, headers, version) {
        Condition::Proceed => Ok(Read::Whole),
        Condition::NotModified => Ok(Read::Unchanged),
        Condition::Failed => Err(Failed),
    }
}

/// The conditions of a PATCH or DELETE.
pub(super) fn write(headers: &HeaderMap, version: Version) -> Result<(), Failed> {
    match judge(&Method::PATCH, headers, version) {
        Condition::Proceed => Ok(()),
        Condition::NotModified | Condition::Failed => Err(Failed),
    }
}

fn judge(method: &Method, headers: &HeaderMap, version: Version) -> Condition {
    if !conditional(headers) {
        return Condition::Proceed;
    }
    conditional::evaluate(method, headers, Some(&quoted(version)))
}

fn quoted(version: Version) -> String {
    format!("\"{version}\"")
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn the_etag_is_the_quoted_version() {
        assert_eq!(etag(0), "\"0\"");
        assert_eq!(etag(1024), "\"1024\"");
        assert_eq!(etag(u64::MAX), "\"18446744073709551615\"");
    }

    #[test]
    fn if_match_holds_for_the_version_and_for_any() {
        for (value, holds) in [
            ("\"7\"", true),
            ("*", true),
            ("\"1\", \"7\"", true),
            ("\"8\"", false),
            ("W/\"7\"", false),
            ("7", false),
            ("", false),
            ("\"77\"", false),
        ] {
            let headers = headers(&[(header::IF_MATCH, value)]);
            assert_eq!(write(&headers, 7).is_ok(), holds, "{value}");
            assert_eq!(read(&headers, 7).is_ok(), holds, "{value}");
        }
    }

    #[test]
    fn if_none_match_is_304_for_reads_and_412_for_writes() {
        for (value, matches) in [
            ("\"7\"", true),
            ("W/\"7\"", true),
            ("*", true),
            ("\"8\"", false),
        ] {
            let headers = headers(&[(header::IF_NONE_MATCH, value)]);
            let expected = if matches {
                Read::Unchanged
            } else {
                Read::Whole
            };
            assert_eq!(read(&headers, 7), Ok(expected), "{value}");
            assert_eq!(write(&headers, 7).is_err(), matches, "{value}");
        }
    }

    #[test]
    fn tags_are_found_over_several_lines() {
        let both = headers(&[(header::IF_MATCH, "\"1\""), (header::IF_MATCH, "\"7\"")]);
        assert_eq!(write(&both, 7), Ok(()));
    }

    #[test]
    fn if_match_is_looked_at_first() {
        let both = headers(&[
            (header::IF_MATCH, "\"8\""),
            (header::IF_NONE_MATCH, "\"7\""),
        ]);
        assert_eq!(read(&both, 7), Err(Failed));
        assert_eq!(read(&headers(&[]), 7), Ok(Read::Whole));
        assert!(!conditional(&headers(&[])));
    }
}
