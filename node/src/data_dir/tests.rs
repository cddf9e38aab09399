//! The lock, the format, and what is refused untouched.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use super::{DataDir, DataDirError};

const NOW: Duration = Duration::from_secs(1_700_000_000);

/// Every file below `root` with its content and modification time.
fn picture(root: &Path) -> BTreeMap<String, (Vec<u8>, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let data = if path.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            let changed = path.metadata().unwrap().modified().unwrap();
            found.insert(path.display().to_string(), (data, changed));
        }
    }
    found
}

#[test]
fn the_first_start_makes_it_and_the_next_finds_the_same_identity() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("data");
    let first = DataDir::open(&root, NOW).unwrap();
    let identity = first.identity().clone();
    assert_eq!(identity.created_at, NOW.as_secs());
    assert_ne!(identity.raft_id, 0);
    for folder in [
        first.registry(),
        first.cache(),
        first.manifests(),
        root.join("images"),
    ] {
        assert!(folder.is_dir(), "{}", folder.display());
    }
    drop(first);
    let again = DataDir::open(&root, NOW * 2).unwrap();
    assert_eq!(*again.identity(), identity);
}

#[test]
fn two_directories_never_share_an_identity() {
    let temp = tempfile::tempdir().unwrap();
    let a = DataDir::open(&temp.path().join("a"), NOW).unwrap();
    let b = DataDir::open(&temp.path().join("b"), NOW).unwrap();
    assert_ne!(a.identity().cluster_id, b.identity().cluster_id);
    assert_ne!(a.identity().raft_id, b.identity().raft_id);
}

#[test]
fn a_second_start_is_refused_with_the_holders_pid() {
    let temp = tempfile::tempdir().unwrap();
    let held = DataDir::open(temp.path(), NOW).unwrap();
    let error = DataDir::open(temp.path(), NOW).unwrap_err();
    let own = std::process::id();
    assert!(matches!(error, DataDirError::Locked { pid: Some(pid), .. } if pid == own));
    assert!(
        error
            .to_string()
            .ends_with(&format!("is in use by pid {own}"))
    );
    drop(held);
    DataDir::open(temp.path(), NOW).unwrap();
}

#[test]
fn an_unknown_format_version_is_refused_and_nothing_is_touched() {
    let temp = tempfile::tempdir().unwrap();
    drop(DataDir::open(temp.path(), NOW).unwrap());
    fs::write(
        temp.path().join("FORMAT"),
        "version = 2\nof_a_later_form = [1]\n",
    )
    .unwrap();
    let before = picture(temp.path());
    let error = DataDir::open(temp.path(), NOW).unwrap_err();
    assert!(matches!(error, DataDirError::Format { found: 2, .. }));
    assert_eq!(picture(temp.path()), before);
}

#[test]
fn a_damaged_format_file_is_refused_and_nothing_is_touched() {
    for text in [
        "",
        "version = \"x\"",
        "version = 1\n",
        "\u{0}\u{0}",
        "version = 1\ncluster_id = \"c\"\nraft_id = 0\ncreated_at = 1\n",
    ] {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("FORMAT"), text).unwrap();
        let before = picture(temp.path());
        let error = DataDir::open(temp.path(), NOW).unwrap_err();
        assert!(
            matches!(error, DataDirError::Damaged { .. }),
            "{text:?}: {error}"
        );
        assert_eq!(picture(temp.path()), before);
    }
}

#[test]
fn a_directory_with_somebody_elses_files_is_refused_and_nothing_is_touched() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("thesis.tex"), "x").unwrap();
    let before = picture(temp.path());
    let error = DataDir::open(temp.path(), NOW).unwrap_err();
    assert!(matches!(error, DataDirError::Foreign { ref found, .. } if found == "thesis.tex"));
    assert_eq!(picture(temp.path()), before);
}

#[test]
fn a_data_directory_that_lost_its_format_file_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let data = DataDir::open(temp.path(), NOW).unwrap();
    fs::write(data.registry().join("log"), "acknowledged").unwrap();
    drop(data);
    fs::remove_file(temp.path().join("FORMAT")).unwrap();
    let error = DataDir::open(temp.path(), NOW).unwrap_err();
    assert!(matches!(error, DataDirError::Foreign { ref found, .. } if found == "registry"));
}

#[test]
fn a_first_start_that_was_cut_anywhere_is_done_again() {
    for left in [
        &["LOCK"][..],
        &["LOCK", "registry/"],
        &[
            "LOCK",
            "registry/",
            "cache/",
            "manifests/",
            "images/",
            "FORMAT.new",
        ],
        &["lost+found/"],
    ] {
        let temp = tempfile::tempdir().unwrap();
        for name in left {
            match name.strip_suffix('/') {
                Some(folder) => fs::create_dir(temp.path().join(folder)).unwrap(),
                None => fs::write(temp.path().join(name), "vers").unwrap(),
            }
        }
        let data = DataDir::open(temp.path(), NOW).unwrap();
        assert_eq!(data.identity().version, super::FORMAT_VERSION);
    }
}

#[test]
fn the_directories_of_stores_are_remembered_and_a_damaged_list_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let data = DataDir::open(temp.path(), NOW).unwrap();
    assert_eq!(data.store_roots().unwrap(), BTreeMap::new());
    let roots = BTreeMap::from([("a.b".to_owned(), vec!["/x y/\"z".into(), "/q".into()])]);
    data.keep_store_roots(&roots).unwrap();
    drop(data);
    let data = DataDir::open(temp.path(), NOW).unwrap();
    assert_eq!(data.store_roots().unwrap(), roots);
    fs::write(temp.path().join("STORES"), "a = 1").unwrap();
    let error = data.store_roots().unwrap_err();
    assert!(matches!(error, DataDirError::Damaged { .. }), "{error}");
}
