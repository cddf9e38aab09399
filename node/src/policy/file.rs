//! A policy file: YAML (JSON is YAML too), one mapping from rule names to rules. A rule is text
//! or, in the old form, a list of lists. Read at the level of events, for the line of every rule.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Bytes of a policy file at most; every rule of the defaults with comments is about 30 KiB.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// One entry of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) rule: RuleText,
}

/// The rule as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RuleText {
    /// The policy language.
    Text(String),
    /// `or` of `and`s.
    List(Vec<Vec<String>>),
}

impl std::fmt::Display for RuleText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::List(list) if list.is_empty() => Ok(()),
            Self::List(list) => {
                let any = list.iter().filter(|all| !all.is_empty());
                let any: Vec<_> = any.map(|all| format!("({})", all.join(" and "))).collect();
                f.write_str(if any.is_empty() { "!" } else { "" })?;
                f.write_str(&any.join(" or "))
            }
        }
    }
}

/// What is wrong, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Reads the entries in their order. An empty file has none.
pub(super) fn read(text: &str) -> Result<Vec<Entry>, Malformed> {
    // Windows editors write it; it is no part of the text.
    let mut reader = Reader {
        events: Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)),
        line: 1,
    };
    let mut entries = Vec::new();
    let mut lines = HashMap::new();
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(Vec::new()),
            Event::MappingStart(..) => break,
            // A file of comments between `---` and the end.
            Event::Scalar(value, ScalarStyle::Plain, ..) if value.is_empty() || value == "~" => {}
            Event::Scalar(..) | Event::SequenceStart(..) | Event::Alias(_) => {
                return Err(reader.wrong("expected a mapping from rule names to rules"));
            }
            Event::StreamStart
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::Nothing
            | Event::SequenceEnd
            | Event::MappingEnd => {}
        }
    }
    loop {
        let event = reader.next()?;
        let line = reader.line;
        if event == Event::MappingEnd {
            break;
        }
        let name = reader.text(event, "a rule name")?;
        if name.is_empty() {
            return Err(reader.wrong("a rule name is empty"));
        }
        if let Some(first) = lines.insert(name.clone(), line) {
            let message = format!("rule `{name}` is given twice, first in line {first}");
            return Err(Malformed { line, message });
        }
        let event = reader.next()?;
        let rule = if matches!(event, Event::SequenceStart(..)) {
            RuleText::List(reader.alternatives()?)
        } else {
            RuleText::Text(reader.text(event, &format!("rule `{name}`"))?)
        };
        entries.push(Entry { line, name, rule });
    }
    loop {
        let event = reader.next()?;
        if matches!(event, Event::DocumentStart(_)) {
            return Err(reader.wrong("a second document"));
        }
        if event == Event::StreamEnd {
            return Ok(entries);
        }
    }
}

struct Reader<'t> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    line: usize,
}

impl<'t> Reader<'t> {
    /// The next event, with its line noted.
    fn next(&mut self) -> Result<Event<'t>, Malformed> {
        match self.events.next_event() {
            None => Ok(Event::StreamEnd),
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => Err(Malformed {
                line: error.marker().line(),
                message: error.info().to_owned(),
            }),
        }
    }

    fn wrong(&self, message: impl Into<String>) -> Malformed {
        Malformed {
            line: self.line,
            message: message.into(),
        }
    }

    /// The text of a scalar. Null is refused: to the reference it means "always", which nobody
    /// means who leaves a rule blank.
    fn text(&self, event: Event<'t>, what: &str) -> Result<String, Malformed> {
        if matches!(event, Event::Alias(_)) {
            return Err(self.wrong(format!("{what} is an alias")));
        }
        let Event::Scalar(value, style, ..) = event else {
            return Err(self.wrong(format!("{what} must be text or a list of lists of text")));
        };
        if style == ScalarStyle::Plain && is_null(&value) {
            let hint = "write \"\" for always, \"!\" for never";
            return Err(self.wrong(format!("{what} has no value; {hint}")));
        }
        Ok(value.into_owned())
    }

    /// The rest of a sequence whose start has been read.
    fn alternatives(&mut self) -> Result<Vec<Vec<String>>, Malformed> {
        let mut alternatives = Vec::new();
        loop {
            let event = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(alternatives);
            }
            if !matches!(event, Event::SequenceStart(..)) {
                alternatives.push(vec![self.text(event, "a check")?]);
                continue;
            }
            let mut all = Vec::new();
            loop {
                let event = self.next()?;
                if event == Event::SequenceEnd {
                    break;
                }
                all.push(self.text(event, "a check")?);
            }
            alternatives.push(all);
        }
    }
}

fn is_null(value: &str) -> bool {
    matches!(value, "" | "~" | "null" | "Null" | "NULL")
}
