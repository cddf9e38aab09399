//! The sections and keys that have an effect, with their defaults (image-api 2.3 and 8.2).

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    CorsConfig, KeystoneConfig, RemoteConfig, Tls,
    values::{self, strings},
};
use crate::{api::properties::Properties, data::hashes::Algorithm, policy::protection::RuleFormat};

/// `[node]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeConfig {
    /// Unique in the cluster.
    pub name: String,
    /// Registry, log, pool and the default file store live below it.
    pub data_dir: PathBuf,
    /// Bytes that uploads to a `file` store leave free on the file system of `data_dir`, so that
    /// the log can go on.
    #[serde(with = "values::size")]
    pub keep_free: u64,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: "node-1".to_owned(),
            data_dir: PathBuf::from("./glimpse-data"),
            keep_free: 256 << 20,
        }
    }
}

/// `[api]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiConfig {
    /// Address to serve on.
    pub listen: String,
    /// Base of absolute URLs; empty: from the request.
    pub public_endpoint: String,
    /// Take that base from what a proxy forwards of the request.
    pub enable_proxy_headers_parsing: bool,
    /// `/healthcheck` answers 503 while this file is there.
    #[serde(with = "values::optional_path")]
    pub healthcheck_disable_file: Option<PathBuf>,
    /// `/healthcheck` answers 503 while one of these files is missing.
    pub healthcheck_enable_files: Vec<PathBuf>,
    /// Networks that `/healthcheck` answers; none: all.
    pub healthcheck_allowed_sources: Vec<String>,
    /// `/healthcheck` does not answer what came through a proxy.
    pub healthcheck_ignore_proxied: bool,
    /// `[api.cors]`
    pub cors: CorsConfig,
    /// `[api.tls]`
    pub tls: Tls,
    /// Show `direct_url`.
    pub show_image_direct_url: bool,
    /// Show `locations`.
    pub show_multiple_locations: bool,
    /// The hash beside MD5 of every upload.
    pub hashing_algorithm: Algorithm,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9292".to_owned(),
            public_endpoint: String::new(),
            enable_proxy_headers_parsing: false,
            healthcheck_disable_file: None,
            healthcheck_enable_files: Vec::new(),
            healthcheck_allowed_sources: Vec::new(),
            healthcheck_ignore_proxied: false,
            cors: CorsConfig::default(),
            tls: Tls::default(),
            show_image_direct_url: false,
            show_multiple_locations: false,
            hashing_algorithm: Algorithm::Sha512,
        }
    }
}

/// `[admin]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct AdminConfig {
    /// Address of metrics, health and status; empty: none.
    pub listen: String,
    /// Connections at once.
    pub connections: usize,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9295".to_owned(),
            connections: 64,
        }
    }
}

/// `[auth]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// none | keystone | trusted-headers
    pub mode: AuthMode,
    /// Rules merged over the defaults.
    #[serde(with = "values::optional_path")]
    pub policy_file: Option<PathBuf>,
    /// Directories whose files are merged over those.
    pub policy_dirs: Vec<PathBuf>,
    /// Whether the old defaults of image-api 4.2 no longer hold beside the new ones.
    pub enforce_new_defaults: bool,
    /// Who may do what with custom properties.
    #[serde(with = "values::optional_path")]
    pub property_protection_file: Option<PathBuf>,
    /// What that file names: roles or rules.
    pub property_protection_rule_format: RuleFormat,
    /// How servers are asked that rules name.
    pub remote: RemoteConfig,
    /// How often the files are looked at for changes.
    #[serde(with = "values::duration")]
    pub reread_interval: Duration,
    /// Serve an insecure mode beyond loopback.
    pub allow_insecure: bool,
    /// Who proves no identity may read what is public.
    pub allow_anonymous: bool,
    /// `[auth.keystone]`
    pub keystone: KeystoneConfig,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            mode: AuthMode::None,
            policy_file: None,
            policy_dirs: Vec::new(),
            enforce_new_defaults: true,
            property_protection_file: None,
            property_protection_rule_format: RuleFormat::Roles,
            remote: RemoteConfig::default(),
            reread_interval: Duration::from_secs(1),
            allow_insecure: false,
            allow_anonymous: false,
            keystone: KeystoneConfig::default(),
        }
    }
}

/// `auth.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthMode {
    /// Every caller is an admin of project "default".
    #[default]
    None,
    /// Tokens of an identity service.
    Keystone,
    /// Identity headers as an authenticating proxy sets them.
    TrustedHeaders,
}

