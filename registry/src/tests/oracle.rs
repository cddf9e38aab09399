//! What a listing must give, by looking at every image: no index, no chunk, no plan.

use std::cmp::Ordering;

use crate::{
    image::{Image, ImageId, Member, Visibility},
    query::{
        Comparison, Direction, Filter, ListQuery, MemberFilter, NumberColumn, Scope, SortKey,
        TextColumn, TimeColumn, VisibilityFilter,
    },
    status::Status,
};

/// Everything there is.
pub(super) struct World<'w> {
    pub(super) images: Vec<&'w Image>,
    pub(super) member: &'w dyn Fn(ImageId, &str) -> Option<Member>,
}

impl World<'_> {
    /// The page; `None`: the marker is not to be seen.
    pub(super) fn list(&self, query: &ListQuery) -> Option<Vec<ImageId>> {
        let mut images: Vec<_> = self
            .images
            .iter()
            .copied()
            .filter(|image| self.listed(image, query))
            .collect();
        if let Some(id) = query.marker {
            let marker = self.images.iter().copied().find(|image| image.id == id)?;
            if !self.visible(marker, &query.scope) {
                return None;
            }
            images.retain(|image| order(query, image, marker).is_gt());
        }
        images.sort_by(|a, b| order(query, a, b));
        images.truncate(query.limit);
        Some(images.into_iter().map(|image| image.id).collect())
    }

    pub(super) fn visible(&self, image: &Image, scope: &Scope) -> bool {
        let everyone = image.attributes.owner.is_none()
            || image.attributes.visibility == Visibility::Public
            || image.attributes.visibility == Visibility::Community;
        match scope {
            Scope::Admin { .. } => true,
            Scope::Anonymous => everyone,
            Scope::Project(project) => {
                everyone
                    || image.attributes.owner.as_ref() == Some(project)
                    || image.attributes.visibility == Visibility::Shared
                        && (self.member)(image.id, project).is_some()
            }
        }
    }

    fn listed(&self, image: &Image, query: &ListQuery) -> bool {
        let a = &image.attributes;
        let project = match &query.scope {
            Scope::Admin { project } => project.as_ref(),
            Scope::Project(project) => Some(project),
            Scope::Anonymous => None,
        };
        let own = project.is_some() && a.owner.as_ref() == project;
        let admin = matches!(query.scope, Scope::Admin { .. });
        let invited = a.visibility == Visibility::Shared
            && project.is_some_and(|project| {
                (self.member)(image.id, project).is_some_and(|member| match query.member {
                    MemberFilter::All => true,
                    MemberFilter::Only(status) => member.status == status,
                })
            });
        let seen = admin
            || own
            || invited
            || a.owner.is_none()
            || matches!(a.visibility, Visibility::Public | Visibility::Community);
        let wanted = match query.visibility {
            VisibilityFilter::All => true,
            VisibilityFilter::Only(visibility) => a.visibility == visibility,
            VisibilityFilter::Default => own || a.visibility != Visibility::Community,
        };
        image.status != Status::Killed
            && seen
            && wanted
            && a.os_hidden == query.hidden
            && query.filters.iter().all(|filter| passes(image, filter))
    }
}

fn passes(image: &Image, filter: &Filter) -> bool {
    let a = &image.attributes;
    match filter {
        Filter::Text(column, values) => {
            let value = match column {
                TextColumn::Name => &a.name,
                TextColumn::Owner => &a.owner,
                TextColumn::DiskFormat => &a.disk_format,
                TextColumn::ContainerFormat => &a.container_format,
                TextColumn::Checksum => &image.checksum,
                TextColumn::OsHashAlgo => &image.os_hash_algo,
                TextColumn::OsHashValue => &image.os_hash_value,
            };
            value.as_ref().is_some_and(|value| values.contains(value))
        }
        Filter::Number(column, low, high) => match column {
            NumberColumn::Size => image.size,
            NumberColumn::VirtualSize => image.virtual_size,
            NumberColumn::MinDisk => Some(a.min_disk.into()),
            NumberColumn::MinRam => Some(a.min_ram.into()),
        }
        .is_some_and(|value| *low <= value && value <= *high),
        Filter::Time(column, comparison, time) => {
            let value = match column {
                TimeColumn::CreatedAt => image.created_at,
                TimeColumn::UpdatedAt => image.updated_at,
            };
            let order = (value.0 / 1_000_000).cmp(&(time.0 / 1_000_000));
            match comparison {
                Comparison::Gt => order.is_gt(),
                Comparison::Gte => order.is_ge(),
                Comparison::Lt => order.is_lt(),
                Comparison::Lte => order.is_le(),
                Comparison::Eq => order.is_eq(),
                Comparison::Neq => order.is_ne(),
            }
        }
        Filter::Id(ids) => ids.contains(&image.id),
        Filter::Status(statuses) => statuses.contains(&image.status),
        Filter::Protected(protected) => a.protected == *protected,
        Filter::Tag(tag) => a.tags.contains(tag),
        Filter::Property(name, value) => {
            a.properties.get(name).and_then(Option::as_ref) == Some(value)
        }
        Filter::Nothing => false,
    }
}

fn order(query: &ListQuery, a: &Image, b: &Image) -> Ordering {
    for (key, direction) in &query.sort {
        let order = match key {
            SortKey::Name => a.attributes.name.cmp(&b.attributes.name),
            SortKey::Status => a.status.as_str().cmp(b.status.as_str()),
            SortKey::ContainerFormat => a
                .attributes
                .container_format
                .cmp(&b.attributes.container_format),
            SortKey::DiskFormat => a.attributes.disk_format.cmp(&b.attributes.disk_format),
            SortKey::Size => a.size.cmp(&b.size),
            SortKey::Id => a.id.to_string().cmp(&b.id.to_string()),
            SortKey::CreatedAt => a.created_at.cmp(&b.created_at),
            SortKey::UpdatedAt => a.updated_at.cmp(&b.updated_at),
        };
        let order = match direction {
            Direction::Ascending => order,
            Direction::Descending => order.reverse(),
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}
