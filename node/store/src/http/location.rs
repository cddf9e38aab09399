//! Location URLs of the `http` driver: `http(s)://host[:port]/path[?query]` (image-api 7.3).
//!
//! A location comes from a user, is kept, and is shown to others: only the characters of a URI are taken
//! (RFC 3986 2), without `;`, which shells and headers read as an end (OSSA-2014-012), and no path
//! that climbs.

use crate::{Result, StoreError};

/// Bytes of a location at most (image-api 2.1).
const MAX_URL: usize = 255;

/// Whether `url` has the form.
pub fn is_location(url: &str) -> bool {
    check(url).is_ok()
}

/// `BadLocation` for everything else.
pub(super) fn check(url: &str) -> Result<()> {
    let bad = Err(StoreError::BadLocation);
    let Some((scheme, rest)) = url.split_once("://") else {
        return bad;
    };
    let known = ["http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,=%".contains(&byte);
    if !known || url.len() > MAX_URL || !rest.bytes().all(plain) {
        return bad;
    }
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = path.split_once('/').unwrap_or((path, ""));
    let climbs = |segment: &str| segment.to_ascii_lowercase().replace("%2e", ".") == "..";
    if host.is_empty() || host.starts_with(':') || path.split('/').any(climbs) {
        return bad;
    }
    Ok(())
}
