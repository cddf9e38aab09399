//! One page of a listing: candidate rows in the order asked for, from the marker on.
//!
//! Newest first, the default, is row order backwards: chunks are worked out from the marker down
//! until the page is full, so a page costs the same among a million images as among a thousand. For
//! another order, few candidates are sorted in memory; many are met by walking the postings of the
//! sort key in order, which are many as well, so that the page fills soon.

use std::{cmp::Ordering, sync::Arc};

use redb::{AccessGuard, Range};

use crate::{
    Result,
    encoding::fault,
    expr::Candidates,
    image::Image,
    outcome::Rejection,
    plan::plan,
    postings::{Kind, Posting, chunk_of, decode_rows, sort_kind, sort_posting},
    query::{Direction, ListQuery, SortKey},
    tables::row_in,
    view::View,
};

/// `sort_key` and `sort_dir`, in order of weight.
type Keys = [(SortKey, Direction)];

impl View {
    /// One page. `Err(Rejected(ImageNotFound))` when the marker is unknown or not visible.
    pub fn list(&self, query: &ListQuery) -> Result<Vec<Arc<Image>>> {
        let marker = match query.marker {
            None => None,
            Some(id) => match self.image(id)? {
                Some(image) if self.visible(&image, &query.scope)? => Some(image),
                Some(_) | None => return Err(Rejection::ImageNotFound.into()),
            },
        };
        let mut page = Page {
            view: self,
            query,
            images: Vec::new(),
            weight: 0,
        };
        if query.limit > 0 {
            let candidates = Candidates::new(self, plan(self, query)?);
            let all = Posting::of(Kind::All);
            page.fill(&query.sort, &candidates, &all, marker.as_deref())?;
        }
        Ok(page.images)
    }
}

struct Page<'v> {
    view: &'v View,
    query: &'v ListQuery,
    images: Vec<Arc<Image>>,
    /// Of the images.
    weight: usize,
}

/// Candidates that are sorted in memory weigh so many pages at most.
const SORTED_PAGES: usize = 4;

