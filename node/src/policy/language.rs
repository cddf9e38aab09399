//! The policy language: text of a rule to a [`Check`].
//!
//! A rule is empty (always), or checks joined by `not`, `and`, `or` (binding in that order) and
//! parentheses. Words are split at white space; parentheses may touch them. A check is `@`
//! (always), `!` (never), `rule:<name>`, `role:<name>`, or `<kind>:<match>`, where kind is an
//! attribute of the caller or a quoted literal, or the URL of a server (`remote`), and match is text with `%(name)s` for attributes
//! of the target: `project_id` (or `owner`), `visibility`, `member_id`, `id`, and of an image its
//! other attributes and custom properties. What a target lacks matches nothing.
//!
//! The reference logs a rule that it cannot read and refuses by it for ever; here such a rule is
//! an error at load.

use super::check::{Attribute, Caller, Check, Part, Subject, Template};

/// Nesting of one rule at most; the parser and the evaluation recurse.
pub(super) const MAX_DEPTH: usize = 64;

/// Why a rule cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// Only white space.
    #[error("the rule is blank; write \"\" or \"@\" for always, \"!\" for never")]
    Blank,
    /// A check was expected.
    #[error("a check is missing {0}")]
    MissingCheck(String),
    /// Two checks without `and` or `or`.
    #[error("expected `and`, `or` or the end before `{0}`")]
    MissingOperator(String),
    /// `(` without `)` or the reverse.
    #[error("parentheses do not match")]
    Parentheses,
    /// A word that is not `kind:match`.
    #[error("`{0}` is not a check; a check is `kind:match`, `@` or `!`")]
    NotACheck(String),
    /// `http:` or `https:`.
    #[error("`{0}` is no URL of a server")]
    Remote(String),
    /// The kind is not known.
    #[error("the caller has no attribute `{0}`; it has {known}", known = Caller::NAMES.join(", "))]
    UnknownCaller(String),
    /// `%()s`
    #[error("`{0}`: a name is missing in `%()s`")]
    Nameless(String),
    /// `%` that does not start `%(name)s`.
    #[error("`{0}`: a `%` must be part of `%(name)s`, or doubled")]
    Template(String),
    /// Nested beyond `MAX_DEPTH`.
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// Gives every rule name a number, so that `rule:` checks hold an index.
pub(super) type Intern<'a> = dyn FnMut(&str) -> usize + 'a;

/// Reads a rule in the text form.
pub(super) fn parse(text: &str, intern: &mut Intern<'_>) -> Result<Check, SyntaxError> {
    if text.is_empty() {
        return Ok(Check::Always);
    }
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Err(SyntaxError::Blank);
    }
    let mut parser = Parser {
        tokens: &tokens,
        next: 0,
        intern,
    };
    let check = parser.or(0)?;
    match parser.peek() {
        None => Ok(check),
        Some(Token::Close) => Err(SyntaxError::Parentheses),
        Some(token) => Err(SyntaxError::MissingOperator(token.to_string())),
    }
}

/// Reads a rule in the list form: the outer list is joined by `or`, each inner list by `and`; the
/// strings are single checks.
pub(super) fn parse_list(
    alternatives: &[Vec<String>],
    intern: &mut Intern<'_>,
) -> Result<Check, SyntaxError> {
    if alternatives.is_empty() {
        return Ok(Check::Always);
    }
    let mut any = Vec::new();
    for all in alternatives.iter().filter(|all| !all.is_empty()) {
        let checks = all.iter().map(|text| single(text, intern));
        any.push(joined(checks.collect::<Result<_, _>>()?, Check::And));
    }
    Ok(match any.is_empty() {
        true => Check::Never,
        false => joined(any, Check::Or),
    })
}

/// The one check, or all of them under `node`.
fn joined(mut checks: Vec<Check>, node: fn(Vec<Check>) -> Check) -> Check {
    match (checks.len(), checks.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            checks.extend(last);
            node(checks)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Open,
    Close,
    And,
    Or,
    Not,
    Check(&'t str),
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "(",
            Self::Close => ")",
            Self::And => "and",
            Self::Or => "or",
            Self::Not => "not",
            Self::Check(text) => text,
        })
    }
}

/// Parentheses at the ends of a word stand for themselves; those within it belong to `%(name)s`.
fn tokens(text: &str) -> Result<Vec<Token<'_>>, SyntaxError> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let rest = word.trim_start_matches('(');
        tokens.extend(std::iter::repeat_n(Token::Open, word.len() - rest.len()));
        let check = rest.trim_end_matches(')');
        match check {
            "" => {}
            _ if check.eq_ignore_ascii_case("and") => tokens.push(Token::And),
            _ if check.eq_ignore_ascii_case("or") => tokens.push(Token::Or),
            _ if check.eq_ignore_ascii_case("not") => tokens.push(Token::Not),
            _ => tokens.push(Token::Check(check)),
        }
        tokens.extend(std::iter::repeat_n(Token::Close, rest.len() - check.len()));
    }
    Ok(tokens)
}

