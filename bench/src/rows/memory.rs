//! `memory`: what stays resident with a large registry after it was listed whole.

use anyhow::Result;

use crate::{
    Options,
    api::Api,
    glimpse::{self, Glimpse},
    process,
    reference::Reference,
    row::{Bar, Row},
};

pub(super) fn run(
    options: &Options,
    reference: Option<&Reference>,
    rows: &mut Vec<Row>,
) -> Result<()> {
    if !options.wants("memory") {
        return Ok(());
    }
    let many = Glimpse::start(options, &glimpse::filled(options, options.many())?)?;
    let listed = walk(many.api)?;
    anyhow::ensure!(listed == options.many(), "the listing gave {listed} images");
    let ours = [process::rss_anon(many.process.pid()) as f64 / 1e6];
    let mut peer = Vec::new();
    if let Some(reference) = reference {
        while walk(reference.api)? < 1000 {
            reference.api.create("memory")?;
        }
        peer.push(process::rss_anon(reference.process.pid()) as f64 / 1e6);
    }
    rows.push(Row::new(
        "memory",
        format!(
            "RssAnon with {} images, reference with 1,000",
            options.many()
        ),
        "MB",
        &ours,
        &peer,
        Bar::AtMost(0.5),
    ));
    Ok(())
}

fn walk(api: Api) -> Result<usize> {
    let mut path = "/v2/images?limit=1000".to_owned();
    let mut count = 0;
    loop {
        let page = api.get(&path)?;
        count += page["images"].as_array().map_or(0, Vec::len);
        match page["next"].as_str() {
            Some(next) => path = next.to_owned(),
            None => return Ok(count),
        }
    }
}
