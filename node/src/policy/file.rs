//! A policy file: YAML (JSON is YAML too), one mapping from rule names to rules. A rule is text
//! or, in the old form, a list of lists. Read at the level of events, for the line of every rule.

use std::borrow::Cow;

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
    let mut entries: Vec<Entry> = Vec::new();
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
        let name = match event {
            Event::MappingEnd => break,
            event => reader.text(event, "a rule name")?,
        };
        if name.is_empty() {
            return Err(reader.wrong("a rule name is empty"));
        }
        if let Some(first) = entries.iter().find(|entry| entry.name == name) {
            let message = format!("rule `{name}` is given twice, first in line {}", first.line);
            return Err(Malformed { line, message });
        }
        let rule = match reader.next()? {
            Event::SequenceStart(..) => RuleText::List(reader.alternatives()?),
            event => RuleText::Text(reader.text(event, &format!("rule `{name}`"))?),
        };
        entries.push(Entry { line, name, rule });
    }
    loop {
        match reader.next()? {
            Event::StreamEnd => return Ok(entries),
            Event::DocumentStart(_) => return Err(reader.wrong("a second document")),
            _ => {}
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
        match event {
            Event::Scalar(value, ScalarStyle::Plain, ..) if is_null(&value) => Err(self.wrong(
                format!("{what} has no value; write \"\" for always, \"!\" for never"),
            )),
            Event::Scalar(value, ..) => Ok(value.into_owned()),
            Event::Alias(_) => Err(self.wrong(format!("{what} is an alias"))),
            _ => Err(self.wrong(format!("{what} must be text or a list of lists of text"))),
        }
    }

    /// The rest of a sequence whose start has been read.
    fn alternatives(&mut self) -> Result<Vec<Vec<String>>, Malformed> {
        let mut alternatives = Vec::new();
        loop {
            match self.next()? {
                Event::SequenceEnd => return Ok(alternatives),
                Event::SequenceStart(..) => {
                    let mut all = Vec::new();
                    loop {
                        match self.next()? {
                            Event::SequenceEnd => break,
                            event => all.push(self.text(event, "a check")?),
                        }
                    }
                    alternatives.push(all);
                }
                event => alternatives.push(vec![self.text(event, "a check")?]),
            }
        }
    }
}

fn is_null(value: &Cow<'_, str>) -> bool {
    matches!(&**value, "" | "~" | "null" | "Null" | "NULL")
}