struct Parser<'t, 'i, 'n> {
    tokens: &'t [Token<'t>],
    next: usize,
    intern: &'i mut Intern<'n>,
}

impl Parser<'_, '_, '_> {
    fn peek(&self) -> Option<Token<'_>> {
        self.tokens.get(self.next).copied()
    }

    fn take(&mut self, token: Token<'_>) -> bool {
        let found = self.peek() == Some(token);
        self.next += usize::from(found);
        found
    }

    fn or(&mut self, depth: usize) -> Result<Check, SyntaxError> {
        let mut any = vec![self.and(depth)?];
        while self.take(Token::Or) {
            any.push(self.and(depth)?);
        }
        Ok(joined(any, Check::Or))
    }

    fn and(&mut self, depth: usize) -> Result<Check, SyntaxError> {
        let mut all = vec![self.not(depth)?];
        while self.take(Token::And) {
            all.push(self.not(depth)?);
        }
        Ok(joined(all, Check::And))
    }

    fn not(&mut self, depth: usize) -> Result<Check, SyntaxError> {
        if depth >= MAX_DEPTH {
            return Err(SyntaxError::TooDeep);
        }
        if self.take(Token::Not) {
            return Ok(Check::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take(Token::Open) {
            let check = self.or(depth + 1)?;
            return match self.take(Token::Close) {
                true => Ok(check),
                false => match self.peek() {
                    None => Err(SyntaxError::Parentheses),
                    Some(token) => Err(SyntaxError::MissingOperator(token.to_string())),
                },
            };
        }
        match self.tokens.get(self.next).copied() {
            Some(Token::Check(text)) => {
                self.next += 1;
                single(text, self.intern)
            }
            Some(token) => Err(SyntaxError::MissingCheck(format!("before `{token}`"))),
            None => Err(SyntaxError::MissingCheck("at the end".into())),
        }
    }
}

/// Reads one check.
fn single(text: &str, intern: &mut Intern<'_>) -> Result<Check, SyntaxError> {
    match text {
        "@" => return Ok(Check::Always),
        "!" => return Ok(Check::Never),
        _ => {}
    }
    let Some((kind, matched)) = text.split_once(':') else {
        return Err(SyntaxError::NotACheck(text.into()));
    };
    match kind {
        "" => Err(SyntaxError::NotACheck(text.into())),
        "rule" if matched.is_empty() => Err(SyntaxError::NotACheck(text.into())),
        "rule" => Ok(Check::Rule(intern(matched))),
        "role" => Ok(Check::Role(template(matched)?)),
        "http" | "https" => remote(text),
        _ => Ok(Check::Equal(subject(kind)?, template(matched)?)),
    }
}

/// `http:` or `https:`; the server is the rule's own, and only what follows depends on the target.
fn remote(text: &str) -> Result<Check, SyntaxError> {
    let bad = || SyntaxError::Remote(text.into());
    let url = template(text)?;
    let fixed = match url.0.first() {
        Some(Part::Literal(fixed)) => fixed,
        Some(Part::Attribute(_)) | None => return Err(bad()),
    };
    let parsed = reqwest::Url::parse(fixed).map_err(|_| bad())?;
    let (_, rest) = fixed.split_once("://").ok_or_else(bad)?;
    match parsed.host_str() {
        Some(host) if !host.is_empty() && (rest.contains('/') || url.0.len() == 1) => {
            Ok(Check::Remote(url))
        }
        Some(_) | None => Err(bad()),
    }
}

/// The left side of `kind:match`: a quoted literal, one of the bare literals, or the caller's
/// attribute.
fn subject(kind: &str) -> Result<Subject, SyntaxError> {
    let quoted = ['\'', '"']
        .into_iter()
        .find_map(|quote| kind.strip_prefix(quote)?.strip_suffix(quote));
    if let Some(text) = quoted {
        return Ok(Subject::Literal(text.into()));
    }
    if matches!(kind, "True" | "False" | "None") || kind.parse::<i64>().is_ok() {
        return Ok(Subject::Literal(kind.into()));
    }
    Caller::parse(kind)
        .map(Subject::Caller)
        .ok_or_else(|| SyntaxError::UnknownCaller(kind.into()))
}

/// The right side: literal text with `%(name)s` in it; `%%` is one `%`.
fn template(text: &str) -> Result<Template, SyntaxError> {
    let bad = || SyntaxError::Template(text.into());
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            literal.push('%');
            rest = after;
            continue;
        }
        let (name, after) = after
            .strip_prefix('(')
            .and_then(|after| after.split_once(")s"))
            .ok_or_else(bad)?;
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal).into()));
        }
        if name.is_empty() {
            return Err(SyntaxError::Nameless(text.into()));
        }
        parts.push(Part::Attribute(Attribute::parse(name)));
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into()));
    }
    Ok(Template(parts.into()))
}
