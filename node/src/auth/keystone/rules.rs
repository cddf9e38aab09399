//! Access rules of application credentials: which calls a token made with one may be used for.

use http::Method;

use crate::keystone::AccessRule;

/// Whether one of the rules allows this call. `path` is as it is routed, decoded: what a rule speaks of
/// must be what is done.
pub(super) fn allow(rules: &[AccessRule], service: &str, method: &Method, path: &str) -> bool {
    rules.iter().any(|rule| {
        rule.service == service
            && rule.method == method.as_str()
            && matches(rule.path.as_bytes(), path.as_bytes())
    })
}

/// One piece of a template.
enum Piece {
    /// This byte.
    Byte(u8),
    /// One or more bytes but slashes: `{name}` or `*`.
    Segment,
    /// Anything, nothing included: `**`.
    Rest,
}

/// The first piece of a template and what follows.
fn piece(template: &[u8]) -> Option<(Piece, &[u8])> {
    let (first, rest) = template.split_first()?;
    if let Some(rest) = template.strip_prefix(b"**") {
        return Some((Piece::Rest, rest));
    }
    if *first == b'*' {
        return Some((Piece::Segment, rest));
    }
    if *first == b'{'
        && let Some(end) = rest.iter().position(|byte| *byte == b'}')
    {
        return Some((Piece::Segment, &rest[end + 1..]));
    }
    Some((Piece::Byte(*first), rest))
}

/// Whether the whole path is of the template. In time of the product of both lengths: the places of the
/// path that the template so far can end at are carried along.
fn matches(mut template: &[u8], path: &[u8]) -> bool {
    let mut ends = vec![false; path.len() + 1];
    ends[0] = true;
    while let Some((piece, rest)) = piece(template) {
        template = rest;
        let mut next = vec![false; ends.len()];
        let mut open = false;
        for place in 0..ends.len() {
            match piece {
                Piece::Byte(byte) => {
                    next[place] = place > 0 && ends[place - 1] && path[place - 1] == byte;
                }
                Piece::Segment => {
                    let of_segment = place > 0 && path[place - 1] != b'/';
                    open = of_segment && (open || ends[place - 1]);
                    next[place] = open;
                }
                Piece::Rest => {
                    open |= ends[place];
                    next[place] = open;
                }
            }
        }
        ends = next;
    }
    ends[path.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_match_as_the_identity_service_describes_them() {
        for (template, path, wanted) in [
            ("/v2/images", "/v2/images", true),
            ("/v2/images", "/v2/images/", false),
            ("/v2/images", "/v2.1/images", false),
            ("/v2.1/images", "/v2x1/images", false),
            ("/v2/images/{image_id}", "/v2/images/a", true),
            ("/v2/images/{image_id}", "/v2/images/", false),
            ("/v2/images/{image_id}", "/v2/images/a/file", false),
            ("/v2/images/{a}/tags/{b}", "/v2/images/x/tags/y", true),
            ("/v2/images/*", "/v2/images/a", true),
            ("/v2/images/*", "/v2/images/a/file", false),
            ("/v2/images/*/file", "/v2/images/a/file", true),
            ("/v2/*/x*", "/v2/a/xyz", true),
            ("/v2/**", "/v2/images/a/file", true),
            ("/v2/**", "/v2/", true),
            ("/v2/**", "/v1/", false),
            ("**", "", true),
            ("**/file", "/v2/images/a/file", true),
            ("**/file", "/v2/images/a/files", false),
            ("", "/", false),
            ("/{open", "/{open", true),
            ("/{open", "/x", false),
        ] {
            let found = matches(template.as_bytes(), path.as_bytes());
            assert_eq!(found, wanted, "{template} {path}");
        }
    }

    #[test]
    fn a_rule_allows_its_own_service_and_method_only() {
        let rule = |service: &str, method: &str| AccessRule {
            service: service.to_owned(),
            method: method.to_owned(),
            path: "/v2/images".to_owned(),
        };
        let asked = |rules: &[AccessRule]| allow(rules, "image", &Method::GET, "/v2/images");
        assert!(asked(&[rule("image", "POST"), rule("image", "GET")]));
        assert!(!asked(&[rule("image", "POST"), rule("compute", "GET")]));
        assert!(!asked(&[]));
    }

    #[test]
    fn a_hostile_template_takes_no_longer_than_its_length() {
        let template = "**a*".repeat(500);
        let path = "a".repeat(2000);
        assert!(!matches(format!("{template}b").as_bytes(), path.as_bytes()));
    }
}
