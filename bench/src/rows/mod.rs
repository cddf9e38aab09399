//! The rows of each table, one file a row or a family of rows.

mod api;
mod create;
mod list_flat;
mod memory;
mod restart;
mod serve;
mod show_list;
mod upload;

pub(crate) use api::api;
pub(crate) use restart::crash_tables;

use std::path::PathBuf;

use anyhow::Result;

use crate::{Options, api::Api, glimpse::Glimpse, reference::Reference, row::Row};

/// The CPU that server and client share in serving rows: on loopback, two CPUs contend for one
/// socket, and rankings flip with it.
const PINNED: Option<usize> = Some(0);

/// The table `node`.
pub(crate) fn node(options: &Options) -> Result<Vec<Row>> {
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    let needs_reference = ["show", "list", "create", "upload", "download", "memory"]
        .iter()
        .any(|r| options.wants(r));
    let reference = if needs_reference {
        Reference::start(&options.dir)
            .inspect_err(|e| eprintln!("the reference service did not start: {e:#}"))
            .ok()
    } else {
        None
    };
    let reference = reference.as_ref();
    // While both hold a thousand images and nothing else.
    let mut reference_memory = Vec::new();
    if let Some(reference) = reference {
        fill(reference.api)?;
        if options.wants("memory") {
            reference_memory =
                memory::after_listing(reference.api, reference.process.pid(), IMAGES)?;
        }
    }
    if ["show", "list", "create", "upload"]
        .iter()
        .any(|r| options.wants(r))
    {
        let data = fresh(options, "glimpse-node")?;
        let ours = Glimpse::start(options, &data)?;
        fill(ours.api)?;
        show_list::run(options, &ours, reference, &mut rows)?;
        create::run(options, &ours, reference, &mut rows)?;
        upload::run(options, &ours, reference, &mut rows)?;
    }
    let mut told = |id, result| tell(&mut failed, id, result);
    told("download", serve::run(options, reference, &mut rows));
    told("list-flat", list_flat::run(options, &mut rows));
    told("memory", memory::run(options, &reference_memory, &mut rows));
    told("restart", restart::run(options, &mut rows));
    rows.extend(failed.into_iter().map(Row::broken));
    Ok(rows)
}

/// What one row trips over takes no figure from the others.
fn tell(failed: &mut Vec<&'static str>, id: &'static str, result: Result<()>) {
    if let Err(error) = result {
        eprintln!("{id}: {error:#}");
        failed.push(id);
    }
}

/// Images on both sides in the rows that do not say otherwise.
const IMAGES: usize = 1000;

fn fill(api: Api) -> Result<()> {
    for i in 0..IMAGES {
        api.create(&format!("image-{i}"))?;
    }
    Ok(())
}

/// An empty data directory.
fn fresh(options: &Options, name: &str) -> Result<PathBuf> {
    let data = options.dir.join(name);
    let _ = std::fs::remove_dir_all(&data);
    Ok(data)
}

/// A file of random bytes, for uploads and for nginx.
fn object(options: &Options) -> Result<PathBuf> {
    let path = options.dir.join("www/object");
    if std::fs::metadata(&path).map(|m| m.len()).ok() != Some(options.object_bytes()) {
        std::fs::create_dir_all(options.dir.join("www"))?;
        let mut random =
            std::io::Read::take(std::fs::File::open("/dev/urandom")?, options.object_bytes());
        std::io::copy(&mut random, &mut std::fs::File::create(&path)?)?;
    }
    Ok(path)
}
