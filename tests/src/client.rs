//! A client of the Image API that hides nothing: any method, path, header and body, and one line
//! for what every test does.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::{
    Body, ClientBuilder, Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};

use crate::{Answer, Persona, TestCertificate, TlsVersion, eventually, tls::use_ring};

/// Media type of JSON-patch documents with `op`, `path`, `value`.
pub const PATCH_V21: &str = "application/openstack-images-v2.1-json-patch";
/// Media type of the older documents with the operation as key.
pub const PATCH_V20: &str = "application/openstack-images-v2.0-json-patch";

/// A client with an identity. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    headers: HeaderMap,
}

impl Client {
    /// A client of the server at `base` (`http://host:port`), without an identity.
    pub fn new(base: &str) -> Self {
        Self::built(base, |builder| builder)
    }

    /// A client of the server at `base` (`https://host:port`) that trusts this certificate only.
    pub fn secure(base: &str, trusted: &TestCertificate, version: Option<TlsVersion>) -> Self {
        Self::built(base, |builder| {
            let builder = trusted.trust(builder);
            match version {
                Some(version) => version.hold(builder),
                None => builder,
            }
        })
    }

    fn built(base: &str, with: impl Fn(ClientBuilder) -> ClientBuilder) -> Self {
        use_ring();
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        Self {
            http: with(builder).build().expect("an HTTP client"),
            base: base.to_owned(),
            headers: HeaderMap::new(),
        }
        .with("accept", "application/json")
    }

    /// The same client as someone else.
    pub fn as_persona(&self, persona: &Persona) -> Self {
        persona
            .headers()
            .into_iter()
            .fold(self.clone(), |client, (name, value)| {
                client.with(name, &value)
            })
    }

