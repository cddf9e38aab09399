//! `list-flat`: a page costs the same among many images as among few.

use anyhow::Result;

use crate::{
    Options,
    glimpse::{self, Glimpse},
    load::{self, Ask},
    process,
    row::{Bar, Row},
};

const FEW: usize = 1000;

pub(super) fn run(options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    if !options.wants("list-flat") {
        return Ok(());
    }
    let (few, many) = (
        glimpse::filled(options, FEW)?,
        glimpse::filled(options, options.many())?,
    );
    process::pin(std::process::id(), super::PINNED)?;
    let (few, many) = (
        Glimpse::start(options, &few)?,
        Glimpse::start(options, &many)?,
    );
    let first = Ask::Same("/v2/images?limit=25".to_owned());
    let markers = Ask::Paths(random_markers(&many)?);
    let three = Ask::Same(glimpse::THREE_PREDICATES.to_owned());
    let all = glimpse::THREE_PREDICATES.replace("limit=25", "limit=1000");
    let found = many.api.get(&all)?["images"].as_array().map(Vec::len);
    anyhow::ensure!(
        found == Some(glimpse::ALL_THREE),
        "the filter finds {found:?} images"
    );
    let mut rates = [const { Vec::new() }; 4];
    for _ in 0..options.rounds {
        for (rate, (node, ask)) in rates.iter_mut().zip([
            (&few, &first),
            (&many, &first),
            (&many, &markers),
            (&many, &three),
        ]) {
            rate.push(
                load::load(node.process.pid(), node.api, 4, options.seconds(), ask)?
                    .requests_per_second,
            );
        }
    }
    process::pin(std::process::id(), None)?;
    let count = options.many();
    let [few, first, markers, three] = rates;
    rows.push(Row::new(
        "list-flat",
        format!("first page among {count}, among 1,000"),
        "1/s",
        &first,
        &few,
        Bar::AtLeast(0.7),
    ));
    rows.push(Row::new(
        "list-flat",
        format!("random markers among {count}, first among 1,000"),
        "1/s",
        &markers,
        &few,
        Bar::AtLeast(0.25),
    ));
    rows.push(Row::new(
        "list-flat",
        format!("three predicates among {count}, first among 1,000"),
        "1/s",
        &three,
        &few,
        Bar::AtLeast(0.1),
    ));
    Ok(())
}

/// Pages after markers spread over the whole registry: walks it by large pages and keeps an id of
/// each.
fn random_markers(node: &Glimpse) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let mut next = Some("/v2/images?limit=1000".to_owned());
    let mut seed = 88_172_645_463_325_252u64;
    while let Some(path) = next {
        let page = node.api.get(&path)?;
        let images = page["images"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        if let Some(id) = images
            .get(usize::try_from(seed % images.len().max(1) as u64)?)
            .and_then(|i| i["id"].as_str())
        {
            paths.push(format!("/v2/images?limit=25&marker={id}"));
        }
        next = page["next"].as_str().map(str::to_owned);
    }
    Ok(paths)
}
