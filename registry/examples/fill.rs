//! Loads many images into tables of its own and times what listing needs: the first page, pages at
//! random markers, three predicates that leave few, and one image; and says how much memory it took.
//!
//! ```text
//! cargo run --release -p glimpse-registry --example fill -- 1000000 [directory]
//! ```
//!
//! With a directory the tables stay there, and a second run opens them instead of loading.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    hint::black_box,
    path::PathBuf,
    time::{Duration, Instant},
};

use glimpse_registry::{
    View,
    command::{Command, CommandId, Envelope},
    image::{Attributes, ImageId, MemberStatus, Timestamp, Visibility},
    query::{
        Direction, Filter, ListQuery, MemberFilter, NumberColumn, Scope, SortKey, TextColumn,
        VisibilityFilter,
    },
    store::{Remember, Store},
};
use glimpse_replication::{Committed, StateMachine as _};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Commands per transaction.
const GROUP: u64 = 64;
/// Transactions between checkpoints.
const CHECKPOINT: u64 = 500;
/// redb's page cache.
const CACHE: usize = 64 << 20;
const REMEMBER: Remember = Remember {
    entries: 10_000,
    bytes: 16 << 20,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let images: u64 = arguments.next().map_or(Ok(100_000), |n| n.parse())?;
    let temporary = tempfile::tempdir()?;
    let directory = arguments
        .next()
        .map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let path = directory.join("tables.redb");
    let begun = Instant::now();
    let mut store = Store::open(&path, CACHE, REMEMBER)?;
    println!("open: {:?}", begun.elapsed());
    if store.applied_index() < images {
        load(&mut store, images)?;
    }
    println!(
        "file: {} MiB, RssAnon: {} MiB",
        std::fs::metadata(&path)?.len() >> 20,
        rss_anon()? >> 20
    );
    measure(&store.reader().view())?;
    println!("RssAnon: {} MiB", rss_anon()? >> 20);
    single(&mut store)?;
    Ok(())
}

fn load(store: &mut Store, images: u64) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let mut index = store.applied_index();
    let mut groups = 0;
    while index < images {
        let mut entries = Vec::new();
        while index < images && (entries.len() as u64) < GROUP {
            index += 1;
            entries.push(create(index)?);
        }
        store.apply(&entries)?;
        groups += 1;
        if groups % CHECKPOINT == 0 {
            store.checkpoint()?;
        }
    }
    let checkpoint = Instant::now();
    store.checkpoint()?;
    println!(
        "load: {images} images in {:?} ({:?} each), last checkpoint {:?}",
        begun.elapsed(),
        begun.elapsed() / u32::try_from(images.max(1))?,
        checkpoint.elapsed(),
    );
    Ok(())
}

fn id_of(number: u64) -> ImageId {
    let mut rng = StdRng::seed_from_u64(number);
    ImageId::from_random(rng.random())
}

/// Of 1,000,000 images, each of the three predicates of the bench matches 10,000 or more and all
/// three about 30.
fn create(index: u64) -> Result<Committed, Box<dyn Error>> {
    let mut rng = StdRng::seed_from_u64(index ^ 0x5eed);
    let mut properties = BTreeMap::new();
    for (name, values) in [("os_distro", 33), ("hw_disk_bus", 4), ("hw_arch", 2)] {
        let value = format!("v{}", rng.random_range(0..values));
        properties.insert(name.to_owned(), Some(value));
    }
    let attributes = Attributes {
        name: Some(format!("image {index}")),
        visibility: *pick(
            &mut rng,
            &[
                Visibility::Public,
                Visibility::Shared,
                Visibility::Shared,
                Visibility::Private,
                Visibility::Community,
            ],
        ),
        protected: rng.random_bool(0.03),
        os_hidden: rng.random_bool(0.01),
        owner: Some(format!("project {}", rng.random_range(0..100))),
        disk_format: Some((*pick(&mut rng, &["raw", "qcow2", "vmdk"])).to_owned()),
        container_format: Some("bare".to_owned()),
        min_disk: rng.random_range(0..32),
        min_ram: rng.random_range(0..4) * 512,
        tags: BTreeSet::from([format!("t{}", rng.random_range(0..33))]),
        properties,
    };
    let envelope = Envelope {
        id: CommandId {
            client: 1,
            sequence: index,
        },
        proposer: 1,
        time: Timestamp(1_700_000_000_000_000 + index * 10_000),
        command: Command::CreateImage {
            id: id_of(index),
            attributes,
        },
    };
    Ok(Committed {
        index,
        command: glimpse_registry::encode_command(&envelope)?.into(),
    })
}

