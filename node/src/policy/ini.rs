//! The form of property-protection files: sections of keys, as Python's `configparser` reads them
//! (`key = value` or `key: value`, `#` and `;` for comments, indented lines continue a value,
//! `[DEFAULT]` speaks for all sections). Values are taken as they are: no `%` interpolation.

use super::file::Malformed;

/// A section with its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// 1-based.
    pub(super) line: usize,
    pub(super) name: String,
    /// In lower case, with values and lines.
    pub(super) keys: Vec<(String, String, usize)>,
}

impl Section {
    pub(super) fn get(&self, key: &str) -> Option<(&str, usize)> {
        let mut keys = self.keys.iter();
        let (_, value, line) = keys.find(|(name, ..)| name == key)?;
        Some((value, *line))
    }
}

/// Reads the sections in their order.
pub(super) fn read(text: &str) -> Result<Vec<Section>, Malformed> {
    let mut sections: Vec<Section> = Vec::new();
    let wrong = |line: usize, message: String| Malformed { line, message };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, raw) in text.lines().enumerate() {
        let line = index + 1;
        let content = raw.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        let indented = raw.starts_with([' ', '\t']);
        if indented && let Some((_, value, _)) = sections.last_mut().and_then(|s| s.keys.last_mut())
        {
            value.push('\n');
            value.push_str(content);
            continue;
        }
        // To the last bracket: the name is a pattern, which may have some of its own.
        if let Some((name, _)) = content.strip_prefix('[').and_then(|s| s.rsplit_once(']')) {
            if name.is_empty() {
                return Err(wrong(line, "a section has no name".to_owned()));
            }
            if let Some(first) = sections.iter().find(|section| section.name == name) {
                let first = first.line;
                let message = format!("section [{name}] is there twice, first in line {first}");
                return Err(wrong(line, message));
            }
            sections.push(Section {
                line,
                name: name.to_owned(),
                keys: Vec::new(),
            });
            continue;
        }
        let Some((key, value)) = content.split_once(['=', ':']) else {
            let message = format!("`{content:.64}` is neither `[section]` nor `key = value`");
            return Err(wrong(line, message));
        };
        let key = key.trim().to_ascii_lowercase();
        let Some(section) = sections.last_mut() else {
            return Err(wrong(line, format!("`{key}` stands in no section")));
        };
        if section.get(&key).is_some() {
            let message = format!("[{}] has `{key}` twice", section.name);
            return Err(wrong(line, message));
        }
        section.keys.push((key, value.trim().to_owned(), line));
    }
    Ok(with_defaults(sections))
}

/// What `[DEFAULT]` says goes to every section that does not say it itself.
fn with_defaults(mut sections: Vec<Section>) -> Vec<Section> {
    let Some(at) = sections.iter().position(|s| s.name == "DEFAULT") else {
        return sections;
    };
    let defaults = sections.remove(at);
    for section in &mut sections {
        for entry in &defaults.keys {
            if section.get(&entry.0).is_none() {
                section.keys.push(entry.clone());
            }
        }
    }
    sections
}
