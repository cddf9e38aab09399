//! `memory`: what stays resident with a large registry after it was listed whole.

use anyhow::Result;

use crate::{
    Options,
    api::Api,
    glimpse::{self, Glimpse},
    process,
    row::{Bar, Row},
};

pub(super) fn run(options: &Options, reference: &[f64], rows: &mut Vec<Row>) -> Result<()> {
    if !options.wants("memory") {
        return Ok(());
    }
    let many = Glimpse::start(options, &glimpse::filled(options, options.many())?)?;
    let ours = after_listing(many.api, many.process.pid(), options.many())?;
    rows.push(Row::new(
        "memory",
        format!(
            "RssAnon with {} images, reference with 1,000",
            options.many()
        ),
        "MB",
        &ours,
        reference,
        Bar::AtMost(0.5),
    ));
    Ok(())
}

/// Anonymous resident megabytes after the whole listing was read, several times over.
pub(super) fn after_listing(api: Api, pid: u32, expected: usize) -> Result<Vec<f64>> {
    let mut samples = Vec::new();
    for _ in 0..3 {
        let listed = walk(api)?;
        anyhow::ensure!(listed >= expected, "the listing gave {listed} images");
        samples.push(process::rss_anon(pid) as f64 / 1e6);
    }
    Ok(samples)
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
