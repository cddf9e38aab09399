//! Which keys exist: those that the defaults write.

use toml::{Table, Value};

use super::{Config, Problem};

/// Every key with its default, as TOML.
pub(super) fn known() -> Table {
    // The defaults hold nothing that TOML cannot say; the test of the example file proves it.
    Table::try_from(Config::default()).unwrap_or_default()
}

/// The keys of `table` that do not exist, each by its dotted name.
pub(super) fn unknown_keys(known: &Table, table: &Table) -> Vec<Problem> {
    let mut found = Vec::new();
    walk(known, table, "", &mut found);
    found
}

/// The keys whose values differ, each by its dotted name; a list as a whole.
pub(crate) fn changed_keys(old: &Config, new: &Config) -> Vec<String> {
    fn compare(old: &Table, new: &Table, prefix: &str, found: &mut Vec<String>) {
        for (key, value) in new {
            let name = format!("{prefix}{key}");
            match (old.get(key), value) {
                (Some(Value::Table(old)), Value::Table(new)) => {
                    compare(old, new, &format!("{name}."), found);
                }
                (Some(old), new) if old == new => {}
                (Some(_) | None, _) => found.push(name),
            }
        }
    }
    let table = |config: &Config| Table::try_from(config).unwrap_or_default();
    let mut found = Vec::new();
    compare(&table(old), &table(new), "", &mut found);
    // Secrets are all written alike.
    let password = "auth.keystone.password".to_owned();
    if old.auth.keystone.password != new.auth.keystone.password && !found.contains(&password) {
        found.push(password);
    }
    found
}

fn walk(known: &Table, table: &Table, prefix: &str, found: &mut Vec<Problem>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        match (known.get(key), value) {
            (None, _) => found.push(Problem::new(&name, unknown(known, key))),
            (Some(Value::Table(known)), Value::Table(table)) => {
                walk(known, table, &format!("{name}."), found);
            }
            (Some(Value::Array(known)), Value::Array(items)) => {
                let Some(Value::Table(known)) = known.first() else {
                    continue;
                };
                for (index, item) in items.iter().enumerate() {
                    if let Value::Table(table) = item {
                        walk(known, table, &format!("{name}[{index}]."), found);
                    }
                }
            }
            // A value of another type than the default's is told when it is read.
            (Some(_), _) => {}
        }
    }
}

/// What to say of an unknown key: the nearest known one of the same table, if one is near.
fn unknown(known: &Table, key: &str) -> String {
    match nearest(known.keys().map(String::as_str), key) {
        Some(name) => format!("unknown key; did you mean {name:?}?"),
        None => "unknown key".to_owned(),
    }
}

/// Which of some names a misspelt one may have been: two slips away, and most of it right.
pub(crate) fn nearest<'a>(names: impl Iterator<Item = &'a str>, wrong: &str) -> Option<&'a str> {
    let (steps, name) = names.map(|name| (distance(name, wrong), name)).min()?;
    (steps <= 2 && steps * 2 < wrong.len()).then_some(name)
}

/// Edits of single characters that turn `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let best = (diagonal + usize::from(from != *to))
                .min(left + 1)
                .min(*cell + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