impl Page<'_> {
    /// Candidates that are sorted in memory at most. Sorting costs one record each; walking costs
    /// about a quarter of one for each of the images between two candidates, until the page is
    /// full. Where both cost the same lies this.
    fn few(&self) -> u64 {
        let limit = self.query.limit as u64;
        let images = self.view.image_count();
        limit.max((limit.saturating_mul(images) / 4).isqrt())
    }

    fn full(&self) -> bool {
        self.images.len() >= self.query.limit
            || (self.weight >= self.query.weight && !self.images.is_empty())
    }

    fn push(&mut self, image: Arc<Image>) {
        self.weight = self.weight.saturating_add(image.weight());
        self.images.push(image);
    }

    /// Adds the candidates with the posting `driver`, in the order of `keys`, those after the
    /// marker only, until the page is full.
    fn fill(
        &mut self,
        keys: &Keys,
        candidates: &Candidates<'_>,
        driver: &Posting,
        marker: Option<&Image>,
    ) -> Result<()> {
        let Some(((key, direction), rest)) = keys.split_first() else {
            return self.fill_by_row(Direction::Descending, candidates, driver, marker);
        };
        if *key == SortKey::CreatedAt {
            return self.fill_by_row(*direction, candidates, driver, marker);
        }
        if let Some(few) = self.gather(candidates, driver)? {
            self.fill_sorted(keys, few, marker);
            return Ok(());
        }
        let narrowed;
        let candidates = if *driver == Posting::of(Kind::All) {
            candidates
        } else {
            narrowed = candidates.narrowed(driver);
            &narrowed
        };
        match sort_kind(*key) {
            Some(kind) => self.fill_by_value(kind, *direction, rest, candidates, marker),
            None => self.fill_by_id(*direction, candidates, marker),
        }
    }

    /// In row order, which is the order of creation.
    fn fill_by_row(
        &mut self,
        direction: Direction,
        candidates: &Candidates<'_>,
        driver: &Posting,
        marker: Option<&Image>,
    ) -> Result<()> {
        // Rows still to come: `from..=to`.
        let (mut from, mut to) = (0, u32::MAX);
        if let Some(marker) = marker {
            let bound = match direction {
                Direction::Ascending => marker.row.checked_add(1).map(|row| from = row),
                Direction::Descending => marker.row.checked_sub(1).map(|row| to = row),
            };
            if bound.is_none() {
                return Ok(());
            }
        }
        let keys = driver.chunk(chunk_of(from))..=driver.chunk(chunk_of(to));
        let mut chunks = self
            .view
            .postings()?
            .range::<&[u8]>(keys.start().as_slice()..=keys.end().as_slice())
            .map_err(fault("walking an index"))?;
        let whole = *driver == Posting::of(Kind::All);
        while !self.full() {
            let Some((key, value)) = step(&mut chunks, direction)? else {
                break;
            };
            let rows = candidates.chunk(chunk_in(key.value())?)?;
            let driven;
            let rows = if whole {
                &*rows
            } else {
                driven = decode_rows(value.value())? & &*rows;
                &driven
            };
            let mut rows = rows.iter();
            rows.advance_to(from);
            rows.advance_back_to(to);
            while !self.full() {
                let row = match direction {
                    Direction::Ascending => rows.next(),
                    Direction::Descending => rows.next_back(),
                };
                let Some(row) = row else { break };
                self.push(self.view.record(row)?);
            }
        }
        Ok(())
    }

    /// In the order of ids.
    fn fill_by_id(
        &mut self,
        direction: Direction,
        candidates: &Candidates<'_>,
        marker: Option<&Image>,
    ) -> Result<()> {
        const WHAT: &str = "walking the ids";
        let ids = self.view.ids()?;
        let mut entries = match (marker, direction) {
            (None, _) => ids.range::<&[u8]>(..),
            (Some(marker), Direction::Ascending) => ids.range(marker.id.0.as_slice()..),
            (Some(marker), Direction::Descending) => ids.range(..marker.id.0.as_slice()),
        }
        .map_err(fault(WHAT))?;
        while !self.full() {
            let Some((_, value)) = step(&mut entries, direction)? else {
                break;
            };
            let row = row_in(value.value())?;
            let is_marker = marker.is_some_and(|marker| marker.row == row);
            if !is_marker && candidates.contain(row)? {
                self.push(self.view.record(row)?);
            }
        }
        Ok(())
    }

    /// In the order of the values posted under `kind`; within a value in the order of `rest`.
    fn fill_by_value(
        &mut self,
        kind: Kind,
        direction: Direction,
        rest: &Keys,
        candidates: &Candidates<'_>,
        marker: Option<&Image>,
    ) -> Result<()> {
        let at = marker.map(|marker| sort_posting(kind, marker));
        // Keys of the kind, from the marker's value (its other rows may follow the marker) on.
        let (mut first, mut last) = (vec![kind as u8], vec![kind as u8 + 1]);
        match (&at, direction) {
            (None, _) => {}
            (Some(at), Direction::Ascending) => first = at.chunk(0),
            (Some(at), Direction::Descending) => {
                last = at.chunk(u16::MAX);
                last.push(0);
            }
        }
        loop {
            let mut entries = self
                .view
                .postings()?
                .range::<&[u8]>(first.as_slice()..last.as_slice())
                .map_err(fault("walking an index"))?;
            // Values without a candidate are stepped over; the first with one is looked at whole.
            let value = loop {
                let Some((key, rows)) = step(&mut entries, direction)? else {
                    return Ok(());
                };
                let chunk = candidates.chunk(chunk_in(key.value())?)?;
                if !decode_rows(rows.value())?.is_disjoint(&chunk) {
                    break Posting::of_key(key.value()).ok_or_else(|| bad_key("no chunk"))?;
                }
            };
            let within = marker.filter(|_| at.as_ref() == Some(&value));
            self.fill(rest, candidates, &value, within)?;
            if self.full() {
                return Ok(());
            }
            match direction {
                Direction::Ascending => {
                    first = value.chunk(u16::MAX);
                    first.push(0);
                }
                Direction::Descending => last = value.chunk(0),
            }
            if first >= last {
                return Ok(());
            }
        }
    }

    /// All candidates with the posting `driver`, if they are few and not too large.
    fn gather(
        &self,
        candidates: &Candidates<'_>,
        driver: &Posting,
    ) -> Result<Option<Vec<Arc<Image>>>> {
        let few = self.few();
        let mut found = Vec::new();
        let keys = driver.chunk(0)..=driver.chunk(u16::MAX);
        let chunks = self
            .view
            .postings()?
            .range::<&[u8]>(keys.start().as_slice()..=keys.end().as_slice())
            .map_err(fault("walking an index"))?;
        for entry in chunks {
            let (key, value) = entry.map_err(fault("walking an index"))?;
            let rows = decode_rows(value.value())? & &*candidates.chunk(chunk_in(key.value())?)?;
            if found.len() as u64 + rows.len() > few {
                return Ok(None);
            }
            found.extend(rows);
        }
        let mut room = self.query.weight.saturating_mul(SORTED_PAGES);
        let mut images = Vec::with_capacity(found.len());
        for row in found {
            let image = self.view.record(row)?;
            room = match room.checked_sub(image.weight()) {
                Some(room) => room,
                None if images.is_empty() => 0,
                None => return Ok(None),
            };
            images.push(image);
        }
        Ok(Some(images))
    }

    fn fill_sorted(&mut self, keys: &Keys, mut images: Vec<Arc<Image>>, marker: Option<&Image>) {
        if let Some(marker) = marker {
            images.retain(|image| compare(keys, image, marker) == Ordering::Greater);
        }
        images.sort_unstable_by(|a, b| compare(keys, a, b));
        for image in images {
            if self.full() {
                break;
            }
            self.push(image);
        }
    }
}

