//! `[auth.keystone]`: how this node speaks to the identity service, and what it makes of tokens. Keys
//! that the reference has too are named as there (image-api 4.1).

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    AuthMode, Config, Problem,
    values::{self, Secret, strings},
};

/// `[auth.keystone]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeystoneConfig {
    /// Base URL of the identity service; `/v3` is added where it is missing.
    pub auth_url: String,
    /// Where an answer 401 sends clients for a token; empty: to `auth_url`.
    pub www_authenticate_uri: String,
    /// Who this node is there.
    pub username: String,
    /// Its password, or read from `password_file`.
    pub password: Secret,
    /// File that holds the password.
    #[serde(with = "values::optional_path")]
    pub password_file: Option<PathBuf>,
    /// Its project.
    pub project_name: String,
    /// Domain of the user.
    pub user_domain_name: String,
    /// Domain of the project.
    pub project_domain_name: String,
    /// The application credential that this node uses instead of a password; empty: none.
    pub application_credential_id: String,
    /// Its secret, or read from `application_credential_secret_file`.
    pub application_credential_secret: Secret,
    /// File that holds the secret.
    #[serde(with = "values::optional_path")]
    pub application_credential_secret_file: Option<PathBuf>,
    /// Who signs the identity service's certificate, PEM; `None`: whom the system trusts.
    #[serde(with = "values::optional_path")]
    pub cafile: Option<PathBuf>,
    /// This node's certificate for it, PEM.
    #[serde(with = "values::optional_path")]
    pub certfile: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(with = "values::optional_path")]
    pub keyfile: Option<PathBuf>,
    /// Take any certificate.
    pub insecure: bool,
    /// How long a connection may take to come about.
    #[serde(with = "values::duration")]
    pub http_connect_timeout: Duration,
    /// How long an answer may take, with the wait for a turn and all attempts; then 503.
    #[serde(with = "values::duration")]
    pub timeout: Duration,
    /// Attempts after one that did not connect, or was answered 502, 503 or 504.
    pub http_request_max_retries: u32,
    /// Calls at once.
    pub concurrent_calls: usize,
    /// Validations that run or wait for their turn; one more is 503.
    pub queued_validations: usize,
    /// Bytes of an answer at most.
    #[serde(with = "values::size")]
    pub answer_size: usize,
    /// How long a valid token is taken to be so still: after so long a revocation is honoured. 0: each
    /// request asks.
    #[serde(with = "values::duration_or_zero")]
    pub token_cache_time: Duration,
    /// How long an invalid token is taken to be so still.
    #[serde(with = "values::duration_or_zero")]
    pub invalid_token_cache_time: Duration,
    /// Valid tokens remembered, and as many invalid ones.
    pub cached_tokens: usize,
    /// Roles that make a token the token of a service.
    pub service_token_roles: Vec<String>,
    /// Whether a token sent as `X-Service-Token` counts only with one of them.
    pub service_token_roles_required: bool,
    /// What the access rules of application credentials and the catalog call this service.
    pub service_type: String,
    /// Where limits must be set to count; empty: anywhere.
    pub region_name: String,
}

impl Default for KeystoneConfig {
    fn default() -> Self {
        Self {
            auth_url: "http://127.0.0.1:5000/v3".to_owned(),
            www_authenticate_uri: String::new(),
            username: "glance".to_owned(),
            password: Secret::default(),
            password_file: None,
            project_name: "service".to_owned(),
            user_domain_name: "Default".to_owned(),
            project_domain_name: "Default".to_owned(),
            application_credential_id: String::new(),
            application_credential_secret: Secret::default(),
            application_credential_secret_file: None,
            cafile: None,
            certfile: None,
            keyfile: None,
            insecure: false,
            http_connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            http_request_max_retries: 3,
            concurrent_calls: 64,
            queued_validations: 1024,
            answer_size: 1 << 20,
            token_cache_time: Duration::from_secs(300),
            invalid_token_cache_time: Duration::from_secs(5),
            cached_tokens: 16 << 10,
            service_token_roles: strings(&["service"]),
            service_token_roles_required: true,
            service_type: "image".to_owned(),
            region_name: String::new(),
        }
    }
}

