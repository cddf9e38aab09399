//! `glimpse config from-glance`: the files of the reference in, our configuration out, and on standard
//! error what is not in it and why (image-api 8). What becomes of each option stands in `table.rs`.

mod draft;
mod ini;
mod joint;
mod store_table;
mod stores;
mod table;
#[cfg(test)]
mod tests;
mod write;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use draft::{Draft, Said, option};
use ini::Options;
use joint::Files;
use table::Fate;

use super::{
    USAGE,
    output::{fail, print, say},
};

/// Something was left out that changes what the node does.
const LOST: u8 = 3;

const REMOVED: &str = "is no option any more; the reference does not look at it either";

/// Options that name a file of another form, which may be among those that are given.
const NAMED: [&str; 2] = ["swift_store_config_file", "property_protection_file"];

/// Reads the files and the environment, and writes what they come to.
pub(super) fn run(files: &[PathBuf]) -> ExitCode {
    let (mut options, files) = match read(files) {
        Ok(read) => read,
        Err(why) => return fail(USAGE, &why),
    };
    let mut draft = Draft::default();
    override_by(&mut options, std::env::vars_os(), &mut draft);
    convert(&mut options, &files, &mut draft);
    let text = match draft.text() {
        Ok(text) => text,
        Err(cause) => return fail(1, &cause),
    };
    say(&draft.said().join("\n"));
    let text = format!(
        "# Written by `glimpse config from-glance`. It may hold passwords: let no one but the node\n\
         # read it (chmod 0600).\n\n{text}"
    );
    print(text.as_bytes(), if draft.has_lost() { LOST } else { 0 })
}

/// What the files say. `glance-api.conf` has the last word wherever it is named; the files of other
/// forms that it names are left alone.
fn read(files: &[PathBuf]) -> Result<(Options, Files<'_>), String> {
    let told = |path: &Path, why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let mut texts = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|cause| told(path, &cause))?;
        let mut alone = Options::default();
        alone.read(&text).map_err(|cause| told(path, &cause))?;
        texts.push((path, text, alone));
    }
    let named = |path: &Path| {
        texts.iter().any(|(_, _, options)| {
            let mut values = options.all().filter(|(_, name)| NAMED.contains(name));
            values.any(|(group, name)| {
                let value = options.get(group, name).unwrap_or_default();
                Path::new(&value).file_name() == path.file_name()
            })
        })
    };
    let is_main = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name == "glance-api.conf")
    };
    let mut mains: Vec<_> = texts.iter().filter(|(path, ..)| !named(path)).collect();
    mains.sort_by_key(|(path, ..)| is_main(path));
    let mut options = Options::default();
    let mut folder = PathBuf::from(".");
    for (path, text, _) in mains {
        options.read(text).map_err(|cause| told(path, &cause))?;
        folder = path.parent().unwrap_or(Path::new("")).to_owned();
    }
    let files = Files {
        folder,
        named: files,
    };
    Ok((options, files))
}

/// Lays variables of the form `OS_<GROUP>__<NAME>` over the files, as oslo.config does.
fn override_by(
    options: &mut Options,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    draft: &mut Draft,
) {
    let groups: Vec<String> = options
        .all()
        .map(|(group, _)| group)
        .chain(table::all().map(|row| row.group))
        .map(str::to_owned)
        .collect();
    for (variable, value) in environment {
        let (Some(variable), Some(value)) = (variable.to_str(), value.to_str()) else {
            continue;
        };
        let Some((group, name)) = variable
            .strip_prefix("OS_")
            .and_then(|rest| rest.split_once("__"))
        else {
            continue;
        };
        if let Some(group) = groups
            .iter()
            .find(|known| known.eq_ignore_ascii_case(group))
        {
            let name = name.to_ascii_lowercase();
            options.set(group, &name, value);
            let why = format!("is taken from {variable} of the environment");
            draft.say(Said::Note, option(group, &name), why);
        }
    }
}

/// Makes keys of options.
fn convert(options: &mut Options, files: &Files<'_>, draft: &mut Draft) {
    for (from, to) in table::RENAMED {
        options.rename(from, to);
    }
    let tokens = options.get("keystone_authtoken", "auth_section");
    for (group, name) in options.all() {
        if tokens.as_deref() == Some(group) || stores::is_of_store(options, group, name) {
            continue;
        }
        let value = options.get(group, name).unwrap_or_default();
        let option = option(group, name);
        let Some(row) = table::find(group, name) else {
            let why = "is no option of the reference, which does not look at it either";
            draft.say(Said::Dropped, option, why);
            continue;
        };
        match row.fate {
            Fate::Joint => {}
            Fate::Removed => draft.say(Said::Dropped, option, REMOVED),
            _ if same(&value, row.default) => {}
            Fate::Key(key, write) => match write(&value) {
                Ok(value) => draft.set(key, value, &option),
                Err(why) => draft.say(Said::Lost, option, why),
            },
            Fate::Dropped(why) => draft.say(Said::Dropped, option, why),
            Fate::Lost(why) => draft.say(Said::Lost, option, why),
        }
    }
    joint::add(options, files, draft);
    stores::add(options, draft);
    draft.settle();
}

/// Whether a value says what holds anyway.
fn same(value: &str, default: &str) -> bool {
    let truth = ini::truth(value);
    truth.is_some() && truth == ini::truth(default) || ini::list(value) == ini::list(default)
}
