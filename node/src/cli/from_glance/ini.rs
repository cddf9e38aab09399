//! The INI dialect of oslo.config (image-api 8.1): groups, continuation lines by indentation, comments
//! at the beginning of a line only, repeated keys, `$name` and `${group.name}`.

use std::collections::BTreeMap;

/// The group of what stands in `[DEFAULT]`, or before any group.
pub(super) const DEFAULT: &str = "DEFAULT";

/// How deep a value may be named by another's.
const DEEPEST: usize = 16;

/// One line that is none of this dialect. The line itself is not told: it may hold a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct Malformed {
    /// Counted from 1.
    pub(super) line: usize,
    /// What is wrong with it.
    pub(super) what: &'static str,
}

/// What files and environment say, the last word last. Groups and names are as they are written there,
/// but dashes in names are underscores.
#[derive(Debug, Default)]
pub(super) struct Options(BTreeMap<String, BTreeMap<String, Vec<String>>>);

impl Options {
    /// Adds what a file says. Within one file repeated keys add up; a later file replaces them.
    pub(super) fn read(&mut self, text: &str) -> Result<(), Malformed> {
        let mut of_file = Self::default();
        let mut group = DEFAULT.to_owned();
        let mut open: Option<(String, String)> = None;
        for (index, line) in text.lines().enumerate() {
            let wrong = |what| Malformed {
                line: index + 1,
                what,
            };
            let line = line.trim_end();
            if line.starts_with([' ', '\t']) {
                let Some((_, value)) = &mut open else {
                    return Err(wrong("goes on with a value, but none was begun"));
                };
                value.push('\n');
                value.push_str(line.trim_start());
                continue;
            }
            if let Some((name, value)) = open.take() {
                of_file.add(&group, &name, value);
            }
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(rest) = line.strip_prefix('[') {
                group = rest
                    .strip_suffix(']')
                    .filter(|name| !name.is_empty())
                    .ok_or_else(|| wrong("is no group: [name]"))?
                    .to_owned();
                continue;
            }
            let (name, value) = line
                .split_once(['=', ':'])
                .ok_or_else(|| wrong("is no assignment: name = value"))?;
            if name.trim().is_empty() {
                return Err(wrong("has no name before its value"));
            }
            open = Some((
                name.trim().replace('-', "_"),
                unquoted(value.trim()).to_owned(),
            ));
        }
        if let Some((name, value)) = open {
            of_file.add(&group, &name, value);
        }
        for (group, names) in of_file.0 {
            self.0.entry(group).or_default().extend(names);
        }
        Ok(())
    }

    fn add(&mut self, group: &str, name: &str, value: String) {
        let names = self.0.entry(group.to_owned()).or_default();
        names.entry(name.to_owned()).or_default().push(value);
    }

    /// Sets an option to one value, in place of what was said before.
    pub(super) fn set(&mut self, group: &str, name: &str, value: &str) {
        let names = self.0.entry(group.to_owned()).or_default();
        names.insert(name.to_owned(), vec![value.to_owned()]);
    }

    /// Lets an option stand under its new name, unless that says something itself.
    pub(super) fn rename(&mut self, from: (&str, &str), to: (&str, &str)) {
        let Some(values) = self
            .0
            .get_mut(from.0)
            .and_then(|names| names.remove(from.1))
        else {
            return;
        };
        let names = self.0.entry(to.0.to_owned()).or_default();
        names.entry(to.1.to_owned()).or_insert(values);
    }

    /// All that is said, by group and name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(group, names)| {
            let names = names.keys().map(String::as_str);
            names.map(move |name| (group.as_str(), name))
        })
    }

    /// The value of an option, with what it names put in; the last one where it is repeated.
    pub(super) fn get(&self, group: &str, name: &str) -> Option<String> {
        self.values(group, name).pop()
    }

    /// All values of an option that may be repeated.
    pub(super) fn values(&self, group: &str, name: &str) -> Vec<String> {
        let raw = self.raw(group, name).into_iter().flatten();
        raw.map(|value| self.filled(group, value, 0)).collect()
    }

    fn raw(&self, group: &str, name: &str) -> Option<&Vec<String>> {
        self.0.get(group)?.get(name)
    }

    /// Puts in what `$name`, `${name}` and `${group.name}` stand for: an option of the same group, or
    /// else of the default one. `$$` is a dollar sign; what names nothing stays as it is.
    fn filled(&self, group: &str, value: &str, depth: usize) -> String {
        let mut text = String::new();
        let mut rest = value;
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                text.push('$');
                rest = after;
                continue;
            }
            let (name, after) = match after.strip_prefix('{').and_then(|all| all.split_once('}')) {
                Some((name, after)) => (name, after),
                None => {
                    let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    let end = after.find(|c| !of_name(c)).unwrap_or(after.len());
                    after.split_at(end)
                }
            };
            let found = match name.split_once('.') {
                Some((group, name)) => self.raw(group, name).map(|values| (group, values)),
                None => [group, DEFAULT]
                    .into_iter()
                    .find_map(|group| Some((group, self.raw(group, name)?))),
            };
            match found.and_then(|(group, values)| Some((group, values.last()?))) {
                Some((group, value)) if depth < DEEPEST => {
                    text.push_str(&self.filled(group, value, depth + 1));
                }
                _ => {
                    text.push('$');
                    text.push_str(&rest[before.len() + 1..rest.len() - after.len()]);
                }
            }
            rest = after;
        }
        text.push_str(rest);
        text
    }
}

