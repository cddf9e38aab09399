//! The rules of images as the handlers ask them: who the target is, and whether a refusal is 404
//! (the caller cannot see the image) or 403 (it can).
//!
//! What every check does, in order:
//! 1. a token that is not scoped to a project is refused: 403;
//! 2. an image that the caller cannot see by image-api 4.3, or by the rule `get_image`, is 404;
//! 3. the rule itself: 403.
//!
//! `is_member` is always: the caller's own project is a member of the image, whatever it answered.

use glimpse_registry::image::{Image, Visibility};

use super::{Policy, Target};
use crate::auth::Context;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The image (or the member's row) does not exist for this caller: 404.
    #[error("not found")]
    NotFound,
    /// 403; why, for the log.
    #[error("not allowed: {0}")]
    Forbidden(String),
}

impl Denied {
    /// Of a rule that does not hold.
    pub(super) fn by(rule: &str) -> Self {
        Self::Forbidden(format!("the policy's {rule:?} does not hold"))
    }
}

/// Whether the caller sees the image by image-api 4.3: an admin all; everyone public, community and
/// ownerless ones; a project its own and those shared with it.
pub fn is_visible(context: &Context, image: &Image, is_member: bool) -> bool {
    let attributes = &image.attributes;
    context.is_admin
        || match attributes.visibility {
            Visibility::Public | Visibility::Community => true,
            Visibility::Shared if is_member => true,
            Visibility::Shared | Visibility::Private => match &attributes.owner {
                None => true,
                owner => *owner == context.project_id,
            },
        }
}

/// Whether a list shows the image: visible by image-api 4.3 and by `get_image`. Does not allocate.
pub fn sees(policy: &Policy, context: &Context, image: &Image, is_member: bool) -> bool {
    is_visible(context, image, is_member)
        && policy.allows("get_image", context, &target(context, image, is_member))
}

/// Whether one rule holds on an image that the caller is known to see by image-api 4.3.
pub fn allows(
    policy: &Policy,
    rule: &str,
    context: &Context,
    image: &Image,
    is_member: bool,
) -> bool {
    policy.allows(rule, context, &target(context, image, is_member))
}

/// One rule on one image: `get_image`, `modify_image`, `delete_image`, `upload_image`,
/// `download_image`, `deactivate`, `add_member`, `get_members` and all others but those about one
/// member's row ([`check_member`]). That only shared images have members is the handler's to check.
pub fn check(
    policy: &Policy,
    rule: &str,
    context: &Context,
    image: &Image,
    is_member: bool,
) -> Result<(), Denied> {
    visible(policy, context, image, is_member)?;
    match policy.allows(rule, context, &target(context, image, is_member)) {
        true => Ok(()),
        false => Err(Denied::by(rule)),
    }
}

/// A change of visibility (or its first value, for an existing image): `publicize_image`,
/// `communitize_image`; the others need no rule of their own. `modify_image` is checked besides.
pub fn check_visibility(
    policy: &Policy,
    context: &Context,
    image: &Image,
    is_member: bool,
    wanted: Visibility,
) -> Result<(), Denied> {
    match visibility_rule(wanted) {
        Some(rule) => check(policy, rule, context, image, is_member),
        None => visible(policy, context, image, is_member),
    }
}

/// `add_image` for an image that does not exist yet, and the rule of its visibility. `owner` is the
/// one that the image will have: the caller's project unless the request says otherwise; a request
/// for `null` is `None`.
pub fn check_create(
    policy: &Policy,
    context: &Context,
    owner: Option<&str>,
    visibility: Visibility,
) -> Result<(), Denied> {
    let target = Target {
        owner,
        visibility: Some(visibility.as_str()),
        ..Target::default()
    };
    let rules = [Some("add_image"), visibility_rule(visibility)];
    match rules
        .into_iter()
        .flatten()
        .find(|rule| !policy.allows(rule, context, &target))
    {
        None => Ok(()),
        Some(rule) => Err(Denied::by(rule)),
    }
}

/// A rule about no image in particular (`get_images`, `stores_info_detail`, `tasks_api_access`,
/// the rules of the cache): the target is the caller's own project.
pub fn check_project(policy: &Policy, rule: &str, context: &Context) -> Result<(), Denied> {
    let target = Target {
        owner: context.project_id.as_deref(),
        visibility: Some(Visibility::Private.as_str()),
        ..Target::default()
    };
    match policy.allows(rule, context, &target) {
        true => Ok(()),
        false => Err(Denied::by(rule)),
    }
}

/// `get_member`, `modify_member` or `delete_member` about the row of the project `asked`. A row
/// that `get_member` refuses does not exist for the caller (404), so a consumer sees its own row
/// only.
pub fn check_member(
    policy: &Policy,
    rule: &str,
    context: &Context,
    image: &Image,
    is_member: bool,
    asked: &str,
) -> Result<(), Denied> {
    visible(policy, context, image, is_member)?;
    let target = Target {
        member_id: Some(asked),
        ..target(context, image, is_member)
    };
    if !policy.allows("get_member", context, &target) {
        return Err(Denied::NotFound);
    }
    match policy.allows(rule, context, &target) {
        true => Ok(()),
        false => Err(Denied::by(rule)),
    }
}

/// Steps 1 and 2.
fn visible(
    policy: &Policy,
    context: &Context,
    image: &Image,
    is_member: bool,
) -> Result<(), Denied> {
    if context.foreign_scope {
        let why = "the token's scope is no project";
        return Err(Denied::Forbidden(why.to_owned()));
    }
    match sees(policy, context, image, is_member) {
        true => Ok(()),
        false => Err(Denied::NotFound),
    }
}

const fn visibility_rule(visibility: Visibility) -> Option<&'static str> {
    match visibility {
        Visibility::Public => Some("publicize_image"),
        Visibility::Community => Some("communitize_image"),
        Visibility::Shared | Visibility::Private => None,
    }
}

/// `%(member_id)s` is the caller's own project where the image is shared with it. An ownerless
/// image has no `%(project_id)s`, so no rule that asks for the owner holds.
fn target<'a>(context: &'a Context, image: &'a Image, is_member: bool) -> Target<'a> {
    let attributes = &image.attributes;
    let member = is_member && attributes.visibility == Visibility::Shared;
    Target {
        owner: attributes.owner.as_deref(),
        visibility: Some(attributes.visibility.as_str()),
        member_id: context.project_id.as_deref().filter(|_| member),
        id: Some(image.id),
        image: Some(image),
    }
}
