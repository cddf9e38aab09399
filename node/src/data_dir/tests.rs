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
fn an_unknown_format_version_is_refused_by_name_and_nothing_is_touched() {
    let known = super::formats().into_keys();
    for name in known.chain(["version".to_owned(), "edges".to_owned()]) {
        let temp = tempfile::tempdir().unwrap();
        drop(DataDir::open(temp.path(), NOW).unwrap());
        let path = temp.path().join("FORMAT");
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| match line.split_once(" = ") {
            Some((key, _)) if key == name => format!("{name} = 99\n"),
            _ => format!("{line}\n"),
        });
        let mut changed: String = lines.collect();
        if name == "edges" {
            changed.push_str("edges = 99\n");
        }
        assert_ne!(changed, text, "{name} is not in FORMAT");
        fs::write(&path, changed).unwrap();
        let what = if name == "version" { "layout" } else { &name };
        let told = format!("format version 99 of {what} (this program knows ");
        let before = picture(temp.path());
        let error = DataDir::open(temp.path(), NOW).unwrap_err();
        assert!(matches!(error, DataDirError::Format { .. }), "{error}");
        assert!(error.to_string().contains(&told), "{error}");
        assert_eq!(picture(temp.path()), before);
    }
}

#[test]
fn a_directory_of_another_user_is_refused_and_nothing_is_touched() {
    let temp = tempfile::tempdir().unwrap();
    drop(DataDir::open(temp.path(), NOW).unwrap());
    let path = temp.path().join("FORMAT");
    let ours = rustix::process::geteuid().as_raw();
    if std::os::unix::fs::chown(&path, Some(ours + 4711), None).is_err() {
        // Only root can give files away.
        return;
    }
    // Whose a new file here is decides where the owner is not the process's.
    assert!(super::makes_files_of(temp.path(), ours));
    assert!(!super::makes_files_of(temp.path(), ours + 4711));
    let before = picture(temp.path());
    let error = DataDir::look(temp.path()).unwrap_err();
    assert!(matches!(error, DataDirError::Owner { .. }), "{error}");
    let error = DataDir::open(temp.path(), NOW).unwrap_err();
    let told = format!(
        "belongs to uid {}, and this process runs as uid {ours}",
        ours + 4711
    );
    assert!(error.to_string().contains(&told), "{error}");
    assert_eq!(picture(temp.path()), before);
}

#[test]
fn a_lock_that_is_a_link_or_no_file_is_refused_and_nothing_is_written_through_it() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("data");
    drop(DataDir::open(&root, NOW).unwrap());
    let (lock, victim) = (root.join("LOCK"), temp.path().join("victim"));
    fs::write(&victim, "precious").unwrap();
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&victim, &lock).unwrap();
    let error = DataDir::open(&root, NOW).unwrap_err();
    assert!(
        matches!(error, DataDirError::Io { ref path, .. } if *path == lock),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    fs::remove_file(&lock).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &lock,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();
    let error = DataDir::open(&root, NOW).unwrap_err();
    assert!(error.to_string().ends_with("not a regular file"), "{error}");
}

#[test]
fn a_registry_that_was_begun_is_known_by_its_mark_the_stores_or_a_manifest() {
    let temp = tempfile::tempdir().unwrap();
    let opened = || DataDir::open(temp.path(), NOW).unwrap();
    assert!(!opened().has_registry());
    begin_registry(temp.path());
    let shelf = temp.path().join("manifests/00");
    fs::create_dir(&shelf).unwrap();
    assert!(opened().has_registry());
    fs::remove_dir(&shelf).unwrap();
    assert!(!opened().has_registry());
    opened().keep_store_roots(&BTreeMap::new()).unwrap();
    assert!(opened().has_registry());
    fs::remove_file(temp.path().join("STORES")).unwrap();
    opened().keep_registry().unwrap();
    assert!(opened().has_registry());
}

/// The parts of a registry, without content.
fn begin_registry(root: &Path) {
    fs::create_dir_all(root.join("registry/log")).unwrap();
    fs::write(root.join("registry/tables.redb"), "").unwrap();
}

#[test]
fn a_registry_of_which_a_part_is_gone_is_refused_and_nothing_is_made_in_its_place() {
    for part in super::REGISTRY_PARTS {
        let temp = tempfile::tempdir().unwrap();
        DataDir::open(temp.path(), NOW)
            .unwrap()
            .keep_registry()
            .unwrap();
        begin_registry(temp.path());
        drop(DataDir::open(temp.path(), NOW).unwrap());
        let gone = temp.path().join(part);
        fs::rename(&gone, temp.path().join("aside")).unwrap();
        let before = picture(temp.path());
        for error in [
            DataDir::open(temp.path(), NOW).unwrap_err(),
            DataDir::look(temp.path()).unwrap_err(),
        ] {
            assert!(
                matches!(error, DataDirError::RegistryGone { ref path } if *path == gone),
                "{error}"
            );
        }
        let mut after = picture(temp.path());
        // The pid of who tried.
        let lock = temp.path().join("LOCK").display().to_string();
        after.insert(lock.clone(), before[&lock].clone());
        assert_eq!(after, before);
    }
}

#[test]
fn a_folder_that_was_lost_is_made_again_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let temp = tempfile::tempdir().unwrap();
    let data = DataDir::open(temp.path(), NOW).unwrap();
    let folders = [data.cache(), data.manifests()];
    drop(data);
    for folder in &folders {
        fs::remove_dir(folder).unwrap();
    }
    drop(DataDir::open(temp.path(), NOW).unwrap());
    for folder in folders {
        let mode = folder.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", folder.display());
    }
}

#[test]
fn a_damaged_format_file_is_refused_and_nothing_is_touched() {
    for text in [
        "",
        "version = \"x\"",
        "version = 1\n",
        "\u{0}\u{0}",
        "version = 1\ncluster_id = \"c\"\nraft_id = 0\ncreated_at = 1\n[formats]\n",
        "version = 1\ncluster_id = \"c\"\nraft_id = 1\ncreated_at = 1\n",
        "version = 1\ncluster_id = \"c\"\nraft_id = 1\ncreated_at = 1\n[formats]\nlog = 1\n",
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
    begin_registry(temp.path());
    drop(data);
    let data = DataDir::open(temp.path(), NOW).unwrap();
    assert_eq!(data.store_roots().unwrap(), roots);
    fs::write(temp.path().join("STORES"), "a = 1").unwrap();
    let error = data.store_roots().unwrap_err();
    assert!(matches!(error, DataDirError::Damaged { .. }), "{error}");
}
