//! The rules of image-api in memory: who may do what in which state, and what comes of it.
//!
//! Where several rules are broken at once the inventory does not always say which one answers, so
//! an expectation is a set of statuses. A change is prepared by [`Rules::apply`] and taken over by
//! [`Rules::learn`] when the node said that it happened.

mod answers;
mod listing;

use std::collections::{BTreeMap, BTreeSet};

use glimpse_tests::{Answer, Persona};
use serde_json::Value;

use crate::step::{Operation, Step};

const TAG_QUOTA: usize = 4;
const PROPERTY_QUOTA: usize = 3;
const MEMBER_QUOTA: usize = 2;
const STORAGE_QUOTA: usize = 64 * 1024;
const PAGE: usize = 7;

/// One image as the model holds it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Image {
    id: String,
    /// As shown, in whole seconds.
    created_at: String,
    name: Value,
    status: &'static str,
    visibility: String,
    owner: Option<String>,
    protected: bool,
    os_hidden: bool,
    formats: bool,
    min_ram: u64,
    properties: BTreeMap<String, String>,
    tags: BTreeSet<String>,
    members: BTreeMap<String, String>,
    data: Option<Vec<u8>>,
}

/// What an answer has to be.
pub(crate) struct Wanted {
    statuses: Vec<u16>,
    body: Body,
}

/// What a success has to carry.
enum Body {
    Any,
    Image(String),
    Bytes(Vec<u8>),
    /// `next`: whether there is a further page.
    Ids {
        ids: Vec<String>,
        next: bool,
    },
    Members(Vec<(String, String)>),
}

/// The state of the service.
#[derive(Default)]
pub(crate) struct Rules {
    images: BTreeMap<String, Image>,
    /// In the order of creation.
    order: Vec<String>,
    taken: BTreeSet<String>,
    /// Strong tags of each image as they were seen, in that order.
    tags: BTreeMap<String, Vec<String>>,
    /// Whether the last one seen is that of the present record.
    currency: BTreeMap<String, Currency>,
    /// What the step in progress changes if it succeeds.
    pending: Option<Pending>,
}

/// What is known of the last tag that was seen of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Currency {
    /// It was shown with the record as it is.
    Current,
    /// A change that changed nothing came after; whether that counts is not said.
    Unknown,
    /// The record has changed since.
    Past,
}

enum Pending {
    Put(Box<Image>),
    /// A create whose id the service chooses.
    PutNew(Box<Image>),
    Remove(String),
}

fn is_admin(who: &Persona) -> bool {
    who.roles.iter().any(|role| role == "admin")
}

fn is_member(who: &Persona) -> bool {
    who.roles.iter().any(|role| role == "member")
}

fn owns(who: &Persona, image: &Image) -> bool {
    image.owner.as_ref() == Some(&who.project)
}

fn may_modify(who: &Persona, image: &Image) -> bool {
    is_admin(who) || (is_member(who) && owns(who, image))
}

/// Whether the look-up finds it; then [`sees`] is asked.
fn finds(who: &Persona, image: &Image) -> bool {
    image.owner.is_none() || sees(who, image)
}

fn sees(who: &Persona, image: &Image) -> bool {
    is_admin(who)
        || owns(who, image)
        || matches!(image.visibility.as_str(), "public" | "community")
        || (image.visibility == "shared"
            && (image.owner.is_none() || image.members.contains_key(&who.project)))
}

fn refused(statuses: &[u16]) -> Wanted {
    Wanted {
        statuses: statuses.to_vec(),
        body: Body::Any,
    }
}

fn answered(status: u16, body: Body) -> Wanted {
    Wanted {
        statuses: vec![status],
        body,
    }
}

