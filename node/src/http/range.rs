//! Which bytes a request asks for: `Range` (RFC 9110 14.2) and the legacy request form of
//! `Content-Range` (image-api 1.4). Pure; the caller has judged `If-Range` before.

use std::ops::Range;

use http::{HeaderMap, HeaderValue, header};

/// What of a representation of known length is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: 200.
    Whole,
    /// These bytes, never empty and always within the length: 206.
    Part(Range<u64>),
}

/// Why no answer can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// More than one range: 400 (image-api 1.4).
    #[error("requests with several ranges are not supported; ask for one range at a time")]
    Several,
    /// Malformed, of another unit, backwards, or beyond the end: 416.
    #[error("the requested range cannot be satisfied")]
    Unsatisfiable,
}

/// Reads the range headers of a request for `length` bytes. `Range` goes before the legacy form.
pub fn wanted(headers: &HeaderMap, length: u64) -> Result<Wanted, RangeError> {
    if let Some(value) = single(headers, header::RANGE)? {
        return parse_range(value)
            .and_then(|range| range.resolve(length))
            .map(Wanted::Part)
            .ok_or(RangeError::Unsatisfiable);
    }
    if let Some(value) = single(headers, header::CONTENT_RANGE)? {
        return parse_content_range(value, length)
            .map(Wanted::Part)
            .ok_or(RangeError::Unsatisfiable);
    }
    Ok(Wanted::Whole)
}

/// `Content-Range` of a 206: the end is inclusive.
pub fn content_range(range: &Range<u64>, length: u64) -> HeaderValue {
    let text = format!(
        "bytes {}-{}/{length}",
        range.start,
        range.end.saturating_sub(1)
    );
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("bytes */*"))
}

/// `Content-Range` of a 416.
pub fn unsatisfied_range(length: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes */{length}"))
        .unwrap_or(HeaderValue::from_static("bytes */*"))
}

/// The one value of a header. Several, in one line or in many, are several ranges.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, RangeError> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() || first.as_bytes().contains(&b',') {
        return Err(RangeError::Several);
    }
    first
        .to_str()
        .map(Some)
        .map_err(|_| RangeError::Unsatisfiable)
}

/// A range as written, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// `a-b` and `a-`
    From(u64, Option<u64>),
    /// `-n`
    Suffix(u64),
}

impl Written {
    fn resolve(self, length: u64) -> Option<Range<u64>> {
        let (start, end) = match self {
            Self::From(first, last) => {
                let end = last.map_or(length, |last| last.saturating_add(1).min(length));
                (first, end)
            }
            Self::Suffix(count) => (length.saturating_sub(count), length),
        };
        (start < end).then_some(start..end)
    }
}

fn parse_range(value: &str) -> Option<Written> {
    let (unit, set) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", count) => number(count).map(Written::Suffix),
        (first, "") => number(first).map(|first| Written::From(first, None)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Written::From(first, Some(last)))
        }
    }
}

/// `bytes a-b/*` or `bytes a-b/length`; unlike `Range`, an end beyond the image is refused
/// (image-api 1.4).
fn parse_content_range(value: &str, length: u64) -> Option<Range<u64>> {
    let value = value.trim();
    let (unit, rest) = value.split_at_checked(5)?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, complete) = rest.strip_prefix([' ', '='])?.split_once('/')?;
    match complete.trim() {
        "*" => {}
        text => {
            if number(text)? != length {
                return None;
            }
        }
    }
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first.trim())?, number(last.trim())?);
    (first <= last && last < length).then_some(first..last.saturating_add(1))
}

