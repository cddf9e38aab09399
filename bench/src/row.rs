//! One row of a table: ours, the peer's, their ratio and the bar.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

/// Which way a ratio has to lie.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bar {
    /// `ours / peer` at least this.
    AtLeast(f64),
    /// `ours / peer` at most this.
    AtMost(f64),
    /// `ours` below so many of the row's units; the peer must have run all the same.
    Below(f64),
    /// Shown beside the row's other figure; any ratio will do, but the peer must have run.
    Shown,
}

/// One figure beside its peer's.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    id: &'static str,
    what: String,
    ours: Option<f64>,
    peer: Option<f64>,
    unit: &'static str,
    ratio: Option<f64>,
    bar: String,
    holds: Option<bool>,
}

impl Row {
    /// A row from the rounds of both sides; medians. A side without rounds did not run.
    pub(crate) fn new(
        id: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        ours: &[f64],
        peer: &[f64],
        bar: Bar,
    ) -> Self {
        let (ours, peer) = (median(ours), median(peer));
        let ratio = ours.zip(peer).map(|(o, p)| o / p);
        let (bar, holds) = match bar {
            Bar::AtLeast(x) => (format!(">= {x} x"), ratio.map(|r| r >= x)),
            Bar::AtMost(x) => (format!("<= {x} x"), ratio.map(|r| r <= x)),
            Bar::Below(x) => (format!("< {x}"), ratio.and(ours).map(|o| o < x)),
            Bar::Shown => ("-".to_owned(), ratio.map(|_| true)),
        };
        Self {
            id,
            what: what.into(),
            ours,
            peer,
            unit,
            ratio,
            bar,
            holds,
        }
    }

    /// A row that could not be measured to its end: it does not hold.
    pub(crate) fn broken(id: &'static str) -> Self {
        Self::new(id, "broken off; see above", "", &[], &[], Bar::Shown)
    }
}

/// The middle one.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Prints the table and writes it as JSON; whether all rows hold.
pub(crate) fn report(rows: &[Row], file: &Path) -> Result<bool> {
    println!(
        "\n{:<10} {:<62} {:>12} {:>12} {:<12} {:>9} {:>11}  holds",
        "id", "what", "ours", "peer", "unit", "ratio", "bar"
    );
    for row in rows {
        println!(
            "{:<10} {:<62} {:>12} {:>12} {:<12} {:>9} {:>11}  {}",
            row.id,
            row.what,
            number(row.ours),
            number(row.peer),
            row.unit,
            number(row.ratio),
            row.bar,
            match row.holds {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "not run",
            }
        );
    }
    std::fs::write(file, serde_json::to_vec_pretty(rows)?)?;
    println!("\nwritten to {}", file.display());
    Ok(rows.iter().all(|r| r.holds == Some(true)))
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(v) if v.abs() >= 100.0 => format!("{v:.0}"),
        Some(v) if v.abs() >= 1.0 => format!("{v:.2}"),
        Some(v) => format!("{v:.4}"),
    }
}
