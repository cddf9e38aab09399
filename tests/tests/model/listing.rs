//! What a list shows, to whom, in which order.

use std::cmp::Ordering;

use glimpse_tests::Persona;

use super::{Body, Image, PAGE, Rules, Wanted, answered, finds, is_admin, owns, refused, sees};
use crate::step::Listing;

impl Rules {
    pub(super) fn list(&self, who: &Persona, listing: &Listing) -> Wanted {
        let mut rows = self.rows(who, listing);
        if let Some(marker) = &listing.marker {
            let marker = self.images.get(marker);
            let Some(marker) = marker.filter(|image| finds(who, image)) else {
                return refused(&[400]);
            };
            // The filter may leave it out: it marks its place all the same.
            rows.retain(|image| self.order_of(listing, image, marker).is_gt());
        }
        let limit = listing.limit.min(PAGE);
        let full = limit > 0 && rows.len() >= limit;
        rows.truncate(limit);
        // What the policy hides is taken out of the page, not made up for.
        rows.retain(|image| sees(who, image));
        let ids: Vec<String> = rows.into_iter().map(|image| image.id.clone()).collect();
        // A page that is full has a next one, even if that one is empty. Where the policy hides a
        // whole page the list ends, whatever follows (1.11).
        let next = full && !ids.is_empty();
        answered(200, Body::Ids { ids, next })
    }

    /// Ids of a whole listing, page by page.
    pub(crate) fn walked(&self, who: &Persona, listing: &Listing) -> Vec<String> {
        let rows = self.rows(who, listing);
        let (mut ids, mut at) = (Vec::new(), 0);
        loop {
            let page = &rows[at..rows.len().min(at + listing.limit)];
            let shown = page.iter().filter(|image| sees(who, image));
            ids.extend(shown.map(|image| image.id.clone()));
            match page.iter().rposition(|image| sees(who, image)) {
                Some(last) if page.len() == listing.limit => at += last + 1,
                _ => return ids,
            }
        }
    }

    /// What the look-up of a list finds, in its order.
    fn rows(&self, who: &Persona, listing: &Listing) -> Vec<&Image> {
        let member_status = listing.asked("member_status").unwrap_or("accepted");
        let visibility = listing.asked("visibility").unwrap_or_default();
        let hidden = listing.asked("os_hidden") == Some("true");
        let listed = self.images.values().filter(|image| {
            let own = owns(who, image);
            let shared = image.visibility == "shared"
                && image.members.get(&who.project).is_some_and(|status| {
                    member_status == "all" || status.as_str() == member_status
                });
            let open = matches!(image.visibility.as_str(), "public" | "community");
            if !(is_admin(who) || own || shared || open || image.owner.is_none()) {
                return false;
            }
            let of_visibility = match visibility {
                "" => image.visibility != "community" || own,
                "all" => true,
                one => image.visibility == one,
            };
            let mut filters = listing.filters.iter();
            of_visibility
                && image.os_hidden == hidden
                && filters.all(|(key, value)| matches(image, key, value))
        });
        let mut images: Vec<&Image> = listed.collect();
        images.sort_by(|one, other| self.order_of(listing, one, other));
        images
    }

    /// How two images stand to each other. Among equals creation decides, in the direction that one
    /// key was asked for.
    fn order_of(&self, listing: &Listing, one: &Image, other: &Image) -> Ordering {
        let row = |image: &Image| self.order.iter().position(|id| *id == image.id);
        let (key, ascending) = listing.sort.unwrap_or(("created_at", false));
        let order = match key {
            "id" => one.id.cmp(&other.id),
            "name" => one.name.as_str().cmp(&other.name.as_str()),
            "status" => one.status.cmp(other.status),
            "size" => {
                let size = |image: &Image| image.data.as_ref().map(Vec::len);
                size(one).cmp(&size(other))
            }
            "disk_format" => one.formats.cmp(&other.formats),
            _ => row(one).cmp(&row(other)),
        };
        let order = order.then(row(one).cmp(&row(other)));
        if ascending { order } else { order.reverse() }
    }
}

/// `a`, `eq:a` or `in:a,b`.
fn any_of(filter: &str, value: &str) -> bool {
    match filter.split_once(':') {
        Some(("in", list)) => list.split(',').any(|one| one == value),
        Some((_, one)) => one == value,
        None => filter == value,
    }
}

fn matches(image: &Image, key: &str, value: &str) -> bool {
    match key {
        "visibility" | "os_hidden" | "member_status" => true,
        "name" => image.name.as_str().is_some_and(|name| any_of(value, name)),
        "created_at" => {
            let (operator, time) = match value.split_once(':') {
                Some((operator, time)) if !operator.contains('-') => (operator, time),
                _ => ("eq", value),
            };
            // Times of one form are in the order of their text.
            let order = image.created_at.as_str().cmp(time);
            match operator {
                "eq" => order.is_eq(),
                "neq" => order.is_ne(),
                "lt" => order.is_lt(),
                "lte" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }
        }
        "tag" => image.tags.contains(value),
        "status" => any_of(value, image.status),
        "owner" => image.owner.as_deref() == Some(value),
        "protected" => image.protected.to_string() == value,
        "size_min" => {
            let least: usize = value.parse().expect("a number");
            image.data.as_ref().is_some_and(|data| data.len() >= least)
        }
        property => image
            .properties
            .get(property)
            .is_some_and(|has| has == value),
    }
}
