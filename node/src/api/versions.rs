//! Which version of the API a request asks for, and the document that lists them
//! (image-api 1.1, 1.3). The minor version changes nothing.

use axum::response::Response;
use http::{HeaderMap, StatusCode, header};

use crate::api::images;

/// Begins an `Accept` that names a version.
const MEDIA_TYPE: &str = "application/vnd.openstack.images-";

/// The versions of the document, newest features first, with the one that is current. v2.14, v2.16
/// and v2.18 say that the cache has an API, and are unknown before it has one.
const LISTED: [(&str, &str); 16] = [
    ("v2.17", "CURRENT"),
    ("v2.15", "SUPPORTED"),
    ("v2.13", "SUPPORTED"),
    ("v2.12", "SUPPORTED"),
    ("v2.11", "SUPPORTED"),
    ("v2.10", "SUPPORTED"),
    ("v2.9", "SUPPORTED"),
    ("v2.8", "SUPPORTED"),
    ("v2.7", "SUPPORTED"),
    ("v2.6", "SUPPORTED"),
    ("v2.5", "SUPPORTED"),
    ("v2.4", "SUPPORTED"),
    ("v2.3", "SUPPORTED"),
    ("v2.2", "SUPPORTED"),
    ("v2.1", "SUPPORTED"),
    ("v2.0", "SUPPORTED"),
];

/// What a path asks for before any resource is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked<'p> {
    /// 300 or, for `/versions`, 200 with the document.
    Versions(StatusCode),
    /// `/v2` without the slash: 302 to `/v2/`.
    Root,
    /// The rest of the path, below `/v2/`.
    Resource(&'p str),
}

/// Splits the version off a decoded path, or takes it from `Accept`.
pub(super) fn negotiate<'p>(path: &'p str, headers: &HeaderMap) -> Asked<'p> {
    let trimmed = path.trim_start_matches('/');
    let (first, rest) = match trimmed.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (trimmed, None),
    };
    if first == "versions" {
        return Asked::Versions(StatusCode::OK);
    }
    let by_accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .and_then(|accept| accept.strip_prefix(MEDIA_TYPE));
    if let Some(version) = by_accept {
        return if known(version) {
            Asked::Resource(path.strip_prefix('/').unwrap_or(path))
        } else {
            Asked::Versions(StatusCode::MULTIPLE_CHOICES)
        };
    }
    match (known(first), rest) {
        (false, _) => Asked::Versions(StatusCode::MULTIPLE_CHOICES),
        (true, None) => Asked::Root,
        (true, Some(rest)) => Asked::Resource(rest),
    }
}

/// `v2`, or a version of the document.
fn known(version: &str) -> bool {
    version == "v2" || LISTED.iter().any(|(listed, _)| *listed == version)
}

/// The document, its links made from `base`.
pub(super) fn document(status: StatusCode, base: &str) -> Response {
    let href = format!("{base}/v2/");
    let versions: Vec<_> = LISTED
        .iter()
        .map(|(id, status)| {
            serde_json::json!({
                "id": id,
                "status": status,
                "links": [{"rel": "self", "href": href}],
            })
        })
        .collect();
    let mut response = images::json(serde_json::json!({ "versions": versions }).to_string());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::BodyExt;

    use super::*;

    fn asked(path: &str) -> Asked<'_> {
        negotiate(path, &HeaderMap::new())
    }

    #[test]
    fn every_version_leads_to_the_same_resource() {
        for (version, _) in LISTED {
            let path = format!("/{version}/images/x");
            assert_eq!(asked(&path), Asked::Resource("images/x"));
        }
        assert_eq!(asked("/v2/images/x"), Asked::Resource("images/x"));
        assert_eq!(asked("//v2/images/"), Asked::Resource("images/"));
        assert_eq!(asked("/v2//images"), Asked::Resource("/images"));
        assert_eq!(asked("/v2/"), Asked::Resource(""));
        assert_eq!(asked("/v2"), Asked::Root);
    }

    #[test]
    fn anything_else_is_answered_with_the_choices() {
        for path in [
            "",
            "/",
            "/v1",
            "/v1/images",
            "/v3",
            "/v2.14/images",
            "/v2.16/images",
            "/v2.18/images",
            "/v2.19/images",
            "/v2.99/images",
            "/v2.01/images",
            "/v2.",
            "/v2.x",
            "/v2.+1",
            "/V2/images",
            "/images",
        ] {
            assert_eq!(
                asked(path),
                Asked::Versions(StatusCode::MULTIPLE_CHOICES),
                "{path}"
            );
        }
        assert_eq!(asked("/versions"), Asked::Versions(StatusCode::OK));
        assert_eq!(asked("/versions/"), Asked::Versions(StatusCode::OK));
    }

    #[test]
    fn accept_may_name_the_version_instead() {
        let headers = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            headers
        };
        assert_eq!(
            negotiate("/images", &headers("application/vnd.openstack.images-v2.1")),
            Asked::Resource("images")
        );
        assert_eq!(
            negotiate(
                "/v2/images",
                &headers("application/vnd.openstack.images-v9")
            ),
            Asked::Versions(StatusCode::MULTIPLE_CHOICES)
        );
        assert_eq!(
            negotiate("/v2/images", &headers("application/json")),
            Asked::Resource("images")
        );
    }

    #[tokio::test]
    async fn the_document_has_one_current_version() {
        let response = document(StatusCode::MULTIPLE_CHOICES, "http://h:1");
        assert_eq!(response.status(), 300);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let versions = value["versions"].as_array().unwrap();
        let current: Vec<_> = versions
            .iter()
            .filter(|version| version["status"] == "CURRENT")
            .collect();
        assert_eq!(current.len(), 1);
        assert_eq!(current[0]["links"][0]["href"], "http://h:1/v2/");
        assert_eq!(versions[0]["id"], "v2.17");
    }
}
