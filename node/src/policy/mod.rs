//! Who may do what: the oslo.policy language, parsed once at start to a compiled form, and the
//! default rules of image-api 4.2 verbatim in one table.
//!
//! Handlers do not ask [`Policy::allows`] about images: [`image`] knows what the target is and
//! when a refusal is 404 instead of 403.

mod check;
pub mod defaults;
mod file;
pub mod image;
mod language;

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::Read as _,
    path::{Path, PathBuf},
};

use check::Check;
use glimpse_registry::image::ImageId;
pub use language::SyntaxError;

use crate::auth::Context;

/// Rules that refer to each other, one below the other, at most. Evaluation recurses.
const MAX_CHAIN: usize = 32;

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
    pub id: Option<ImageId>,
}

/// Why a policy cannot be used. The service does not start with one that it understands in part.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The policy file.
        file: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is larger than any policy.
    #[error("{}: larger than {max} bytes", file.display())]
    TooLarge {
        /// The policy file.
        file: PathBuf,
        /// The bound.
        max: u64,
    },
    /// The file is not a mapping of names to rules.
    #[error("{}:{line}: {message}", file.display())]
    Malformed {
        /// The policy file.
        file: PathBuf,
        /// 1-based.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A rule cannot be read.
    #[error("{place}: rule `{rule}`: {source}")]
    Syntax {
        /// File and line, or the defaults.
        place: String,
        /// Its name.
        rule: String,
        /// What is wrong.
        source: SyntaxError,
    },
    /// A rule refers to one that does not exist.
    #[error("{place}: rule `{rule}` refers to `rule:{reference}`, which does not exist")]
    UnknownReference {
        /// File and line, or the defaults.
        place: String,
        /// Its name.
        rule: String,
        /// The missing name.
        reference: String,
    },
    /// Rules that refer to each other in a circle.
    #[error("{place}: rule `{rule}` refers to itself: {circle}")]
    Circle {
        /// File and line, or the defaults.
        place: String,
        /// A rule of the circle.
        rule: String,
        /// `a -> b -> a`
        circle: String,
    },
    /// A chain of references longer than the bound.
    #[error("{place}: rule `{rule}` refers to more than {MAX_CHAIN} rules below each other")]
    TooDeep {
        /// File and line, or the defaults.
        place: String,
        /// Its name.
        rule: String,
    },
}

/// One compiled rule.
#[derive(Debug)]
struct Rule {
    name: Box<str>,
    /// Applies to tokens scoped to a project only.
    project_scoped: bool,
    check: Check,
}

/// The compiled rules.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    by_name: HashMap<Box<str>, usize>,
}

impl Policy {
    /// The rules of image-api 4.2.
    #[expect(
        clippy::expect_used,
        reason = "they are constants of this program, and a test loads them"
    )]
    pub fn defaults() -> Self {
        Self::merged(&[], Path::new("")).expect("the default rules are well formed")
    }

    /// The defaults with those of `file` in their place. A rule of the file that is none of the
    /// defaults can be referred to by others.
    pub fn load(file: Option<&Path>) -> Result<Self, PolicyError> {
        let Some(path) = file else {
            return Ok(Self::defaults());
        };
        let unreadable = |source| PolicyError::Unreadable {
            file: path.into(),
            source,
        };
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(file::MAX_BYTES + 1).read_to_string(&mut text))
            .map_err(unreadable)?;
        if text.len() as u64 > file::MAX_BYTES {
            return Err(PolicyError::TooLarge {
                file: path.into(),
                max: file::MAX_BYTES,
            });
        }
        Self::parse(&text, path)
    }

    /// As [`Self::load`], from the text of the file; `path` is for errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, PolicyError> {
        let entries = file::read(text).map_err(|wrong| PolicyError::Malformed {
            file: path.into(),
            line: wrong.line,
            message: wrong.message,
        })?;
        Self::merged(&entries, path)
    }

    fn merged(entries: &[file::Entry], path: &Path) -> Result<Self, PolicyError> {
        let mut draft = Draft::default();
        for default in &defaults::RULES {
            if entries.iter().any(|entry| entry.name == default.name) {
                continue;
            }
            let place = "the default rules".to_owned();
            draft.define(default.name, place, |intern| {
                language::parse(default.check, intern)
            })?;
        }
        for entry in entries {
            let place = format!("{}:{}", path.display(), entry.line);
            draft.define(&entry.name, place, |intern| match &entry.rule {
                file::RuleText::Text(text) => language::parse(text, intern),
                file::RuleText::List(list) => language::parse_list(list, intern),
            })?;
        }
        draft.compile()
    }

    /// Whether `rule` allows it. An unknown rule allows nothing: the `default` rule is empty in
    /// the defaults, so falling to it would let a slip of the pen allow everything. A
    /// project-scoped rule refuses every token of another scope.
    pub fn allows(&self, rule: &str, context: &Context, target: &Target<'_>) -> bool {
        self.named(rule).is_some_and(|rule| {
            !(rule.project_scoped && context.foreign_scope)
                && rule.check.holds(self, context, target)
        })
    }

    /// The rule as a tree, each line with its outcome for this caller and target.
    pub fn explain(&self, rule: &str, context: &Context, target: &Target<'_>) -> String {
        let Some(found) = self.named(rule) else {
            return format!("no  {rule}: there is no such rule\n");
        };
        let mut text = String::new();
        let outcome = yes_no(self.allows(rule, context, target));
        let scope = match found.project_scoped && context.foreign_scope {
            true => " (needs a token scoped to a project)",
            false => "",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{outcome} {rule}{scope}");
        self.explain_check(&found.check, context, target, 1, &mut text);
        text
    }

    fn explain_check(
        &self,
        check: &Check,
        context: &Context,
        target: &Target<'_>,
        depth: usize,
        text: &mut String,
    ) {
        let outcome = yes_no(check.holds(self, context, target));
        let label = check.label(self);
        let _ = writeln!(text, "{outcome} {:indent$}{label}", "", indent = depth * 2);
        if let Check::Rule(index) = check
            && let Some(rule) = self.rule(*index)
        {
            self.explain_check(&rule.check, context, target, depth + 1, text);
        }
        for child in check.children() {
            self.explain_check(child, context, target, depth + 1, text);
        }
    }

    fn named(&self, name: &str) -> Option<&Rule> {
        self.rule(*self.by_name.get(name)?)
    }

    fn rule(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }
}

const fn yes_no(outcome: bool) -> &'static str {
    if outcome { "yes" } else { "no " }
}

/// Rules while they are read: a rule may refer to one that comes later.
#[derive(Default)]
struct Draft {
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

    fn define(
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

    fn compile(self) -> Result<Policy, PolicyError> {
        for missing in self.rules.iter().filter(|rule| rule.defined.is_none()) {
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
        let rules = self.rules.into_iter().filter_map(|rule| {
            let (_, check) = rule.defined?;
            let project_scoped = defaults::RULES
                .iter()
                .any(|default| default.project_scoped && *default.name == *rule.name);
            Some(Rule {
                name: rule.name,
                project_scoped,
                check,
            })
        });
        Ok(Policy {
            rules: rules.collect(),
            by_name: self.by_name,
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
}

fn references(check: &Check, found: &mut Vec<usize>) {
    if let Check::Rule(index) = check {
        found.push(*index);
    }
    for child in check.children() {
        references(child, found);
    }
}
