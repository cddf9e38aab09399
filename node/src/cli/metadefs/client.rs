//! A client of the part of the Image API that metadata definitions need.

use std::{path::Path, time::Duration};

use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Certificate, Method};
use serde_json::Value;

use crate::tls;

/// For each request.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of an answer at most.
const ANSWER_BYTES: usize = 64 << 20;

pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of the API at `endpoint`, whose version is left out.
    pub(super) fn new(
        endpoint: &str,
        token: Option<&str>,
        cafile: Option<&Path>,
    ) -> Result<Self, String> {
        let endpoint = endpoint.trim_end_matches('/');
        let base = endpoint.strip_suffix("/v2").unwrap_or(endpoint).to_owned();
        tls::use_ring();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")))
            // A redirect would take the token elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE);
        if let Some(path) = cafile {
            let shown = path.display();
            let trusted = std::fs::read(path).map_err(|cause| format!("{shown}: {cause}"))?;
            let trusted = Certificate::from_pem_bundle(&trusted);
            let trusted = trusted.map_err(|cause| format!("{shown}: {cause}"))?;
            builder = builder.tls_certs_only(trusted);
        } else if base.starts_with("http://") {
            builder = builder.tls_certs_only([]);
        }
        Ok(Self {
            http: builder.build().map_err(|cause| cause.to_string())?,
            base,
            token: token.map(str::to_owned),
        })
    }

    /// `GET` of a path of the API; `None`: 404.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Value>, String> {
        let (status, body) = self.send(Method::GET, path, None, false).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|cause| format!("the answer to GET {path} is no JSON: {cause}")),
            status => Err(refusal(status, &body)),
        }
    }

    /// A change that must succeed.
    pub(super) async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(), String> {
        self.succeeds(method, path, body, false).await
    }

    /// Adds to a list of tags.
    pub(super) async fn append(&self, path: &str, body: &Value) -> Result<(), String> {
        self.succeeds(Method::POST, path, Some(body), true).await
    }

    async fn succeeds(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        append: bool,
    ) -> Result<(), String> {
        let (status, answer) = self.send(method, path, body, append).await?;
        match status.is_success() {
            true => Ok(()),
            false => Err(refusal(status, &answer)),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        append: bool,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.header("x-auth-token", token);
        }
        if append {
            request = request.header("x-openstack-append", "true");
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if answer.len() + piece.len() > ANSWER_BYTES {
                return Err(format!("an answer is larger than {ANSWER_BYTES} bytes"));
            }
            answer.extend_from_slice(&piece);
        }
        Ok((status, answer))
    }
}

/// The path of a namespace, and of what is in it by these names.
pub(super) fn path(namespace: &str, rest: &[&str]) -> String {
    let mut path = "/v2/metadefs/namespaces".to_owned();
    for part in std::iter::once(&namespace).chain(rest) {
        path.push('/');
        path.extend(utf8_percent_encode(part, UNRESERVED));
    }
    path
}

/// What is escaped in a part of a path.
const UNRESERVED: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'-')
    .remove(b'.')
    .remove(b'~');

/// The status and, in words, why.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    match answer.get("message").and_then(Value::as_str) {
        Some(message) if !message.is_empty() => format!("{status}: {message}"),
        _ => status.to_string(),
    }
}

/// With all causes.
fn failed(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(below) = cause {
        text.push_str(&format!(": {below}"));
        cause = below.source();
    }
    text
}
