//! Whether the caller may: first whether the image exists for it (image-api 4.3), asked of the
//! registry, then the policy. A refusal on an image that the caller may not even see is "not found"
//! (image-api 4.2).

use std::sync::Arc;

use glimpse_registry::{
    View,
    image::{Image, ImageId, Visibility},
    query::Scope,
};

use crate::{
    api::error::ApiError,
    auth::Context,
    policy::{
        Policy,
        image::{self, Denied},
    },
};

/// Whose eyes look into the registry.
pub(super) fn scope(context: &Context) -> Scope {
    if context.is_admin {
        Scope::Admin {
            project: context.project_id.clone(),
        }
    } else {
        match &context.project_id {
            Some(project) => Scope::Project(project.clone()),
            None => Scope::Anonymous,
        }
    }
}

/// The image named in the path, if it exists for the caller; else 404.
pub(super) fn find(view: &View, context: &Context, id: &str) -> Result<Arc<Image>, ApiError> {
    let found = match id.parse::<ImageId>() {
        Ok(id) => view.image(id)?,
        Err(_) => None,
    };
    match found {
        Some(image) if view.visible(&image, &scope(context))? => Ok(image),
        _ => Err(ApiError::no_image(id)),
    }
}

/// Whether the policy allows `rule` on an image that [`find`] or a listing returned.
pub(super) fn allows(policy: &Policy, rule: &str, context: &Context, image: &Image) -> bool {
    image::allows(policy, rule, context, image, is_member(context, image))
}

/// Like [`allows`], with the refusal to answer with.
pub(super) fn check(
    policy: &Policy,
    rule: &str,
    context: &Context,
    image: &Image,
) -> Result<(), Denied> {
    image::check(policy, rule, context, image, is_member(context, image))
}

/// A rule about the row of one member.
pub(super) fn check_member(
    policy: &Policy,
    rule: &str,
    context: &Context,
    image: &Image,
    member: &str,
) -> Result<(), Denied> {
    let is_member = is_member(context, image);
    image::check_member(policy, rule, context, image, is_member, member)
}

/// A change of visibility.
pub(super) fn check_visibility(
    policy: &Policy,
    context: &Context,
    image: &Image,
    wanted: Visibility,
) -> Result<(), Denied> {
    let is_member = is_member(context, image);
    image::check_visibility(policy, context, image, is_member, wanted)
}

/// Who sees a shared image without owning it does so as a member: the registry has said so. Of an
/// admin, who sees all, it has not.
fn is_member(context: &Context, image: &Image) -> bool {
    !context.is_admin
        && image.attributes.visibility == Visibility::Shared
        && context.project_id.is_some()
        && context.project_id != image.attributes.owner
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use glimpse_registry::{image::Timestamp, status::Status};

    use super::*;
    use crate::api::attribute;

    fn shared_by(owner: &str) -> Image {
        Image {
            id: ImageId([7; 16]),
            row: 0,
            version: 1,
            status: Status::Active,
            attributes: glimpse_registry::image::Attributes {
                owner: Some(owner.to_owned()),
                tags: BTreeSet::new(),
                properties: BTreeMap::new(),
                ..attribute::defaults()
            },
            size: None,
            virtual_size: None,
            checksum: None,
            os_hash_algo: None,
            os_hash_value: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            locations: Vec::new(),
            manifest: None,
            upload: None,
            import: None,
        }
    }

    #[test]
    fn an_admin_of_another_project_is_no_member_of_what_it_sees() {
        let mut context = Context {
            project_id: Some("other".to_owned()),
            ..Context::default()
        };
        let image = shared_by("owner");
        assert!(is_member(&context, &image));
        context.is_admin = true;
        assert!(!is_member(&context, &image));
    }
}