/// Null is smaller than everything, as `None` is.
fn compare(keys: &Keys, a: &Image, b: &Image) -> Ordering {
    keys.iter()
        .map(|(key, direction)| {
            let ascending = match key {
                SortKey::Name => a.attributes.name.cmp(&b.attributes.name),
                SortKey::Status => a.status.as_str().cmp(b.status.as_str()),
                SortKey::ContainerFormat => a
                    .attributes
                    .container_format
                    .cmp(&b.attributes.container_format),
                SortKey::DiskFormat => a.attributes.disk_format.cmp(&b.attributes.disk_format),
                SortKey::Size => a.size.cmp(&b.size),
                SortKey::Id => a.id.cmp(&b.id),
                SortKey::CreatedAt => a.row.cmp(&b.row),
                SortKey::UpdatedAt => a.updated_at.cmp(&b.updated_at),
            };
            match direction {
                Direction::Ascending => ascending,
                Direction::Descending => ascending.reverse(),
            }
        })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

type Entry = (
    AccessGuard<'static, &'static [u8]>,
    AccessGuard<'static, &'static [u8]>,
);

fn step(
    entries: &mut Range<'static, &'static [u8], &'static [u8]>,
    direction: Direction,
) -> Result<Option<Entry>> {
    let entry = match direction {
        Direction::Ascending => entries.next(),
        Direction::Descending => entries.next_back(),
    };
    Ok(entry.transpose().map_err(fault("walking an index"))?)
}

fn chunk_in(key: &[u8]) -> Result<u16> {
    let chunk = key.last_chunk().ok_or_else(|| bad_key("too short"))?;
    Ok(u16::from_be_bytes(*chunk))
}

fn bad_key(cause: &str) -> glimpse_replication::Fault {
    fault("reading a key of an index")(cause)
}
