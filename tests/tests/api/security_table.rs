//! SECURITY.md names a test for every advisory, and the tests that it names exist.

use std::path::{Path, PathBuf};

/// Sections 11.1 to 11.3 of the inventory of the API.
const ADVISORIES: &[&str] = &[
    "OSSA-2012-017",
    "OSSA-2013-002",
    "OSSA-2013-007",
    "OSSA-2013-012",
    "OSSA-2013-018",
    "OSSA-2013-027",
    "OSSA-2014-004",
    "OSSA-2014-012",
    "OSSA-2014-028",
    "OSSA-2014-041",
    "OSSA-2015-002",
    "OSSA-2015-003",
    "OSSA-2015-004",
    "OSSA-2015-009",
    "OSSA-2015-013",
    "OSSA-2015-014",
    "OSSA-2015-019",
    "OSSA-2015-020",
    "OSSA-2016-006",
    "OSSA-2016-012",
    "OSSA-2023-002",
    "OSSA-2023-003",
    "OSSA-2024-001",
    "OSSA-2024-002",
    "OSSA-2024-003",
    "OSSA-2026-002",
    "OSSA-2026-004",
    "LP 2161330",
    "OSSN-0005",
    "OSSN-0013",
    "OSSN-0015",
    "OSSN-0025",
    "OSSN-0048",
    "OSSN-0057",
    "OSSN-0060",
    "OSSN-0061",
    "OSSN-0065",
    "OSSN-0075",
    "OSSN-0078",
    "OSSN-0105",
    "OSSN-0108",
];

#[test]
fn every_advisory_has_a_row_and_every_test_named_there_exists() {
    let table = include_str!("../../../SECURITY.md");
    let rows: Vec<(&str, &str)> = table
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
            Some((cells.next()?, cells.nth(1)?))
        })
        .skip(2)
        .collect();
    for advisory in ADVISORIES {
        assert!(
            rows.iter().any(|(name, _)| name == advisory),
            "{advisory} has no row"
        );
    }
    let mut sources = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in ["tests", "node/src", "node/store/src"] {
        read_sources(&root.join(folder), &mut sources);
    }
    for (advisory, test) in rows {
        if test.starts_with("- (") {
            continue;
        }
        for test in test.split(", ") {
            let name = test.trim_matches('`');
            assert!(
                sources.contains(&format!("fn {name}(")),
                "{advisory}: there is no test {name}"
            );
        }
    }
}

fn read_sources(folder: &Path, sources: &mut String) {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
