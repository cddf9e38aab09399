//! `ops/glimpse.service` fits this program.

use crate::config::Config;

const UNIT: &str = include_str!("../../../ops/glimpse.service");

/// System calls of this program that systemd's `@system-service` lacks, or that the unit takes out
/// again with `@resources`: a node that makes one which is not allowed is killed.
const BEYOND: [(&str, &str); 3] = [
    ("mincore", "cache/src/pool/map.rs: is_resident"),
    ("prlimit64", "serve/open_files.rs: fit"),
    (
        "setrlimit",
        "serve/open_files.rs: fit, with other C libraries",
    ),
];

/// The values of a key, in their order.
fn values(key: &str) -> Vec<&'static str> {
    let assigned = |line: &'static str| line.strip_prefix(key)?.strip_prefix('=');
    UNIT.lines().filter_map(assigned).collect()
}

#[test]
fn the_unit_allows_every_system_call_that_the_node_makes() {
    let filters = values("SystemCallFilter");
    let [base, removed, added] = filters.as_slice() else {
        panic!("{filters:?}");
    };
    assert_eq!(
        (*base, *removed),
        ("@system-service", "~@privileged @resources")
    );
    let added: Vec<_> = added.split(' ').collect();
    assert_eq!(added.len(), BEYOND.len(), "{added:?}");
    for (call, user) in BEYOND {
        assert!(added.contains(&call), "{call}: {user}");
    }
}

#[test]
fn the_units_patience_is_longer_than_the_longest_stop() {
    let values = values("TimeoutStopSec");
    let seconds: u64 = values[0].strip_suffix('s').unwrap().parse().unwrap();
    // Transfers; everything after them; and the listener of the metrics, with a second to spare.
    let longest = 2 * Config::default().limits.drain_timeout.as_secs() + 2;
    assert!(longest < seconds, "{longest} {seconds}");
}

#[test]
fn a_wrong_configuration_is_not_tried_again_and_nothing_overrides_the_file() {
    // What ExecStartPre= ends with is not looked at by RestartPreventExitStatus=.
    assert_eq!(values("RestartPreventExitStatus"), ["2"]);
    assert!(values("ExecStartPre").is_empty());
    assert!(values("Environment").is_empty());
}
