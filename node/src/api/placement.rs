//! Locations that clients change: the operations of a PATCH on `/locations` (image-api 1.10), and what
//! any location must fulfil before it is taken.
//!
//! Clients name locations of `http` stores only: `file`, `filesystem`, `swift+config` and everything
//! else that could name what is the node's own is refused in every spelling (OSSA-2014-041,
//! OSSA-2015-002). A URL is asked for its size before it is taken, through the filter of outbound
//! fetches, and every failure of that has one text (OSSN-0078).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use glimpse_registry::{command::ImageData, image::Location, status::Status};
use glimpse_store::http::is_location;
use serde_json::{Map, Value};

use crate::{
    api::attribute,
    app::{App, NamedStore},
    data::hashes::Algorithm,
    outbound::shown,
};

/// Why locations are refused. No text has a URL in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLocation {
    /// Not of the schema.
    #[error("Provided object does not match schema 'image': locations: {0}")]
    Form(&'static str),
    /// No store takes it, it may not be fetched, or nothing is there.
    #[error("Invalid location")]
    Invalid,
    /// No place in the list.
    #[error("Invalid position for a location.")]
    Position,
    /// There already.
    #[error("The location already exists.")]
    Duplicate,
    /// A replacement that does not name the same URLs.
    #[error("Original locations is not empty: only their metadata can be replaced.")]
    NotTheSame,
    /// `api.show_multiple_locations` is off.
    #[error("It's not allowed to change locations if locations are invisible.")]
    Hidden,
    /// A replacement by nothing.
    #[error("Cannot set locations to empty list.")]
    Empty,
    /// The only one.
    #[error("Cannot remove last location in the image.")]
    Last,
    /// Not in this status.
    #[error("It's not allowed to {what} locations if image status is {}.", status.as_str())]
    Status {
        /// `add`, `replace` or `remove`.
        what: &'static str,
        /// Of the image.
        status: Status,
    },
    /// Hashes that cannot be the image's.
    #[error("{0}")]
    Validation(String),
}

/// A location as a client writes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    url: String,
    metadata: BTreeMap<String, String>,
    /// `checksum`, `os_hash_algo` and `os_hash_value`, as far as they are told.
    validation: BTreeMap<String, String>,
}

/// One operation on the list.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LocationChange {
    /// `add` at an index, or at the end.
    Add(Option<usize>, Wanted),
    /// `replace` of the whole list.
    Replace(Vec<Wanted>),
    /// `remove` of the one at an index, or of the last.
    Remove(Option<usize>),
}

impl LocationChange {
    /// An `add` at `position`, or a `replace` without one.
    pub(super) fn write(position: Option<&str>, value: &Value) -> Result<Self, BadLocation> {
        if let Some(position) = position {
            return Ok(Self::Add(index(position)?, Wanted::parse(value)?));
        }
        let values = value
            .as_array()
            .ok_or(BadLocation::Form("must be an array"))?;
        if values.is_empty() {
            return Err(BadLocation::Empty);
        }
        let wanted = values.iter().map(Wanted::parse).collect::<Result<_, _>>()?;
        Ok(Self::Replace(wanted))
    }

    /// A `remove`.
    pub(super) fn remove(position: Option<&str>) -> Result<Self, BadLocation> {
        Ok(Self::Remove(index(position.unwrap_or_default())?))
    }

    fn verb(&self) -> &'static str {
        match self {
            Self::Add(..) => "add",
            Self::Replace(_) => "replace",
            Self::Remove(_) => "remove",
        }
    }
}

fn index(position: &str) -> Result<Option<usize>, BadLocation> {
    match position {
        "-" => Ok(None),
        // An index beyond what a number holds is beyond the end as well.
        digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Some(digits.parse().unwrap_or(usize::MAX)))
        }
        _ => Err(BadLocation::Position),
    }
}

