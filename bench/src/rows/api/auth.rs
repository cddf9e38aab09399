//! `auth-show` and `auth-cold`: what a token costs, known and new, behind one Keystone.

use std::time::Instant;

use anyhow::Result;

use crate::{
    Options,
    api::Api,
    glimpse::Glimpse,
    keystone::Keystone,
    load::{self, Ask},
    process,
    reference::Reference,
    row::{Bar, Row},
};

const CONNECTIONS: usize = 8;

pub(super) fn run(options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    let (show, cold) = (options.wants("auth-show"), options.wants("auth-cold"));
    if !show && !cold {
        return Ok(());
    }
    let keystone = Keystone::start(&options.dir)?;
    let data = super::super::fresh(options, "glimpse-auth")?;
    let node = Glimpse::start_with(options, &data, &keystone.of_glimpse())?;
    let ours = keystone.asked(node.api)?;
    if cold {
        new_tokens(options, &keystone, ours, rows)?;
    }
    if show {
        let reference = Reference::start_with(&options.dir, &keystone.of_reference(), "{}\n")
            .inspect_err(|e| eprintln!("the reference service did not start: {e:#}"))
            .ok();
        let mut sides = vec![(node.process.pid(), ours)];
        if let Some(peer) = &reference {
            sides.push((peer.process.pid(), asked_with(peer.api, &keystone.token()?)));
        }
        known_token(options, &sides, rows)?;
    }
    Ok(())
}

fn asked_with(api: Api, token: &str) -> Api {
    api.with(format!("X-Auth-Token: {token}\r\n"))
}

/// One image, shown again and again with one token.
fn known_token(options: &Options, sides: &[(u32, Api)], rows: &mut Vec<Row>) -> Result<()> {
    let mut paths = Vec::new();
    for &(_, api) in sides {
        paths.push(format!("/v2/images/{}", api.create("shown")?));
    }
    process::pin(std::process::id(), super::super::PINNED)?;
    for &(pid, _) in sides {
        process::pin(pid, super::super::PINNED)?;
    }
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..options.rounds {
        for ((&(pid, api), path), rate) in sides.iter().zip(&paths).zip(&mut rates) {
            let ask = Ask::Same(path.clone());
            let figures = load::load(pid, api, CONNECTIONS, options.seconds(), &ask)?;
            rate.push(figures.requests_per_second);
        }
    }
    process::pin(std::process::id(), None)?;
    let [ours, peer] = rates;
    rows.push(Row::new(
        "auth-show",
        "image show with a known token, reference",
        "1/s",
        &ours,
        &peer,
        Bar::AtLeast(50.0),
    ));
    Ok(())
}

/// The first request of each of many tokens, against Keystone's own validation of others, in turns.
fn new_tokens(
    options: &Options,
    keystone: &Keystone,
    ours: Api,
    rows: &mut Vec<Row>,
) -> Result<()> {
    let count = if options.quick { 20 } else { 200 };
    let path = format!("/v2/images/{}", ours.create("shown")?);
    let service = keystone.token()?;
    let mut tokens = Vec::new();
    for _ in 0..count {
        tokens.push((keystone.token()?, keystone.token()?));
    }
    let timed = |api: Api, path: &str| -> Result<f64> {
        let begin = Instant::now();
        api.get(path)?;
        Ok(begin.elapsed().as_secs_f64() * 1e3)
    };
    let (mut we, mut they) = (Vec::new(), Vec::new());
    for (one, other) in &tokens {
        we.push(timed(asked_with(ours, one), &path)?);
        let direct = format!("X-Auth-Token: {service}\r\nX-Subject-Token: {other}\r\n");
        they.push(timed(keystone.api.with(direct), "/v3/auth/tokens")?);
    }
    rows.push(Row::new(
        "auth-cold",
        format!("first request of {count} new tokens, p50, Keystone asked directly"),
        "ms",
        &we,
        &they,
        Bar::AtMost(1.1),
    ));
    Ok(())
}