impl AuthMode {
    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Keystone => "keystone",
            Self::TrustedHeaders => "trusted-headers",
        }
    }
}

/// `[registry]`: the replicated log and the tables. The bounds of the group are documented in
/// `glimpse_replication::Config`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryConfig {
    /// `replicated`; nothing else is built yet.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of an SQL registry; not built yet. May hold a password.
    pub url: values::Secret,
    /// File with the password of `url`.
    #[serde(with = "values::optional_path")]
    pub password_file: Option<PathBuf>,
    /// Proposals and reads that may wait.
    pub queue: usize,
    /// Commands that share one fsync at most.
    pub max_batch: usize,
    /// Bytes of commands that share one fsync at most.
    #[serde(with = "values::size")]
    pub max_batch_size: usize,
    /// Bytes of one command at most.
    #[serde(with = "values::size")]
    pub max_command_size: usize,
    /// How long a call waits for its answer.
    #[serde(with = "values::duration")]
    pub timeout: Duration,
    /// One Raft tick.
    #[serde(with = "values::duration")]
    pub tick: Duration,
    /// Ticks without a leader before an election.
    pub election_ticks: usize,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Bytes of log that cause a checkpoint.
    #[serde(with = "values::size")]
    pub checkpoint_size: u64,
    /// Time that causes a checkpoint.
    #[serde(with = "values::duration")]
    pub checkpoint_interval: Duration,
    /// Entries kept in the log for slow followers at most.
    pub keep_entries: u64,
    /// Bytes of those at most.
    #[serde(with = "values::size")]
    pub keep_size: u64,
    /// Bytes of one log segment.
    #[serde(with = "values::size")]
    pub segment_size: u64,
    /// Bytes of the tables' page cache.
    #[serde(with = "values::size")]
    pub table_cache: usize,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            kind: "replicated".to_owned(),
            url: values::Secret::default(),
            password_file: None,
            queue: 4096,
            max_batch: 256,
            max_batch_size: 4 << 20,
            max_command_size: 2 << 20,
            timeout: Duration::from_secs(10),
            tick: Duration::from_millis(100),
            election_ticks: 10,
            heartbeat_ticks: 2,
            checkpoint_size: 16 << 20,
            checkpoint_interval: Duration::from_secs(60),
            keep_entries: 10_000,
            keep_size: 16 << 20,
            segment_size: 16 << 20,
            table_cache: 64 << 20,
        }
    }
}

/// `[[stores]]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreConfig {
    /// Unique.
    pub name: String,
    /// `file` or `http`
    #[serde(rename = "type")]
    pub kind: String,
    /// Shown by `/v2/info/stores`.
    pub description: String,
    /// `file`: the directory. Empty in the file means `images` below the data directory; loading
    /// fills that in.
    pub path: PathBuf,
    /// Takes uploads that name no store.
    pub default: bool,
    /// Higher is tried first.
    pub weight: i64,
    /// `file`: leave holes for runs of zeros.
    pub thin_provisioning: bool,
    /// `file`: mode of the files; `None`: as the umask says.
    #[serde(with = "values::file_mode")]
    pub file_mode: Option<u32>,
    /// `file`: file system calls at once at most.
    pub threads: usize,
    /// `file`: a file system call that takes longer is answered 503; `None`: wait for ever.
    #[serde(with = "values::optional_duration")]
    pub timeout: Option<Duration>,
    /// `http`: take any certificate.
    pub https_insecure: bool,
    /// `http`: who must have signed the certificates, PEM; `None`: whom the system trusts.
    #[serde(with = "values::optional_path")]
    pub https_ca_certificates_file: Option<PathBuf>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            name: "local".to_owned(),
            kind: "file".to_owned(),
            description: String::new(),
            path: PathBuf::new(),
            default: false,
            weight: 0,
            thin_provisioning: false,
            file_mode: None,
            threads: 10,
            timeout: None,
            https_insecure: false,
            https_ca_certificates_file: None,
        }
    }
}