impl KeystoneConfig {
    /// Where clients get tokens.
    pub fn www_authenticate_uri(&self) -> &str {
        match self.www_authenticate_uri.as_str() {
            "" => &self.auth_url,
            uri => uri,
        }
    }

    /// Reads the secrets that are in files.
    pub(super) fn read_secrets(&mut self) -> Vec<Problem> {
        let secrets = [
            (
                &mut self.password,
                &self.password_file,
                "auth.keystone.password_file",
                "is set together with password",
            ),
            (
                &mut self.application_credential_secret,
                &self.application_credential_secret_file,
                "auth.keystone.application_credential_secret_file",
                "is set together with application_credential_secret",
            ),
        ];
        let mut found = Vec::new();
        for (secret, path, key, twice) in secrets {
            let Some(path) = path else { continue };
            if !secret.is_empty() {
                found.push(Problem::new(key, twice));
                continue;
            }
            match std::fs::read_to_string(path) {
                Ok(text) => *secret = Secret::new(text.trim_end_matches(['\r', '\n'])),
                Err(cause) => found.push(Problem::new(key, format!("{}: {cause}", path.display()))),
            }
        }
        found
    }
}

impl Config {
    pub(super) fn warn_of_keystone(&self, found: &mut Vec<Problem>) {
        let keystone = &self.auth.keystone;
        if keystone.insecure {
            let message =
                "whoever is between this node and the identity service makes every token valid";
            found.push(Problem::new("auth.keystone.insecure", message));
        }
        if !keystone.service_token_roles_required {
            let message = "any valid token counts as that of a service";
            found.push(Problem::new(
                "auth.keystone.service_token_roles_required",
                message,
            ));
        }
    }

    pub(super) fn check_keystone(&self, found: &mut Vec<Problem>) {
        let keystone = &self.auth.keystone;
        for (key, url) in [
            ("auth.keystone.auth_url", &*keystone.auth_url),
            (
                "auth.keystone.www_authenticate_uri",
                &*keystone.www_authenticate_uri,
            ),
        ] {
            let may_be_empty = key.ends_with("uri");
            if !(super::validate::is_url(url) || url.is_empty() && may_be_empty) {
                found.push(Problem::new(
                    key,
                    "must be a URL such as \"https://identity.example.org/v3\"",
                ));
            }
        }
        for (key, count) in [
            ("concurrent_calls", keystone.concurrent_calls),
            ("queued_validations", keystone.queued_validations),
            ("cached_tokens", keystone.cached_tokens),
        ] {
            if count == 0 {
                let key = format!("auth.keystone.{key}");
                found.push(Problem::new(key, "must be at least 1"));
            }
        }
        if keystone.answer_size < 16 << 10 {
            let key = "auth.keystone.answer_size";
            found.push(Problem::new(key, "must be at least 16KiB"));
        }
        for (key, path) in [
            ("cafile", &keystone.cafile),
            ("certfile", &keystone.certfile),
            ("keyfile", &keystone.keyfile),
        ] {
            if let Some(path) = path
                && let Err(cause) = std::fs::File::open(path)
            {
                let message = format!("{}: {cause}", path.display());
                found.push(Problem::new(format!("auth.keystone.{key}"), message));
            }
        }
        if keystone.certfile.is_some() != keystone.keyfile.is_some() {
            let key = "auth.keystone.certfile";
            found.push(Problem::new(key, "and keyfile go together"));
        }
        if self.auth.mode != AuthMode::Keystone {
            if self.limits.unified {
                let message = "needs auth.mode = \"keystone\"";
                found.push(Problem::new("limits.unified", message));
            }
            return;
        }
        if self.limits.unified && keystone.password.is_empty() {
            let message = "needs auth.keystone.password: an application credential reads no limits";
            found.push(Problem::new("limits.unified", message));
        }
        let (key, secret) = match keystone.application_credential_id.as_str() {
            "" => ("password", &keystone.password),
            _ => (
                "application_credential_secret",
                &keystone.application_credential_secret,
            ),
        };
        if secret.is_empty() {
            let message = "must be set: auth.mode is \"keystone\"";
            found.push(Problem::new(format!("auth.keystone.{key}"), message));
        }
    }
}
