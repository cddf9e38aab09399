//! `http:` and `https:` checks: a server that is asked, and holds only if it answers `True`.
//!
//! Rules are evaluated without waiting. One that no local check decides is evaluated once more, and
//! then asks, within `auth.remote.timeout`, on a thread that other requests do not need meanwhile.
//! A server that fails or is late leaves the rule undecided, which refuses, also below a `not`.

use std::{
    collections::HashMap,
    io,
    path::Path,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use reqwest::{Certificate, Client, Identity, Url, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
    time::timeout,
};

use super::{
    check::{Attribute, Question, of_image},
    encoded,
};
use crate::config::{RemoteConfig, RemoteContent};

/// A server that was late is not asked again for so long: a list asks once for each image.
const PAUSE: Duration = Duration::from_secs(1);

/// Late servers remembered at most.
const MOST_LATE: usize = 64;

/// Bytes of an answer that are looked at; `True` is 4.
const ANSWER_BYTES: usize = 64;

/// Asks the servers that rules name.
#[derive(Debug)]
pub struct Remote {
    client: Client,
    config: RemoteConfig,
    turns: Semaphore,
    late: Mutex<HashMap<String, Instant>>,
    failures: Counter,
}

impl Remote {
    /// With these settings; failures are counted there.
    ///
    /// # Errors
    /// A certificate or key that cannot be used, with its key of the configuration.
    pub fn new(config: &RemoteConfig, failures: Counter) -> Result<Self, String> {
        crate::tls::use_ring();
        Ok(Self {
            client: client(config)?,
            turns: Semaphore::new(config.concurrency.min(Semaphore::MAX_PERMITS)),
            config: config.clone(),
            late: Mutex::default(),
            failures,
        })
    }

    /// Whether the server says `True`; `None` where it says nothing in time.
    pub(super) fn ask(&self, url: &str, question: &Question<'_>) -> Option<bool> {
        let answer = self.attempt(url, question);
        if let Err(cause) = &answer {
            self.failures.inc();
            tracing::warn!(
                rule = question.rule,
                %cause,
                "a server that the policy asks gave no answer: refused"
            );
        }
        answer.ok()
    }

    fn attempt(&self, url: &str, question: &Question<'_>) -> Result<bool, String> {
        let url = Url::parse(url).map_err(|cause| cause.to_string())?;
        let host = format!(
            "{}:{}",
            url.host_str().unwrap_or_default(),
            url.port_or_known_default().unwrap_or_default()
        );
        let now = Instant::now();
        if self
            .late
            .lock()
            .get(&host)
            .is_some_and(|until| *until > now)
        {
            return Err(format!("{host} was late a moment ago"));
        }
        let handle = Handle::try_current().map_err(|cause| cause.to_string())?;
        if handle.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Err("there is no thread to wait on".to_owned());
        }
        let exchange = timeout(self.config.timeout, self.exchange(url, question));
        match tokio::task::block_in_place(|| handle.block_on(exchange)) {
            Ok(Ok(text)) => Ok(text.trim_matches('"') == "True"),
            Ok(Err(cause)) => Err(cause),
            Err(_) => {
                let mut late = self.late.lock();
                late.retain(|_, until| *until > now);
                if late.len() < MOST_LATE {
                    late.insert(host.clone(), Instant::now() + PAUSE);
                }
                Err(format!("{host}: no answer in time (auth.remote.timeout)"))
            }
        }
    }

    async fn exchange(&self, url: Url, question: &Question<'_>) -> Result<String, String> {
        let text = |cause: reqwest::Error| cause.without_url().to_string();
        // Waiting for a turn counts, too.
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|cause| cause.to_string())?;
        let (kind, body) = self.body(question);
        let request = self.client.post(url).header(CONTENT_TYPE, kind).body(body);
        let mut response = request.send().await.map_err(text)?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(text)? {
            answer.extend_from_slice(&piece);
            if answer.len() > ANSWER_BYTES {
                // Whatever it is, it is not `True`.
                break;
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// As the reference sends it: rule, target and credentials, each as JSON, in a form or in one
    /// object.
    fn body(&self, question: &Question<'_>) -> (&'static str, String) {
        let parts = [
            ("rule", Value::from(question.rule)),
            ("target", target(question)),
            ("credentials", credentials(question)),
        ];
        match self.config.content_type {
            RemoteContent::Json => {
                let parts = parts.map(|(name, value)| (name.to_owned(), value));
                let object = Value::Object(Map::from_iter(parts));
                ("application/json", object.to_string())
            }
            RemoteContent::Form => {
                let pairs =
                    parts.map(|(name, value)| format!("{name}={}", encoded(&value.to_string())));
                ("application/x-www-form-urlencoded", pairs.join("&"))
            }
        }
    }
}

fn credentials(question: &Question<'_>) -> Value {
    let context = question.context;
    json!({
        "user_id": context.user_id,
        "project_id": context.project_id,
        "roles": context.roles,
        "service_roles": context.service_roles,
        "is_admin": context.is_admin,
    })
}

fn target(question: &Question<'_>) -> Value {
    let target = question.target;
    let id = target.id.map(|id| id.to_string());
    let mut all = Map::from_iter([
        ("project_id".to_owned(), json!(target.owner)),
        ("owner".to_owned(), json!(target.owner)),
        ("visibility".to_owned(), json!(target.visibility)),
        ("member_id".to_owned(), json!(target.member_id)),
        ("image_id".to_owned(), json!(id)),
    ]);
    if let Some(image) = target.image {
        let properties = image.attributes.properties.keys().map(String::as_str);
        for name in Attribute::OF_IMAGES.into_iter().chain(properties) {
            all.entry(name).or_insert(json!(of_image(image, name)));
        }
    }
    Value::Object(all)
}

fn client(config: &RemoteConfig) -> Result<Client, String> {
    let mut builder = Client::builder()
        .user_agent(concat!("glimpse/", env!("CARGO_PKG_VERSION")))
        // What it says of who calls is for the server that the operator named.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    let said = |key: &str, cause: &dyn std::fmt::Display| format!("auth.remote.{key}: {cause}");
    let read = |key: &str, path: &Path| -> Result<Vec<u8>, String> {
        let failed = |cause: io::Error| said(key, &format!("{}: {cause}", path.display()));
        std::fs::read(path).map_err(failed)
    };
    if let Some(path) = &config.ssl_ca_crt_file {
        let key = "ssl_ca_crt_file";
        let trusted = Certificate::from_pem_bundle(&read(key, path)?);
        builder = builder.tls_certs_only(trusted.map_err(|cause| said(key, &cause))?);
    }
    if let (Some(certificate), Some(key)) =
        (&config.ssl_client_crt_file, &config.ssl_client_key_file)
    {
        let mut both = read("ssl_client_key_file", key)?;
        both.extend(read("ssl_client_crt_file", certificate)?);
        let identity = Identity::from_pem(&both);
        builder = builder.identity(identity.map_err(|cause| said("ssl_client_crt_file", &cause))?);
    }
    if !config.ssl_verify_server_crt {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    match builder.build() {
        // A system that trusts nobody: `http:` goes on.
        Err(_) if config.ssl_ca_crt_file.is_none() => {
            let plain = Client::builder().redirect(reqwest::redirect::Policy::none());
            let plain = plain.no_proxy().tls_certs_only([]);
            plain
                .build()
                .map_err(|cause| said("ssl_ca_crt_file", &cause))
        }
        built => built.map_err(|cause| said("ssl_ca_crt_file", &cause)),
    }
}
