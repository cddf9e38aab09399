//! Whether a request's conditions hold: `If-Match`, `If-None-Match`, `If-Range` with entity tags, in
//! the order of RFC 9110 13.2.2. The service sends no `Last-Modified`, so conditions on dates are
//! not judged, and a date in `If-Range` never matches.

use http::{HeaderMap, Method, header};

/// What the conditions of a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Go on.
    Proceed,
    /// 304: a read of what the client has.
    NotModified,
    /// 412
    Failed,
}

/// Judges `If-Match` and `If-None-Match`. `current` is the strong tag, quotes included, of what the
/// request is about; `None`: there is nothing at present.
pub fn evaluate(method: &Method, headers: &HeaderMap, current: Option<&str>) -> Condition {
    if headers.contains_key(header::IF_MATCH) && !listed(headers, header::IF_MATCH, current, true) {
        return Condition::Failed;
    }
    if listed(headers, header::IF_NONE_MATCH, current, false) {
        return if matches!(*method, Method::GET | Method::HEAD) {
            Condition::NotModified
        } else {
            Condition::Failed
        };
    }
    Condition::Proceed
}

/// Whether `Range` counts: without `If-Range` it does, with one only when that is the strong tag of
/// what would be sent (RFC 9110 13.1.5).
pub fn if_range_holds(headers: &HeaderMap, current: &str) -> bool {
    let mut values = headers.get_all(header::IF_RANGE).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => value.as_bytes().trim_ascii() == current.as_bytes(),
        (Some(_), Some(_)) => false,
    }
}

/// Whether the list of tags in `name` has `current`, or is `*` and there is something. A weak tag
/// never matches strongly. A list that cannot be read matches nothing from there on.
fn listed(
    headers: &HeaderMap,
    name: header::HeaderName,
    current: Option<&str>,
    strongly: bool,
) -> bool {
    let Some(current) = current else {
        return false;
    };
    headers.get_all(name).iter().any(|value| {
        let mut rest = value.as_bytes().trim_ascii();
        if rest == b"*" {
            return true;
        }
        while let Some((tag, weak, after)) = next_tag(rest) {
            if tag == current.as_bytes() && !(weak && strongly) {
                return true;
            }
            rest = after;
        }
        false
    })
}

/// Splits the next entity tag (quotes kept, `W/` taken off) from a list.
fn next_tag(list: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let mut list = list.trim_ascii_start();
    while let [b',', rest @ ..] = list {
        list = rest.trim_ascii_start();
    }
    let (list, weak) = match list.strip_prefix(b"W/") {
        Some(rest) => (rest, true),
        None => (list, false),
    };
    let inner = list.strip_prefix(b"\"")?;
    let end = inner.iter().position(|byte| *byte == b'"')?;
    let (tag, after) = list.split_at_checked(end.checked_add(2)?)?;
    let after = after.trim_ascii_start();
    match after {
        [] => Some((tag, weak, after)),
        [b',', rest @ ..] => Some((tag, weak, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(list: &[(header::HeaderName, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in list {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn conditions_follow_the_table() {
        use Condition::{Failed, NotModified, Proceed};
        let im = header::IF_MATCH;
        let inm = header::IF_NONE_MATCH;
        let current = Some("\"a\"");
        type Row<'a> = (
            &'a [(header::HeaderName, &'a str)],
            Option<&'a str>,
            Condition,
            Condition,
        );
        let table: &[Row<'_>] = &[
            // headers, current tag, answer to GET, answer to PATCH
            (&[], current, Proceed, Proceed),
            (&[(im.clone(), "\"a\"")], current, Proceed, Proceed),
            (&[(im.clone(), "\"b\"")], current, Failed, Failed),
            (&[(im.clone(), "\"b\", \"a\"")], current, Proceed, Proceed),
            (&[(im.clone(), "W/\"a\"")], current, Failed, Failed),
            (&[(im.clone(), "*")], current, Proceed, Proceed),
            (&[(im.clone(), "*")], None, Failed, Failed),
            (&[(im.clone(), "a")], current, Failed, Failed),
            (&[(inm.clone(), "\"a\"")], current, NotModified, Failed),
            (&[(inm.clone(), "W/\"a\"")], current, NotModified, Failed),
            (&[(inm.clone(), "\"b\"")], current, Proceed, Proceed),
            (
                &[(inm.clone(), "\"b\",, W/\"a\"")],
                current,
                NotModified,
                Failed,
            ),
            (&[(inm.clone(), "\"b,\"a\"")], current, Proceed, Proceed),
            (&[(inm.clone(), "*")], current, NotModified, Failed),
            (&[(inm.clone(), "*")], None, Proceed, Proceed),
            (
                &[(inm.clone(), "\"b\""), (inm.clone(), "\"a\"")],
                current,
                NotModified,
                Failed,
            ),
            // If-Match is judged first.
            (
                &[(im.clone(), "\"b\""), (inm.clone(), "\"a\"")],
                current,
                Failed,
                Failed,
            ),
            (
                &[(im.clone(), "\"a\""), (inm.clone(), "\"a\"")],
                current,
                NotModified,
                Failed,
            ),
        ];
        for (list, current, get, patch) in table {
            let map = headers(list);
            assert_eq!(evaluate(&Method::GET, &map, *current), *get, "GET {list:?}");
            assert_eq!(
                evaluate(&Method::HEAD, &map, *current),
                *get,
                "HEAD {list:?}"
            );
            assert_eq!(
                evaluate(&Method::PATCH, &map, *current),
                *patch,
                "PATCH {list:?}"
            );
        }
    }

    #[test]
    fn if_range_compares_strongly_and_never_matches_a_date() {
        let ir = header::IF_RANGE;
        let table: &[(&[(header::HeaderName, &str)], bool)] = &[
            (&[], true),
            (&[(ir.clone(), "\"a\"")], true),
            (&[(ir.clone(), "W/\"a\"")], false),
            (&[(ir.clone(), "\"b\"")], false),
            (&[(ir.clone(), "a")], false),
            (&[(ir.clone(), "Wed, 21 Oct 2015 07:28:00 GMT")], false),
            (&[(ir.clone(), "\"a\""), (ir.clone(), "\"a\"")], false),
        ];
        for (list, holds) in table {
            assert_eq!(if_range_holds(&headers(list), "\"a\""), *holds, "{list:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..30),
                "(W/)?\"?[a-c]?\"?[, ]{0,3}(W/)?\"?[a-c]?\"?".prop_map(String::into_bytes),
            ],
        ) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let mut map = HeaderMap::new();
            for name in [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_RANGE] {
                map.insert(name, value.clone());
            }
            evaluate(&Method::GET, &map, Some("\"a\""));
            if_range_holds(&map, "\"a\"");
        }
    }
}