fn unquoted(value: &str) -> &str {
    ["\"", "'"]
        .iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

/// The items of a list: separated by commas, each perhaps quoted, the whole perhaps in brackets.
pub(super) fn list(value: &str) -> Vec<String> {
    let value = value.trim();
    let inside = value
        .strip_prefix('[')
        .and_then(|value| value.strip_suffix(']'))
        .unwrap_or(value);
    inside
        .split([',', '\n'])
        .map(|item| unquoted(item.trim()).to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

/// The pairs of a dictionary `key:value,key:value`; an item without a colon is a key without a value.
pub(super) fn pairs(value: &str) -> Vec<(String, String)> {
    let pair = |item: String| {
        let (key, value) = item.split_once(':').unwrap_or((&item, ""));
        (key.trim().to_owned(), value.trim().to_owned())
    };
    list(value).into_iter().map(pair).collect()
}

/// What counts as yes and no.
pub(super) fn truth(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Options {
        let mut options = Options::default();
        options.read(text).unwrap();
        options
    }

    #[test]
    fn values_go_on_in_indented_lines_and_comments_stand_at_the_beginning_of_a_line() {
        let options = read(
            "a = 1 # no comment\n# a = 2\n; a = 3\n[g]\nlist = a,\n  b,\n\tc\n\nname: x = y\n\
             quoted = \"a b\"\nempty =\nwith-dash = 1\n",
        );
        assert_eq!(options.get(DEFAULT, "a").unwrap(), "1 # no comment");
        assert_eq!(list(&options.get("g", "list").unwrap()), ["a", "b", "c"]);
        assert_eq!(options.get("g", "name").unwrap(), "x = y");
        assert_eq!(options.get("g", "quoted").unwrap(), "a b");
        assert_eq!(options.get("g", "empty").unwrap(), "");
        assert_eq!(options.get("g", "with_dash").unwrap(), "1");
        assert_eq!(options.get("g", "absent"), None);
    }

    #[test]
    fn a_value_may_name_others() {
        let options = read(
            "host = h\nurl = http://$host:${port}/\nport = 1\nprice = $$5 $absent ${g.no}\n\
             [g]\nhost = other\nname = $host-${DEFAULT.host}-${g.host}-$port\nloop = a$loop\n",
        );
        assert_eq!(options.get(DEFAULT, "url").unwrap(), "http://h:1/");
        assert_eq!(options.get(DEFAULT, "price").unwrap(), "$5 $absent ${g.no}");
        assert_eq!(options.get("g", "name").unwrap(), "other-h-other-1");
        assert!(options.get("g", "loop").unwrap().len() < 64);
    }

    #[test]
    fn repeated_keys_add_up_in_one_file_and_a_later_file_replaces_them() {
        let mut options = read("[oslo_policy]\npolicy_dirs = a\npolicy_dirs = b\n");
        assert_eq!(options.values("oslo_policy", "policy_dirs"), ["a", "b"]);
        assert_eq!(options.get("oslo_policy", "policy_dirs").unwrap(), "b");
        options.read("[oslo_policy]\npolicy_dirs = c\n").unwrap();
        assert_eq!(options.values("oslo_policy", "policy_dirs"), ["c"]);
    }

    #[test]
    fn lists_and_dictionaries_take_the_forms_of_the_reference() {
        assert_eq!(list("['a', \"b\",c]"), ["a", "b", "c"]);
        assert_eq!(list("[]"), [""; 0]);
        assert_eq!(list(" "), [""; 0]);
        assert_eq!(
            pairs("a:b, c : d:e,f"),
            [("a", "b"), ("c", "d:e"), ("f", "")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert_eq!(truth("On"), Some(true));
        assert_eq!(truth("maybe"), None);
    }

    #[test]
    fn what_is_no_ini_is_told_by_its_line_only() {
        for (text, line) in [
            ("a = 1\nsecret", 2),
            ("[g\n", 1),
            ("[]\n", 1),
            ("  a = 1\n", 1),
            ("= 1\n", 1),
        ] {
            let error = Options::default().read(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
