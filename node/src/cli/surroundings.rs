//! What a configuration meets on this machine: directories, disk, addresses. Only looked at, never
//! changed, and never a reason to call the configuration wrong: it may be meant for another
//! machine, and a node that runs holds its addresses itself.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access, statvfs};
use socket2::{Domain, Socket, Type};

use crate::{
    config::{Config, Problem, values::show_size},
    data_dir::DataDir,
    stores,
};

/// What would keep a node with these settings from starting here, or from its full size.
pub(super) fn warnings(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    let data_dir = &config.node.data_dir;
    let data = DataDir::look(data_dir);
    if let Some(message) = directory(data_dir, None) {
        found.push(Problem::new("node.data_dir", message));
    } else if let Err(problem) = &data {
        found.push(Problem::new("node.data_dir", problem.to_string()));
    }
    for (index, store) in config.stores.iter().enumerate() {
        if store.kind != "file" {
            continue;
        }
        let place = directory(&store.path, Some(data_dir));
        let message = place.or_else(|| {
            // Whose the store would have to be is not known of a data directory that is refused.
            let data = data.as_ref().ok()?.as_ref();
            let cluster = data.map(|(identity, _)| identity.cluster_id.as_str());
            let known = data.is_some_and(|(_, roots)| roots.contains_key(&store.name));
            stores::problem(config, store, known, cluster)
        });
        if let Some(message) = message {
            found.push(Problem::new(format!("stores[{index}].path"), message));
        }
    }
    if let Some(message) = size(data_dir, config.cache.size) {
        found.push(Problem::new("cache.size", message));
    }
    for (key, listen) in [
        ("api.listen", &config.api.listen),
        ("admin.listen", &config.admin.listen),
    ] {
        // One that is no address is a problem of the configuration.
        if let Ok(address) = listen.parse()
            && let Err(cause) = bind(address)
        {
            found.push(Problem::new(key, format!("{address}: {cause}")));
        }
    }
    found
}

/// What is wrong with a directory that the node makes where it is missing, but none above it.
/// `made` is there by then.
fn directory(path: &Path, made: Option<&Path>) -> Option<String> {
    let shown = path.display();
    match path.metadata() {
        Ok(found) if !found.is_dir() => Some(format!("{shown} is not a directory")),
        Ok(_) => cannot_write(path),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let parent = above(path);
            if made == Some(parent) {
                return None;
            }
            match parent.metadata() {
                Ok(_) => cannot_write(parent),
                Err(cause) => {
                    let parent = parent.display();
                    Some(format!("{shown} cannot be made: {parent}: {cause}"))
                }
            }
        }
        Err(cause) => Some(format!("{shown}: {cause}")),
    }
}

fn cannot_write(path: &Path) -> Option<String> {
    let cause = access(path, Access::WRITE_OK | Access::EXEC_OK).err()?;
    Some(format!("{} cannot be written: {cause}", path.display()))
}

/// The directory above, in which a relative one lies, too.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Whether a pool of that size is more than its whole file system.
pub(crate) fn size(data_dir: &Path, pool: u64) -> Option<String> {
    // One that is not there yet will be on the file system of what is above it.
    let path: PathBuf = std::path::absolute(data_dir).ok()?;
    let there = path.ancestors().find(|path| path.metadata().is_ok())?;
    let system = statvfs(there).ok()?;
    let whole = system.f_blocks.saturating_mul(system.f_frsize);
    // Some file systems do not know their size.
    (whole != 0 && pool > whole).then(|| {
        format!(
            "{} is more than the whole file system of {} holds, which is {}",
            show_size(pool),
            there.display(),
            show_size(whole)
        )
    })
}

/// Takes the address for a moment, as the node would, but listens to nobody.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::fs::PermissionsExt};

    use glimpse_store::file::MARKER;

    use super::*;

    fn config(dir: &Path) -> Config {
        let mut config = Config::for_tests(dir);
        config.cache.size = 4 << 20;
        config
    }

    fn keys(config: &Config) -> Vec<String> {
        warnings(config)
            .into_iter()
            .map(|found| found.key)
            .collect()
    }

    #[test]
    fn what_can_start_here_gives_no_warning_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        assert_eq!(warnings(&config), []);
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        std::fs::create_dir(&config.node.data_dir).unwrap();
        assert_eq!(warnings(&config), []);
        config.admin.listen.clear();
        assert_eq!(warnings(&config), []);
        assert_eq!(config.node.data_dir.read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_directory_whose_parent_is_missing_or_that_is_none_gives_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.node.data_dir = dir.path().join("absent/data");
        config.stores[0].path = dir.path().join("absent/images");
        assert_eq!(keys(&config), ["node.data_dir", "stores[0].path"]);
        std::fs::write(dir.path().join("absent"), "a file").unwrap();
        assert_eq!(keys(&config), ["node.data_dir", "stores[0].path"]);
        config.node.data_dir = dir.path().join("absent");
        config.stores[0].path = dir.path().join("images");
        assert_eq!(keys(&config), ["node.data_dir"]);
    }

    #[test]
    fn a_directory_that_a_start_would_refuse_gives_a_warning_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.stores[0].path = dir.path().join("images");
        let images = config.stores[0].path.clone();
        std::fs::create_dir(&images).unwrap();
        std::fs::write(images.join("old"), "").unwrap();
        let refused = |text: &str| {
            let found = warnings(&config);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].key, "stores[0].path");
            assert!(found[0].message.contains(text), "{found:?}");
        };
        refused("is not empty");
        assert_eq!(images.read_dir().unwrap().count(), 1);
        std::fs::write(images.join(MARKER), "").unwrap();
        assert_eq!(warnings(&config), []);
        let others = "version = 1\ncluster = c\nstore = local\n";
        std::fs::write(images.join(MARKER), others).unwrap();
        refused("belongs to store");
        let data = DataDir::open(&config.node.data_dir, std::time::Duration::ZERO).unwrap();
        refused("belongs to store");
        let ours = others.replace(
            "cluster = c",
            &format!("cluster = {}", data.identity().cluster_id),
        );
        std::fs::write(
            images.join(MARKER),
            ours.replace("local", &config.stores[0].name),
        )
        .unwrap();
        assert_eq!(warnings(&config), []);
        drop(data);
        std::fs::write(config.node.data_dir.join("FORMAT"), "").unwrap();
        assert_eq!(keys(&config), ["node.data_dir"]);
    }

    #[test]
    fn a_directory_that_cannot_be_written_gives_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o500)).unwrap();
        let found = keys(&config);
        // Nothing is forbidden to root, here as at the start.
        match rustix::process::geteuid().is_root() {
            true => assert_eq!(found, [""; 0]),
            false => assert_eq!(found, ["node.data_dir"]),
        }
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
    }

    #[test]
    fn a_pool_larger_than_its_file_system_gives_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config.cache.size = 1 << 60;
        let found = warnings(&config);
        assert_eq!(keys(&config), ["cache.size"]);
        assert!(
            found[0].message.starts_with("1048576TiB is more"),
            "{found:?}"
        );
    }

    #[test]
    fn an_address_that_is_taken_or_not_of_this_host_gives_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        config.api.listen = taken.local_addr().unwrap().to_string();
        config.admin.listen = "192.0.2.1:1".to_owned();
        let found = warnings(&config);
        assert_eq!(keys(&config), ["api.listen", "admin.listen"]);
        assert!(found[0].message.contains("in use"), "{found:?}");
        drop(taken);
        config.admin.listen.clear();
        assert_eq!(warnings(&config), []);
    }
}
