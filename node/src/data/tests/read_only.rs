//! A store that cannot be written.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use glimpse_store::{Capabilities, Listed, Result, Stat, Store, Write};
use http::{Request, header};
use serde_json::Value;

use super::rig::{Rig, bytes, refused};
use crate::{api::ImageApi, serve::Service as _};

/// Reads of another.
struct ReadOnly(Arc<dyn Store>);

#[async_trait]
impl Store for ReadOnly {
    fn kind(&self) -> &'static str {
        "readable"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            writable: false,
            ..self.0.capabilities()
        }
    }
    fn url(&self, key: &str) -> Result<String> {
        self.0.url(key)
    }
    async fn put(&self, _: &str, _: Option<u64>) -> Result<Box<dyn Write>> {
        panic!("written")
    }
    async fn get(&self, url: &str, range: Range<u64>) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.0.get(url, range).await
    }
    async fn stat(&self, url: &str) -> Result<Stat> {
        self.0.stat(url).await
    }
    async fn delete(&self, _: &str) -> Result<()> {
        panic!("deleted from")
    }
    async fn list(&self) -> Result<BoxStream<'static, Result<Listed>>> {
        self.0.list().await
    }
    async fn remove_unfinished(&self) -> Result<u64> {
        panic!("deleted from")
    }
}

#[tokio::test]
async fn it_is_shown_as_read_only_and_an_upload_to_it_is_410() {
    let rig = Rig::over(|store| Arc::new(ReadOnly(store)), |_| {});
    for path in ["/v2/info/stores", "/v2/info/stores/detail"] {
        let request = Request::get(path)
            .header(header::HOST, "images.example.org")
            .header("x-identity-status", "Confirmed")
            .header("x-project-id", "services")
            .header("x-roles", "service")
            .body(Body::empty())
            .unwrap();
        let api = ImageApi::new(Arc::clone(&rig.app));
        let answer = api.answer(request).await;
        assert_eq!(answer.status(), 200, "{path}");
        let shown: Value = serde_json::from_slice(&bytes(answer).await).unwrap();
        assert_eq!(shown["stores"][0]["read-only"], "true", "{path}");
    }
    let id = rig.image().await;
    assert_eq!(refused(rig.put(id, "data").await).0, 410);
    rig.assert_untouched(id, "a store that cannot be written")
        .await;
}
