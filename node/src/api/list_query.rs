//! The query string of `GET /v2/images` as a typed query, and the links of its answer
//! (image-api 1.11). Pure.

use glimpse_registry::{
    image::{ImageId, MemberStatus, Timestamp, Visibility},
    query::{
        Comparison, Direction, Filter, ListQuery, MemberFilter, NumberColumn, Scope, SortKey,
        TextColumn, TimeColumn, VisibilityFilter,
    },
    status::Status,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

use crate::{api::timestamp, config::Limits};

/// Why a query string is refused: 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// Not UTF-8 once decoded.
    #[error("The query string contains characters that are not UTF-8.")]
    Encoding,
    /// `limit=`
    #[error("limit param must be {0}")]
    Limit(&'static str),
    /// A marker that names no image that the caller sees.
    #[error("Image {0} could not be found.")]
    Marker(String),
    /// `sort_key=` or `sort=`
    #[error(
        "Invalid sort key: {0}. It must be one of the following: name, status, \
         container_format, disk_format, size, id, created_at, updated_at."
    )]
    SortKey(String),
    /// `sort_dir=` or `sort=`
    #[error("Invalid sort direction: {0}")]
    SortDir(String),
    /// `sort_dir=` neither once nor once per key.
    #[error("Number of sort dirs does not match the number of sort keys")]
    SortCount,
    /// `sort=` beside `sort_key=` or `sort_dir=`.
    #[error("Old and new sorting syntax cannot be combined")]
    SortMixed,
    /// A word that the parameter does not know.
    #[error("Invalid value '{value}' for '{name}'.")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What was given.
        value: String,
    },
    /// `changes-since=`
    #[error("The \"changes-since\" filter is no longer available on v2.")]
    ChangesSince,
    /// `X_min=`, `X_max=` of something that is no number.
    #[error("Unable to filter on a range with a non-numeric value.")]
    Range,
    /// `X_min=`, `X_max=` where X is no column of numbers.
    #[error("Unable to filter on a range of '{0}'.")]
    RangeColumn(String),
    /// No such operator here.
    #[error("Unable to filter by unknown operator '{0}'.")]
    Operator(String),
    /// Double quotes of `in:` that do not pair up between commas.
    #[error("Invalid filter value {0}. Quotes must enclose whole values.")]
    Quotes(String),
    /// More conditions than anybody needs.
    #[error("Too many filters: at most {FILTERS} can be combined.")]
    Filters,
    /// A time that is none.
    #[error("Bad \"{0}\" query filter format. Use ISO 8601 DateTime notation.")]
    Time(&'static str),
}

/// A query string, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    /// For the registry.
    pub(super) query: ListQuery,
    /// All parameters but the marker, in order, for the links.
    parameters: Vec<(String, String)>,
}

/// Reads a query string.
pub(super) fn parse(query: &str, scope: Scope, limits: &Limits) -> Result<Listing, BadQuery> {
    let mut parameters = decode(query)?;
    let mut marker = None;
    let mut limit = limits.limit_param_default;
    let mut member = MemberFilter::Only(MemberStatus::Accepted);
    let mut visibility = VisibilityFilter::Default;
    let mut hidden = false;
    let mut sorting = Sorting::default();
    let mut filters = Filters::default();
    for (name, value) in &parameters {
        match name.as_str() {
            "marker" => marker = Some(value.clone()),
            "limit" => limit = parse_limit(value)?,
            "sort" => sorting.both = Some(value),
            "sort_key" => sorting.keys.push(sort_key(value)?),
            "sort_dir" => sorting.directions.push(direction(value)?),
            "member_status" => {
                member = match value.as_str() {
                    "all" => MemberFilter::All,
                    other => MemberStatus::parse(other)
                        .map(MemberFilter::Only)
                        .ok_or_else(|| unknown("member_status", other))?,
                };
            }
            "visibility" => {
                visibility = match value.as_str() {
                    "all" => VisibilityFilter::All,
                    other => Visibility::parse(other)
                        .map(VisibilityFilter::Only)
                        .ok_or_else(|| unknown("visibility", other))?,
                };
            }
            "os_hidden" => {
                hidden = boolean("os_hidden", &value.to_ascii_lowercase())?;
            }
            "changes-since" => return Err(BadQuery::ChangesSince),
            // Overwritten with false by the reference: deleted images are never listed.
            "deleted" => {}
            "tag" => filters.tag(value.trim())?,
            _ => filters.add(name, value)?,
        }
    }
    let marker = match marker {
        None => None,
        Some(text) => Some(
            text.parse::<ImageId>()
                .map_err(|_| BadQuery::Marker(text))?,
        ),
    };
    let sort = sorting.finish()?;
    let query = ListQuery {
        scope,
        visibility,
        member,
        hidden,
        filters: filters.finish(),
        sort,
        marker,
        limit: limit.min(limits.api_limit_max),
        weight: limits.page_bytes,
    };
    parameters.retain(|(name, _)| name != "marker");
    Ok(Listing { query, parameters })
}

