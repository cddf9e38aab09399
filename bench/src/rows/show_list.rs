//! `show` and `list`: small answers against the reference, pinned.

use anyhow::{Context, Result};

use crate::{
    Options,
    glimpse::Glimpse,
    load::{self, Ask},
    process,
    reference::Reference,
    row::{Bar, Row},
};

const CONNECTIONS: usize = 8;

pub(super) fn run(
    options: &Options,
    ours: &Glimpse,
    reference: Option<&Reference>,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let wanted: Vec<_> = ["show", "list"]
        .into_iter()
        .filter(|r| options.wants(r))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut sides = vec![(ours.process.pid(), ours.api)];
    sides.extend(reference.map(|r| (r.process.pid(), r.api)));
    let mut shown = Vec::new();
    for &(_, api) in &sides {
        let page = api.get("/v2/images?limit=1")?;
        let id = page["images"][0]["id"].as_str().context("no image")?;
        shown.push(id.to_owned());
    }
    process::pin(std::process::id(), super::PINNED)?;
    for &(pid, _) in &sides {
        process::pin(pid, super::PINNED)?;
    }
    for row in wanted {
        let mut cpu = vec![Vec::new(); sides.len()];
        let mut rate = vec![Vec::new(); sides.len()];
        for _ in 0..options.rounds {
            for (side, &(pid, api)) in sides.iter().enumerate() {
                let path = if row == "show" {
                    format!("/v2/images/{}", shown[side])
                } else {
                    "/v2/images?limit=25".to_owned()
                };
                let figures =
                    load::load(pid, api, CONNECTIONS, options.seconds(), &Ask::Same(path))?;
                cpu[side].push(figures.cpu_per_request() * 1e6);
                rate[side].push(figures.requests_per_second);
            }
        }
        let (id, what) = if row == "show" {
            ("show", "image show")
        } else {
            ("list", "page of 25 among 1,000")
        };
        let none = Vec::new();
        rows.push(Row::new(
            id,
            format!("{what}, server CPU per request, reference"),
            "us",
            &cpu[0],
            cpu.get(1).unwrap_or(&none),
            Bar::AtMost(0.01),
        ));
        rows.push(Row::new(
            id,
            format!("{what}, requests, reference"),
            "1/s",
            &rate[0],
            rate.get(1).unwrap_or(&none),
            Bar::AtLeast(60.0),
        ));
    }
    process::pin(std::process::id(), None)?;
    for &(pid, _) in &sides {
        process::pin(pid, None)?;
    }
    Ok(())
}
