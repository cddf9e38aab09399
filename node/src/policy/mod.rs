//! Who may do what: the oslo.policy language, parsed once at start to a compiled form, and the
//! default rules of image-api 4.2 verbatim in one table.
//!
//! Handlers do not ask [`Policy::allows`] about images: [`image`] knows what the target is and
//! when a refusal is 404 instead of 403.

mod check;
pub mod defaults;
mod draft;
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

use crate::{auth::Context, config::Problem};

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
    #[error("{place}: rule `{rule}` refers to more than {max} rules below each other", max = draft::MAX_CHAIN)]
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
    /// See [`Policy::warnings`].
    unused: Vec<String>,
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

    /// Rules of the file that nothing asks for: most likely misspelt, so that what they were to
    /// restrict is left as the defaults have it.
    pub fn warnings(&self) -> impl Iterator<Item = Problem> + '_ {
        let unused = self.unused.iter();
        unused.map(|message| Problem::new("auth.policy_file", message))
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
        let mut draft = draft::Draft::default();
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

#[cfg(test)]
mod tests;