/// `[cache]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheConfig {
    /// Always true in this version.
    pub enabled: bool,
    /// Offer `/v2/cache` (image-api 1.8) and list the versions that have it (1.3).
    pub api: bool,
    /// Offer the older `/v2/cached_images` and `/v2/queued_images` besides.
    pub legacy_api: bool,
    /// Images of which hits and times are kept at most.
    pub accounts: usize,
    /// How often they are written to disk, if anything changed.
    #[serde(with = "values::duration")]
    pub accounts_interval: Duration,
    /// Images that wait to be fetched into the cache at most.
    pub queue: usize,
    /// How often such a fetch is tried before it is given up.
    pub prefetch_attempts: u32,
    /// Bytes of the disk tier.
    #[serde(with = "values::size")]
    pub size: u64,
    /// Bytes of its file system that the disk tier leaves free.
    #[serde(with = "values::size")]
    pub keep_free: u64,
    /// Send cached bytes from the files, where their file system is fit for it.
    pub sendfile: bool,
    /// Bytes of the memory tier; not built yet.
    #[serde(with = "values::size")]
    pub memory: u64,
    /// Fills at once at most.
    pub max_fills: usize,
    /// A chunk whose last check is older is verified when it is read; 0: at every read.
    #[serde(with = "values::duration_or_zero")]
    pub audit_interval: Duration,
    /// How long pages that were seen in memory are taken to be there still; 0: not at all.
    #[serde(with = "values::duration_or_zero")]
    pub residency_interval: Duration,
    /// Chunks of a download that are fetched beyond the one that is needed next.
    pub read_ahead: usize,
    /// Bytes of chunks that are served from memory because no slot can be had.
    #[serde(with = "values::size")]
    pub unpooled_memory: u64,
    /// How long a download waits for room in it.
    #[serde(with = "values::duration")]
    pub unpooled_wait: Duration,
    /// Bytes of decoded manifests in memory.
    #[serde(with = "values::size")]
    pub manifest_memory: u64,
    /// Lost manifests that are computed from the data at once.
    pub manifest_rebuilds: usize,
    /// First manifests of data that came without that are computed at once.
    pub manifest_learns: usize,
    /// Those that run, wait, or failed lately.
    pub manifest_rebuild_queue: usize,
    /// After one failed it is not tried again for so long.
    #[serde(with = "values::duration")]
    pub manifest_rebuild_pause: Duration,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            api: true,
            legacy_api: false,
            accounts: 1024,
            accounts_interval: Duration::from_secs(60),
            queue: 1024,
            prefetch_attempts: 3,
            size: 20 << 30,
            keep_free: 1 << 30,
            sendfile: true,
            memory: 512 << 20,
            max_fills: 16,
            audit_interval: Duration::from_secs(600),
            residency_interval: Duration::from_millis(100),
            read_ahead: 3,
            unpooled_memory: 64 << 20,
            unpooled_wait: Duration::from_secs(5),
            manifest_memory: 64 << 20,
            manifest_rebuilds: 2,
            manifest_learns: 8,
            manifest_rebuild_queue: 64,
            manifest_rebuild_pause: Duration::from_secs(60),
        }
    }
}