impl Wanted {
    fn parse(value: &Value) -> Result<Self, BadLocation> {
        let form = |what| BadLocation::Form(what);
        let members = value.as_object().ok_or(form("each must be an object"))?;
        let url = members.get("url").and_then(Value::as_str);
        let url = url.ok_or(form("'url' must be a string"))?;
        if url.chars().count() > 255 || attribute::narrow(url).is_err() {
            return Err(form("'url' is too long or has characters above U+FFFF"));
        }
        let metadata = members.get("metadata").and_then(Value::as_object);
        let metadata = metadata.ok_or(form("'metadata' must be an object"))?;
        let metadata = texts(metadata).ok_or(form("values of 'metadata' must be strings"))?;
        let validation = match members.get("validation_data") {
            None => BTreeMap::new(),
            Some(value) => {
                let known = |key: &String| {
                    matches!(key.as_str(), "checksum" | "os_hash_algo" | "os_hash_value")
                };
                let data = value.as_object().and_then(texts);
                let data = data.ok_or(form("'validation_data' must be an object of strings"))?;
                if !data.keys().all(known)
                    || !data.contains_key("os_hash_algo")
                    || !data.contains_key("os_hash_value")
                {
                    return Err(form(
                        "'validation_data' needs os_hash_algo and os_hash_value",
                    ));
                }
                data
            }
        };
        Ok(Self {
            url: url.to_owned(),
            metadata,
            validation,
        })
    }
}

fn texts(members: &Map<String, Value>) -> Option<BTreeMap<String, String>> {
    let text = |(key, value): (&String, &Value)| {
        attribute::narrow(key).ok()?;
        let value = value
            .as_str()
            .filter(|text| attribute::narrow(text).is_ok())?;
        Some((key.clone(), value.to_owned()))
    };
    members.iter().map(text).collect()
}

/// Locations that were asked for their size in the course of one request, which may start over.
#[derive(Default)]
pub(super) struct Placement {
    sizes: BTreeMap<String, u64>,
}

impl Placement {
    /// Applies one operation to what is known of an image's data.
    pub(super) async fn apply(
        &mut self,
        app: &App,
        change: &LocationChange,
        data: &mut ImageData,
    ) -> Result<(), BadLocation> {
        if !app.config.api.show_multiple_locations {
            return Err(BadLocation::Hidden);
        }
        let fit = match change {
            LocationChange::Remove(_) => data.status == Status::Active,
            LocationChange::Add(..) | LocationChange::Replace(_) => {
                matches!(data.status, Status::Active | Status::Queued)
            }
        };
        if !fit {
            let (what, status) = (change.verb(), data.status);
            return Err(BadLocation::Status { what, status });
        }
        let algorithm = app.config.api.hashing_algorithm;
        match change {
            LocationChange::Remove(at) => {
                let last = match data.locations.len() {
                    0 | 1 => return Err(BadLocation::Last),
                    count => count - 1,
                };
                data.locations.remove(at.map_or(last, |at| at.min(last)));
            }
            LocationChange::Add(at, wanted) => {
                validate(data, std::slice::from_ref(wanted), algorithm)?;
                let location = self.admit(app, wanted, data).await?;
                let end = data.locations.len();
                data.locations
                    .insert(at.map_or(end, |at| at.min(end)), location);
            }
            LocationChange::Replace(wanted) => {
                validate(data, wanted, algorithm)?;
                if data.locations.is_empty() {
                    for wanted in wanted {
                        let location = self.admit(app, wanted, data).await?;
                        data.locations.push(location);
                    }
                } else {
                    data.locations = restated(&data.locations, wanted)?;
                }
            }
        }
        data.status = Status::Active;
        Ok(())
    }

    /// A location that is not there yet, of data of the image's size.
    pub(super) async fn admit(
        &mut self,
        app: &App,
        wanted: &Wanted,
        data: &mut ImageData,
    ) -> Result<Location, BadLocation> {
        let url = &wanted.url;
        if data.locations.iter().any(|location| location.url == *url) {
            return Err(BadLocation::Duplicate);
        }
        let store = store_of(app, url, wanted.metadata.get("store"));
        let store = store.ok_or(BadLocation::Invalid)?;
        let size = match self.sizes.get(url) {
            Some(size) => *size,
            None => size_at(app, store, url).await?,
        };
        self.sizes.insert(url.clone(), size);
        if data.size.is_some_and(|known| known != size) {
            return Err(BadLocation::Invalid);
        }
        data.size = Some(size);
        let mut metadata = wanted.metadata.clone();
        metadata.insert("store".to_owned(), store.name.clone());
        Ok(Location {
            url: url.clone(),
            store: store.name.clone(),
            metadata,
        })
    }

    /// One that comes without metadata.
    pub(super) async fn admit_url(
        &mut self,
        app: &App,
        url: &str,
        data: &mut ImageData,
    ) -> Result<Location, BadLocation> {
        let wanted = Wanted {
            url: url.to_owned(),
            metadata: BTreeMap::new(),
            validation: BTreeMap::new(),
        };
        self.admit(app, &wanted, data).await
    }
}

