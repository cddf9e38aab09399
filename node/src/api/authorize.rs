//! Whether the caller may: first whether the image exists for it (image-api 4.3), then the policy.
//! A refusal on an image that the caller may not even see is "not found" (image-api 4.2).

use std::sync::Arc;

use glimpse_registry::{
    View,
    image::{Image, ImageId, Visibility},
    query::Scope,
};

use crate::{
    api::error::ApiError,
    auth::Context,
    policy::{Policy, Target},
};

/// The policy said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The caller may not know that the image exists.
    NotFound,
    /// It may, but not do this.
    Forbidden,
}

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

/// Whether the policy allows `rule` on an image that [`find`] returned.
pub(super) fn allows(policy: &Policy, rule: &str, context: &Context, image: &Image) -> bool {
    policy.allows(rule, context, &target(context, image))
}

/// Like [`allows`], with the refusal to answer with. A token that is of no project is told that it
/// may not (image-api 4.2).
pub(super) fn check(
    policy: &Policy,
    rule: &str,
    context: &Context,
    image: &Image,
) -> Result<(), Denied> {
    if allows(policy, rule, context, image) {
        Ok(())
    } else if context.foreign_scope
        || (rule != "get_image" && allows(policy, "get_image", context, image))
    {
        Err(Denied::Forbidden)
    } else {
        Err(Denied::NotFound)
    }
}

/// A rule that is not about one image: the target is the caller's own project.
pub(super) fn check_own(policy: &Policy, rule: &str, context: &Context) -> Result<(), Denied> {
    let target = Target {
        owner: context.project_id.as_deref(),
        ..Target::default()
    };
    if policy.allows(rule, context, &target) {
        Ok(())
    } else {
        Err(Denied::Forbidden)
    }
}

/// The image as rules see it. Who sees a shared image without owning it does so as a member.
fn target<'a>(context: &'a Context, image: &'a Image) -> Target<'a> {
    let attributes = &image.attributes;
    let as_member =
        attributes.visibility == Visibility::Shared && context.project_id != attributes.owner;
    Target {
        owner: attributes.owner.as_deref(),
        visibility: Some(attributes.visibility.as_str()),
        member_id: context.project_id.as_deref().filter(|_| as_member),
        id: Some(image.id),
    }
}