/// `[limits]`; counts of `None` are unlimited.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of one image at most.
    #[serde(with = "values::size")]
    pub image_size_cap: u64,
    /// Members of an image.
    #[serde(with = "values::quota")]
    pub image_member_quota: Option<u64>,
    /// Custom properties of an image.
    #[serde(with = "values::quota")]
    pub image_property_quota: Option<u64>,
    /// Bytes of the value of one custom property.
    #[serde(rename = "image_property_size", with = "values::size")]
    pub image_property_bytes: usize,
    /// Bytes of all custom properties of an image, names and values.
    #[serde(rename = "image_properties_size", with = "values::size")]
    pub image_properties_bytes: usize,
    /// Tags of an image.
    #[serde(with = "values::quota")]
    pub image_tag_quota: Option<u64>,
    /// Locations of an image.
    #[serde(with = "values::quota")]
    pub image_location_quota: Option<u64>,
    /// Bytes of one owner; `None`: off.
    #[serde(with = "values::size_or_off")]
    pub user_storage_quota: Option<u64>,
    /// Take the limits of projects from the identity service, instead of `user_storage_quota`.
    pub unified: bool,
    /// How long they are remembered.
    #[serde(with = "values::duration_or_zero")]
    pub unified_cache_time: Duration,
    /// Namespaces of metadata definitions.
    pub metadef_namespaces: u64,
    /// Types of resources that they are associated with.
    pub metadef_resource_types: u64,
    /// Definitions in one namespace.
    pub metadef_definitions: u64,
    /// Bytes of the definitions in one namespace, names and bodies.
    #[serde(with = "values::size")]
    pub metadef_namespace_size: u64,
    /// Largest page.
    pub api_limit_max: usize,
    /// Page without `limit=`.
    pub limit_param_default: usize,
    /// Bytes of images after which a page ends, with a link to the next.
    #[serde(rename = "page_size", with = "values::size")]
    pub page_bytes: usize,
    /// Longest request id.
    pub max_request_id_length: usize,
    /// Bytes of a JSON body.
    #[serde(rename = "json_body", with = "values::size")]
    pub json_body_bytes: usize,
    /// A JSON body that is not complete after so long is given up.
    #[serde(with = "values::duration")]
    pub json_timeout: Duration,
    /// Bytes of all JSON bodies that are read and all answers that are not taken yet; small ones do
    /// not count.
    #[serde(with = "values::size")]
    pub json_memory: usize,
    /// Listings at once that sort, or filter by number or time.
    pub concurrent_pages: usize,
    /// How long such a listing, or a PATCH to an image that others change, waits for its turn.
    #[serde(with = "values::duration")]
    pub turn_timeout: Duration,
    /// Uploads at once.
    pub concurrent_uploads: usize,
    /// Uploads of one project at once; 0: only the bound on all.
    pub concurrent_uploads_per_project: usize,
    /// Downloads at once.
    pub concurrent_downloads: usize,
    /// Downloads of one project at once; 0: only the bound on all.
    pub concurrent_downloads_per_project: usize,
    /// An upload that brings no byte for so long is cut.
    #[serde(with = "values::duration")]
    pub upload_idle_timeout: Duration,
    /// Bytes per second that an upload must bring, averaged over `upload_idle_timeout`; 0: any.
    #[serde(with = "values::size")]
    pub upload_min_rate: u64,
    /// Bytes of one upload in memory, between client and store.
    #[serde(with = "values::size")]
    pub upload_window: usize,
    /// Bytes of a refused upload that are still read, so that the client sees the answer,
    #[serde(with = "values::size")]
    pub upload_drain_size: u64,
    /// and for how long.
    #[serde(with = "values::duration")]
    pub upload_drain_timeout: Duration,
    /// An upload's lease, renewed by thirds.
    #[serde(with = "values::duration")]
    pub upload_lease: Duration,
    /// Steps in which an upload of unknown size reserves quota, bytes.
    #[serde(with = "values::size")]
    pub reserve_step: u64,
    /// Connections to the API at once; one more is answered 503.
    pub connections: usize,
    /// Connections of one address (IPv6: of one /64) at once; one more is answered 503. 0: as many
    /// as there are.
    pub connections_per_peer: usize,
    /// Bytes of a request head; more is 431.
    #[serde(rename = "header_size", with = "values::size")]
    pub header_bytes: usize,
    /// A connection whose next request head is not complete after so long is closed; so is one
    /// that idles between requests.
    #[serde(with = "values::duration")]
    pub header_timeout: Duration,
    /// A client that takes no byte of an answer for so long is cut.
    #[serde(with = "values::duration")]
    pub slow_client_timeout: Duration,
    /// What running transfers get to end when the node is told to stop.
    #[serde(with = "values::duration")]
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            image_size_cap: 1 << 40,
            image_member_quota: Some(128),
            image_property_quota: Some(128),
            image_property_bytes: 65_535,
            image_properties_bytes: 1 << 20,
            image_tag_quota: Some(128),
            image_location_quota: Some(10),
            user_storage_quota: None,
            unified: false,
            unified_cache_time: Duration::from_secs(60),
            metadef_namespaces: 1000,
            metadef_resource_types: 1000,
            metadef_definitions: 1000,
            metadef_namespace_size: 1 << 20,
            api_limit_max: 1000,
            limit_param_default: 25,
            page_bytes: 4 << 20,
            max_request_id_length: 64,
            json_body_bytes: 1 << 20,
            json_timeout: Duration::from_secs(30),
            json_memory: 256 << 20,
            concurrent_pages: 8,
            turn_timeout: Duration::from_secs(5),
            concurrent_uploads: 64,
            concurrent_uploads_per_project: 32,
            concurrent_downloads: 1024,
            concurrent_downloads_per_project: 512,
            upload_idle_timeout: Duration::from_secs(60),
            upload_min_rate: 1 << 10,
            upload_window: crate::data::pipeline::WINDOW,
            upload_drain_size: 64 << 20,
            upload_drain_timeout: Duration::from_secs(5),
            upload_lease: Duration::from_secs(300),
            reserve_step: 64 << 20,
            connections: 4096,
            connections_per_peer: 2048,
            header_bytes: 32 << 10,
            header_timeout: Duration::from_secs(15),
            slow_client_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// `[locations]`: data that is added by URL (image-api 1.6).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct LocationsConfig {
    /// Read and hash what `POST /v2/images/{id}/locations` adds.
    pub do_secure_hash: bool,
    /// How often reading it is tried again.
    pub http_retries: u32,
    /// Locations that are read or wait for it at once, of those that were added so.
    pub concurrency: usize,
}

