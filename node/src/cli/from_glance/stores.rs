//! The stores: one group for each of `enabled_backends`, or all in `[glance_store]` as in older files
//! (image-api 7.1, 7.2).

use std::path::Path;

use super::{
    draft::{Draft, Said, option},
    ini::{self, Options},
    same,
    table::{self, Fate},
};

/// Where a `file` store of the reference lies that says nothing.
const DATADIR: &str = "/var/lib/glance/images";

/// What marks a directory that the node may take with what is in it.
const MARKER: &str = ".glimpse-store";

/// The group of stores as such.
const SHARED: &str = "glance_store";

/// The types that have rows in the table.
const TYPES: [&str; 7] = ["file", "http", "rbd", "s3", "swift", "cinder", "vmware"];

/// One store of the reference.
struct Store {
    /// What it is called.
    name: String,
    /// Its type.
    kind: String,
    /// Where its options stand.
    group: String,
}

/// Groups that hold options of a store, and its type.
fn all(options: &Options) -> Vec<Store> {
    let backends = options.get(ini::DEFAULT, "enabled_backends");
    let backends = ini::pairs(&backends.unwrap_or_default());
    if !backends.is_empty() {
        let stores = backends.into_iter().map(|(name, kind)| Store {
            group: name.clone(),
            name,
            kind,
        });
        return stores.collect();
    }
    let kinds = options.get(SHARED, "stores");
    let kinds = ini::list(kinds.as_deref().unwrap_or("file,http"));
    let stores = kinds.into_iter().map(|kind| {
        let kind = kind_of(&kind).to_owned();
        Store {
            name: kind.clone(),
            kind,
            group: SHARED.to_owned(),
        }
    });
    stores.collect()
}

/// The type behind the names that old files know it by.
fn kind_of(name: &str) -> &str {
    match name {
        "filesystem" | "glance.store.filesystem.Store" => "file",
        "glance.store.http.Store" | "https" => "http",
        "glance.store.rbd.Store" => "rbd",
        "glance.store.s3.Store" => "s3",
        "glance.store.swift.Store" => "swift",
        "glance.store.cinder.Store" => "cinder",
        "vsphere" | "glance.store.vmware_datastore.Store" => "vmware",
        name => name,
    }
}

/// Whether an option is read here.
pub(super) fn is_of_store(options: &Options, group: &str, name: &str) -> bool {
    let stores = all(options);
    let mut of_group = stores.iter().filter(|store| store.group == group);
    match group == SHARED {
        // Options of stores that are not enabled are not looked at.
        true => TYPES.iter().any(|kind| table::find(kind, name).is_some()),
        false => of_group.any(|store| {
            [store.kind.as_str(), "store"]
                .iter()
                .any(|kind| table::find(kind, name).is_some())
        }),
    }
}

/// Adds the stores.
pub(super) fn add(options: &Options, draft: &mut Draft) {
    let multi = options.get(ini::DEFAULT, "enabled_backends").is_some();
    let default = match multi {
        true => options.get(SHARED, "default_backend").unwrap_or_default(),
        false => options
            .get(SHARED, "default_store")
            .unwrap_or("file".into()),
    };
    let default = kind_of(&default).to_owned();
    for store in all(options) {
        if matches!(store.kind.as_str(), "cinder" | "vmware") || !TYPES.contains(&&*store.kind) {
            let why = "stores of this type are not known";
            draft.say(Said::Lost, format!("[{}]", store.group), why);
            continue;
        }
        let source = match multi {
            true => option(ini::DEFAULT, "enabled_backends"),
            false => option(SHARED, "stores"),
        };
        draft.add_store(&store.group);
        draft.set_of_store("name", store.name.clone(), &source);
        draft.set_of_store("type", store.kind.clone(), &source);
        if store.name == default {
            draft.set_of_store("default", true, "[glance_store] default_backend");
        }
        if store.kind == "file" {
            let name = "filesystem_store_datadir";
            let path = options.get(&store.group, name);
            let path = path.unwrap_or_else(|| DATADIR.to_owned());
            note_files(Path::new(&path), &store.group, draft);
            draft.set_of_store("path", path, &option(&store.group, name));
        }
        // Where nothing is said, the reference takes any certificate.
        let name = "https_insecure";
        if store.kind == "http" && options.get(&store.group, name).is_none() {
            let why = "certificates of other servers are verified, unless this is set";
            draft.say(Said::Note, option(&store.group, name), why);
        }
        add_options(options, &store, draft);
    }
}

/// Files that are there already are those of the reference.
fn note_files(path: &Path, group: &str, draft: &mut Draft) {
    let has_files = std::fs::read_dir(path).is_ok_and(|mut files| files.next().is_some());
    if has_files && !path.join(MARKER).exists() {
        let why = format!(
            "there are files in the directory of this store; an empty file {MARKER} in it lets the \
             node take it with them"
        );
        draft.say(Said::Note, format!("[{group}]"), why);
    }
}

fn add_options(options: &Options, store: &Store, draft: &mut Draft) {
    for (group, name) in options.all().filter(|(group, _)| *group == store.group) {
        let row = [store.kind.as_str(), "store"]
            .iter()
            .find_map(|kind| table::find(kind, name));
        let (Some(row), Some(value)) = (row, options.get(group, name)) else {
            continue;
        };
        if same(&value, row.default) {
            continue;
        }
        let option = option(group, name);
        match row.fate {
            Fate::Key(key, write) => match write(&value) {
                Ok(value) => draft.set_of_store(key, value, &option),
                Err(why) => draft.say(Said::Lost, option, why),
            },
            Fate::Joint => {}
            Fate::Removed => draft.say(Said::Dropped, option, super::REMOVED),
            Fate::Dropped(why) => draft.say(Said::Dropped, option, why),
            Fate::Lost(why) => draft.say(Said::Lost, option, why),
        }
    }
}