impl Rules {
    /// Ids of the live images in the order of creation.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.order
            .iter()
            .filter(|id| self.images.contains_key(*id))
            .cloned()
            .collect()
    }

    /// File names that the store must hold: the ids of images with data.
    pub(crate) fn files(&self) -> Vec<String> {
        let with_data = self.images.values().filter(|image| image.data.is_some());
        with_data.map(|image| image.id.clone()).collect()
    }

    /// The image if the caller may know of it.
    pub(crate) fn visible(&self, who: &Persona, id: &str) -> Option<&Image> {
        self.images.get(id).filter(|image| sees(who, image))
    }

    /// Tags that were seen of an image, the latest last.
    pub(crate) fn tags_seen(&self, id: &str) -> &[String] {
        self.tags.get(id).map_or(&[], Vec::as_slice)
    }

    /// When a live image was created.
    pub(crate) fn created_at(&self, id: &str) -> Option<&str> {
        self.images.get(id).map(|image| &*image.created_at)
    }

    /// Takes over what the step changed, now that its answer is known.
    pub(crate) fn learn(&mut self, step: &Step, answer: &Answer) {
        let pending = self.pending.take();
        if !(200..300).contains(&answer.status) {
            return;
        }
        if let Some(pending) = pending {
            self.take_over(pending, step, answer);
        }
        if let (Step::Show { id } | Step::Patch { id, .. }, Some(tag)) =
            (step, answer.header("etag"))
        {
            self.currency.insert(id.clone(), Currency::Current);
            let seen = self.tags.entry(id.clone()).or_default();
            if seen.last().is_none_or(|last| last != tag) {
                seen.push(tag.to_owned());
            }
        }
    }

    fn take_over(&mut self, pending: Pending, step: &Step, answer: &Answer) {
        match pending {
            Pending::Put(mut image) => {
                if matches!(step, Step::Create { .. }) {
                    image.created_at = answer.field("created_at");
                    self.order.push(image.id.clone());
                    self.taken.insert(image.id.clone());
                }
                // Members are no part of the record.
                let of_members = matches!(
                    step,
                    Step::Share { .. } | Step::Unshare { .. } | Step::Decide { .. }
                );
                if !of_members {
                    self.outdate(&image);
                }
                self.images.insert(image.id.clone(), *image);
            }
            Pending::PutNew(mut image) => {
                image.id = answer.field("id");
                image.created_at = answer.field("created_at");
                self.order.push(image.id.clone());
                self.taken.insert(image.id.clone());
                self.images.insert(image.id.clone(), *image);
            }
            Pending::Remove(id) => {
                self.images.remove(&id);
            }
        }
    }

    /// Notes what a change to `image` makes of the last tag that was seen.
    fn outdate(&mut self, image: &Image) {
        let same = self.images.get(&image.id) == Some(image);
        let currency = self.currency.entry(image.id.clone());
        currency.and_modify(|known| {
            *known = match known {
                Currency::Current | Currency::Unknown if same => Currency::Unknown,
                Currency::Current | Currency::Unknown | Currency::Past => Currency::Past,
            }
        });
    }

    /// What the step must answer, for this caller, now.
    pub(crate) fn apply(&mut self, who: &Persona, step: &Step) -> Wanted {
        let mut wanted = self.unconditional(who, step);
        let (Step::Patch { id, tag, .. } | Step::Delete { id, tag }) = step else {
            return wanted;
        };
        let (Some(tag), Some(_)) = (tag, self.visible(who, id)) else {
            return wanted;
        };
        let last = self.tags_seen(id).last() == Some(tag);
        match self.currency.get(id) {
            Some(Currency::Current) if last => {}
            // Nothing is changed on the strength of what was read before another's change.
            Some(Currency::Current | Currency::Past) => {
                wanted.statuses.retain(|status| *status >= 400);
                wanted.statuses.push(412);
                self.pending = None;
            }
            // An earlier tag than the last one seen never comes back.
            Some(Currency::Unknown) if !last => {
                wanted.statuses.retain(|status| *status >= 400);
                wanted.statuses.push(412);
                self.pending = None;
            }
            Some(Currency::Unknown) | None => wanted.statuses.push(412),
        }
        wanted
    }

    fn unconditional(&mut self, who: &Persona, step: &Step) -> Wanted {
        self.pending = None;
        match step {
            Step::Create { body } => self.create(who, body),
            Step::List(listing) => self.list(who, listing),
            Step::Show { id }
            | Step::Patch { id, .. }
            | Step::Delete { id, .. }
            | Step::Upload { id, .. }
            | Step::Download { id, .. }
            | Step::Tag { id, .. }
            | Step::Untag { id, .. }
            | Step::Share { id, .. }
            | Step::Unshare { id, .. }
            | Step::Decide { id, .. }
            | Step::Members { id }
            | Step::Deactivate { id }
            | Step::Reactivate { id } => match self.visible(who, id).cloned() {
                Some(image) => self.on_image(who, step, image),
                // A PATCH of what belongs to the service is refused before anyone looks.
                None => match step {
                    Step::Patch { operations, .. }
                        if operations.iter().any(|one| one.key == "status") =>
                    {
                        refused(&[403, 404])
                    }
                    _ => refused(&[404]),
                },
            },
        }
    }

    fn create(&mut self, who: &Persona, body: &Value) -> Wanted {
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(str::to_owned);
        let flag = |key: &str| body.get(key).and_then(Value::as_bool).unwrap_or(false);
        let mut image = Image {
            id: text("id").unwrap_or_default(),
            name: body.get("name").cloned().unwrap_or(Value::Null),
            status: "queued",
            visibility: text("visibility").unwrap_or_else(|| "shared".to_owned()),
            owner: match body.get("owner") {
                Some(owner) => owner.as_str().map(str::to_owned),
                None => Some(who.project.clone()),
            },
            protected: flag("protected"),
            os_hidden: flag("os_hidden"),
            formats: body.get("disk_format").is_some(),
            ..Image::default()
        };
        for key in ["color", "shape", "hw_disk_bus", "weight"] {
            if let Some(value) = text(key) {
                image.properties.insert(key.to_owned(), value);
            }
        }
        if let Some(tags) = body.get("tags").and_then(Value::as_array) {
            image.tags = tags
                .iter()
                .filter_map(|tag| tag.as_str().map(str::to_owned))
                .collect();
        }
        let mut errors = Vec::new();
        let admin = is_admin(who);
        if !admin && (!is_member(who) || !owns(who, &image)) {
            errors.push(403);
        }
        if !admin && image.visibility == "public" {
            errors.push(403);
        }
        if self.taken.contains(&image.id) {
            errors.push(409);
        }
        if image.properties.len() > PROPERTY_QUOTA || image.tags.len() > TAG_QUOTA {
            errors.push(413);
        }
        if !errors.is_empty() {
            return refused(&errors);
        }
        let id = image.id.clone();
        self.pending = Some(if id.is_empty() {
            Pending::PutNew(Box::new(image))
        } else {
            Pending::Put(Box::new(image))
        });
        answered(201, Body::Image(id))
    }

    fn on_image(&mut self, who: &Persona, step: &Step, mut image: Image) -> Wanted {
        let modify = may_modify(who, &image);
        let wanted = match step {
            Step::Show { id } => return answered(200, Body::Image(id.clone())),
            Step::Download { range, .. } => return download(who, &image, *range),
            Step::Members { .. } => return members(who, &image),
            Step::Decide {
                project, status, ..
            } => decide(who, &mut image, project, status),
            _ if !modify => return refused(&self.refusals(step, &image)),
            Step::Patch { operations, .. } => patch(who, &mut image, operations),
            Step::Delete { .. } if image.protected => return refused(&[403]),
            Step::Delete { id, .. } => {
                self.pending = Some(Pending::Remove(id.clone()));
                return answered(204, Body::Any);
            }
            Step::Upload { data, .. } => self.upload(&mut image, data),
            Step::Tag { tag, .. } => {
                if !image.tags.contains(tag) && image.tags.len() >= TAG_QUOTA {
                    return refused(&[413]);
                }
                image.tags.insert(tag.clone());
                answered(204, Body::Any)
            }
            Step::Untag { tag, .. } if !image.tags.remove(tag) => return refused(&[404]),
            Step::Untag { .. } => answered(204, Body::Any),
            Step::Share { .. } | Step::Unshare { .. } if image.visibility != "shared" => {
                return refused(&[403, 404]);
            }
            Step::Share { project, .. } => share(&mut image, project),
            Step::Unshare { project, .. } if image.members.remove(project).is_none() => {
                return refused(&[404]);
            }
            Step::Unshare { .. } => answered(204, Body::Any),
            Step::Deactivate { .. } | Step::Reactivate { .. } if image.status == "queued" => {
                return refused(&[403]);
            }
            Step::Deactivate { .. } => {
                image.status = "deactivated";
                answered(204, Body::Any)
            }
            Step::Reactivate { .. } => {
                image.status = "active";
                answered(204, Body::Any)
            }
            Step::Create { .. } | Step::List(_) => unreachable!("names no image"),
        };
        if wanted
            .statuses
            .iter()
            .any(|status| (200..300).contains(status))
        {
            self.pending = Some(Pending::Put(Box::new(image)));
        }
        wanted
    }

    /// What a caller without the right to modify may be told, who sees the image.
    fn refusals(&self, step: &Step, image: &Image) -> Vec<u16> {
        match step {
            Step::Unshare { project, .. } if !image.members.contains_key(project) => vec![403, 404],
            // Members of others are nothing that a member may know of.
            Step::Unshare { .. } => vec![403, 404],
            _ => vec![403],
        }
    }

    fn upload(&self, image: &mut Image, data: &[u8]) -> Wanted {
        let mut errors = Vec::new();
        if image.status != "queued" {
            errors.push(409);
        }
        if !image.formats {
            errors.push(400);
        }
        let of_owner = self
            .images
            .values()
            .filter(|other| other.owner == image.owner);
        let used: usize = of_owner
            .filter_map(|other| other.data.as_ref().map(Vec::len))
            .sum();
        if used + data.len() > STORAGE_QUOTA {
            errors.push(413);
        }
        if !errors.is_empty() {
            return refused(&errors);
        }
        image.status = "active";
        image.data = Some(data.to_vec());
        answered(204, Body::Any)
    }
}

