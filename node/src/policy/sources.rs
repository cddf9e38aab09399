//! Where rules come from: `auth.policy_file`, then the files of `auth.policy_dirs` by name, each
//! over those before it.

use std::{
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{PolicyError, file, protection::RuleFormat};
use crate::config::AuthConfig;

/// Files of one directory at most.
const MAX_FILES: usize = 256;

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// `auth.policy_file`
    pub file: Option<PathBuf>,
    /// `auth.policy_dirs`; one that is not there has no files.
    pub dirs: Vec<PathBuf>,
    /// `auth.enforce_new_defaults`
    pub enforce_new_defaults: bool,
    /// `auth.property_protection_file`, and in what form it is.
    pub protection: Option<(PathBuf, RuleFormat)>,
}

/// A rule of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) rule: file::RuleText,
    /// File and line.
    pub(super) place: String,
}

/// What tells whether a file is still the same: inode, length, time of its last change (of data or
/// mode), seconds and nanoseconds. `None`: it is not there.
pub(super) type Stamp = (PathBuf, Option<(u64, u64, i64, i64)>);

impl Sources {
    /// As configured.
    pub fn of(config: &AuthConfig) -> Self {
        Self {
            file: config.policy_file.clone(),
            dirs: config.policy_dirs.clone(),
            enforce_new_defaults: config.enforce_new_defaults,
            protection: config
                .property_protection_file
                .clone()
                .map(|path| (path, config.property_protection_rule_format)),
        }
    }

    /// No files at all.
    pub fn none() -> Self {
        Self::of(&AuthConfig::default())
    }

    /// The files in the order in which they are read.
    fn files(&self) -> Result<Vec<PathBuf>, PolicyError> {
        let mut files: Vec<PathBuf> = self.file.iter().cloned().collect();
        for dir in &self.dirs {
            files.extend(files_of(dir)?);
        }
        Ok(files)
    }

    /// The rules of all files, of those of one name the last.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, PolicyError> {
        let mut all: Vec<Entry> = Vec::new();
        for path in self.files()? {
            let found = parse(&read(&path)?, &path)?;
            all.retain(|old| !found.iter().any(|new| new.name == old.name));
            all.extend(found);
        }
        Ok(all)
    }

    /// What the files look like now, without reading them.
    pub(super) fn stamps(&self) -> Vec<Stamp> {
        // A directory that cannot be read shows by its own stamp, and by the error of reading it.
        let files = self.files().unwrap_or_default();
        let protection = self.protection.iter().map(|(path, _)| path);
        let named = self
            .file
            .iter()
            .chain(protection)
            .chain(&self.dirs)
            .cloned();
        named.chain(files).map(stamp).collect()
    }
}

fn stamp(path: PathBuf) -> Stamp {
    let data = path.metadata().ok();
    let stamp = data.map(|data| (data.ino(), data.len(), data.ctime(), data.ctime_nsec()));
    (path, stamp)
}

/// The files of a directory by name, but for hidden ones and what an editor leaves.
fn files_of(dir: &Path) -> Result<Vec<PathBuf>, PolicyError> {
    let unreadable = |source| PolicyError::Unreadable {
        file: dir.to_owned(),
        source,
    };
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(unreadable(cause)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name.ends_with('~') || !path.is_file() {
            continue;
        }
        files.push(path);
        if files.len() > MAX_FILES {
            return Err(PolicyError::TooMany {
                dir: dir.to_owned(),
                max: MAX_FILES,
            });
        }
    }
    files.sort();
    Ok(files)
}

/// The text of a file of bounded length.
pub(super) fn read(path: &Path) -> Result<String, PolicyError> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(file::MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|source| PolicyError::Unreadable {
            file: path.to_owned(),
            source,
        })?;
    if text.len() as u64 > file::MAX_BYTES {
        return Err(PolicyError::TooLarge {
            file: path.to_owned(),
            max: file::MAX_BYTES,
        });
    }
    Ok(text)
}

/// The rules in the text of a file; `path` is for errors and places.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Entry>, PolicyError> {
    let entries = file::read(text).map_err(|wrong| PolicyError::Malformed {
        file: path.to_owned(),
        line: wrong.line,
        message: wrong.message,
    })?;
    let entries = entries.into_iter().map(|entry| Entry {
        place: format!("{}:{}", path.display(), entry.line),
        name: entry.name,
        rule: entry.rule,
    });
    Ok(entries.collect())
}
