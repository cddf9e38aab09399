//! `restart`: kill -9, then the time to the first correct answer, against opening the same tables
//! after kill -9 without quick repair.

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Context, Result};
use redb::{Database, Durability, TableDefinition};

use crate::{
    Options,
    glimpse::{self, Glimpse},
    row::{Bar, Row},
};

/// Images with data, and the bytes of each: 10 GiB in the pool.
const WITH_DATA: usize = 10_240;
const CHUNK: usize = 1 << 20;

const TABLE: TableDefinition<'_, u64, u64> = TableDefinition::new("bench");

pub(super) fn run(options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    if !options.wants("restart") {
        return Ok(());
    }
    let data = glimpse::filled(options, options.many())?;
    let mut node = Glimpse::start(options, &data)?;
    with_data(options, &node, &data.with_extension("data"))?;
    let page = node.api.get("/v2/images?limit=1&status=active")?;
    let path = format!(
        "/v2/images/{}/file",
        page["images"][0]["id"].as_str().context("no image")?
    );
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    let copy = options.dir.join("tables-without-quick-repair.redb");
    for _ in 0..options.rounds {
        node.api.create("before the crash")?;
        ours.push(node.restart(options, &data, &path)?);
        node.process.stop();
        std::fs::copy(data.join("registry/tables.redb"), &copy)?;
        node = Glimpse::start(options, &data)?;
        crash_without_quick_repair(&copy)?;
        let begin = Instant::now();
        drop(Database::open(&copy)?);
        peer.push(begin.elapsed().as_secs_f64());
    }
    std::fs::remove_file(&copy)?;
    rows.push(Row::new(
        "restart",
        format!(
            "kill -9 with {} images to the first answer, plain redb open",
            options.many()
        ),
        "s",
        &ours,
        &peer,
        Bar::AtMost(0.25),
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
