//! The configuration: one TOML file, every key with a default and an environment override.

use std::{path::PathBuf, time::Duration};

/// The whole configuration.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `[node]`
    pub node: NodeConfig,
    /// `[api]`
    pub api: ApiConfig,
    /// `[auth]`
    pub auth: AuthConfig,
    /// `[[stores]]`
    pub stores: Vec<StoreConfig>,
    /// `[cache]`
    pub cache: CacheConfig,
    /// `[limits]`
    pub limits: Limits,
    /// `[image_format]`
    pub image_format: ImageFormatConfig,
}

/// `[node]`
#[derive(Debug, Clone, Default)]
pub struct NodeConfig {
    /// Unique in the cluster.
    pub name: String,
    /// Registry, log, pool and the default file store live below it.
    pub data_dir: PathBuf,
}

/// `[api]`
#[derive(Debug, Clone, Default)]
pub struct ApiConfig {
    /// Address to serve on.
    pub listen: String,
    /// Base of absolute URLs; empty: from the request.
    pub public_endpoint: String,
    /// Show `direct_url`.
    pub show_image_direct_url: bool,
    /// Show `locations`.
    pub show_multiple_locations: bool,
    /// The configured hash: `sha512` by default.
    pub hashing_algorithm: String,
}

/// `[auth]`
#[derive(Debug, Clone, Default)]
pub struct AuthConfig {
    /// none | trusted-headers
    pub mode: AuthMode,
    /// Rules merged over the defaults.
    pub policy_file: Option<PathBuf>,
    /// Serve an insecure mode beyond loopback.
    pub allow_insecure: bool,
}

/// `auth.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthMode {
    /// Every caller is an admin of project "default".
    #[default]
    None,
    /// Identity headers as an authenticating proxy sets them.
    TrustedHeaders,
}

/// `[[stores]]`
#[derive(Debug, Clone, Default)]
pub struct StoreConfig {
    /// Unique.
    pub name: String,
    /// `file`
    pub kind: String,
    /// Shown by `/v2/info/stores`.
    pub description: String,
    /// `file`: the directory.
    pub path: PathBuf,
    /// Takes uploads that name no store.
    pub default: bool,
    /// Higher is tried first.
    pub weight: i64,
    /// `file`: leave holes for runs of zeros.
    pub thin_provisioning: bool,
}

/// `[cache]`
#[derive(Debug, Clone, Default)]
pub struct CacheConfig {
    /// Bytes of the disk tier.
    pub size: u64,
    /// Fills at once at most.
    pub max_fills: usize,
}

/// `[limits]`; counts of `None` are unlimited.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Bytes of one image at most.
    pub image_size_cap: u64,
    /// Members of an image.
    pub image_member_quota: Option<u64>,
    /// Custom properties of an image.
    pub image_property_quota: Option<u64>,
    /// Tags of an image.
    pub image_tag_quota: Option<u64>,
    /// Bytes of one owner; `None`: off.
    pub user_storage_quota: Option<u64>,
    /// Largest page.
    pub api_limit_max: usize,
    /// Page without `limit=`.
    pub limit_param_default: usize,
    /// Longest request id.
    pub max_request_id_length: usize,
    /// Bytes of a JSON body.
    pub json_body_bytes: usize,
    /// Uploads at once.
    pub concurrent_uploads: usize,
    /// Downloads at once.
    pub concurrent_downloads: usize,
    /// An upload that brings no byte for so long is cut.
    pub upload_idle_timeout: Duration,
    /// An upload's lease, renewed by thirds.
    pub upload_lease: Duration,
    /// Steps in which an upload of unknown size reserves quota, bytes.
    pub reserve_step: u64,
}

/// `[image_format]`
#[derive(Debug, Clone, Default)]
pub struct ImageFormatConfig {
    /// Allowed container formats.
    pub container_formats: Vec<String>,
    /// Allowed disk formats.
    pub disk_formats: Vec<String>,
    /// VMDK createTypes that pass.
    pub vmdk_allowed_types: Vec<String>,
    /// Refuse data that is not of the declared format.
    pub require_image_format_match: bool,
    /// GPT checks by name whose failure is only noted.
    pub gpt_safety_checks_nonfatal: Vec<String>,
}