/// Images on a page that is put together at once, and values that are looked up for it.
const SHORT: usize = 100;

impl Listing {
    /// Whether the page costs no more than reading its images: a short one in the order of
    /// creation, whose filters are looked up. Others may sort and decode many more.
    pub(super) fn is_cheap(&self) -> bool {
        let query = &self.query;
        query.limit <= SHORT
            && matches!(query.sort.first(), Some((SortKey::CreatedAt, _)))
            && !query
                .filters
                .iter()
                .any(|filter| matches!(filter, Filter::Number(..) | Filter::Time(..)))
            && query.filters.iter().map(values).sum::<usize>() <= SHORT
    }

    /// Appends `/v2/images?...` without a marker.
    pub(super) fn write_first(&self, out: &mut Vec<u8>) {
        self.write_link(out, None);
    }

    /// Appends `/v2/images?...` that starts after `last`.
    pub(super) fn write_next(&self, out: &mut Vec<u8>, last: ImageId) {
        self.write_link(out, Some(last));
    }

    /// Every character that the link is made of needs no escape in JSON.
    fn write_link(&self, out: &mut Vec<u8>, marker: Option<ImageId>) {
        out.extend_from_slice(b"/v2/images");
        let mut separator = b'?';
        for (name, value) in &self.parameters {
            out.push(separator);
            separator = b'&';
            encode(out, name);
            out.push(b'=');
            encode(out, value);
        }
        if let Some(marker) = marker {
            out.push(separator);
            out.extend_from_slice(b"marker=");
            out.extend_from_slice(marker.to_string().as_bytes());
        }
    }
}

/// Values that a filter looks up.
fn values(filter: &Filter) -> usize {
    match filter {
        Filter::Text(_, values) => values.len(),
        Filter::Id(ids) => ids.len(),
        Filter::Status(statuses) => statuses.len(),
        Filter::Tag(_)
        | Filter::Property(..)
        | Filter::Number(..)
        | Filter::Time(..)
        | Filter::Protected(_)
        | Filter::Nothing => 1,
    }
}

/// What a query string leaves as it is (but for space, which becomes `+`).
const ESCAPED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~')
    .remove(b' ');

pub(super) fn encode(out: &mut Vec<u8>, text: &str) {
    for piece in utf8_percent_encode(text, &ESCAPED) {
        out.extend(
            piece
                .bytes()
                .map(|byte| if byte == b' ' { b'+' } else { byte }),
        );
    }
}

/// The parameters of a query string, in order.
pub(super) fn decode(query: &str) -> Result<Vec<(String, String)>, BadQuery> {
    let text = |raw: &str| {
        let spaced: Vec<u8> = raw
            .bytes()
            .map(|byte| if byte == b'+' { b' ' } else { byte })
            .collect();
        percent_decode(&spaced)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| BadQuery::Encoding)
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((text(name)?, text(value)?))
        })
        .collect()
}