/// Decimal digits only. What does not fit is larger than any image, so it saturates.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(name: header::HeaderName, value: &str, length: u64) -> Result<Wanted, RangeError> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        wanted(&headers, length)
    }

    #[test]
    fn single_ranges_follow_the_table() {
        let part = |range| Ok(Wanted::Part(range));
        let refused = Err(RangeError::Unsatisfiable);
        let several = Err(RangeError::Several);
        let table: &[(&str, u64, Result<Wanted, RangeError>)] = &[
            ("bytes=0-4", 10, part(0..5)),
            ("bytes=9-9", 10, part(9..10)),
            ("bytes=3-", 10, part(3..10)),
            ("bytes=-3", 10, part(7..10)),
            ("bytes=-30", 10, part(0..10)),
            ("bytes=5-100", 10, part(5..10)),
            ("bytes=5-99999999999999999999999999", 10, part(5..10)),
            ("bytes=0-18446744073709551615", 10, part(0..10)),
            ("Bytes=0-4", 10, part(0..5)),
            ("bytes = 0 - 4", 10, part(0..5)),
            ("bytes=10-", 10, refused.clone()),
            ("bytes=10-20", 10, refused.clone()),
            ("bytes=99999999999999999999999999-", 10, refused.clone()),
            ("bytes=-0", 10, refused.clone()),
            ("bytes=5-2", 10, refused.clone()),
            ("bytes=-", 10, refused.clone()),
            ("bytes=", 10, refused.clone()),
            ("bytes", 10, refused.clone()),
            ("", 10, refused.clone()),
            ("bytes=a-b", 10, refused.clone()),
            ("bytes=+1-2", 10, refused.clone()),
            ("bytes=1--2", 10, refused.clone()),
            ("items=0-4", 10, refused.clone()),
            ("bytes=0-", 0, refused.clone()),
            ("bytes=-5", 0, refused),
            ("bytes=0-1,3-4", 10, several.clone()),
            ("bytes=0-1,", 10, several),
        ];
        for (value, length, expected) in table {
            assert_eq!(
                &ask(header::RANGE, value, *length),
                expected,
                "{value:?} of {length}"
            );
        }
    }

    #[test]
    fn the_legacy_request_form_follows_the_table() {
        let part = |range| Ok(Wanted::Part(range));
        let refused = Err(RangeError::Unsatisfiable);
        let table: &[(&str, u64, Result<Wanted, RangeError>)] = &[
            ("bytes 0-4/*", 10, part(0..5)),
            ("bytes 9-9/*", 10, part(9..10)),
            ("bytes 0-9/10", 10, part(0..10)),
            ("bytes 0-9/11", 10, refused.clone()),
            ("bytes 0-10/*", 10, refused.clone()),
            ("bytes 10-10/*", 10, refused.clone()),
            ("bytes 4-1/*", 10, refused.clone()),
            ("bytes */10", 10, refused.clone()),
            ("bytes 0-4", 10, refused.clone()),
            ("byte\u{fffd}", 10, refused.clone()),
            ("bytes 0-18446744073709551615/*", 10, refused.clone()),
            ("bytes 0-0/*", 0, refused),
        ];
        for (value, length, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(
                header::CONTENT_RANGE,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
            assert_eq!(&wanted(&headers, *length), expected, "{value:?}");
        }
    }

    #[test]
    fn without_a_range_header_all_is_wanted_and_two_headers_are_several() {
        assert_eq!(wanted(&HeaderMap::new(), 10), Ok(Wanted::Whole));
        let mut headers = HeaderMap::new();
        headers.append(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.append(header::RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(wanted(&headers, 10), Err(RangeError::Several));
    }

    #[test]
    fn the_answer_headers_are_inclusive() {
        assert_eq!(content_range(&(0..5), 10), "bytes 0-4/10");
        assert_eq!(unsatisfied_range(10), "bytes */10");
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_range_within_the_length_or_a_refusal(
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                "(bytes|Bytes|items)?[= ]?[0-9]{0,22}-?[0-9]{0,22}(/[0-9*]{0,5})?(,.*)?"
                    .prop_map(String::into_bytes),
            ],
            length in prop_oneof![Just(0), Just(u64::MAX), any::<u64>(), 0..100u64],
            legacy in any::<bool>(),
        ) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.insert(if legacy { header::CONTENT_RANGE } else { header::RANGE }, value);
            if let Ok(Wanted::Part(range)) = wanted(&headers, length) {
                prop_assert!(range.start < range.end && range.end <= length);
            }
        }

        #[test]
        fn a_range_that_lies_within_is_given_exactly(length in 1..u64::MAX, a: u64, b: u64) {
            let (a, b) = (a % length, b % length);
            let (first, last) = (a.min(b), a.max(b));
            let answer = ask(header::RANGE, &format!("bytes={first}-{last}"), length);
            prop_assert_eq!(answer, Ok(Wanted::Part(first..last + 1)));
        }
    }
}
