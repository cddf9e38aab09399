//! `list-auth`: a project's page costs the same among many images of others as where all are its own.

use anyhow::Result;

use crate::{
    Options,
    glimpse::{self, Glimpse},
    load::{self, Ask},
    process,
    row::{Bar, Row},
};

/// Images of the project that asks.
const OWN: usize = 1000;
const CONNECTIONS: usize = 4;

pub(super) fn run(options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    if !options.wants("list-auth") {
        return Ok(());
    }
    let many = options.many();
    let few = glimpse::filled_as(options, "glimpse-projects", OWN, 1)?;
    let data = glimpse::filled_as(options, "glimpse-projects", many, many / OWN)?;
    process::pin(std::process::id(), super::super::PINNED)?;
    let settings = "[auth]\nmode = \"trusted-headers\"\n";
    let few = Glimpse::start_with(options, &few, settings)?;
    let data = Glimpse::start_with(options, &data, settings)?;
    let member = "X-Identity-Status: Confirmed\r\nX-User-Id: user\r\nX-Project-Id: project-0\r\n\
                  X-Roles: member,reader\r\n";
    let ask = Ask::Same("/v2/images?limit=25".to_owned());
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        for (node, rate) in [(&data, &mut ours), (&few, &mut peer)] {
            let api = node.api.with(member.to_owned());
            let figures = load::load(
                node.process.pid(),
                api,
                CONNECTIONS,
                options.seconds(),
                &ask,
            )?;
            rate.push(figures.requests_per_second);
        }
    }
    process::pin(std::process::id(), None)?;
    rows.push(Row::new(
        "list-auth",
        format!("page of a project with {OWN} of {many} images, of {OWN} in all"),
        "1/s",
        &ours,
        &peer,
        Bar::AtLeast(0.7),
    ));
    Ok(())
}
