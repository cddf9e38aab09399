//! Rules while they are read: one may refer to another that comes later. Once all are there,
//! references are checked: each leads somewhere, none in a circle, no chain is too long.

use std::collections::HashMap;

use super::{
    PolicyError, Rule, Rules,
    check::{Attribute, Check},
    defaults, language,
    language::SyntaxError,
};
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
    /// `None` while only referred to.
    defined: Option<Defined>,
    /// The first rule that refers to it.
    referrer: Option<usize>,
}

struct Defined {
    /// Where.
    place: String,
    text: Box<str>,
    check: Check,
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

    /// Reads one rule and gives its number.
    pub(super) fn define(
        &mut self,
        name: &str,
        text: &str,
        place: String,
        parse: impl FnOnce(&mut language::Intern<'_>) -> Result<Check, SyntaxError>,
    ) -> Result<usize, PolicyError> {
        let index = self.intern(name, None);
        match parse(&mut |reference| self.intern(reference, Some(index))) {
            Ok(check) => {
                if let Some(rule) = self.rules.get_mut(index) {
                    rule.defined = Some(Defined {
                        place,
                        text: text.into(),
                        check,
                    });
                }
                Ok(index)
            }
            Err(source) => Err(PolicyError::Syntax {
                place,
                rule: name.into(),
                source,
            }),
        }
    }

    /// Notes that something else than rules asks for it.
    pub(super) fn asked_for(&mut self, index: usize) {
        if let Some(rule) = self.rules.get_mut(index) {
            rule.referrer = Some(index);
        }
    }

    /// Checks the references and makes the policy.
    pub(super) fn compile(self) -> Result<Rules, PolicyError> {
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
        let warnings = self.rules.iter().flat_map(DraftRule::slips).collect();
        let rules = self.rules.into_iter().filter_map(|rule| {
            let Defined { place, text, check } = rule.defined?;
            let project_scoped = defaults::find(&rule.name).is_some_and(|rule| rule.project_scoped);
            Some(Rule {
                name: rule.name,
                text,
                place: place.into(),
                project_scoped,
                check,
            })
        });
        Ok(Rules {
            rules: rules.collect(),
            by_name: self.by_name,
            protections: None,
            warnings,
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
        if let Some(defined) = &rule.defined {
            references(&defined.check, &mut below);
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
            .map(|defined| defined.place.clone())
            .unwrap_or_default()
    }

    /// What is most likely not meant, in words.
    fn slips(&self) -> Vec<String> {
        let mut names = Vec::new();
        if let Some(defined) = &self.defined {
            properties(&defined.check, &mut names);
        }
        let property = names.into_iter().map(|name| {
            format!(
                "{}: rule `{}`: no image has an attribute `{name}`: `%({name})s` is the custom \
                 property of that name",
                self.place(),
                self.name
            )
        });
        self.unused().into_iter().chain(property).collect()
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

/// Names in `%(name)s` that are custom properties'.
fn properties<'c>(check: &'c Check, found: &mut Vec<&'c str>) {
    for attribute in check.attributes() {
        if let Attribute::Image(name) = attribute
            && !Attribute::OF_IMAGES.contains(&&**name)
        {
            found.push(name);
        }
    }
    for child in check.children() {
        properties(child, found);
    }
}
