//! A compiled rule and its evaluation: no allocation, no look-up by name.

use super::{Policy, Target};
use crate::auth::Context;

/// Characters of an image id.
const ID_LENGTH: usize = uuid::fmt::Hyphenated::LENGTH;

/// A rule as a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Check {
    /// `@`, the empty rule
    Always,
    /// `!`
    Never,
    /// `not`
    Not(Box<Check>),
    /// `and`
    And(Vec<Check>),
    /// `or`
    Or(Vec<Check>),
    /// `rule:`, by its number
    Rule(usize),
    /// `role:`
    Role(Template),
    /// `kind:match`
    Equal(Subject, Template),
}

/// The left side of `kind:match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// `'community'`
    Literal(Box<str>),
    /// `project_id`
    Caller(Caller),
}

/// An attribute of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    UserId,
    ProjectId,
    Roles,
    ServiceRoles,
    IsAdmin,
}

impl Caller {
    /// The names that rules may use.
    pub(super) const NAMES: [&'static str; 7] = [
        "user_id",
        "user",
        "project_id",
        "tenant",
        "roles",
        "service_roles",
        "is_admin",
    ];

    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "user_id" | "user" => Some(Self::UserId),
            "project_id" | "tenant" => Some(Self::ProjectId),
            "roles" => Some(Self::Roles),
            "service_roles" => Some(Self::ServiceRoles),
            "is_admin" => Some(Self::IsAdmin),
            _ => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::UserId => "user_id",
            Self::ProjectId => "project_id",
            Self::Roles => "roles",
            Self::ServiceRoles => "service_roles",
            Self::IsAdmin => "is_admin",
        }
    }
}

/// An attribute of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attribute {
    Owner,
    Visibility,
    MemberId,
    Id,
}

impl Attribute {
    /// The names that rules may use.
    pub(super) const NAMES: [&'static str; 7] = [
        "project_id",
        "owner",
        "visibility",
        "member_id",
        "member",
        "id",
        "image_id",
    ];

    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "project_id" | "owner" => Some(Self::Owner),
            "visibility" => Some(Self::Visibility),
            "member_id" | "member" => Some(Self::MemberId),
            "id" | "image_id" => Some(Self::Id),
            _ => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "project_id",
            Self::Visibility => "visibility",
            Self::MemberId => "member_id",
            Self::Id => "id",
        }
    }

    /// Its text, or `None` where the target lacks it. `buffer` is for the id.
    fn of<'a>(self, target: &Target<'a>, buffer: &'a mut [u8; ID_LENGTH]) -> Option<&'a str> {
        match self {
            Self::Owner => target.owner,
            Self::Visibility => target.visibility,
            Self::MemberId => target.member_id,
            Self::Id => target.id.map(|id| {
                let id = uuid::Uuid::from_bytes(id.0).hyphenated();
                &*id.encode_lower(buffer)
            }),
        }
    }
}

/// Text with attributes of the target in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(pub(super) Box<[Part]>);

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Literal(Box<str>),
    Attribute(Attribute),
}

impl Template {
    /// Whether the filled-in text is `value`. A target without one of the attributes matches
    /// nothing.
    fn is(&self, value: &str, target: &Target<'_>, same: fn(&str, &str) -> bool) -> bool {
        let mut rest = value;
        for part in &self.0 {
            let mut buffer = [0; ID_LENGTH];
            let text = match part {
                Part::Literal(text) => text,
                Part::Attribute(attribute) => match attribute.of(target, &mut buffer) {
                    Some(text) => text,
                    None => return false,
                },
            };
            match rest.split_at_checked(text.len()) {
                Some((head, tail)) if same(head, text) => rest = tail,
                Some(_) | None => return false,
            }
        }
        rest.is_empty()
    }
}

fn exactly(a: &str, b: &str) -> bool {
    a == b
}

fn any_case(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

impl Check {
    /// Whether it holds. Ends, as [`Policy`] refuses cycles.
    pub(super) fn holds(&self, policy: &Policy, context: &Context, target: &Target<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Not(check) => !check.holds(policy, context, target),
            Self::And(all) => all.iter().all(|c| c.holds(policy, context, target)),
            Self::Or(any) => any.iter().any(|c| c.holds(policy, context, target)),
            Self::Rule(index) => policy
                .rule(*index)
                .is_some_and(|rule| rule.check.holds(policy, context, target)),
            Self::Role(name) => any_role(&context.roles, name, target),
            Self::Equal(Subject::Literal(text), matched) => matched.is(text, target, exactly),
            Self::Equal(Subject::Caller(attribute), matched) => match attribute {
                Caller::UserId => matches_one(context.user_id.as_deref(), matched, target),
                Caller::ProjectId => matches_one(context.project_id.as_deref(), matched, target),
                Caller::Roles => any_role(&context.roles, matched, target),
                Caller::ServiceRoles => any_role(&context.service_roles, matched, target),
                Caller::IsAdmin => {
                    let text = if context.is_admin { "True" } else { "False" };
                    matched.is(text, target, exactly)
                }
            },
        }
    }

    /// The checks directly below.
    pub(super) fn children(&self) -> &[Check] {
        match self {
            Self::Not(check) => std::slice::from_ref(check),
            Self::And(checks) | Self::Or(checks) => checks,
            Self::Always
            | Self::Never
            | Self::Rule(_)
            | Self::Role(_)
            | Self::Equal(Subject::Literal(_) | Subject::Caller(_), _) => &[],
        }
    }

    /// One line: the operator of a node, or the check as a rule would write it.
    pub(super) fn label(&self, policy: &Policy) -> String {
        match self {
            Self::Always => "@".into(),
            Self::Never => "!".into(),
            Self::Not(_) => "not".into(),
            Self::And(_) => "and".into(),
            Self::Or(_) => "or".into(),
            Self::Rule(index) => match policy.rule(*index) {
                Some(rule) => format!("rule:{}", rule.name),
                None => "rule:?".into(),
            },
            Self::Role(name) => format!("role:{name}"),
            Self::Equal(Subject::Literal(text), matched) => format!("'{text}':{matched}"),
            Self::Equal(Subject::Caller(attribute), matched) => {
                format!("{}:{matched}", attribute.as_str())
            }
        }
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(&text.replace('%', "%%")),
            Part::Attribute(attribute) => write!(f, "%({})s", attribute.as_str()),
        })
    }
}

fn matches_one(value: Option<&str>, matched: &Template, target: &Target<'_>) -> bool {
    value.is_some_and(|value| matched.is(value, target, exactly))
}

fn any_role(roles: &[String], name: &Template, target: &Target<'_>) -> bool {
    roles.iter().any(|role| name.is(role, target, any_case))
}
