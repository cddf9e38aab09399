//! Property protections where clients meet them (image-api 4.4): on create, on PATCH, and in the
//! filters of lists. What is shown is left out where it is written (`image_view.rs`).

use glimpse_registry::{image::Attributes, query::Filter};

use crate::{
    api::{attribute::Invalid, patch::Change},
    auth::Context,
    policy::{Policy, protection::Action},
};

/// Whether the caller may give a new image these custom properties.
///
/// # Errors
/// 403 with the name of one that it may not.
pub(crate) fn check_create<'n>(
    policy: &Policy,
    context: &Context,
    names: impl IntoIterator<Item = &'n String>,
) -> Result<(), Invalid> {
    let mut names = names.into_iter();
    match names.find(|name| !policy.may(Action::Create, name, context)) {
        None => Ok(()),
        Some(name) => Err(Invalid::Reserved(name.clone())),
    }
}

/// Whether the caller may make that change to the custom property, if it is one. A property that it
/// may not read is not there for it.
///
/// # Errors
/// 403, or 409 as for a property that is not there.
pub(super) fn check_change(
    policy: &Policy,
    context: &Context,
    attributes: &Attributes,
    change: &Change,
) -> Result<(), Invalid> {
    let name = change.name();
    // Names of base attributes, too, are looked at by no section.
    if !policy.rules().protects()
        || super::attribute::kind(name) != Ok(super::attribute::Kind::Custom)
    {
        return Ok(());
    }
    let may = |action| policy.may(action, name, context);
    let there = attributes.properties.contains_key(name);
    let allowed = match change {
        Change::Remove { .. } | Change::Replace { .. } if there && !may(Action::Read) => {
            return Err(Invalid::Absent(name.to_owned()));
        }
        // What is not there is told by the change itself.
        Change::Remove { .. } | Change::Replace { .. } if !there => true,
        Change::Remove { .. } => may(Action::Delete),
        Change::Replace { .. } => may(Action::Update),
        Change::Add { .. } if !there => may(Action::Create),
        Change::Add { .. } if may(Action::Read) => may(Action::Update),
        // To the caller it is a new one; yet what is there is not overwritten with less.
        // No property.
        Change::Locations(_) => true,
        Change::Add { .. } => may(Action::Create) && may(Action::Update),
    };
    match allowed {
        true => Ok(()),
        false => Err(Invalid::Reserved(name.to_owned())),
    }
}

/// Filters by properties that the caller may not read match nothing: the answer must not tell what
/// their values are.
pub(super) fn blind(policy: &Policy, context: &Context, filters: &mut [Filter]) {
    for filter in filters {
        if let Filter::Property(name, _) = filter
            && !policy.may(Action::Read, name, context)
        {
            *filter = Filter::Nothing;
        }
    }
}
