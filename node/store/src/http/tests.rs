//! The driver over objects in memory: that it is read-only, and which URLs are locations.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use super::*;
use crate::testing::read_only;

/// Objects in memory, by URL: the real fetcher is the node's, and is tested there against servers.
struct Objects(BTreeMap<String, Bytes>);

impl Objects {
    fn find(&self, url: &str) -> Result<&Bytes> {
        self.0.get(url).ok_or(StoreError::NotFound)
    }
}

#[async_trait]
impl Fetcher for Objects {
    async fn size(&self, url: &str) -> Result<u64> {
        Ok(self.find(url)?.len() as u64)
    }

    async fn get(&self, url: &str, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        let data = self.find(url)?;
        let at = |byte: u64| usize::try_from(byte).unwrap();
        if range.end > data.len() as u64 {
            return Err(StoreError::Damaged("it is shorter".to_owned()));
        }
        let piece = data.slice(at(range.start)..at(range.end));
        Ok(stream::once(std::future::ready(Ok(piece))).boxed())
    }
}

#[tokio::test]
async fn the_driver_is_read_only_and_otherwise_conforms() {
    let data = Bytes::from(
        (0..200_000u32)
            .flat_map(u32::to_le_bytes)
            .collect::<Vec<u8>>(),
    );
    let url = "https://images.example.org:8080/a%20b/c.img?x=1".to_owned();
    let objects = Objects([(url.clone(), data.clone())].into());
    let store = HttpStore::new(Arc::new(objects));
    read_only(&store, &url, "http://images.example.org/missing", &data).await;
}

#[test]
fn a_location_is_a_plain_url_of_a_host() {
    for good in [
        "http://h",
        "HTTPS://h/a..b/c",
        "http://u:p@[2001:db8::1]:80/x?a=b&c=%2F#f",
    ] {
        assert!(is_location(good), "{good}");
    }
    let long = format!("http://h/{}", "x".repeat(255));
    for bad in [
        "",
        "http:",
        "http://",
        "http:///x",
        "http://:80/x",
        "http://?x",
        "file:///etc/passwd",
        "FILE://h/x",
        "swift+config://a/b/c",
        "ftp://h/x",
        "http://h/a;b",
        "http://h/`id`",
        "http://h/a b",
        "http://h/a\nb",
        "http://h/\u{e9}",
        "http://h/a|b",
        "http://h\\x",
        "http://h/../x",
        "http://h/a/%2E%2e/x",
        "http://h/a/..",
        " http://h/",
        long.as_str(),
    ] {
        assert!(!is_location(bad), "{bad}");
    }
}