impl Default for LocationsConfig {
    fn default() -> Self {
        Self {
            do_secure_hash: true,
            http_retries: 3,
            concurrency: 16,
        }
    }
}

/// `[outbound]`: bounds of what is fetched from outside.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct OutboundConfig {
    /// How long a source may take to be found and connected to.
    #[serde(with = "values::duration")]
    pub connect_timeout: Duration,
    /// A source that sends no byte for so long is cut.
    #[serde(with = "values::duration")]
    pub idle_timeout: Duration,
    /// One fetch, with everything, at most.
    #[serde(with = "values::duration")]
    pub timeout: Duration,
    /// Redirects that are followed.
    pub redirects: u32,
    /// How often one fetch that was cut goes on where it was.
    pub resumes: u32,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(6 * 3600),
            redirects: 5,
            resumes: 5,
        }
    }
}

/// `[image_format]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
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
    /// Definitions of custom properties, in place of the usual ones.
    #[serde(with = "values::optional_path")]
    pub schema_file: Option<PathBuf>,
    /// What they are.
    #[serde(skip)]
    pub properties: Properties,
}

impl Default for ImageFormatConfig {
    fn default() -> Self {
        Self {
            container_formats: strings(&[
                "ami",
                "ari",
                "aki",
                "bare",
                "ovf",
                "ova",
                "docker",
                "compressed",
            ]),
            disk_formats: strings(&[
                "ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop",
            ]),
            vmdk_allowed_types: strings(&["streamOptimized", "monolithicSparse"]),
            require_image_format_match: true,
            gpt_safety_checks_nonfatal: Vec::new(),
            schema_file: None,
            properties: Properties::default(),
        }
    }
}

/// `[workers]`: the pace of background work.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkersConfig {
    /// After a busy step a worker rests for so many times as long as the step took.
    pub rest: u32,
    /// Longest rest.
    #[serde(with = "values::duration")]
    pub max_rest: Duration,
    /// Pause after a failed step; doubled for each failure in a row,
    #[serde(with = "values::duration")]
    pub first_backoff: Duration,
    /// up to this.
    #[serde(with = "values::duration")]
    pub max_backoff: Duration,
    /// `[workers.reaper]`
    pub reaper: ReaperConfig,
}

impl Default for WorkersConfig {
    fn default() -> Self {
        Self {
            rest: 1,
            max_rest: Duration::from_secs(5),
            first_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            reaper: ReaperConfig::default(),
        }
    }
}

/// `[workers.reaper]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct ReaperConfig {
    /// The queue is looked at so often, and at once when something was deleted here.
    #[serde(with = "values::duration")]
    pub interval: Duration,
    /// Rows taken from the registry at once.
    pub batch: usize,
    /// Pause after a failed removal; doubled for each failure of the same object,
    #[serde(with = "values::duration")]
    pub first_backoff: Duration,
    /// up to this.
    #[serde(with = "values::duration")]
    pub max_backoff: Duration,
    /// Failed removals remembered at most; past it a pass ends after a batch of further failures,
    /// and the next one goes on behind them.
    pub max_failures: usize,
    /// The stores are searched for orphans so often.
    #[serde(with = "values::duration")]
    pub sweep_interval: Duration,
    /// An orphan must have been one for so long.
    #[serde(with = "values::duration")]
    pub orphan_grace: Duration,
    /// Orphans remembered between sweeps at most; the rest wait for a later sweep.
    pub max_suspects: usize,
}

impl Default for ReaperConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            batch: 256,
            first_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(600),
            max_failures: 16 << 10,
            sweep_interval: Duration::from_secs(3600),
            orphan_grace: Duration::from_secs(3600),
            max_suspects: 16 << 10,
        }
    }
}

/// `[log]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// `error` … `trace`, or a list of `target=level`.
    pub level: String,
    /// human | json | auto
    pub format: LogFormat,
    /// One line per request.
    pub access: bool,
    /// Bytes of lines that may wait for a slow reader of the log; then lines are dropped and
    /// counted.
    #[serde(with = "values::size")]
    pub buffer: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Auto,
            access: true,
            buffer: 4 << 20,
        }
    }
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One object a line.
    Json,
}
