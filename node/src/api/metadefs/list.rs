//! Queries of lists of metadata definitions, and their links: filters, order, marker by name
//! (image-api 1.9). Nothing is indexed: how many there may be is bounded, and they are few.

use std::cmp::Ordering;

use glimpse_registry::{
    View,
    image::Timestamp,
    metadef::{Definition, Kind, Namespace},
};

use crate::{
    api::{
        error::ApiError,
        list_query::{BadQuery, decode, encode, parse_limit},
    },
    config::Limits,
};

/// What lists are ordered by. The same in all pages of one list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SortValue {
    /// Null sorts first.
    Text(Option<String>),
    /// False first.
    Flag(bool),
    /// Oldest first.
    Time(Timestamp),
}

/// What can be listed.
pub(super) trait Listed {
    /// Its value of a sort key; `None`: there is no such key.
    fn value(&self, key: &str) -> Option<SortValue>;
    /// When it was made: breaks ties, and is different for all.
    fn age(&self) -> (Timestamp, u32);
}

impl Listed for Namespace {
    fn value(&self, key: &str) -> Option<SortValue> {
        let attributes = &self.attributes;
        Some(match key {
            "namespace" => SortValue::Text(Some(attributes.name.clone())),
            "display_name" => SortValue::Text(attributes.display_name.clone()),
            "description" => SortValue::Text(attributes.description.clone()),
            "owner" => SortValue::Text(attributes.owner.clone()),
            "visibility" => SortValue::Text(Some(attributes.visibility().to_owned())),
            "protected" => SortValue::Flag(attributes.protected),
            "created_at" | "id" => SortValue::Time(self.created_at),
            "updated_at" => SortValue::Time(self.updated_at),
            _ => return None,
        })
    }

    fn age(&self) -> (Timestamp, u32) {
        (self.created_at, 0)
    }
}

impl Listed for Definition {
    fn value(&self, key: &str) -> Option<SortValue> {
        Some(match key {
            "name" => SortValue::Text(Some(self.name.clone())),
            "created_at" | "id" => SortValue::Time(self.created_at),
            "updated_at" => SortValue::Time(self.updated_at),
            _ => return None,
        })
    }

    fn age(&self) -> (Timestamp, u32) {
        (self.created_at, self.position)
    }
}

/// Keys by which namespaces are sorted.
const NAMESPACE_KEYS: [&str; 9] = [
    "namespace",
    "display_name",
    "description",
    "owner",
    "visibility",
    "protected",
    "created_at",
    "updated_at",
    "id",
];

/// Keys by which tags are sorted.
const TAG_KEYS: [&str; 4] = ["name", "created_at", "updated_at", "id"];

/// Parameters of which only one counts.
const ONCE: [&str; 4] = ["marker", "limit", "sort_key", "sort_dir"];

/// A query string, read.
pub(super) struct Listing {
    /// The name of the last one seen.
    pub(super) marker: Option<String>,
    /// How many at most.
    pub(super) limit: usize,
    key: String,
    descending: bool,
    visibility: Option<String>,
    resource_types: Option<Vec<String>>,
    /// All parameters but the marker, in order, for the links.
    parameters: Vec<(String, String)>,
}

impl Listing {
    /// Of `GET /v2/metadefs/namespaces`.
    ///
    /// # Errors
    /// 400 for what cannot be read.
    pub(super) fn of_namespaces(query: &str, limits: &Limits) -> Result<Self, ApiError> {
        let listing = Self::parse(query, &NAMESPACE_KEYS, &["public", "private"])?;
        let limit = match listing.limit {
            usize::MAX => limits.limit_param_default,
            limit => limit,
        };
        Ok(Self {
            limit: limit.min(limits.api_limit_max),
            ..listing
        })
    }

    /// Of `GET .../tags`: without a limit all are shown.
    ///
    /// # Errors
    /// 400 for what cannot be read.
    pub(super) fn of_tags(query: &str) -> Result<Self, ApiError> {
        Self::parse(query, &TAG_KEYS, &["public", "private", "shared"])
    }

