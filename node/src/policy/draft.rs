//! Rules while they are read: one may refer to another that comes later. Once all are there,
//! references are checked: each leads somewhere, none in a circle, no chain is too long.

use std::collections::HashMap;

use super::{Policy, PolicyError, Rule, check::Check, defaults, language, language::SyntaxError};
use crate::config::nearest;

/// Rules that refer to each other, one below the other, at most. Evaluation recurses.
pub(super) const MAX_CHAIN: usize = 32;

/// The rules so far.
#[derive(Default)]
pub(super) struct Draft {
    by_name: HashMap<Box<str>, usize>,
    rules: Vec<DraftRule>,
}

struct DraftRule {
    name: Box<str>,
    /// Where it is defined and what it says; `None` while only referred to.
    defined: Option<(String, Check)>,
    /// The first rule that refers to it.
    referrer: Option<usize>,
}

impl Draft {
    fn intern(&mut self, name: &str, referrer: Option<usize>) -> usize {
        let index = match self.by_name.get(name) {
            Some(index) => *index,
            None => {
                let index = self.rules.len();
                self.by_name.insert(name.into(), index);
                self.rules.push(DraftRule {
                    name: name.into(),
                    defined: None,
                    referrer: None,
                });
                index
            }
        };
        if let Some(rule) = self.rules.get_mut(index) {
            rule.referrer = rule.referrer.or(referrer);
        }
        index
    }

    /// Reads one rule.
    pub(super) fn define(
        &mut self,
        name: &str,
        place: String,
        parse: impl FnOnce(&mut language::Intern<'_>) -> Result<Check, SyntaxError>,
    ) -> Result<(), PolicyError> {
        let index = self.intern(name, None);
        match parse(&mut |reference| self.intern(reference, Some(index))) {
            Ok(check) => {
                if let Some(rule) = self.rules.get_mut(index) {
                    rule.defined = Some((place, check));
                }
                Ok(())
            }
            Err(source) => Err(PolicyError::Syntax {
                place,
                rule: name.into(),
                source,
            }),
        }
    }

    /// Checks the references and makes the policy.
    pub(super) fn compile(self) -> Result<Policy, PolicyError> {
        if let Some(missing) = self.rules.iter().find(|rule| rule.defined.is_none()) {
            let referrer = missing.referrer.and_then(|index| self.rules.get(index));
            return Err(PolicyError::UnknownReference {
                place: referrer.map(DraftRule::place).unwrap_or_default(),
                rule: referrer
                    .map(|rule| rule.name.to_string())
                    .unwrap_or_default(),
                reference: missing.name.to_string(),
            });
        }
        let mut heights = vec![None; self.rules.len()];
        for index in 0..self.rules.len() {
            self.height(index, &mut Vec::new(), &mut heights)?;
        }
        let unused = self.rules.iter().filter_map(DraftRule::unused).collect();
        let rules = self.rules.into_iter().filter_map(|rule| {
            let (_, check) = rule.defined?;
            let project_scoped = defaults::find(&rule.name).is_some_and(|rule| rule.project_scoped);
            Some(Rule {
                name: rule.name,
                project_scoped,
                check,
            })
        });
        Ok(Policy {
            rules: rules.collect(),
            by_name: self.by_name,
            unused,
        })
    }

    /// How many rules lie below each other from this one on. `path` is the chain above it.
    fn height(
        &self,
        index: usize,
        path: &mut Vec<usize>,
        heights: &mut [Option<usize>],
    ) -> Result<usize, PolicyError> {
        if let Some(height) = heights.get(index).copied().flatten() {
            return Ok(height);
        }
        let Some(rule) = self.rules.get(index) else {
            return Ok(0);
        };
        if let Some(start) = path.iter().position(|above| *above == index) {
            let names = path.iter().skip(start).chain([&index]);
            let names = names.filter_map(|i| self.rules.get(*i)).map(|r| &*r.name);
            return Err(PolicyError::Circle {
                place: rule.place(),
                rule: rule.name.to_string(),
                circle: names.collect::<Vec<_>>().join(" -> "),
            });
        }
        path.push(index);
        let mut below = Vec::new();
        if let Some((_, check)) = &rule.defined {
            references(check, &mut below);
        }
        let mut height = 1;
        for reference in below {
            // Bounds the recursion here, too.
            if path.len() < MAX_CHAIN {
                height = height.max(1 + self.height(reference, path, heights)?);
            } else {
                height = MAX_CHAIN + 1;
            }
        }
        if height > MAX_CHAIN {
            return Err(PolicyError::TooDeep {
                place: rule.place(),
                rule: rule.name.to_string(),
            });
        }
        path.pop();
        if let Some(slot) = heights.get_mut(index) {
            *slot = Some(height);
        }
        Ok(height)
    }
}

impl DraftRule {
    fn place(&self) -> String {
        self.defined
            .as_ref()
            .map(|(place, _)| place.clone())
            .unwrap_or_default()
    }

    /// That nothing asks for it, in words.
    fn unused(&self) -> Option<String> {
        if self.referrer.is_some() || defaults::find(&self.name).is_some() {
            return None;
        }
        let names = defaults::RULES.iter().map(|default| default.name);
        let meant = nearest(names, &self.name)
            .map(|name| format!("; did you mean `{name}`?"))
            .unwrap_or_default();
        Some(format!(
            "{}: rule `{}` has no effect: this service has none of that name, and no other rule \
             refers to it{meant}",
            self.place(),
            self.name
        ))
    }
}

fn references(check: &Check, found: &mut Vec<usize>) {
    if let Check::Rule(index) = check {
        found.push(*index);
    }
    for child in check.children() {
        references(child, found);
    }
}
