//! The `file` driver on real and on simulated disks.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use std::sync::atomic::Ordering;

use self::slow_disk::{Slow, SlowDisk};
use super::*;
use crate::testing::{SimDisk, collect, conformance, put};

mod slow_disk;

const MIB: usize = 1 << 20;

fn open(config: Config) -> Arc<dyn Store> {
    Arc::new(FileStore::open(config).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_driver_conforms() {
    let dir = tempfile::tempdir().unwrap();
    for thin_provisioning in [false, true] {
        let number = std::cell::Cell::new(0);
        conformance(|| async {
            number.set(number.get() + 1);
            let path = dir
                .path()
                .join(format!("{thin_provisioning} {}", number.get()));
            open(Config {
                thin_provisioning,
                ..Config::new(path)
            })
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_disk_conforms() {
    conformance(|| async {
        let disk = Arc::new(SimDisk::new());
        Arc::new(FileStore::with_disk(Config::new("/images"), disk)) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn runs_of_zeros_are_holes_only_when_thin() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = vec![0; 8 * MIB];
    data[5 * MIB] = 1;
    let data = Bytes::from(data);
    for thin_provisioning in [false, true] {
        let path = dir.path().join(thin_provisioning.to_string());
        let store = open(Config {
            thin_provisioning,
            ..Config::new(&path)
        });
        assert_eq!(store.capabilities().thin, thin_provisioning);
        put(&*store, "zeros", Some(data.len() as u64), &data, MIB)
            .await
            .unwrap();
        let allocated = fs::metadata(path.join("zeros")).unwrap().blocks() * 512;
        let thin = allocated < MIB as u64;
        assert_eq!(thin, thin_provisioning, "{allocated} bytes allocated");
    }
}

#[tokio::test]
async fn files_get_the_configured_mode() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Config {
        file_mode: Some(0o604),
        ..Config::new(dir.path())
    });
    put(&*store, "moded", None, &Bytes::from_static(b"x"), 1)
        .await
        .unwrap();
    let mode = fs::metadata(dir.path().join("moded"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o604);
}

#[tokio::test]
async fn a_link_or_a_special_file_is_no_object() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let store = open(Config::new(&root));
    fs::write(dir.path().join("secret"), "secret").unwrap();
    symlink(dir.path().join("secret"), root.join("link")).unwrap();
    fs::create_dir(root.join("folder")).unwrap();
    let fifo = root.join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    for name in ["link", "folder", "fifo"] {
        let url = format!("file://{}", root.join(name).display());
        let got = collect(&*store, &url, 0..1).await;
        assert!(
            matches!(got, Err(StoreError::BadLocation)),
            "{name}: {got:?}"
        );
    }
    let listed = store.list().await.unwrap().count().await;
    assert_eq!(listed, 0);
    fs::remove_file(dir.path().join("secret")).unwrap();
    for name in ["link", "folder", "fifo"] {
        let taken = store.put(name, None).await.map(drop);
        assert!(
            matches!(taken, Err(StoreError::Exists)),
            "{name}: {taken:?}"
        );
    }
    let url = store.url("folder").unwrap();
    let stays = store.delete(&url).await;
    assert!(matches!(stays, Err(StoreError::BadLocation)), "{stays:?}");
    assert!(root.join("folder").is_dir());
}

#[tokio::test]
async fn a_size_that_is_only_announced_takes_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Config::new(dir.path()));
    let announced = 130 * MIB as u64;
    let mut write = store.put("k", Some(announced)).await.unwrap();
    let mib = Bytes::from(vec![1; MIB]);
    let taken = || {
        let mut entries = fs::read_dir(dir.path()).unwrap();
        entries
            .next()
            .unwrap()
            .unwrap()
            .metadata()
            .unwrap()
            .blocks()
            * 512
    };
    for _ in 0..3 {
        write.write(mib.clone()).await.unwrap();
    }
    until("a first step", || taken() > 0).await;
    assert!(taken() < 70 * MIB as u64, "{} bytes are taken", taken());
    for _ in 3..130 {
        write.write(mib.clone()).await.unwrap();
    }
    write.finish().await.unwrap();
    assert_eq!(fs::metadata(dir.path().join("k")).unwrap().len(), announced);
}

#[tokio::test]
async fn room_that_is_kept_is_told_from_room_that_is_not_there() {
    let disk = SimDisk::new();
    let config = Config {
        keep_free: 1000,
        ..Config::new("/images")
    };
    let store = FileStore::with_disk(config, Arc::new(disk.clone()));
    for (room, kept) in [(1, false), (99, false), (100, true), (1099, true)] {
        disk.set_room(Some(room));
        let full = store.put("k", Some(100)).await.map(drop);
        match full {
            Err(StoreError::KeptFree) if kept => {}
            Err(StoreError::Full) if !kept => {}
            other => panic!("{room}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_store_whose_disk_is_not_mounted_is_closed_until_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (path, aside) = (dir.path().join("images"), dir.path().join("aside"));
    let owner = Owner {
        cluster: "c".to_owned(),
        store: "s".to_owned(),
    };
    owner.claim(&path, false).unwrap();
    let config = Config {
        owner: Some(owner),
        ..Config::new(&path)
    };
    let x = Bytes::from_static(b"x");
    let open_now = open(config.clone());
    let url = put(&*open_now, "k", None, &x, 1).await.unwrap().url;
    assert!(!open_now.stat(&url).await.unwrap().foreign);
    assert_eq!(open_now.problem(), None);
    fs::rename(&path, &aside).unwrap();
    // One that was open, and one that is opened now; without the directory, and with what lies
    // below a mount point.
    for below in [false, true] {
        if below {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("k"), "below").unwrap();
            fs::write(path.join(".upload-k-1"), "below").unwrap();
        }
        for store in [&open_now, &open(config.clone())] {
            let problem = store.problem().unwrap();
            assert!(problem.contains(&path.display().to_string()), "{problem}");
            let calls = [
                put(&**store, "l", None, &x, 1).await.map(drop),
                store.stat(&url).await.map(drop),
                store.delete(&url).await,
                store.list().await.map(drop),
                store.remove_unfinished().await.map(drop),
            ];
            for call in calls {
                assert!(matches!(call, Err(StoreError::Unavailable(_))), "{call:?}");
            }
        }
    }
    assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
    let late = open(config);
    fs::remove_dir_all(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    for store in [open_now, late] {
        assert_eq!(store.problem(), None);
        assert_eq!(collect(&*store, &url, 0..1).await.unwrap(), b"x");
    }
}

#[tokio::test]
async fn a_root_behind_a_link_has_both_names() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink(&real, dir.path().join("link")).unwrap();
    let store = open(Config::new(dir.path().join("link")));
    let stored = put(&*store, "k", None, &Bytes::from_static(b"x"), 1)
        .await
        .unwrap();
    assert_eq!(
        stored.url,
        format!("file://{}/link/k", dir.path().display())
    );
    let real = real.canonicalize().unwrap();
    let other = format!("file://{}/k", real.display());
    assert_eq!(store.stat(&other).await.unwrap().size, 1);
}

#[tokio::test]
async fn a_store_that_moved_finds_its_objects_under_their_old_locations() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let link = dir.path().join("link");
    fs::create_dir(&old).unwrap();
    symlink(&old, &link).unwrap();
    let mut config = Config::new(&link);
    let mut urls = Vec::new();
    {
        let store = FileStore::open(config.clone()).unwrap();
        urls.push(
            put(&store, "k", None, &Bytes::from_static(b"moved"), 9)
                .await
                .unwrap()
                .url,
        );
        urls.push(format!(
            "file://{}/k",
            old.canonicalize().unwrap().display()
        ));
        config.earlier_roots.extend_from_slice(store.roots());
    }
    fs::remove_file(&link).unwrap();
    fs::rename(&old, &new).unwrap();
    // What lies at the old place now is none of the store's business.
    fs::create_dir(&old).unwrap();
    fs::write(old.join("k"), "other").unwrap();
    fs::write(old.join("stranger"), "other").unwrap();
    config.path = new;
    let store = open(config.clone());
    for url in &urls {
        assert_eq!(
            collect(&*store, url, 0..5).await.unwrap(),
            b"moved",
            "{url}"
        );
    }
    let stranger = format!("file://{}/stranger", link.display());
    assert!(matches!(
        store.stat(&stranger).await,
        Err(StoreError::NotFound)
    ));
    store.delete(&urls[0]).await.unwrap();
    assert_eq!(fs::read(old.join("k")).unwrap(), b"other");
    config.earlier_roots.clear();
    let without = open(config).stat(&urls[1]).await;
    assert!(
        matches!(without, Err(StoreError::BadLocation)),
        "{without:?}"
    );
}

#[tokio::test]
async fn leftovers_of_the_dead_are_removed_and_writes_of_the_living_are_not() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".upload-dead-1"), "x").unwrap();
    fs::write(dir.path().join("README.txt"), "of the operator").unwrap();
    let ours = open(Config::new(dir.path()));
    let theirs = open(Config::new(dir.path()));
    let mut write = theirs.put("alive", None).await.unwrap();
    write.write(Bytes::from_static(b"alive")).await.unwrap();
    assert_eq!(ours.remove_unfinished().await.unwrap(), 1);
    let url = write.finish().await.unwrap().url;
    assert_eq!(collect(&*ours, &url, 0..5).await.unwrap(), b"alive");
    assert!(dir.path().join("README.txt").exists());
}

#[tokio::test]
async fn a_temporary_file_that_a_cleaner_locked_first_is_made_anew() {
    let disk = SimDisk::new();
    let store = FileStore::with_disk(Config::new("/images"), Arc::new(disk.clone()));
    disk.snatch(2);
    let url = put(&store, "k", None, &Bytes::from_static(b"x"), 1)
        .await
        .unwrap()
        .url;
    assert_eq!(collect(&store, &url, 0..1).await.unwrap(), b"x");
    disk.snatch(u32::MAX);
    let refused = put(&store, "l", None, &Bytes::from_static(b"x"), 1).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn without_locks_no_write_of_the_living_is_removed() {
    let disk = SimDisk::new();
    disk.remove_locks();
    let store = FileStore::with_disk(Config::new("/images"), Arc::new(disk.clone()));
    let write = begun(&store, b"alive").await;
    assert_eq!(store.remove_unfinished().await.unwrap(), 0);
    let url = write.finish().await.unwrap().url;
    assert_eq!(collect(&store, &url, 0..5).await.unwrap(), b"alive");
}

/// Between the making of a file and its lock a cleaner may come, and must not be missed.
#[test]
fn what_was_made_is_never_removed_by_a_cleaner_beside() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let cleaner = scope.spawn(|| {
            let mut removed = 0;
            while !done.load(Ordering::SeqCst) {
                removed += remove_unlocked(&disk).unwrap();
            }
            removed
        });
        let lost = (0..3000).find(|number| {
            let name = format!("{TEMPORARY}{number}");
            let Ok(_file) = disk.create(&name, false) else {
                return false;
            };
            disk.remove(&name).is_err()
        });
        done.store(true, Ordering::SeqCst);
        println!("{} were taken before", cleaner.join().unwrap());
        assert_eq!(lost, None);
    });
}

