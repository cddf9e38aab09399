//! The compiled rules: read-only, replaced as a whole when a file changes.

use std::collections::HashMap;

use super::{
    PolicyError, Target,
    check::{Check, Question},
    defaults, draft, file, language,
    protection::Protections,
    remote::Remote,
    sources::{Entry, Sources},
};
use crate::auth::Context;

/// One compiled rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: Box<str>,
    /// What it says.
    pub text: Box<str>,
    /// Where it says so: file and line, or the defaults.
    pub place: Box<str>,
    /// Applies to tokens scoped to a project only.
    pub project_scoped: bool,
    pub(super) check: Check,
}

/// The compiled rules.
#[derive(Debug)]
pub struct Rules {
    pub(super) rules: Vec<Rule>,
    pub(super) by_name: HashMap<Box<str>, usize>,
    pub(super) protections: Option<Protections>,
    /// What is most likely a slip.
    pub(super) warnings: Vec<String>,
}

impl Rules {
    /// The rules of image-api 4.2 with those of the files in their place. A rule of a file that is
    /// none of the defaults can be referred to by others.
    ///
    /// # Errors
    /// See [`PolicyError`].
    pub fn load(sources: &Sources) -> Result<Self, PolicyError> {
        Self::merged(&sources.entries()?, sources)
    }

    pub(super) fn merged(entries: &[Entry], sources: &Sources) -> Result<Self, PolicyError> {
        let mut draft = draft::Draft::default();
        for default in &defaults::RULES {
            if entries.iter().any(|entry| entry.name == default.name) {
                continue;
            }
            let (text, place) = match default.deprecated {
                // What always holds cannot be widened.
                Some(old) if !sources.enforce_new_defaults && !default.check.is_empty() => {
                    let text = format!("({}) or ({old})", default.check);
                    (text, "the default rules, old ones included")
                }
                _ => (default.check.to_owned(), "the default rules"),
            };
            draft.define(default.name, &text, place.to_owned(), |intern| {
                language::parse(&text, intern)
            })?;
        }
        for Entry { name, rule, place } in entries {
            draft.define(
                name,
                &rule.to_string(),
                place.clone(),
                |intern| match rule {
                    file::RuleText::Text(text) => language::parse(text, intern),
                    file::RuleText::List(list) => language::parse_list(list, intern),
                },
            )?;
        }
        let protections = Protections::load(sources, &mut draft)?;
        let rules = draft.compile()?;
        Ok(Self {
            protections,
            ..rules
        })
    }

    /// Whether `rule` allows it. An unknown rule allows nothing: the `default` rule is empty in
    /// the defaults, so falling to it would let a slip of the pen allow everything. A
    /// project-scoped rule refuses every token of another scope.
    ///
    /// Servers that it hangs on are asked by `remote`; without one it does not hold.
    pub fn allows(
        &self,
        rule: &str,
        context: &Context,
        target: &Target<'_>,
        remote: Option<&Remote>,
    ) -> bool {
        self.named(rule).is_some_and(|rule| {
            !(rule.project_scoped && context.foreign_scope)
                && self.decide(&rule.name, &rule.check, context, target, remote)
        })
    }

    /// First without asking anybody: most rules need nobody, and of the others many are decided by
    /// what is known here.
    pub(super) fn decide(
        &self,
        rule: &str,
        check: &Check,
        context: &Context,
        target: &Target<'_>,
        remote: Option<&Remote>,
    ) -> bool {
        let question = Question {
            rules: self,
            rule,
            context,
            target,
            remote: None,
        };
        let decided = check.holds(&question);
        let asked = || check.holds(&Question { remote, ..question });
        decided.or_else(asked).unwrap_or(false)
    }

    /// Every rule, the defaults in their order first.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        let defaults = defaults::RULES.iter();
        let defaults = defaults.filter_map(|default| self.named(default.name));
        let own = self.rules.iter();
        defaults.chain(own.filter(|rule| defaults::find(&rule.name).is_none()))
    }

    /// What is most likely a slip: rules that nothing asks for, and `%(name)s` of no attribute.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The rule of that name.
    pub fn named(&self, name: &str) -> Option<&Rule> {
        self.rule(*self.by_name.get(name)?)
    }

    pub(super) fn rule(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }
}
