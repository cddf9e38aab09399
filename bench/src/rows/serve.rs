//! `download` and `ranges`: a warm large object against the reference and nginx, pinned.

use anyhow::Result;

use crate::{
    Options,
    api::Api,
    glimpse::Glimpse,
    load::{self, Ask, Figures},
    nginx::Nginx,
    process,
    reference::Reference,
    row::{Bar, Row},
};

const RANGE: u64 = 64 << 10;
const RANGE_CONNECTIONS: usize = 32;

struct Side {
    pid: u32,
    api: Api,
    path: String,
}

impl Side {
    fn whole(&self, connections: usize, seconds: f64) -> Result<Figures> {
        load::load(
            self.pid,
            self.api,
            connections,
            seconds,
            &Ask::Same(self.path.clone()),
        )
    }
}

pub(super) fn run(
    options: &Options,
    reference: Option<&Reference>,
    rows: &mut Vec<Row>,
) -> Result<()> {
    if !options.wants("download") && !options.wants("ranges") {
        return Ok(());
    }
    let file = super::object(options)?;
    let data = super::fresh(options, "glimpse-serve")?;
    // Started under the pin, so that each has as many threads as it wants for one CPU.
    process::pin(std::process::id(), super::PINNED)?;
    let node = Glimpse::start(options, &data)?;
    let id = node.api.create("object")?;
    node.api.upload(&id, &file)?;
    let ours = Side {
        pid: node.process.pid(),
        api: node.api,
        path: format!("/v2/images/{id}/file"),
    };
    let nginx = Nginx::start(&options.dir, &options.dir.join("www"))
        .inspect_err(|e| eprintln!("nginx did not start: {e:#}"))
        .ok();
    let nginx = nginx.as_ref().map(|n| Side {
        pid: n.process.pid(),
        api: n.api,
        path: "/object".to_owned(),
    });
    let peer = match reference {
        Some(r) if options.wants("download") => {
            let id = r.api.create("object")?;
            r.api.upload(&id, &file)?;
            Some(Side {
                pid: r.process.pid(),
                api: r.api,
                path: format!("/v2/images/{id}/file"),
            })
        }
        _ => None,
    };
    process::pin(std::process::id(), super::PINNED)?;
    for side in [Some(&ours), nginx.as_ref(), peer.as_ref()]
        .into_iter()
        .flatten()
    {
        process::pin(side.pid, super::PINNED)?;
        side.whole(1, 2.0)?;
        side.whole(1, 2.0)?;
    }
    if options.wants("download") {
        for connections in [1, 8] {
            let (mut we, mut they, mut reference) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..options.rounds {
                we.push(ours.whole(connections, options.seconds())?.cpu_per_gib());
                if let Some(side) = &nginx {
                    they.push(side.whole(connections, options.seconds())?.cpu_per_gib());
                }
                if let Some(side) = &peer {
                    reference.push(side.whole(connections, options.seconds())?.cpu_per_gib());
                }
            }
            let what = format!("warm download, {connections} connections, server CPU");
            rows.push(Row::new(
                "download",
                format!("{what}, reference"),
                "s/GiB",
                &we,
                &reference,
                Bar::AtMost(0.1),
            ));
            rows.push(Row::new(
                "download",
                format!("{what}, nginx sendfile"),
                "s/GiB",
                &we,
                &they,
                Bar::AtMost(1.1),
            ));
        }
    }
    if options.wants("ranges") {
        let ranges = |side: &Side| {
            let ask = Ask::Ranges {
                path: side.path.clone(),
                len: RANGE,
                size: options.object_bytes(),
            };
            load::load(
                side.pid,
                side.api,
                RANGE_CONNECTIONS,
                options.seconds(),
                &ask,
            )
            .map(|f| f.requests_per_second)
        };
        let (mut we, mut they) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            we.push(ranges(&ours)?);
            if let Some(side) = &nginx {
                they.push(ranges(side)?);
            }
        }
        rows.push(Row::new(
            "ranges",
            "warm random 64 KiB ranges, 32 connections, nginx sendfile",
            "1/s",
            &we,
            &they,
            Bar::AtLeast(1.2),
        ));
    }
    process::pin(std::process::id(), None)?;
    if let Some(side) = &peer {
        process::pin(side.pid, None)?;
    }
    Ok(())
}
