//! Which version of the API a request asks for, and the document that lists them
//! (image-api 1.1, 1.3). The minor version changes nothing.

use axum::response::Response;
use http::{HeaderMap, StatusCode, header};

use crate::{api::images, config::Config};

/// Begins an `Accept` that names a version.
const MEDIA_TYPE: &str = "application/vnd.openstack.images-";

/// The versions of the document (image-api 1.3), newest features first, and what each one needs. The
/// first that is offered is current.
const VERSIONS: [(&str, Needs); 19] = [
    ("v2.18", Needs::CacheApi),
    ("v2.17", Needs::Nothing),
    ("v2.16", Needs::CacheApi),
    ("v2.15", Needs::Nothing),
    ("v2.14", Needs::CacheApi),
    ("v2.13", Needs::Nothing),
    ("v2.12", Needs::Nothing),
    ("v2.11", Needs::Nothing),
    ("v2.10", Needs::Nothing),
    ("v2.9", Needs::Nothing),
    ("v2.8", Needs::Nothing),
    ("v2.7", Needs::Nothing),
    ("v2.6", Needs::Nothing),
    ("v2.5", Needs::Nothing),
    ("v2.4", Needs::Nothing),
    ("v2.3", Needs::Nothing),
    ("v2.2", Needs::Nothing),
    ("v2.1", Needs::Nothing),
    ("v2.0", Needs::Nothing),
];

/// What a version is listed and known with only. Those that need several stores in the reference
/// (2.8, 2.10 to 2.13) need nothing: stores have names here, be it one or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// `cache.api`, as the reference needs `image_cache_dir`.
    CacheApi,
}

/// What a node offers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    cache_api: bool,
}

impl Offer {
    /// By its configuration.
    pub(super) const fn of(config: &Config) -> Self {
        Self {
            cache_api: config.cache.api,
        }
    }

    fn versions(self) -> impl Iterator<Item = &'static str> {
        let offered = move |needs| match needs {
            Needs::Nothing => true,
            Needs::CacheApi => self.cache_api,
        };
        VERSIONS
            .into_iter()
            .filter_map(move |(id, needs)| offered(needs).then_some(id))
    }

    /// `v2`, or a version of the document.
    fn knows(self, version: &str) -> bool {
        version == "v2" || self.versions().any(|listed| listed == version)
    }
}

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
pub(super) fn negotiate<'p>(path: &'p str, headers: &HeaderMap, offer: Offer) -> Asked<'p> {
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
        return if offer.knows(version) {
            Asked::Resource(path.strip_prefix('/').unwrap_or(path))
        } else {
            Asked::Versions(StatusCode::MULTIPLE_CHOICES)
        };
    }
    match (offer.knows(first), rest) {
        (false, _) => Asked::Versions(StatusCode::MULTIPLE_CHOICES),
        (true, None) => Asked::Root,
        (true, Some(rest)) => Asked::Resource(rest),
    }
}

/// The document, its links made from `base`.
pub(super) fn document(status: StatusCode, base: &str, offer: Offer) -> Response {
    let href = format!("{base}/v2/");
    let row = |(at, id): (usize, &str)| {
        serde_json::json!({
            "id": id,
            "status": if at == 0 { "CURRENT" } else { "SUPPORTED" },
            "links": [{"rel": "self", "href": href}],
        })
    };
    let versions: Vec<_> = offer.versions().enumerate().map(row).collect();
    let mut response = images::json(serde_json::json!({ "versions": versions }).to_string());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::BodyExt;

    use super::*;

    const ALL: Offer = Offer { cache_api: true };
    const PLAIN: Offer = Offer { cache_api: false };

    fn asked(path: &str) -> Asked<'_> {
        negotiate(path, &HeaderMap::new(), PLAIN)
    }

    #[test]
    fn every_version_leads_to_the_same_resource() {
        for version in PLAIN.versions() {
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
            negotiate(
                "/images",
                &headers("application/vnd.openstack.images-v2.1"),
                ALL
            ),
            Asked::Resource("images")
        );
        assert_eq!(
            negotiate(
                "/v2/images",
                &headers("application/vnd.openstack.images-v9"),
                ALL
            ),
            Asked::Versions(StatusCode::MULTIPLE_CHOICES)
        );
        assert_eq!(
            negotiate("/v2/images", &headers("application/json"), ALL),
            Asked::Resource("images")
        );
    }

    #[tokio::test]
    async fn the_document_has_one_current_version() {
        for (offer, newest, count) in [(ALL, "v2.18", 19), (PLAIN, "v2.17", 16)] {
            let response = document(StatusCode::MULTIPLE_CHOICES, "http://h:1", offer);
            assert_eq!(response.status(), 300);
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            let versions = value["versions"].as_array().unwrap();
            let current: Vec<_> = versions
                .iter()
                .filter(|version| version["status"] == "CURRENT")
                .collect();
            assert_eq!((current.len(), versions.len()), (1, count));
            assert_eq!(current[0]["links"][0]["href"], "http://h:1/v2/");
            assert_eq!(versions[0]["id"], newest);
        }
    }
}