fn pick<'a, T>(rng: &mut StdRng, all: &'a [T]) -> &'a T {
    &all[rng.random_range(0..all.len())]
}

fn measure(view: &View) -> Result<(), Box<dyn Error>> {
    let images = view.image_count();
    let mut rng = StdRng::seed_from_u64(1);
    let mut random = || id_of(rng.random_range(1..=images));
    let all = ListQuery {
        scope: Scope::Admin { project: None },
        visibility: VisibilityFilter::All,
        member: MemberFilter::Only(MemberStatus::Accepted),
        hidden: false,
        filters: Vec::new(),
        sort: vec![
            (SortKey::CreatedAt, Direction::Descending),
            (SortKey::Id, Direction::Descending),
        ],
        marker: None,
        limit: 25,
        weight: 4 << 20,
    };
    let project = ListQuery {
        scope: Scope::Project("project 7".to_owned()),
        visibility: VisibilityFilter::Default,
        ..all.clone()
    };
    time("show, random", || {
        let image = view.image(random())?;
        Ok(usize::from(image.is_some()))
    })?;
    let hot = id_of(images);
    time("show, the same", || {
        let image = view.image(hot)?;
        Ok(usize::from(image.is_some()))
    })?;
    time("first page, admin", || Ok(view.list(&all)?.len()))?;
    time("first page, project", || Ok(view.list(&project)?.len()))?;
    time("random marker, admin", || {
        let marker = Some(random());
        let query = ListQuery {
            marker,
            ..all.clone()
        };
        Ok(view.list(&query)?.len())
    })?;
    let three = ListQuery {
        filters: vec![
            Filter::Protected(true),
            Filter::Tag("t7".to_owned()),
            Filter::Property("os_distro".to_owned(), "v7".to_owned()),
        ],
        ..all.clone()
    };
    time("three predicates, 25", || Ok(view.list(&three)?.len()))?;
    let every = ListQuery {
        limit: 1000,
        ..three.clone()
    };
    time("three predicates, all", || Ok(view.list(&every)?.len()))?;
    let sized = ListQuery {
        filters: vec![Filter::Number(NumberColumn::MinDisk, 3, 20)],
        ..all.clone()
    };
    time("a range, 25", || Ok(view.list(&sized)?.len()))?;
    let named = ListQuery {
        filters: vec![Filter::Text(
            TextColumn::Name,
            vec![format!("image {}", images / 2)],
        )],
        ..all.clone()
    };
    time("by name", || Ok(view.list(&named)?.len()))?;
    for key in [
        SortKey::Name,
        SortKey::Status,
        SortKey::Id,
        SortKey::UpdatedAt,
    ] {
        let mut sorted = all.clone();
        sorted.sort.insert(0, (key, Direction::Ascending));
        time(&format!("sorted by {key:?}"), || {
            Ok(view.list(&sorted)?.len())
        })?;
        sorted.filters = vec![Filter::Tag("t7".to_owned()), Filter::Protected(true)];
        time(&format!("sorted by {key:?}, 1 of 1000"), || {
            Ok(view.list(&sorted)?.len())
        })?;
    }
    let begun = Instant::now();
    let mut walk = ListQuery {
        limit: 1000,
        ..all.clone()
    };
    let mut count = 0;
    loop {
        let page = view.list(&walk)?;
        let Some(last) = page.last() else { break };
        walk.marker = Some(last.id);
        count += page.len();
    }
    println!(
        "{:34} {:?} for {count} images",
        "a full listing",
        begun.elapsed()
    );
    Ok(())
}

/// Prints the median time of what gives a count.
fn time(
    what: &str,
    mut run: impl FnMut() -> Result<usize, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let mut times = Vec::new();
    let mut count = 0;
    while times.len() < 5 || (begun.elapsed() < Duration::from_millis(500) && times.len() < 20_000)
    {
        let one = Instant::now();
        count = black_box(run()?);
        times.push(one.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{what:34} {median:>12.1?}  ({count} images)");
    Ok(())
}

/// One command per transaction, as one client makes them.
fn single(store: &mut Store) -> Result<(), Box<dyn Error>> {
    let mut index = store.applied_index();
    time("create, alone", || {
        index += 1;
        Ok(store.apply(&[create(index)?])?.len())
    })?;
    time("create, 64 together", || {
        let mut entries = Vec::new();
        for _ in 0..64 {
            index += 1;
            entries.push(create(index)?);
        }
        Ok(store.apply(&entries)?.len())
    })?;
    println!("RssAnon: {} MiB", rss_anon()? >> 20);
    Ok(())
}

fn rss_anon() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .ok_or("no RssAnon")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}
