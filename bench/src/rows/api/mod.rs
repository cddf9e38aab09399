//! The table `api`.

mod auth;
mod import;
mod list_auth;
mod policy;

use anyhow::Result;

use crate::{Options, row::Row};

/// The table `api`.
pub(crate) fn api(options: &Options) -> Result<Vec<Row>> {
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    let mut told = |id, result| super::tell(&mut failed, id, result);
    told("auth", auth::run(options, &mut rows));
    told("policy", policy::run(options, &mut rows));
    told("import", import::run(options, &mut rows));
    told("list-auth", list_auth::run(options, &mut rows));
    rows.extend(failed.into_iter().map(Row::broken));
    Ok(rows)
}
