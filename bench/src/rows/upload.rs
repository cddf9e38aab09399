//! `upload`: one large object, against the reference and against the two hashes alone.

use std::time::Instant;

use anyhow::Result;
use md5::{Digest, Md5};
use sha2::Sha512;

use crate::{
    Options,
    api::Api,
    glimpse::Glimpse,
    process,
    reference::Reference,
    row::{Bar, Row},
};

pub(super) fn run(
    options: &Options,
    ours: &Glimpse,
    reference: Option<&Reference>,
    rows: &mut Vec<Row>,
) -> Result<()> {
    if !options.wants("upload") {
        return Ok(());
    }
    let file = super::object(options)?;
    let data = std::fs::read(&file)?;
    let mib = data.len() as f64 / 1e6;
    let gib = data.len() as f64 / f64::from(1u32 << 30);
    let once = |pid: u32, api: Api| -> Result<(f64, f64)> {
        let id = api.create("upload")?;
        let (cpu, begin) = (process::cpu_seconds(pid), Instant::now());
        api.upload(&id, &file)?;
        let (seconds, cpu) = (
            begin.elapsed().as_secs_f64(),
            process::cpu_seconds(pid) - cpu,
        );
        api.delete(&id)?;
        Ok((mib / seconds, cpu / gib))
    };
    let (mut we, mut they, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        we.push(once(ours.process.pid(), ours.api)?);
        if let Some(peer) = reference {
            they.push(once(peer.process.pid(), peer.api)?);
        }
        let begin = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| std::hint::black_box(Md5::digest(&data)));
            scope.spawn(|| std::hint::black_box(Sha512::digest(&data)));
        });
        hashes.push(mib / begin.elapsed().as_secs_f64());
    }
    let rate = |v: &[(f64, f64)]| v.iter().map(|x| x.0).collect::<Vec<_>>();
    let cpu = |v: &[(f64, f64)]| v.iter().map(|x| x.1).collect::<Vec<_>>();
    rows.push(Row::new(
        "upload",
        "large upload, reference",
        "MB/s",
        &rate(&we),
        &rate(&they),
        Bar::AtLeast(3.0),
    ));
    rows.push(Row::new(
        "upload",
        "large upload, server CPU, reference",
        "s/GiB",
        &cpu(&we),
        &cpu(&they),
        Bar::Shown,
    ));
    rows.push(Row::new(
        "upload",
        "large upload, MD5 beside SHA-512 alone",
        "MB/s",
        &rate(&we),
        &hashes,
        Bar::AtLeast(0.75),
    ));
    Ok(())
}