fn unknown(name: &'static str, value: &str) -> BadQuery {
    BadQuery::Value {
        name,
        value: value.to_owned(),
    }
}

fn boolean(name: &'static str, value: &str) -> Result<bool, BadQuery> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(unknown(name, other)),
    }
}

pub(super) fn parse_limit(value: &str) -> Result<usize, BadQuery> {
    let limit = number(value).ok_or(BadQuery::Limit("an integer"))?;
    if limit < 0 {
        return Err(BadQuery::Limit("positive"));
    }
    Ok(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// A whole number; one beyond the range of the type is its end.
fn number(value: &str) -> Option<i128> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    match value.trim().parse::<i128>() {
        Ok(number) => Some(number),
        Err(error) if *error.kind() == PosOverflow => Some(i128::MAX),
        Err(error) if *error.kind() == NegOverflow => Some(i128::MIN),
        Err(_) => None,
    }
}

/// The sort parameters as they come.
#[derive(Default)]
struct Sorting<'q> {
    both: Option<&'q String>,
    keys: Vec<SortKey>,
    directions: Vec<Direction>,
}

impl Sorting<'_> {
    /// The whole order, ties broken by `created_at` and `id`.
    fn finish(self) -> Result<Vec<(SortKey, Direction)>, BadQuery> {
        let Self {
            both,
            mut keys,
            mut directions,
        } = self;
        if let Some(both) = both {
            if !keys.is_empty() || !directions.is_empty() {
                return Err(BadQuery::SortMixed);
            }
            for part in both.trim().split(',') {
                let (key, dir) = part.split_once(':').unwrap_or((part, ""));
                keys.push(sort_key(key)?);
                directions.push(match dir {
                    "" => Direction::Descending,
                    dir => direction(dir)?,
                });
            }
        }
        if directions.len() > 1 && directions.len() != keys.len() {
            return Err(BadQuery::SortCount);
        }
        if keys.is_empty() {
            keys.push(SortKey::CreatedAt);
        }
        let default = match directions.as_slice() {
            [one] => *one,
            _ => Direction::Descending,
        };
        let directions = directions.into_iter().chain(std::iter::repeat(default));
        let mut sort: Vec<(SortKey, Direction)> = Vec::with_capacity(keys.len() + 2);
        let tie_breakers = [(SortKey::CreatedAt, default), (SortKey::Id, default)];
        for (key, direction) in keys.into_iter().zip(directions).chain(tie_breakers) {
            // A key that already orders adds nothing.
            if !sort.iter().any(|(known, _)| *known == key) {
                sort.push((key, direction));
            }
        }
        Ok(sort)
    }
}

fn sort_key(value: &str) -> Result<SortKey, BadQuery> {
    match value.trim() {
        "name" => Ok(SortKey::Name),
        "status" => Ok(SortKey::Status),
        "container_format" => Ok(SortKey::ContainerFormat),
        "disk_format" => Ok(SortKey::DiskFormat),
        "size" => Ok(SortKey::Size),
        "id" => Ok(SortKey::Id),
        "created_at" => Ok(SortKey::CreatedAt),
        "updated_at" => Ok(SortKey::UpdatedAt),
        other => Err(BadQuery::SortKey(other.to_owned())),
    }
}

fn direction(value: &str) -> Result<Direction, BadQuery> {
    match value.trim() {
        "asc" => Ok(Direction::Ascending),
        "desc" => Ok(Direction::Descending),
        other => Err(BadQuery::SortDir(other.to_owned())),
    }
}

/// Conditions of one query at most. An image with all the tags and properties that the default
/// quotas let it have can still be asked for by each of them; what is compared pairwise stays short.
const FILTERS: usize = 300;

/// The conditions so far. Of a repeated filter on one name the last holds, as in the reference.
#[derive(Default)]
struct Filters {
    named: Vec<(String, Option<Filter>)>,
    all: Vec<Filter>,
}

