//! `restart`: kill -9, then the time to the first correct answer, a download whose chunk is in the
//! pool and was not verified yet; against opening the same tables after kill -9 without quick
//! repair.
//!
//! Both sides find their files in the page cache, as after a kill (not after a power cut): ours has
//! written them a moment ago, and the peer's tables are copied a moment before.

use std::{
    fs::OpenOptions,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use glimpse_cache::{Cache, ChunkName, Source};
use glimpse_node::{clock::SystemClock, data_dir::DataDir};
use glimpse_replication::Clock as _;
use redb::{Database, Durability, TableDefinition};

use crate::{
    Options,
    glimpse::{self, Glimpse},
    load::{self, Ask},
    row::{Bar, Row},
};

/// Images with data, and the bytes of each: 10 GiB in the pool.
const WITH_DATA: usize = 10_240;
const CHUNK: usize = 1 << 20;

/// Entries of the pool's index, those of the images among them. The others are small chunks in
/// sparse segments, so that they do not take the 100 GiB that they stand for.
const POOL: u64 = 100_000;
const SMALL: usize = 64;
/// Of the pool's segments: their number and the bytes of each.
const SEGMENTS: u64 = 400;
const SEGMENT_BYTES: u64 = 256 << 20;
/// A pool that has room for it all; the rest is default.
const SETTINGS: &str = "[cache]\nsize = \"100GiB\"\n";

const TABLE: TableDefinition<'_, u64, u64> = TableDefinition::new("bench");

pub(super) fn run(options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    if !options.wants("restart") {
        return Ok(());
    }
    let data = glimpse::filled_as(options, "restart", options.many(), glimpse::OWNERS)?;
    let mut node = Glimpse::start_with(options, &data, SETTINGS)?;
    with_data(options, &node, &data.with_extension("data"))?;
    node.process.stop();
    let entries = if options.quick { POOL / 10 } else { POOL };
    fill_pool(&data, entries)?;
    node = Glimpse::start_with(options, &data, SETTINGS)?;
    let page = node.api.get("/v2/images?limit=1&status=active")?;
    let path = format!(
        "/v2/images/{}/file",
        page["images"][0]["id"].as_str().context("no image")?
    );
    let expected = node.api.get_bytes(&path)?;
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    let copy = options.dir.join("tables-without-quick-repair.redb");
    for _ in 0..options.rounds {
        node.api.create("before the crash")?;
        ours.push(node.restart(options, &data, &path, &expected)?);
        node.process.stop();
        std::fs::copy(data.join("registry/tables.redb"), &copy)?;
        node = Glimpse::start_with(options, &data, SETTINGS)?;
        crash_without_quick_repair(&copy)?;
        let begin = Instant::now();
        drop(Database::open(&copy)?);
        peer.push(begin.elapsed().as_secs_f64());
    }
    std::fs::remove_file(&copy)?;
    // With as much of the log to replay as a few seconds of creates leave behind.
    let mut busy = Vec::new();
    let post = Ask::Post {
        path: "/v2/images".to_owned(),
        body: r#"{"name":"before the crash"}"#.to_owned(),
    };
    for _ in 0..options.rounds.min(3) {
        let (pid, api) = (node.process.pid(), node.api);
        load::load(pid, api, 64, options.seconds(), &post)?;
        busy.push(node.restart(options, &data, &path, &expected)?);
    }
    rows.push(Row::new(
        "restart",
        format!(
            "kill -9 with {} images and {entries} chunks to the first answer, plain redb open",
            options.many()
        ),
        "s",
        &ours,
        &peer,
        Bar::AtMost(0.25),
    ));
    rows.push(Row::new(
        "restart",
        "the same, below a second",
        "s",
        &ours,
        &peer,
        Bar::Below(1.0),
    ));
    rows.push(Row::new(
        "restart",
        "the same within a burst of creates",
        "s",
        &busy,
        &peer,
        Bar::Below(1.0),
    ));
    Ok(())
}

/// Gives a part of the images data of their own, one chunk each, and reads each once, so that the
/// pool holds them all.
fn with_data(options: &Options, node: &Glimpse, done: &Path) -> Result<()> {
    if done.exists() {
        return Ok(());
    }
    let count = if options.quick { 200 } else { WITH_DATA };
    println!("uploading {count} images of {CHUNK} bytes");
    let file = options.dir.join("chunk");
    let mut data = vec![0u8; CHUNK];
    for i in 0..count {
        for (word, value) in data.chunks_exact_mut(8).zip(0u64..) {
            word.copy_from_slice(
                &(value.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ i as u64).to_le_bytes(),
            );
        }
        std::fs::write(&file, &data)?;
        let id = node.api.create("with data")?;
        node.api.upload(&id, &file)?;
        let read = node.api.get_bytes(&format!("/v2/images/{id}/file"))?;
        anyhow::ensure!(read == data, "other bytes came back");
    }
    std::fs::write(done, b"")?;
    Ok(())
}

/// Fills the pool of a stopped node up to so many entries, through the cache itself.
#[tokio::main(flavor = "current_thread")]
async fn fill_pool(data: &Path, entries: u64) -> Result<()> {
    let data = DataDir::open(data, SystemClock::default().wall())?;
    // A segment that is there in its length is used as it is; a missing one would be reserved.
    for number in 0..SEGMENTS {
        let path = data.cache().join(format!("segments/{number:08}"));
        let open = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path);
        open?.set_len(SEGMENT_BYTES)?;
    }
    let cache = Cache::open(glimpse_cache::Config {
        dir: data.cache(),
        size: SEGMENTS * SEGMENT_BYTES,
        keep_free: 0,
        sendfile: true,
        max_fills: 16,
        audit_interval: Duration::from_secs(600),
        residency_interval: Duration::from_secs(1),
        unpooled_size: 64 << 20,
        unpooled_wait: Duration::from_secs(5),
    })?;
    for number in 0_u64.. {
        if cache.stats().used_slots >= entries {
            break;
        }
        let mut chunk = vec![1; SMALL];
        chunk[..8].copy_from_slice(&number.to_le_bytes());
        let chunk = Bytes::from(chunk);
        let name = ChunkName::of([&chunk]);
        cache
            .chunk(
                name,
                SMALL as u32,
                Arc::new(Small(chunk)),
                glimpse_cache::Turn::Due,
            )
            .await?;
    }
    cache.checkpoint()?;
    Ok(())
}

/// A chunk that is at hand.
struct Small(Bytes);

impl Source for Small {
    async fn read(&self, _len: u32) -> Result<Vec<Bytes>, String> {
        Ok(vec![self.0.clone()])
    }
}

/// Writes to the tables as a program would that never asks for quick repair, and dies of kill -9.
fn crash_without_quick_repair(file: &Path) -> Result<()> {
    let status = Command::new(std::env::current_exe()?)
        .arg("crash-tables")
        .arg(file)
        .status()?;
    anyhow::ensure!(!status.success(), "the process was to be killed");
    Ok(())
}

/// The process of [`crash_without_quick_repair`]; does not return.
pub(crate) fn crash_tables(file: &Path) -> Result<()> {
    let database = Database::open(file)?;
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(false);
    transaction.open_table(TABLE)?.insert(1, 1)?;
    transaction.commit()?;
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(false);
    transaction.open_table(TABLE)?.insert(2, 2)?;
    transaction.commit()?;
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
    Ok(())
}
