//! Why a rule holds or does not: the tree of its checks, each with its outcome.

use std::fmt::{self, Display};

use serde::Serialize;

use super::{
    Target,
    check::{Check, Question},
    rules::Rules,
};
use crate::auth::Context;

/// A check, its outcome, and those below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// As a rule would write it, or the operator.
    pub check: String,
    /// Whether it holds for this caller and target; `None`: that hangs on a server, which is not
    /// asked here.
    pub holds: Option<bool>,
    /// What it is made of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<Explained>,
}

impl Rules {
    /// The rule as a tree, each check with its outcome for this caller and target. `None`: there is
    /// no such rule, and what asks for it is refused.
    pub fn explain(&self, rule: &str, context: &Context, target: &Target<'_>) -> Option<Explained> {
        let found = self.named(rule)?;
        let question = Question {
            rules: self,
            rule,
            context,
            target,
            remote: None,
        };
        let foreign = found.project_scoped && context.foreign_scope;
        let scope = match foreign {
            true => " (needs a token scoped to a project)",
            false => "",
        };
        Some(Explained {
            check: format!("{rule}{scope}"),
            holds: match foreign {
                true => Some(false),
                false => found.check.holds(&question),
            },
            below: vec![explain(&found.check, &question)],
        })
    }
}

fn explain(check: &Check, question: &Question<'_>) -> Explained {
    let mut below: Vec<Explained> = Vec::new();
    if let Check::Rule(index) = check
        && let Some(rule) = question.rules.rule(*index)
    {
        below.push(explain(&rule.check, question));
    }
    let children = check.children().iter();
    below.extend(children.map(|child| explain(child, question)));
    Explained {
        check: check.label(question.rules),
        holds: check.holds(question),
        below,
    }
}

impl Explained {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let outcome = match self.holds {
            Some(true) => "yes",
            Some(false) => "no ",
            None => "?  ",
        };
        let Self { check, below, .. } = self;
        writeln!(f, "{outcome} {:indent$}{check}", "", indent = depth * 2)?;
        below.iter().try_for_each(|below| below.write(f, depth + 1))
    }
}

/// One line per check, indented.
impl Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}