impl Filters {
    fn add(&mut self, name: &str, value: &str) -> Result<(), BadQuery> {
        let filter = filter(name, value)?;
        match self.named.iter_mut().find(|(known, _)| known == name) {
            Some((_, earlier)) => *earlier = filter,
            None => {
                self.named.push((name.to_owned(), filter));
                self.check()?;
            }
        }
        Ok(())
    }

    fn tag(&mut self, tag: &str) -> Result<(), BadQuery> {
        self.all.push(Filter::Tag(tag.to_owned()));
        self.check()
    }

    fn check(&self) -> Result<(), BadQuery> {
        if self.named.len() + self.all.len() > FILTERS {
            return Err(BadQuery::Filters);
        }
        Ok(())
    }

    fn finish(self) -> Vec<Filter> {
        let mut all = self.all;
        all.extend(self.named.into_iter().filter_map(|(_, filter)| filter));
        all
    }
}

/// One condition; `None` where it always holds.
fn filter(name: &str, value: &str) -> Result<Option<Filter>, BadQuery> {
    if let Some(column) = name.strip_suffix("_min") {
        return range(column, Some(value), None).map(Some);
    }
    if let Some(column) = name.strip_suffix("_max") {
        return range(column, None, Some(value)).map(Some);
    }
    let text = |column| Filter::Text(column, vec![value.to_owned()]);
    let equals = |column| match number(value).map(u64::try_from) {
        Some(Ok(number)) => Filter::Number(column, number, number),
        _ => Filter::Nothing,
    };
    Ok(Some(match name {
        "name" => in_or_eq(value, |values| Filter::Text(TextColumn::Name, values))?,
        "disk_format" => in_or_eq(value, |values| Filter::Text(TextColumn::DiskFormat, values))?,
        "container_format" => in_or_eq(value, |values| {
            Filter::Text(TextColumn::ContainerFormat, values)
        })?,
        "id" => in_or_eq(value, |values| {
            Filter::Id(values.iter().filter_map(|id| id.parse().ok()).collect())
        })?,
        "status" => in_or_eq(value, |values| {
            Filter::Status(values.iter().filter_map(|s| Status::parse(s)).collect())
        })?,
        "owner" => text(TextColumn::Owner),
        "checksum" => text(TextColumn::Checksum),
        "os_hash_algo" => text(TextColumn::OsHashAlgo),
        "os_hash_value" => text(TextColumn::OsHashValue),
        "size" => equals(NumberColumn::Size),
        "virtual_size" => equals(NumberColumn::VirtualSize),
        "min_disk" => equals(NumberColumn::MinDisk),
        "min_ram" => equals(NumberColumn::MinRam),
        "protected" => Filter::Protected(boolean("protected", value)?),
        "created_at" => return time("created_at", TimeColumn::CreatedAt, value),
        "updated_at" => return time("updated_at", TimeColumn::UpdatedAt, value),
        "deleted_at" => Filter::Nothing,
        _ => Filter::Property(name.to_owned(), value.to_owned()),
    }))
}

/// `X_min=` or `X_max=`.
fn range(column: &str, min: Option<&str>, max: Option<&str>) -> Result<Filter, BadQuery> {
    let bound = |value: Option<&str>, open: i128| match value {
        Some(value) => number(value).ok_or(BadQuery::Range),
        None => Ok(open),
    };
    let (low, high) = (bound(min, 0)?, bound(max, i128::MAX)?);
    let column = match column {
        "size" => NumberColumn::Size,
        "virtual_size" => NumberColumn::VirtualSize,
        "min_disk" => NumberColumn::MinDisk,
        "min_ram" => NumberColumn::MinRam,
        other => return Err(BadQuery::RangeColumn(other.to_owned())),
    };
    let highest = i128::from(u64::MAX);
    if high < 0 || low > highest {
        return Ok(Filter::Nothing);
    }
    let clamped = |bound: i128| u64::try_from(bound.clamp(0, highest)).unwrap_or(u64::MAX);
    Ok(Filter::Number(column, clamped(low), clamped(high)))
}

