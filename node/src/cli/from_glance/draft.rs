//! The configuration in the making, and what is said about it. Values are never said: they may be
//! secrets.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::config::{Config, Problem};

/// What became of something that is not in the result as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Said {
    /// Left out, and something changes.
    Lost,
    /// Left out, and nothing that a client sees changes.
    Dropped,
    /// Worth knowing.
    Note,
}

impl Said {
    fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Dropped => "dropped",
            Self::Note => "note",
        }
    }
}

/// `[group] name`
pub(super) fn option(group: &str, name: &str) -> String {
    format!("[{group}] {name}")
}

/// Keys with their values, and the option that each is from.
type Keys = BTreeMap<String, (Value, String)>;

/// One store.
#[derive(Debug)]
struct Store {
    /// The group that it is from, in brackets.
    group: String,
    keys: Keys,
}

/// Our keys.
#[derive(Debug, Default)]
pub(super) struct Draft {
    keys: Keys,
    stores: Vec<Store>,
    said: Vec<(Said, String, String)>,
}

impl Draft {
    /// Sets a key, for this option's sake.
    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>, option: &str) {
        let value = (value.into(), option.to_owned());
        self.keys.insert(key.to_owned(), value);
    }

    /// Adds a store, for the sake of this group; its keys follow.
    pub(super) fn add_store(&mut self, group: &str) {
        self.stores.push(Store {
            group: format!("[{group}]"),
            keys: Keys::new(),
        });
    }

    /// Sets a key of the last store.
    pub(super) fn set_of_store(&mut self, key: &str, value: impl Into<Value>, option: &str) {
        if let Some(store) = self.stores.last_mut() {
            store
                .keys
                .insert(key.to_owned(), (value.into(), option.to_owned()));
        }
    }

    /// Says something of an option.
    pub(super) fn say(&mut self, what: Said, option: impl Into<String>, why: impl Into<String>) {
        self.said.push((what, option.into(), why.into()));
    }

    /// Takes out what this version does not know or cannot do, until the rest is a configuration that
    /// `glimpse check` passes; says what went. What can be mended by nothing of this is said too.
    pub(super) fn settle(&mut self) {
        loop {
            let Err(problems) = Config::of(self.table()) else {
                return;
            };
            if !problems.iter().any(|problem| self.withdraw(problem)) {
                for Problem { key, message } in problems {
                    self.say(Said::Lost, key, message);
                }
                return;
            }
        }
    }

    /// Takes out what a problem is about; false: nothing of this is.
    fn withdraw(&mut self, Problem { key, message }: &Problem) -> bool {
        let why = |key: &str| match message.starts_with("unknown key") {
            true => format!("this version has nothing like it ({key})"),
            false => format!("{key}: {message}"),
        };
        if let Some((index, below)) = store_key(key)
            && let Some(store) = self.stores.get_mut(index)
        {
            let why = why(&format!("stores.{below}"));
            match store.keys.remove(below) {
                Some((_, option)) if !matches!(below, "name" | "type" | "path") => {
                    self.say(Said::Lost, option, why);
                }
                _ => {
                    let group = self.stores.remove(index).group;
                    // It all goes: nothing is to be said of its parts.
                    let part = format!("{group} ");
                    self.said
                        .retain(|(_, option, _)| !option.starts_with(&part));
                    self.say(Said::Lost, group, why);
                }
            }
            return true;
        }
        if key == "stores" {
            // The default went.
            let Some(Store { keys, .. }) = self.stores.iter_mut().find(|store| store.is_writable())
            else {
                return !std::mem::take(&mut self.stores).is_empty();
            };
            let source = "[glance_store] default_backend";
            let was = keys.insert("default".to_owned(), (true.into(), source.to_owned()));
            if was.is_none() {
                let name = keys.get("name").and_then(|(name, _)| name.as_str());
                let why = format!("store {:?} is it instead", name.unwrap_or_default());
                self.say(Said::Lost, source, why);
            }
            return was.is_none();
        }
        if let Some((Value::Array(items), option)) = self.keys.get_mut(key) {
            // One item is not known: the others stay.
            let told = |item: &Value| {
                let text = item.as_str();
                text.is_some_and(|text| message.contains(&format!("{text:?}")))
            };
            let before = items.len();
            items.retain(|item| !told(item));
            if items.len() < before {
                let option = option.clone();
                self.say(Said::Lost, option, format!("{key}: {message}"));
                return true;
            }
        }
        let of = |set: &str| {
            let below = |long: &str, short: &str| {
                let rest = long.strip_prefix(short);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            below(set, key) || below(key, set)
        };
        let found: Vec<String> = self.keys.keys().filter(|set| of(set)).cloned().collect();
        for key in &found {
            if let Some((_, option)) = self.keys.remove(key) {
                self.say(Said::Lost, option, why(key));
            }
        }
        !found.is_empty()
    }

    /// The configuration.
    fn table(&self) -> Table {
        let mut table = Table::new();
        for (key, (value, _)) in &self.keys {
            put(&mut table, key, value.clone());
        }
        let stores = self.stores.iter().map(|store| {
            let keys = store.keys.iter();
            let keys = keys.map(|(key, (value, _))| (key.clone(), value.clone()));
            Value::Table(keys.collect())
        });
        let stores: Vec<Value> = stores.collect();
        if !stores.is_empty() {
            table.insert("stores".to_owned(), Value::Array(stores));
        }
        table
    }

    /// The configuration, as a file.
    pub(super) fn text(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(&self.table())
    }

    /// What is to be said, the worst first; each once.
    pub(super) fn said(&self) -> Vec<String> {
        let mut said = self.said.clone();
        said.sort();
        said.dedup();
        let line = |(what, option, why): &(Said, String, String)| {
            format!("{:<8} {option}: {why}", what.word())
        };
        said.iter().map(line).collect()
    }

    /// Whether something was left out that changes what the node does.
    pub(super) fn has_lost(&self) -> bool {
        self.said.iter().any(|(what, ..)| *what == Said::Lost)
    }
}

impl Store {
    /// Whether uploads can go there.
    fn is_writable(&self) -> bool {
        let kind = self.keys.get("type").and_then(|(kind, _)| kind.as_str());
        kind != Some("http")
    }
}

/// The store that a key belongs to, and its name there.
fn store_key(key: &str) -> Option<(usize, &str)> {
    let (index, below) = key.strip_prefix("stores[")?.split_once(']')?;
    Some((index.parse().ok()?, below.strip_prefix('.').unwrap_or("")))
}

fn put(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let below = table
                .entry(first)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(below) = below {
                put(below, rest, value);
            }
        }
    }
}
