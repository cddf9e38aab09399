//! Location URLs of the `file` driver, `file:///<dir>/<key>` (image-api 7.3), and the keys in them.
//!
//! A location can come from a user. It names a file only if, decoded, it is the root, one slash and
//! a key; everything that could lead elsewhere (`..`, another slash, a host) is not of that form.
//!
//! A store that was moved or spelled otherwise is still the same store: a location below a root that
//! it had before names the same key, and the key is looked up below the present root only.

use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::{Result, StoreError};

/// Bytes of a key at most (a file name has 255, and the temporary name adds to the key).
const MAX_KEY: usize = 128;

/// What stays as it is in a URL path.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Whether `key` may be a file name: letters, digits and dashes.
pub(super) fn is_key(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Makes and reads the URLs of one store.
pub(super) struct Locations {
    /// As configured, made absolute: what new URLs are made of.
    root: PathBuf,
    /// Locations below these name keys of this store as well.
    others: Vec<PathBuf>,
}

impl Locations {
    pub(super) fn new(root: &Path, others: impl IntoIterator<Item = PathBuf>) -> Self {
        // Without a trailing slash. Only an absolute directory can be in a URL.
        let others = others.into_iter().filter(|other| other.is_absolute());
        Self {
            root: root.components().collect(),
            others: others.map(|other| other.components().collect()).collect(),
        }
    }

    /// The URL of a file in the root.
    pub(super) fn url(&self, name: &str) -> String {
        let path = self.root.join(name);
        format!(
            "file://{}",
            percent_encode(path.as_os_str().as_bytes(), ESCAPED)
        )
    }

    /// The key that a URL names.
    pub(super) fn key(&self, url: &str) -> Result<String> {
        let path = url
            .strip_prefix("file://")
            .or_else(|| url.strip_prefix("filesystem://"))
            .ok_or(StoreError::BadLocation)?;
        let path: Vec<u8> = percent_decode_str(path).collect();
        std::iter::once(&self.root)
            .chain(&self.others)
            .find_map(|root| key_below(root, &path))
            .ok_or(StoreError::BadLocation)
    }
}

fn key_below(root: &Path, path: &[u8]) -> Option<String> {
    let rest = path.strip_prefix(root.as_os_str().as_bytes())?;
    // The root `/` brings its own slash.
    let name = match rest.strip_prefix(b"/") {
        Some(name) => name,
        None if root == Path::new("/") => rest,
        None => return None,
    };
    let key = std::str::from_utf8(name).ok()?;
    is_key(key).then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn locations() -> Locations {
        let others = ["/mnt/disk1/images", "/old/", "relative", ""].map(PathBuf::from);
        Locations::new(Path::new("/var/lib/glance images/"), others)
    }

    #[test]
    fn a_url_names_the_key_it_was_made_of() {
        let url = locations().url("0ab-1");
        assert_eq!(url, "file:///var/lib/glance%20images/0ab-1");
        assert_eq!(locations().key(&url).unwrap(), "0ab-1");
        let old = "filesystem:///var/lib/glance images/0ab-1";
        assert_eq!(locations().key(old).unwrap(), "0ab-1");
        assert_eq!(locations().key("file:///mnt/disk1/images/k").unwrap(), "k");
        assert_eq!(locations().key("file:///old/k").unwrap(), "k");
    }

    #[test]
    fn a_url_that_leads_elsewhere_is_refused() {
        for url in [
            "file:///etc/passwd",
            "file:///var/lib/glance%20images/../passwd",
            "file:///var/lib/glance%20images/%2e%2e/passwd",
            "file:///var/lib/glance%20images/..",
            "file:///var/lib/glance%20images/.",
            "file:///var/lib/glance%20images/",
            "file:///var/lib/glance%20images",
            "file:///var/lib/glance%20imageskey",
            "file:///var/lib/glance%20images//key",
            "file:///var/lib/glance%20images/sub/key",
            "file:///var/lib/glance%20images/sub%2Fkey",
            "file:///var/lib/glance%20images/.upload-key-1",
            "file:///var/lib/glance%20images/key%00",
            "file:///var/lib/glance%20images/key?x",
            "file:///var/lib/glance%20images/key#x",
            "file:///old/sub/key",
            "file:///older/key",
            "file:///old/../key",
            "file:///key",
            "file://relative/key",
            "file://key",
            "file://host/var/lib/glance%20images/key",
            "file://localhost/var/lib/glance%20images/key",
            "file:/var/lib/glance%20images/key",
            "/var/lib/glance images/key",
            "http:///var/lib/glance%20images/key",
            "",
        ] {
            let key = locations().key(url);
            assert!(
                matches!(key, Err(StoreError::BadLocation)),
                "{url}: {key:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_the_url_says_the_file_is_in_the_root(tail in "\\PC{0,40}") {
            for prefix in ["file:///var/lib/glance%20images/", "file://", ""] {
                if let Ok(key) = locations().key(&format!("{prefix}{tail}")) {
                    prop_assert!(is_key(&key));
                }
            }
        }
    }
}