/// Operator and operand. A time without operator has colons of its own.
fn operator(value: &str) -> (&str, &str) {
    match value.split_once(':') {
        Some(_) if timestamp::parse(value).is_some() => ("eq", value),
        Some((operator, operand)) => (operator, operand),
        None => ("eq", value),
    }
}

/// `in:a,b`, `eq:a` or `a`. What can match nothing is [`Filter::Nothing`].
fn in_or_eq(value: &str, make: impl FnOnce(Vec<String>) -> Filter) -> Result<Filter, BadQuery> {
    let filter = match operator(value) {
        ("in", list) => make(split(list)?),
        ("eq", value) => make(vec![value.to_owned()]),
        (other, _) => return Err(BadQuery::Operator(other.to_owned())),
    };
    let empty = match &filter {
        Filter::Text(_, values) => values.is_empty(),
        Filter::Id(values) => values.is_empty(),
        Filter::Status(values) => values.is_empty(),
        Filter::Number(..)
        | Filter::Time(..)
        | Filter::Protected(_)
        | Filter::Tag(_)
        | Filter::Property(..)
        | Filter::Nothing => false,
    };
    Ok(if empty { Filter::Nothing } else { filter })
}

/// The values of an `in:` list: between commas, or in double quotes, where commas are plain. A
/// quote after a backslash neither opens nor closes.
fn split(list: &str) -> Result<Vec<String>, BadQuery> {
    let bad = || BadQuery::Quotes(list.to_owned());
    let mut values = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        let (value, after) = if let Some(quoted) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = quoted
                .char_indices()
                .find(|(_, character)| {
                    let closes = *character == '"' && !escaped;
                    escaped = *character == '\\';
                    closes
                })
                .ok_or_else(bad)?
                .0;
            let (value, closing) = quoted.split_at(end);
            let after = closing.strip_prefix('"').unwrap_or(closing);
            if !after.is_empty() && !after.starts_with(',') {
                return Err(bad());
            }
            (value, after)
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let (value, after) = rest.split_at(end);
            if value.replace("\\\"", "").contains('"') {
                return Err(bad());
            }
            (value, after)
        };
        values.push(value.to_owned());
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Ok(values)
}

/// A comparison with a time. The columns hold whole seconds; a finer operand is moved to the second
/// that makes the comparison come out the same.
fn time(name: &'static str, column: TimeColumn, value: &str) -> Result<Option<Filter>, BadQuery> {
    const SECOND: i128 = 1_000_000;
    let (operator, operand) = operator(value);
    let comparison = match operator {
        "gt" => Comparison::Gt,
        "gte" => Comparison::Gte,
        "lt" => Comparison::Lt,
        "lte" => Comparison::Lte,
        "eq" => Comparison::Eq,
        "neq" => Comparison::Neq,
        other => return Err(BadQuery::Operator(other.to_owned())),
    };
    let micros = timestamp::parse(operand).ok_or(BadQuery::Time(name))?;
    let whole = micros.rem_euclid(SECOND) == 0;
    let floor = micros.div_euclid(SECOND);
    let second = match comparison {
        Comparison::Gt | Comparison::Lte => floor,
        Comparison::Gte | Comparison::Lt => floor + i128::from(!whole),
        Comparison::Eq if !whole => return Ok(Some(Filter::Nothing)),
        Comparison::Neq if !whole => return Ok(None),
        Comparison::Eq | Comparison::Neq => floor,
    };
    Ok(match u64::try_from(second * SECOND) {
        Ok(micros) => Some(Filter::Time(column, comparison, Timestamp(micros))),
        // Before all images.
        Err(_) => match comparison {
            Comparison::Gt | Comparison::Gte | Comparison::Neq => None,
            Comparison::Lt | Comparison::Lte | Comparison::Eq => Some(Filter::Nothing),
        },
    })
}

#[cfg(test)]
#[path = "list_query_tests.rs"]
mod tests;