fn download(who: &Persona, image: &Image, range: Option<(usize, usize)>) -> Wanted {
    if !is_member(who) && !is_admin(who) {
        return refused(&[403]);
    }
    let Some(data) = &image.data else {
        return answered(204, Body::Any);
    };
    if image.status == "deactivated" && !is_admin(who) {
        return refused(&[403]);
    }
    match range {
        None => answered(200, Body::Bytes(data.clone())),
        Some((from, _)) if from >= data.len() => refused(&[416]),
        Some((from, to)) => answered(
            206,
            Body::Bytes(data[from..=to.min(data.len() - 1)].to_vec()),
        ),
    }
}

fn members(who: &Persona, image: &Image) -> Wanted {
    if image.visibility != "shared" {
        return refused(&[403]);
    }
    let all = is_admin(who) || owns(who, image);
    let rows = image
        .members
        .iter()
        .filter(|(project, _)| all || **project == who.project);
    answered(
        200,
        Body::Members(rows.map(|(a, b)| (a.clone(), b.clone())).collect()),
    )
}

fn share(image: &mut Image, project: &str) -> Wanted {
    let mut errors = Vec::new();
    if image.members.contains_key(project) {
        errors.push(409);
    }
    if image.members.len() >= MEMBER_QUOTA {
        errors.push(413);
    }
    if !errors.is_empty() {
        return refused(&errors);
    }
    image
        .members
        .insert(project.to_owned(), "pending".to_owned());
    answered(200, Body::Any)
}