/// The `http` store that takes the URL: the one that is named, or the first of the heaviest.
pub(super) fn store_of<'a>(
    app: &'a App,
    url: &str,
    named: Option<&String>,
) -> Option<&'a NamedStore> {
    if !is_location(url) {
        return None;
    }
    let fit = app.stores.by_name.values().filter(|store| {
        store.store.kind() == "http" && named.is_none_or(|name| *name == store.name)
    });
    // Stable: the first of equal ones.
    fit.min_by_key(|store| Reverse(store.weight))
}

/// Bytes of what is at a URL that users may name; never 0.
async fn size_at(app: &App, store: &NamedStore, url: &str) -> Result<u64, BadLocation> {
    let refused = |cause: String| {
        tracing::info!(
            store = store.name,
            url = shown(url),
            cause,
            "a location is refused"
        );
        BadLocation::Invalid
    };
    app.outbound
        .check(url)
        .await
        .map_err(|refusal| refused(refusal.0.to_owned()))?;
    match store.store.stat(url).await {
        Ok(stat) if stat.size > 0 && stat.size <= app.config.limits.image_size_cap => Ok(stat.size),
        Ok(stat) => Err(refused(format!("{} bytes", stat.size))),
        Err(error) => Err(refused(error.to_string())),
    }
}

/// The same URLs, in another order or with other metadata. The store of each one stays.
fn restated(before: &[Location], wanted: &[Wanted]) -> Result<Vec<Location>, BadLocation> {
    let old: BTreeSet<&str> = before
        .iter()
        .map(|location| location.url.as_str())
        .collect();
    let new: BTreeSet<&str> = wanted.iter().map(|wanted| wanted.url.as_str()).collect();
    if new.len() != wanted.len() {
        return Err(BadLocation::Duplicate);
    }
    if old != new {
        return Err(BadLocation::NotTheSame);
    }
    let restate = |wanted: &Wanted| {
        let location = before.iter().find(|location| location.url == wanted.url)?;
        let mut metadata = wanted.metadata.clone();
        metadata.insert("store".to_owned(), location.store.clone());
        Some(Location {
            metadata,
            ..location.clone()
        })
    };
    Ok(wanted.iter().filter_map(restate).collect())
}

/// Takes hashes over: equal ones at any time, new ones for a queued image only.
fn validate(
    data: &mut ImageData,
    wanted: &[Wanted],
    algorithm: Algorithm,
) -> Result<(), BadLocation> {
    let bad = |text: String| Err(BadLocation::Validation(text));
    let mut new = BTreeMap::new();
    for (key, value) in wanted.iter().flat_map(|wanted| &wanted.validation) {
        if new.get(key).is_some_and(|other| *other != value) {
            return bad(format!("Conflicting values for {key}"));
        }
        new.insert(key, value);
    }
    let current = |data: &ImageData, key: &str| match key {
        "checksum" => data.checksum.clone(),
        "os_hash_algo" => data.os_hash_algo.clone(),
        _ => data.os_hash_value.clone(),
    };
    let same = |now: &Option<String>, value: &str| {
        now.as_deref()
            .is_some_and(|now| now.eq_ignore_ascii_case(value))
    };
    new.retain(|key, value| !same(&current(data, key), value));
    if new.is_empty() {
        return Ok(());
    }
    if let Some(key) = new.keys().find(|key| current(data, key).is_some()) {
        return bad(format!("{key} is already set with a different value"));
    }
    if data.status != Status::Queued {
        return bad("New hashes may only be provided when image status is 'queued'".to_owned());
    }
    let named = new
        .get(&"os_hash_algo".to_owned())
        .map(|name| name.as_str());
    if named != Some(algorithm.as_str()) {
        return bad(format!("os_hash_algo must be {}", algorithm.as_str()));
    }
    for (key, digits) in [("checksum", 32), ("os_hash_value", algorithm.hex_digits())] {
        let Some(value) = new.get(&key.to_owned()) else {
            continue;
        };
        if value.len() != digits || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return bad(format!("{key} must be {digits} hexadecimal digits"));
        }
        let value = Some(value.to_ascii_lowercase());
        match key {
            "checksum" => data.checksum = value,
            _ => data.os_hash_value = value,
        }
    }
    data.os_hash_algo = named.map(str::to_owned);
    Ok(())
}