    fn parse(query: &str, keys: &[&str], visibilities: &[&str]) -> Result<Self, ApiError> {
        let mut parameters = decode(query)?;
        let mut listing = Self {
            marker: None,
            limit: usize::MAX,
            key: "created_at".to_owned(),
            descending: true,
            visibility: None,
            resource_types: None,
            parameters: Vec::new(),
        };
        for (place, (name, value)) in parameters.iter().enumerate() {
            // Of a repeated one the first counts, as in the reference.
            let mut before = parameters.iter().take(place);
            if ONCE.contains(&name.as_str()) && before.any(|(known, _)| known == name) {
                continue;
            }
            match name.as_str() {
                "marker" => listing.marker = Some(value.clone()).filter(|name| !name.is_empty()),
                "limit" => listing.limit = parse_limit(value)?,
                "sort_key" => {
                    if !keys.contains(&value.as_str()) {
                        return Err(ApiError::bad_request(format!(
                            "Invalid sort key: {value}. It must be one of the following: {}.",
                            keys.join(", ")
                        )));
                    }
                    value.clone_into(&mut listing.key);
                }
                "sort_dir" => {
                    listing.descending = match value.as_str() {
                        "asc" => false,
                        "desc" => true,
                        other => return Err(BadQuery::SortDir(other.to_owned()).into()),
                    };
                }
                "visibility" => {
                    if !value.is_empty() && !visibilities.contains(&value.as_str()) {
                        return Err(ApiError::bad_request(format!(
                            "Invalid visibility value: {value}"
                        )));
                    }
                    listing.visibility = Some(value.clone());
                }
                "resource_types" => {
                    listing.resource_types = Some(value.split(',').map(str::to_owned).collect());
                }
                _ => {}
            }
        }
        parameters.retain(|(name, _)| name != "marker");
        listing.parameters = parameters;
        Ok(listing)
    }

    /// Leaves the namespaces that the filters name.
    pub(super) fn filter_namespaces(
        &self,
        view: &View,
        found: &mut Vec<Namespace>,
    ) -> Result<(), ApiError> {
        if let Some(visibility) = &self.visibility {
            found.retain(|namespace| namespace.attributes.visibility() == visibility);
        }
        if let Some(types) = &self.resource_types {
            let mut kept = Vec::new();
            for namespace in found.drain(..) {
                for name in types {
                    let association = view.definition(namespace.id, Kind::ResourceType, name)?;
                    if association.is_some() {
                        kept.push(namespace);
                        break;
                    }
                }
            }
            *found = kept;
        }
        Ok(())
    }

    /// Orders what was found and leaves the page after `marker`.
    pub(super) fn page<T: Listed>(&self, found: &mut Vec<T>, marker: Option<&T>) {
        if let Some(marker) = marker {
            found.retain(|one| self.order(one, marker).is_gt());
        }
        found.sort_by(|a, b| self.order(a, b));
        found.truncate(self.limit);
    }

    fn order<T: Listed>(&self, a: &T, b: &T) -> Ordering {
        let ascending = (a.value(&self.key), a.age()).cmp(&(b.value(&self.key), b.age()));
        match self.descending {
            true => ascending.reverse(),
            false => ascending,
        }
    }

    /// The link to this list, or to its next page.
    pub(super) fn link(&self, path: &str, marker: Option<&str>) -> String {
        let mut out = path.as_bytes().to_vec();
        let mut separator = b'?';
        let parameters = self.parameters.iter();
        let parameters = parameters.map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in parameters.chain(marker.map(|marker| ("marker", marker))) {
            out.push(separator);
            separator = b'&';
            encode(&mut out, name);
            out.push(b'=');
            encode(&mut out, value);
        }
        String::from_utf8_lossy(&out).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_every_parameter_but_the_marker() {
        let limits = Limits::default();
        let query = "limit=2&foo=b%C3%A9+r&marker=x&resource_types=A::B,C&foo=2";
        let listing = Listing::of_namespaces(query, &limits).unwrap();
        let first = "/p?limit=2&foo=b%C3%A9+r&resource_types=A%3A%3AB%2CC&foo=2";
        assert_eq!(listing.link("/p", None), first);
        assert_eq!(
            listing.link("/p", Some("a/b")),
            format!("{first}&marker=a%2Fb")
        );
        let plain = Listing::of_namespaces("", &limits).unwrap();
        assert_eq!(plain.link("/p", None), "/p");
        assert_eq!(plain.limit, limits.limit_param_default);
        let twice = Listing::of_namespaces("marker=a&marker=b&limit=1&limit=x", &limits).unwrap();
        assert_eq!((twice.marker.as_deref(), twice.limit), (Some("a"), 1));
    }

    #[test]
    fn limits_are_capped_and_bad_words_refused() {
        let limits = Limits::default();
        let of = |query: &str| Listing::of_namespaces(query, &limits);
        assert_eq!(of("limit=100000").unwrap().limit, limits.api_limit_max);
        assert_eq!(of("limit=0").unwrap().limit, 0);
        for bad in [
            "limit=abc",
            "limit=",
            "limit=-1",
            "sort_key=x",
            "sort_dir=x",
            "visibility=shared",
        ] {
            assert_eq!(of(bad).map(|_| ()).unwrap_err().status, 400, "{bad}");
        }
        assert!(Listing::of_tags("visibility=shared&sort_key=name").is_ok());
        assert!(Listing::of_tags("sort_key=namespace").is_err());
    }
}