    /// The same client with one more header on every request.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        client
            .headers
            .insert(name, HeaderValue::from_str(value).expect("a header value"));
        client
    }

    /// Begins a request; `path` may carry a query.
    pub fn call(&self, method: &str, path: &str) -> Call {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let asked = format!("{method} {path}");
        let request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .headers(self.headers.clone());
        Call { asked, request }
    }

    /// `GET`
    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send().await
    }

    /// `DELETE`
    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path).send().await
    }

    /// `POST` of JSON
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path).json(&body).send().await
    }

    /// `PUT` of JSON
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path).json(&body).send().await
    }

    /// `POST /v2/images`
    pub async fn create(&self, body: Value) -> Answer {
        self.post("/v2/images", body).await
    }

    /// Creates a raw, bare image with these attributes besides and returns its id.
    pub async fn created(&self, attributes: Value) -> String {
        let mut body = json!({"name": "image", "disk_format": "raw", "container_format": "bare"});
        merge(&mut body, attributes);
        self.create(body).await.expect(201).field("id")
    }

    /// Creates an image, uploads `data` and returns its id.
    pub async fn active(&self, attributes: Value, data: impl Into<Bytes>) -> String {
        let id = self.created(attributes).await;
        self.upload(&id, data).await.expect(204);
        id
    }

    /// `GET /v2/images/{id}`
    pub async fn show(&self, id: &str) -> Answer {
        self.get(&format!("/v2/images/{id}")).await
    }

    /// Waits until the image is in this status.
    pub async fn reaches(&self, id: &str, status: &str) {
        eventually(status, async || {
            (self.show(id).await.expect(200).field("status") == status).then_some(())
        })
        .await;
    }

    /// `GET /v2/images` with a query (without the question mark)
    pub async fn list(&self, query: &str) -> Answer {
        self.get(&format!("/v2/images?{query}")).await
    }

    /// Every id of a listing, page by page along `next`.
    pub async fn list_all(&self, query: &str) -> Vec<String> {
        let mut path = format!("/v2/images?{query}");
        let mut ids = Vec::new();
        loop {
            let page = self.get(&path).await.expect(200);
            ids.extend(page.ids("images"));
            match page.json().get("next").and_then(Value::as_str) {
                Some(next) => next.clone_into(&mut path),
                None => return ids,
            }
            assert!(ids.len() < 100_000, "the pages of {query} never end");
        }
    }

    /// `PATCH /v2/images/{id}` with v2.1 operations
    pub async fn patch(&self, id: &str, operations: Value) -> Answer {
        self.patch_as(PATCH_V21, id, operations).await
    }

    /// `PATCH /v2/images/{id}` with any media type
    pub async fn patch_as(&self, media_type: &str, id: &str, operations: Value) -> Answer {
        self.call("PATCH", &format!("/v2/images/{id}"))
            .header("content-type", media_type)
            .body(operations.to_string())
            .send()
            .await
    }

    /// Replaces one attribute.
    pub async fn replace(&self, id: &str, attribute: &str, value: Value) -> Answer {
        self.patch(
            id,
            json!([{"op": "replace", "path": format!("/{attribute}"), "value": value}]),
        )
        .await
    }

    /// `DELETE /v2/images/{id}`
    pub async fn remove(&self, id: &str) -> Answer {
        self.delete(&format!("/v2/images/{id}")).await
    }

    /// `PUT /v2/images/{id}/file` with a Content-Length
    pub async fn upload(&self, id: &str, data: impl Into<Bytes>) -> Answer {
        self.file(id).body(data.into()).send().await
    }

    /// The same in chunked encoding, from pieces.
    pub async fn upload_chunked(
        &self,
        id: &str,
        pieces: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Answer {
        self.file(id).stream(pieces).send().await
    }

    /// `PUT /v2/images/{id}/stage`
    pub async fn stage(&self, id: &str, data: impl Into<Bytes>) -> Answer {
        self.call("PUT", &format!("/v2/images/{id}/stage"))
            .header("content-type", "application/octet-stream")
            .body(data.into())
            .send()
            .await
    }

    /// `POST /v2/images/{id}/import`
    pub async fn import(&self, id: &str, body: Value) -> Answer {
        self.post(&format!("/v2/images/{id}/import"), body).await
    }

    /// The tasks of an image, the newest last.
    pub async fn tasks_of(&self, id: &str) -> Vec<Value> {
        let path = format!("/v2/images/{id}/tasks");
        let answer = self.get(&path).await.expect(200).json();
        answer["tasks"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until the newest task of the image has ended, and gives it back.
    pub async fn task_ends(&self, id: &str) -> Value {
        eventually("the end of a task", async || {
            let task = self.tasks_of(id).await.pop()?;
            let ended = task["status"] == "success" || task["status"] == "failure";
            ended.then_some(task)
        })
        .await
    }

    /// Begins a `PUT /v2/images/{id}/file`.
    pub fn file(&self, id: &str) -> Call {
        self.call("PUT", &format!("/v2/images/{id}/file"))
            .header("content-type", "application/octet-stream")
    }

    /// `GET /v2/images/{id}/file`
    pub async fn download(&self, id: &str) -> Answer {
        self.get(&format!("/v2/images/{id}/file")).await
    }

    /// `GET /v2/images/{id}/file` with a `Range`
    pub async fn range(&self, id: &str, range: &str) -> Answer {
        self.call("GET", &format!("/v2/images/{id}/file"))
            .header("range", range)
            .send()
            .await
    }

    /// `PUT /v2/images/{id}/tags/{tag}`
    pub async fn tag(&self, id: &str, tag: &str) -> Answer {
        self.call("PUT", &format!("/v2/images/{id}/tags/{tag}"))
            .send()
            .await
    }

    /// `POST /v2/images/{id}/members`
    pub async fn share(&self, id: &str, project: &str) -> Answer {
        self.post(
            &format!("/v2/images/{id}/members"),
            json!({"member": project}),
        )
        .await
    }

    /// `PUT /v2/images/{id}/members/{project}`
    pub async fn decide(&self, id: &str, project: &str, status: &str) -> Answer {
        self.put(
            &format!("/v2/images/{id}/members/{project}"),
            json!({"status": status}),
        )
        .await
    }

    /// `POST /v2/images/{id}/actions/{action}`
    pub async fn act(&self, id: &str, action: &str) -> Answer {
        self.call("POST", &format!("/v2/images/{id}/actions/{action}"))
            .send()
            .await
    }
}

/// A request in the making.
pub struct Call {
    asked: String,
    request: reqwest::RequestBuilder,
}

impl Call {
    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// A JSON body.
    pub fn json(mut self, body: &Value) -> Self {
        self.request = self
            .request
            .header("content-type", "application/json")
            .body(body.to_string());
        self
    }

    /// A body with a Content-Length.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.request = self.request.body(Body::from(body.into()));
        self
    }

    /// A body in chunked encoding.
    pub fn stream(mut self, pieces: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        let pieces = pieces.map(Ok::<_, std::io::Error>);
        self.request = self.request.body(Body::wrap_stream(pieces));
        self
    }

    /// Sends it and reads the answer to its end; a transfer that breaks fails the test.
    pub async fn send(self) -> Answer {
        let asked = self.asked.clone();
        match self.attempt().await {
            Ok(answer) => answer,
            Err(error) => panic!("{asked}: {error:?}"),
        }
    }

    /// Sends it and reads the answer to its end, or tells how the transfer broke.
    pub async fn attempt(self) -> Result<Answer, reqwest::Error> {
        let response = self.request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?;
        Ok(Answer {
            asked: self.asked,
            status,
            headers,
            body,
        })
    }

    /// Sends it and hands back the answer with its body unread.
    pub async fn open(self) -> reqwest::Response {
        match self.request.send().await {
            Ok(response) => response,
            Err(error) => panic!("{}: {error:?}", self.asked),
        }
    }
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