#[tokio::test]
async fn a_cancelled_finish_leaves_nothing_or_the_whole_object() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Config::new(dir.path()));
    let size = 2 * MIB as u64;
    for round in 0..20_u32 {
        let mut write = store.put("cancelled", None).await.unwrap();
        write.write(Bytes::from(vec![1; 2 * MIB])).await.unwrap();
        let finish = write.finish();
        let patience = std::time::Duration::from_micros(u64::from(round) * 100);
        let _ = tokio::time::timeout(patience, finish).await;
        until("no temporary file is left", || {
            let mut entries = fs::read_dir(dir.path()).unwrap();
            entries.all(|entry| entry.unwrap().file_name() == "cancelled")
        })
        .await;
        match fs::metadata(dir.path().join("cancelled")) {
            Ok(found) => {
                assert_eq!(found.len(), size);
                fs::remove_file(dir.path().join("cancelled")).unwrap();
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finish_that_timed_out_gives_no_name_later() {
    let disk = SlowDisk::new(Slow::FileSync);
    let store = slow_store(&disk);
    let write = begun(&store, b"first").await;
    assert!(matches!(
        write.finish().await,
        Err(StoreError::Unavailable(_))
    ));
    disk.go_on();
    until("no temporary file is left", || {
        disk.inner.list().unwrap().next().is_none()
    })
    .await;
    assert_eq!(disk.renames.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finish_that_timed_out_never_removes_what_another_put_since() {
    let disk = SlowDisk::new(Slow::DirectorySync);
    let store = slow_store(&disk);
    let write = begun(&store, b"first").await;
    assert!(matches!(
        write.finish().await,
        Err(StoreError::Unavailable(_))
    ));
    assert_eq!(disk.renames.load(Ordering::SeqCst), 1);
    // The holder of the key removes what became visible, and the next upload is quick.
    disk.inner.remove("k").unwrap();
    let quick = FileStore::with_disk(Config::new("/images"), Arc::new(disk.inner.clone()));
    let url = put(&quick, "k", None, &Bytes::from_static(b"second"), 6)
        .await
        .unwrap()
        .url;
    disk.go_on();
    drop(store);
    until("the first has ended", || Arc::strong_count(&disk) == 1).await;
    assert_eq!(collect(&quick, &url, 0..6).await.unwrap(), b"second");
}

fn slow_store(disk: &Arc<SlowDisk>) -> FileStore {
    let config = Config {
        timeout: Some(std::time::Duration::from_millis(100)),
        ..Config::new("/images")
    };
    FileStore::with_disk(config, Arc::clone(disk) as Arc<dyn Disk>)
}

async fn begun(store: &FileStore, data: &'static [u8]) -> Box<dyn Write> {
    let mut write = store.put("k", None).await.unwrap();
    write.write(Bytes::from_static(data)).await.unwrap();
    write
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_leaves_nothing() {
    let disk = SimDisk::new();
    let store = FileStore::with_disk(Config::new("/images"), Arc::new(disk.clone()));
    let data = Bytes::from(vec![1; 4 * MIB + 9]);
    let len = data.len() as u64;
    for room in [0, 1, MIB as u64, 3 * MIB as u64 + 1, len - 1] {
        for declared in [None, Some(len)] {
            disk.set_room(Some(room));
            let full = put(&store, "big", declared, &data, 70_000).await;
            assert!(
                matches!(full, Err(StoreError::Full)),
                "{room} {declared:?}: {full:?}"
            );
            assert_eq!(disk.list().unwrap().count(), 0);
        }
    }
    disk.set_room(Some(len));
    put(&store, "big", Some(len), &data, 70_000).await.unwrap();
}

#[tokio::test]
async fn what_is_to_stay_free_stays_free() {
    let keep_free = 2 * MIB as u64;
    for thin_provisioning in [false, true] {
        let disk = SimDisk::new();
        let config = Config {
            keep_free,
            thin_provisioning,
            ..Config::new("/images")
        };
        let store = FileStore::with_disk(config, Arc::new(disk.clone()));
        let data = Bytes::from(vec![1; 3 * MIB + 9]);
        let len = data.len() as u64;
        for declared in [None, Some(len)] {
            for room in [0, keep_free - 1, keep_free, keep_free + len - 1] {
                disk.set_room(Some(room));
                let full = put(&store, "big", declared, &data, 70_000).await;
                assert!(
                    matches!(full, Err(StoreError::Full | StoreError::KeptFree)),
                    "{room} {declared:?}: {full:?}"
                );
                assert_eq!(disk.list().unwrap().count(), 0);
            }
            disk.set_room(Some(keep_free + len));
            let url = put(&store, "big", declared, &data, 70_000)
                .await
                .unwrap()
                .url;
            store.delete(&url).await.unwrap();
        }
    }
}

#[test]
fn a_directory_that_may_not_be_written_denies() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let path = dir.path().to_owned();
    // Root may write everywhere, but for a thread without that right, and those that it starts.
    let unprivileged = std::thread::spawn(move || {
        let mut rights = capabilities(None).unwrap();
        rights.effective.remove(CapabilitySet::DAC_OVERRIDE);
        set_capabilities(None, rights).unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let store = open(Config::new(path));
            store.put("k", None).await.map(drop)
        })
    });
    let denied = unprivileged.join().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(denied, Err(StoreError::Denied(_))), "{denied:?}");
}

/// Cuts the power at random changes of a run of puts and deletes. Afterwards an object is absent
/// or whole, present if its put was acknowledged, absent if its delete was.
#[tokio::test]
async fn after_a_power_cut_an_object_is_absent_or_whole() {
    let points: u64 = match std::env::var("GLIMPSE_CRASH_POINTS") {
        Ok(text) => text.parse().expect("GLIMPSE_CRASH_POINTS is a number"),
        Err(_) => 100,
    };
    let seed: u64 = match std::env::var("GLIMPSE_SEED") {
        Ok(text) => text.parse().expect("GLIMPSE_SEED is a number"),
        Err(_) => rand::random(),
    };
    println!("GLIMPSE_SEED={seed} GLIMPSE_CRASH_POINTS={points}");
    let mut cuts_that_lost = 0;
    for point in 0..points {
        let seed = seed ^ u64::wrapping_mul(point, 0x9e37_79b9_7f4a_7c15);
        let uncut = SimDisk::new();
        run(&uncut, seed).await;
        let disk = SimDisk::new();
        let cut = StdRng::seed_from_u64(!seed).random_range(0..uncut.changes());
        disk.cut_at(cut);
        let done = run(&disk, seed).await;
        let disk = disk.restart(seed);
        let store = FileStore::with_disk(Config::new("/images"), Arc::new(disk.clone()));
        store.remove_unfinished().await.unwrap();
        for object in done {
            let name = format!("{} at seed {seed}, cut {cut}", object.key);
            let url = format!("file:///images/{}", object.key);
            let len = object.data.len() as u64;
            match store.stat(&url).await {
                Ok(stat) => {
                    assert!(!object.deleted, "{name}: came back");
                    assert_eq!(stat.size, len, "{name}");
                    assert!(
                        collect(&store, &url, 0..len).await.unwrap() == object.data,
                        "{name}"
                    );
                }
                Err(StoreError::NotFound) => {
                    assert!(
                        !object.acknowledged || object.may_be_deleted,
                        "{name}: lost"
                    );
                    cuts_that_lost += 1;
                }
                Err(error) => panic!("{name}: {error}"),
            }
        }
        let mut listed = store.list().await.unwrap();
        while let Some(listed) = listed.next().await {
            assert!(
                !listed.unwrap().key.is_empty(),
                "a leftover at seed {seed}, cut {cut}"
            );
        }
    }
    assert!(
        points < 20 || cuts_that_lost > 0,
        "no cut ever hit an object"
    );
}

/// What one run did to one object.
struct Done {
    key: String,
    data: Bytes,
    acknowledged: bool,
    may_be_deleted: bool,
    deleted: bool,
}

async fn run(disk: &SimDisk, seed: u64) -> Vec<Done> {
    let mut rng = StdRng::seed_from_u64(seed);
    let config = Config {
        thin_provisioning: rng.random(),
        ..Config::new("/images")
    };
    let store = FileStore::with_disk(config, Arc::new(disk.clone()));
    let mut done = Vec::new();
    for number in 0..3 {
        let len = rng.random_range(0..3) * MIB / 2 + rng.random_range(0..100_000);
        let mut data = vec![0; len];
        for part in data.chunks_mut(30_000) {
            if rng.random() {
                part.fill(rng.random());
            }
        }
        let data = Bytes::from(data);
        let declared = rng.random_bool(0.5).then_some(len as u64);
        let key = format!("object-{number}");
        let put = put(&store, &key, declared, &data, MIB).await;
        let mut object = Done {
            key,
            data,
            acknowledged: put.is_ok(),
            may_be_deleted: false,
            deleted: false,
        };
        if let Ok(stored) = put
            && rng.random_bool(0.3)
        {
            object.may_be_deleted = true;
            object.deleted = store.delete(&stored.url).await.is_ok();
        }
        done.push(object);
    }
    done
}
