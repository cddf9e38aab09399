//! `policy`: shows decided by a policy file of a hundred rules, against shows that all may do.

use std::fmt::Write as _;

use anyhow::Result;

use crate::{
    Options,
    api::Api,
    glimpse::Glimpse,
    load::{self, Ask},
    process,
    row::{Bar, Row},
};

const RULES: usize = 100;
const CONNECTIONS: usize = 8;

pub(super) fn run(options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    if !options.wants("policy") {
        return Ok(());
    }
    let file = options.dir.join("policy-bench.yaml");
    std::fs::write(&file, policy())?;
    let settings = format!("[auth]\nmode = \"trusted-headers\"\npolicy_file = {file:?}\n");
    process::pin(std::process::id(), super::super::PINNED)?;
    let data = super::super::fresh(options, "glimpse-policy")?;
    let with = Glimpse::start_with(options, &data, &settings)?;
    let data = super::super::fresh(options, "glimpse-none")?;
    let without = Glimpse::start(options, &data)?;
    let member = "X-Identity-Status: Confirmed\r\nX-User-Id: user\r\nX-Project-Id: project\r\n\
                  X-Roles: member,reader\r\n";
    let with = (with.process.pid(), with.api.with(member.to_owned()), with);
    let without = (without.process.pid(), without.api, without);
    let mut rates = [Vec::new(), Vec::new()];
    let mut paths = Vec::new();
    for api in [with.1, without.1] {
        paths.push(format!("/v2/images/{}", Api::create(api, "shown")?));
    }
    for _ in 0..options.rounds {
        let sides = [(with.0, with.1), (without.0, without.1)];
        for (((pid, api), path), rate) in sides.into_iter().zip(&paths).zip(&mut rates) {
            let ask = Ask::Same(path.clone());
            let figures = load::load(pid, api, CONNECTIONS, options.seconds(), &ask)?;
            rate.push(figures.requests_per_second);
        }
    }
    process::pin(std::process::id(), None)?;
    let [ours, none] = rates;
    rows.push(Row::new(
        "policy",
        format!("image show by a policy file of {RULES} rules, auth.mode = none"),
        "1/s",
        &ours,
        &none,
        Bar::AtLeast(0.8),
    ));
    Ok(())
}

/// `get_image` and `add_image` stand on a chain of rules of which each asks something of its own first.
fn policy() -> String {
    let mut file = String::new();
    for rule in 0..RULES - 2 {
        let next = match rule + 1 {
            next if next.is_multiple_of(10) || next == RULES - 2 => "role:reader".to_owned(),
            next => format!("rule:site_{next}"),
        };
        let _ = writeln!(
            file,
            "site_{rule}: \"role:team_{rule} or (user_id:{rule} and not project_id:{rule}) or {next}\""
        );
    }
    file.push_str("get_image: \"rule:site_80 and (project_id:%(project_id)s or rule:site_0)\"\n");
    file.push_str("add_image: \"rule:site_90 and project_id:%(project_id)s\"\n");
    file
}
