//! `create`: durable creates per second.

use anyhow::Result;

use crate::{
    Options,
    glimpse::Glimpse,
    load::{self, Ask},
    reference::Reference,
    row::{Bar, Row},
};

pub(super) fn run(
    options: &Options,
    ours: &Glimpse,
    reference: Option<&Reference>,
    rows: &mut Vec<Row>,
) -> Result<()> {
    if !options.wants("create") {
        return Ok(());
    }
    let ask = Ask::Post {
        path: "/v2/images".to_owned(),
        body: r#"{"name":"bench","disk_format":"raw","container_format":"bare"}"#.to_owned(),
    };
    for (clients, bar) in [(1, 3.0), (64, 30.0)] {
        let (mut we, mut they) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            we.push(
                load::load(
                    ours.process.pid(),
                    ours.api,
                    clients,
                    options.seconds(),
                    &ask,
                )?
                .requests_per_second,
            );
            if let Some(peer) = reference {
                they.push(
                    load::load(
                        peer.process.pid(),
                        peer.api,
                        clients,
                        options.seconds(),
                        &ask,
                    )?
                    .requests_per_second,
                );
            }
        }
        rows.push(Row::new(
            "create",
            format!("durable creates, {clients} clients, reference"),
            "1/s",
            &we,
            &they,
            Bar::AtLeast(bar),
        ));
    }
    Ok(())
}
