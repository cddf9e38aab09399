//! Property protections (image-api 4.4): who may create, read, change and delete custom properties
//! by their names. The first section whose pattern is found in the name decides; a name that none
//! is found in is nobody's.

use std::path::Path;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::{
    PolicyError, Target,
    draft::Draft,
    file::Malformed,
    ini, language,
    remote::Remote,
    rules::Rules,
    sources::{self, Sources},
};
use crate::auth::Context;

/// Most bytes of one compiled pattern.
const PATTERN_BYTES: usize = 1 << 20;

/// Names that belong to this service; what it lets clients see of them everyone may read.
const OWN: &str = "os_glance";

/// `auth.property_protection_rule_format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleFormat {
    /// Lists of roles.
    #[default]
    Roles,
    /// One rule of the policy.
    Policies,
}

/// What is done with a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It was not there, as far as the caller sees.
    Create,
    /// It is shown, or filtered by.
    Read,
    /// It gets another value.
    Update,
    /// It goes.
    Delete,
}

/// With their keys, in the order of the discriminants.
const ACTIONS: [&str; 4] = ["create", "read", "update", "delete"];

/// The sections, in their order.
#[derive(Debug)]
pub(super) struct Protections(Vec<Section>);

#[derive(Debug)]
struct Section {
    pattern: Regex,
    /// By [`Action`].
    permits: [Permit; 4],
}

#[derive(Debug)]
enum Permit {
    Nobody,
    Everybody,
    /// In lower case.
    Roles(Vec<String>),
    /// By its number.
    Rule(usize),
}

impl Protections {
    /// Reads the file, if there is one. A rule that it names becomes a rule `pattern:action` of the
    /// policy, as in the reference, so that it is checked like any other.
    pub(super) fn load(sources: &Sources, draft: &mut Draft) -> Result<Option<Self>, PolicyError> {
        let Some((path, format)) = &sources.protection else {
            return Ok(None);
        };
        let text = sources::read(path).map_err(|cause| PolicyError::Protection {
            place: path.display().to_string(),
            message: if let PolicyError::Unreadable { source, .. } = &cause {
                source.to_string()
            } else {
                cause.to_string()
            },
        })?;
        Self::parse(&text, path, *format, draft).map(Some)
    }

    fn parse(
        text: &str,
        path: &Path,
        format: RuleFormat,
        draft: &mut Draft,
    ) -> Result<Self, PolicyError> {
        let place = |line: usize| format!("{}:{line}", path.display());
        let wrong = |Malformed { line, message }| PolicyError::Protection {
            place: place(line),
            message,
        };
        let mut sections = vec![Section {
            pattern: compile(OWN, 0).map_err(wrong)?,
            permits: std::array::from_fn(|_| Permit::Everybody),
        }];
        for section in ini::read(text).map_err(wrong)? {
            if section.name.starts_with(OWN) {
                continue;
            }
            if let Some((key, _, line)) =
                (section.keys.iter()).find(|(key, ..)| !ACTIONS.contains(&&**key))
            {
                let message = format!("`{key}` is none of {}", ACTIONS.join(", "));
                return Err(wrong(Malformed {
                    line: *line,
                    message,
                }));
            }
            let mut permits: [Permit; 4] = std::array::from_fn(|_| Permit::Nobody);
            for (permit, action) in permits.iter_mut().zip(ACTIONS) {
                let Some((value, line)) = section.get(action) else {
                    return Err(wrong(Malformed {
                        line: section.line,
                        message: format!("[{}] has no `{action}`", section.name),
                    }));
                };
                *permit = match Written::read(value, format) {
                    Ok(Written::Permit(permit)) => permit,
                    Ok(Written::Rule(rule)) => {
                        let name = format!("{}:{action}", section.name);
                        let text = format!("rule:{rule}");
                        let index = draft.define(&name, &text, place(line), |intern| {
                            language::parse(&text, intern)
                        })?;
                        draft.asked_for(index);
                        Permit::Rule(index)
                    }
                    Err(message) => {
                        let message = format!("[{}] {action}: {message}", section.name);
                        return Err(wrong(Malformed { line, message }));
                    }
                };
            }
            sections.push(Section {
                pattern: compile(&section.name, section.line).map_err(wrong)?,
                permits,
            });
        }
        Ok(Self(sections))
    }
}

/// What a value says.
enum Written {
    Permit(Permit),
    Rule(String),
}

impl Written {
    fn read(value: &str, format: RuleFormat) -> Result<Self, String> {
        let names = value.split([',', '\n']).map(str::trim);
        let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        let has = |name: &str| names.contains(&name);
        if has("@") && has("!") {
            return Err("`@` and `!` exclude each other".to_owned());
        }
        if format == RuleFormat::Policies && names.len() > 1 {
            let hint = "rules can be joined in the policy file";
            return Err(format!("takes the name of one rule; {hint}"));
        }
        Ok(match names.as_slice() {
            [] => Self::Permit(Permit::Nobody),
            _ if has("!") => Self::Permit(Permit::Nobody),
            _ if has("@") => Self::Permit(Permit::Everybody),
            [rule, ..] if format == RuleFormat::Policies => Self::Rule((*rule).to_owned()),
            roles => {
                let roles = roles.iter().map(|role| role.to_lowercase());
                Self::Permit(Permit::Roles(roles.collect()))
            }
        })
    }
}

fn compile(pattern: &str, line: usize) -> Result<Regex, Malformed> {
    RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES)
        .build()
        .map_err(|cause| {
            // Its text draws the pattern with a mark below; the last line says what is wrong.
            let cause = cause.to_string();
            let cause = cause.lines().last().unwrap_or_default();
            let cause = cause.trim_start_matches("error: ");
            let message = format!("[{pattern}] is no pattern: {cause}");
            Malformed { line, message }
        })
}

impl Rules {
    /// Whether the caller may do that with the custom property. Without a file everyone may.
    pub fn may(
        &self,
        action: Action,
        property: &str,
        context: &Context,
        remote: Option<&Remote>,
    ) -> bool {
        let Some(Protections(sections)) = &self.protections else {
            return true;
        };
        let section = sections.iter().find(|s| s.pattern.is_match(property));
        let permit = section.and_then(|section| section.permits.get(action as usize));
        match permit {
            None | Some(Permit::Nobody) => false,
            Some(Permit::Everybody) => true,
            // Service roles count (image-api 4.4).
            Some(Permit::Roles(roles)) => {
                let mut own = context.roles.iter().chain(&context.service_roles);
                own.any(|role| roles.contains(role))
            }
            Some(Permit::Rule(index)) => self.rule(*index).is_some_and(|rule| {
                let target = Target::default();
                self.decide(&rule.name, &rule.check, context, &target, remote)
            }),
        }
    }

    /// Whether there are protections at all.
    pub fn protects(&self) -> bool {
        self.protections.is_some()
    }
}
