//! A compiled rule and its evaluation: no look-up of rules by name, and no allocation but for
//! numbers and ids.

use std::borrow::Cow;

use glimpse_registry::image::Image;

use super::{Target, encoded, remote::Remote, rules::Rules};
use crate::auth::Context;

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
    /// `http:` and `https:`: the URL
    Remote(Template),
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attribute {
    Owner,
    Visibility,
    MemberId,
    Id,
    /// Another one of an image, or a custom property of that name.
    Image(Box<str>),
}

impl Attribute {
    /// Those of images, beside the ones below; any other name is a custom property's.
    pub(super) const OF_IMAGES: [&'static str; 13] = [
        "name",
        "status",
        "disk_format",
        "container_format",
        "min_disk",
        "min_ram",
        "size",
        "virtual_size",
        "checksum",
        "os_hash_algo",
        "os_hash_value",
        "protected",
        "os_hidden",
    ];

    pub(super) fn parse(name: &str) -> Self {
        match name {
            "project_id" | "owner" => Self::Owner,
            "visibility" => Self::Visibility,
            "member_id" | "member" => Self::MemberId,
            "id" | "image_id" => Self::Id,
            other => Self::Image(other.into()),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Owner => "project_id",
            Self::Visibility => "visibility",
            Self::MemberId => "member_id",
            Self::Id => "id",
            Self::Image(name) => name,
        }
    }

    /// Its text, or `None` where the target lacks it or has null there.
    fn of<'a>(&self, target: &Target<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Owner => target.owner.map(Cow::Borrowed),
            Self::Visibility => target.visibility.map(Cow::Borrowed),
            Self::MemberId => target.member_id.map(Cow::Borrowed),
            Self::Id => target.id.map(|id| id.to_string().into()),
            Self::Image(name) => of_image(target.image?, name),
        }
    }
}

/// One of [`Attribute::OF_IMAGES`] or a custom property, as Python writes it.
pub(super) fn of_image<'a>(image: &'a Image, name: &str) -> Option<Cow<'a, str>> {
    fn text(text: Option<&String>) -> Option<Cow<'_, str>> {
        text.map(|text| Cow::Borrowed(text.as_str()))
    }
    let number = |number: u64| Some(Cow::from(number.to_string()));
    let boolean = |value: bool| Some(Cow::Borrowed(python(value)));
    let attributes = &image.attributes;
    match name {
        "name" => text(attributes.name.as_ref()),
        "status" => Some(image.status.as_str().into()),
        "disk_format" => text(attributes.disk_format.as_ref()),
        "container_format" => text(attributes.container_format.as_ref()),
        "min_disk" => number(attributes.min_disk.into()),
        "min_ram" => number(attributes.min_ram.into()),
        "size" => image.size.and_then(number),
        "virtual_size" => image.virtual_size.and_then(number),
        "checksum" => text(image.checksum.as_ref()),
        "os_hash_algo" => text(image.os_hash_algo.as_ref()),
        "os_hash_value" => text(image.os_hash_value.as_ref()),
        "protected" => boolean(attributes.protected),
        "os_hidden" => boolean(attributes.os_hidden),
        property => text(attributes.properties.get(property)?.as_ref()),
    }
}

const fn python(value: bool) -> &'static str {
    if value { "True" } else { "False" }
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
    /// Filled in as a URL, whose parts values cannot leave; `None` where the target lacks one.
    fn url(&self, target: &Target<'_>) -> Option<String> {
        let mut url = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => url.push_str(text),
                Part::Attribute(attribute) => match attribute.of(target)? {
                    // Escaped or not, these are steps within the path.
                    dots if dots == "." || dots == ".." => return None,
                    text => url.push_str(&encoded(&text)),
                },
            }
        }
        Some(url)
    }

    /// Whether the filled-in text is `value`. A target without one of the attributes matches
    /// nothing.
    fn is(&self, value: &str, target: &Target<'_>, same: fn(&str, &str) -> bool) -> bool {
        let mut rest = value;
        for part in &self.0 {
            let text = match part {
                Part::Literal(text) => Cow::Borrowed(&**text),
                Part::Attribute(attribute) => match attribute.of(target) {
                    Some(text) => text,
                    None => return false,
                },
            };
            match rest.split_at_checked(text.len()) {
                Some((head, tail)) if same(head, &text) => rest = tail,
                Some(_) | None => return false,
            }
        }
        rest.is_empty()
    }
}

