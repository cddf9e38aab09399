//! Open files: each connection takes one, each running upload another. A process that runs out of
//! them answers nobody, so the bound of connections follows what the system allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Log, tables, pool, listeners, refused connections that are lingered for, and room to spare.
const OTHERS: usize = 160;

/// Raises the soft bound of open files to the hard one, and lowers the bounds of connections where
/// that is not enough for them.
pub fn fit(config: &mut Config) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let Some(now) = now else { return };
    let room = room(config, usize::try_from(now).unwrap_or(usize::MAX));
    let limits = &mut config.limits;
    if room >= limits.connections {
        return;
    }
    tracing::warn!(
        open_files = now,
        "limits.connections is {room} instead of {}: this process may not have more open files \
         (ulimit -n)",
        limits.connections,
    );
    // The share of one peer stays what it was.
    if limits.connections_per_peer != 0 {
        let share = limits.connections_per_peer.saturating_mul(room) / limits.connections.max(1);
        limits.connections_per_peer = share.max(1);
    }
    limits.connections = room;
}

/// Connections that so many open files have room for.
fn room(config: &Config, files: usize) -> usize {
    let stores: usize = config.stores.iter().map(|store| store.threads).sum();
    let others = OTHERS
        .saturating_add(config.admin.connections)
        .saturating_add(config.cache.max_fills)
        .saturating_add(segments(config))
        .saturating_add(stores);
    let left = files.saturating_sub(others);
    // An upload takes a connection and a file.
    let uploads = config.limits.concurrent_uploads.min(left / 2);
    // Below that nothing can be promised, and a node that answers few is better than none.
    (left - uploads).max(8)
}

/// Files that the whole pool has open.
fn segments(config: &Config) -> usize {
    let segments = config.cache.size.div_ceil(glimpse_cache::SEGMENT_SIZE);
    usize::try_from(segments).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_uploads_and_the_rest_fit_the_bound_of_open_files() {
        let mut config = Config::default();
        config.cache.size = 100 << 30;
        assert_eq!(segments(&config), 400);
        let others = OTHERS + config.admin.connections + config.cache.max_fills + 400 + 10;
        for files in [others + 20, 1024, 4096, 1 << 20] {
            let room = room(&config, files);
            let uploads = config.limits.concurrent_uploads.min(room);
            assert!(
                room > 8 && others + room + uploads <= files + 1,
                "{files}: {room}"
            );
        }
        assert_eq!(room(&config, 0), 8);
        assert_eq!(room(&config, others), 8);
        assert!(room(&config, 1 << 20) >= config.limits.connections);
    }
}
