//! The rules of metadata definitions as the handlers ask them (image-api 4.2): the target is the
//! namespace. One that the caller may not see is 404, whatever is asked of it; else a refusal is 403.

use glimpse_registry::metadef::Namespace;

use super::{Policy, Target, image::Denied};
use crate::auth::Context;

/// Whether the caller's project sees the namespace: an admin all; everyone public and ownerless
/// ones; a project its own.
pub fn is_visible(context: &Context, namespace: &Namespace) -> bool {
    let attributes = &namespace.attributes;
    context.is_admin
        || attributes.public
        || attributes.owner.is_none()
        || attributes.owner == context.project_id
}

/// Whether a list shows the namespace.
pub fn sees(policy: &Policy, context: &Context, namespace: &Namespace) -> bool {
    is_visible(context, namespace) && holds(policy, "get_metadef_namespace", context, namespace)
}

/// One rule on one namespace, or on anything in it.
pub fn check(
    policy: &Policy,
    rule: &str,
    context: &Context,
    namespace: &Namespace,
) -> Result<(), Denied> {
    if context.foreign_scope {
        return Err(Denied::Forbidden(
            "the token's scope is no project".to_owned(),
        ));
    }
    if !is_visible(context, namespace) {
        return Err(Denied::NotFound);
    }
    if holds(policy, rule, context, namespace) {
        return Ok(());
    }
    match holds(policy, "get_metadef_namespace", context, namespace) {
        true => Err(Denied::by(rule)),
        false => Err(Denied::NotFound),
    }
}

/// One rule on no namespace in particular: the target is the caller's own project. Who may look at no
/// namespace finds nothing here either, as in the reference.
pub fn check_project(policy: &Policy, rule: &str, context: &Context) -> Result<(), Denied> {
    let refused = super::image::check_project(policy, rule, context);
    let looks = || super::image::check_project(policy, "get_metadef_namespace", context).is_ok();
    match refused {
        Err(_) if !context.foreign_scope && !looks() => Err(Denied::NotFound),
        refused => refused,
    }
}

fn holds(policy: &Policy, rule: &str, context: &Context, namespace: &Namespace) -> bool {
    let attributes = &namespace.attributes;
    let target = Target {
        owner: attributes.owner.as_deref(),
        visibility: Some(attributes.visibility()),
        ..Target::default()
    };
    policy.allows(rule, context, &target)
}