fn decide(who: &Persona, image: &mut Image, project: &str, status: &str) -> Wanted {
    if image.visibility != "shared" {
        return refused(&[403, 404]);
    }
    let admin = is_admin(who);
    let own_row = who.project == project;
    let Some(row) = image.members.get_mut(project) else {
        return refused(&[403, 404]);
    };
    let may_decide = admin || (is_member(who) && own_row);
    if !may_decide {
        // The owner sees the row and may not decide; others do not even see it.
        return if owns(who, image) {
            refused(&[403])
        } else {
            refused(&[403, 404])
        };
    }
    status.clone_into(row);
    answered(200, Body::Any)
}

fn patch(who: &Persona, image: &mut Image, operations: &[Operation]) -> Wanted {
    let mut errors = Vec::new();
    let mut was_over = false;
    for one in operations {
        let value = &one.value;
        let text = || value.as_str().unwrap_or_default().to_owned();
        match one.key.as_str() {
            "status" => errors.push(403),
            "name" | "visibility" | "protected" | "os_hidden" | "min_ram" | "owner" | "tags"
                if one.op == "remove" =>
            {
                errors.push(403);
            }
            "name" => image.name = value.clone(),
            "visibility" => {
                if value == "public" && !is_admin(who) {
                    errors.push(403);
                }
                image.visibility = text();
            }
            "protected" => image.protected = value.as_bool().unwrap_or_default(),
            "os_hidden" => image.os_hidden = value.as_bool().unwrap_or_default(),
            "min_ram" => image.min_ram = value.as_u64().unwrap_or_default(),
            "owner" => {
                if !is_admin(who) {
                    errors.push(403);
                }
                image.owner = value.as_str().map(str::to_owned);
            }
            "tags" => {
                let tags = value.as_array().into_iter().flatten();
                image.tags = tags
                    .filter_map(|tag| tag.as_str().map(str::to_owned))
                    .collect();
                was_over |= image.tags.len() > TAG_QUOTA;
            }
            key => {
                let present = image.properties.contains_key(key);
                match one.op {
                    "add" => {
                        image.properties.insert(key.to_owned(), text());
                        was_over |= !present && image.properties.len() > PROPERTY_QUOTA;
                    }
                    _ if !present => errors.push(409),
                    "replace" => {
                        image.properties.insert(key.to_owned(), text());
                    }
                    _ => {
                        image.properties.remove(key);
                    }
                }
            }
        }
    }
    let is_over = image.properties.len() > PROPERTY_QUOTA || image.tags.len() > TAG_QUOTA;
    if is_over || (was_over && !errors.is_empty()) {
        errors.push(413);
    }
    if !errors.is_empty() {
        return refused(&errors);
    }
    // Over only in between: whether that counts is not said.
    let statuses = if was_over { vec![200, 413] } else { vec![200] };
    Wanted {
        statuses,
        body: Body::Image(image.id.clone()),
    }
}