/// Whether one of the checks has this outcome: the opposite, if all of them have that one.
fn first(checks: &[Check], question: &Question<'_>, outcome: bool) -> Option<bool> {
    let mut found = Some(false);
    for check in checks {
        match check.holds(question) {
            Some(holds) if holds == outcome => return Some(true),
            Some(_) => {}
            None => found = None,
        }
    }
    found
}

fn exactly(a: &str, b: &str) -> bool {
    a == b
}

fn any_case(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// What is asked of a check.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    /// What `rule:` refers to.
    pub(super) rules: &'a Rules,
    /// The rule that is asked for, as servers are told.
    pub(super) rule: &'a str,
    /// Who asks.
    pub(super) context: &'a Context,
    /// About what.
    pub(super) target: &'a Target<'a>,
    /// Who asks servers; without, their checks are undecided.
    pub(super) remote: Option<&'a Remote>,
}

impl Check {
    /// Whether it holds; `None`: that hangs on a server that was not asked or gave no answer. Ends,
    /// as [`Rules`] have no cycles.
    pub(super) fn holds(&self, question: &Question<'_>) -> Option<bool> {
        let Question {
            rules,
            context,
            target,
            ..
        } = *question;
        Some(match self {
            Self::Always => true,
            Self::Never => false,
            Self::Not(check) => !check.holds(question)?,
            Self::And(all) => !first(all, question, false)?,
            Self::Or(any) => return first(any, question, true),
            Self::Rule(index) => return rules.rule(*index)?.check.holds(question),
            Self::Role(name) => any_role(&context.roles, name, target),
            Self::Remote(url) => return question.remote?.ask(&url.url(target)?, question),
            Self::Equal(Subject::Literal(text), matched) => matched.is(text, target, exactly),
            Self::Equal(Subject::Caller(attribute), matched) => match attribute {
                Caller::UserId => matches_one(context.user_id.as_deref(), matched, target),
                Caller::ProjectId => matches_one(context.project_id.as_deref(), matched, target),
                Caller::Roles => any_role(&context.roles, matched, target),
                Caller::ServiceRoles => any_role(&context.service_roles, matched, target),
                Caller::IsAdmin => matched.is(python(context.is_admin), target, exactly),
            },
        })
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
            | Self::Remote(_)
            | Self::Equal(Subject::Literal(_) | Subject::Caller(_), _) => &[],
        }
    }

    /// The attributes of the target that it looks at itself.
    pub(super) fn attributes(&self) -> impl Iterator<Item = &Attribute> {
        let parts: &[Part] = match self {
            Self::Role(Template(parts))
            | Self::Remote(Template(parts))
            | Self::Equal(_, Template(parts)) => parts,
            Self::Always
            | Self::Never
            | Self::Not(_)
            | Self::And(_)
            | Self::Or(_)
            | Self::Rule(_) => &[],
        };
        parts.iter().filter_map(|part| match part {
            Part::Attribute(attribute) => Some(attribute),
            Part::Literal(_) => None,
        })
    }

    /// One line: the operator of a node, or the check as a rule would write it.
    pub(super) fn label(&self, rules: &Rules) -> String {
        match self {
            Self::Always => "@".into(),
            Self::Never => "!".into(),
            Self::Not(_) => "not".into(),
            Self::And(_) => "and".into(),
            Self::Or(_) => "or".into(),
            Self::Rule(index) => match rules.rule(*index) {
                Some(rule) => format!("rule:{}", rule.name),
                None => "rule:?".into(),
            },
            Self::Role(name) => format!("role:{name}"),
            Self::Remote(url) => url.to_string(),
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
