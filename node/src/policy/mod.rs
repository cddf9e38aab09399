//! Who may do what: the oslo.policy language, parsed once at start to a compiled form, and the
//! default rules of image-api 4.2 verbatim in one table.

use crate::auth::Context;

/// What a rule is asked about: the `%(name)s` of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target<'a> {
    /// `%(project_id)s` and `%(owner)s`: owner of the image.
    pub owner: Option<&'a str>,
    /// `%(visibility)s`
    pub visibility: Option<&'a str>,
    /// `%(member_id)s`: the project itself when it is a member, or the member asked about.
    pub member_id: Option<&'a str>,
    /// `%(id)s`
    pub id: Option<&'a str>,
}

/// The compiled rules.
pub struct Policy {}

impl Policy {
    /// Whether `rule` allows it. An unknown rule falls to `default`.
    pub fn allows(&self, rule: &str, context: &Context, target: &Target<'_>) -> bool {
        let _ = (rule, context, target);
        false
    }
}
