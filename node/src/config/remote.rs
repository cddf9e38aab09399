//! `[auth.remote]`: the `remote_*` keys of oslo.policy (image-api 8.2).

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::values;

/// How servers are asked that rules of the policy name (`http:`, `https:`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteConfig {
    /// Of the question.
    pub content_type: RemoteContent,
    /// Whether the server's certificate must be right.
    pub ssl_verify_server_crt: bool,
    /// Who must have signed it, PEM; none: whom the system trusts.
    #[serde(with = "values::optional_path")]
    pub ssl_ca_crt_file: Option<PathBuf>,
    /// This node's certificate, PEM.
    #[serde(with = "values::optional_path")]
    pub ssl_client_crt_file: Option<PathBuf>,
    /// Its key, PEM.
    #[serde(with = "values::optional_path")]
    pub ssl_client_key_file: Option<PathBuf>,
    /// For one question, waiting for its turn included.
    #[serde(with = "values::duration")]
    pub timeout: Duration,
    /// Questions at once.
    pub concurrency: usize,
}

/// `auth.remote.content_type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RemoteContent {
    /// A form of three fields with JSON in them.
    #[serde(rename = "application/x-www-form-urlencoded")]
    Form,
    /// One JSON object.
    #[serde(rename = "application/json")]
    Json,
}

impl Default for RemoteConfig {
    fn default() -> Self {
        Self {
            content_type: RemoteContent::Form,
            ssl_verify_server_crt: true,
            ssl_ca_crt_file: None,
            ssl_client_crt_file: None,
            ssl_client_key_file: None,
            timeout: Duration::from_secs(5),
            concurrency: 32,
        }
    }
}
