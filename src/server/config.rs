//! Settings: defaults, then the YAML file, then `QUIVER__` environment variables, then flags; later wins.
//!
//! - Key names follow the peer's configuration file, so an operator who migrates keeps what they know.
//! - A key that nothing reads is an error that names it, wherever it came from: a misspelt limit must not be ignored.
//! - A [`Config`] that exists is valid: every range is checked by [`load`], none later.
//!
//! Not here: what the settings do.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Serialized, Yaml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider, error::Kind};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use crate::model::collection::CollectionName;
use crate::service::{AllowedHost, StartupRecovery};

/// Environment variables that hold settings begin so; a double underscore parts the levels.
const ENV_PREFIX: &str = "QUIVER__";

/// All settings of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is logged: a level, or directives as in `info,openraft=warn`: Raft tells every step at `info`.
    pub log_level: String,
    /// How it is logged.
    pub logger: Logger,
    /// The listeners.
    pub service: Listen,
    /// The disk and the threads.
    pub storage: Storage,
    /// The other nodes.
    pub cluster: Cluster,
}

/// `logger`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logger {
    /// Text for people, JSON for collectors.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line per event.
    Text,
    /// One JSON object per event.
    Json,
}

/// `service`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// The address both listeners bind. Loopback unless told otherwise: a server without a key must not be reachable
    /// by accident.
    pub host: IpAddr,
    /// REST. 0 takes a free port; the log says which.
    pub http_port: u16,
    /// gRPC. 0 takes a free port.
    pub grpc_port: u16,
    /// Largest request body, in MiB.
    pub max_request_size_mb: usize,
    /// Connections held open at once on each listener; further ones wait to be accepted.
    pub max_connections: usize,
    /// Threads that serve requests; 0 means one per core.
    pub max_workers: usize,
    /// How long a request may take to arrive, and to be answered when it names no `timeout`, in seconds.
    pub request_timeout_s: u64,
    /// How long a stopping server waits for the requests under way, in seconds.
    pub drain_timeout_s: u64,
    /// Allow browsers of any origin to call REST.
    pub enable_cors: bool,
    /// The key that may do everything. Any key switches authentication on.
    pub api_key: Option<String>,
    /// A second key that may do everything, for rotation.
    pub alt_api_key: Option<String>,
    /// The key that may only read.
    pub read_only_api_key: Option<String>,
    /// Let callers have snapshots recovered from the hosts of `storage.snapshots_config.url_recovery`.
    pub enable_snapshot_url_recovery: bool,
}

/// `cluster`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Whether other nodes may join this one, and this one joins others.
    pub enabled: bool,
    /// The listener for the other nodes.
    pub p2p: PeerToPeer,
    /// Where the others find this node, as `http://host:port`. Without it, the address that is listened on.
    pub uri: Option<String>,
    /// The nodes that found the cluster together, as each one's `uri`, the same list on all of them; or some nodes of a
    /// cluster that this one joins. Read only by a node without data.
    pub bootstrap: Vec<String>,
    /// Nodes of one zone fail together: replicas are spread over zones.
    pub zone: Option<String>,
    /// How long a node may be silent before its replicas are replaced on others, in seconds.
    pub replace_after_s: u64,
}

/// `cluster.p2p`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PeerToPeer {
    /// On the address of `service.host`. 0 takes a free port.
    pub port: u16,
}

/// `storage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// The data folder; locked while the server runs.
    pub storage_path: PathBuf,
    /// Where snapshots are kept.
    pub snapshots_path: PathBuf,
    /// How they are kept.
    pub snapshots_config: Snapshots,
    /// Writes are refused while the device has less room than this, in MiB; reads go on.
    pub disk_reserve_mb: u64,
    /// Memory for blocks read from disk, of each of the two databases, in MiB.
    pub block_cache_mb: usize,
    /// Memory of one table of fresh writes, in MiB; a few exist at once.
    pub memtable_mb: usize,
    /// Shortest time between two checkpoints of a shard's indexes, in seconds. The younger the checkpoint, the faster
    /// the restart after a crash.
    pub checkpoint_interval_s: u64,
    /// The threads.
    pub performance: Performance,
}

/// `storage.snapshots_config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshots {
    /// Where finished snapshots are kept.
    pub snapshots_storage: SnapshotsStorage,
    /// The bucket, if they are kept in one.
    pub s3_config: S3,
    /// Which are recovered from elsewhere, if `service.enable_snapshot_url_recovery` is set.
    pub url_recovery: UrlRecovery,
}

/// `storage.snapshots_config.snapshots_storage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotsStorage {
    /// In `storage.snapshots_path`.
    Local,
    /// In a bucket.
    S3,
}

/// `storage.snapshots_config.s3_config`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3 {
    /// Its name.
    pub bucket: Option<String>,
    /// Where it is.
    pub region: Option<String>,
    /// Without keys the role of the machine is asked for.
    pub access_key: Option<String>,
    /// With `access_key`.
    pub secret_key: Option<String>,
    /// Of another service than AWS.
    pub endpoint_url: Option<String>,
}

/// `storage.snapshots_config.url_recovery`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UrlRecovery {
    /// Names, `*.domain`, addresses and networks. Addresses that are not public must be listed themselves.
    pub allowed_hosts: Vec<String>,
    /// Largest snapshot, in MiB.
    pub max_size_mb: u64,
    /// How long it may take to arrive, in seconds.
    pub timeout_s: u64,
}

/// `storage.performance`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Performance {
    /// Threads that search; 0 means one per core.
    pub max_search_threads: usize,
    /// Requests that may wait for a search thread; further ones are told to come back.
    pub max_search_queue: usize,
    /// Threads that build indexes; 0 means one per core.
    pub max_indexing_threads: usize,
    /// Vectors of one shard that may wait for its graphs; beyond that, writes wait for the indexing threads. They are
    /// searched exactly meanwhile, so this bounds both memory and search time.
    pub max_unindexed_vectors: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            log_level: "info,openraft=warn".into(),
            logger: Logger::default(),
            service: Listen::default(),
            storage: Storage::default(),
            cluster: Cluster::default(),
        }
    }
}

impl Default for Cluster {
    fn default() -> Cluster {
        Cluster {
            enabled: false,
            p2p: PeerToPeer::default(),
            uri: None,
            bootstrap: Vec::new(),
            zone: None,
            replace_after_s: 300,
        }
    }
}

impl Default for PeerToPeer {
    fn default() -> PeerToPeer {
        PeerToPeer { port: 6335 }
    }
}

impl Cluster {
    /// The addresses of `bootstrap`.
    pub fn bootstrap_addresses(&self) -> Vec<String> {
        self.bootstrap.iter().filter_map(|uri| peer_address(uri)).collect()
    }

    /// The address of `uri`.
    pub fn own_address(&self) -> Option<String> {
        self.uri.as_deref().and_then(peer_address)
    }
}

/// The host and port of `http://host:port`. `None`: it is not of that form.
fn peer_address(uri: &str) -> Option<String> {
    let address = uri.strip_prefix("http://")?.trim_end_matches('/');
    let (host, port) = address.rsplit_once(':')?;
    let is_plain = !host.is_empty() && !host.contains(['/', '@', '?', '#']);
    (is_plain && port.parse::<u16>().is_ok()).then(|| address.to_owned())
}

impl Default for Logger {
    fn default() -> Logger {
        Logger { format: LogFormat::Text }
    }
}

impl Default for Listen {
    fn default() -> Listen {
        Listen {
            host: IpAddr::from([127, 0, 0, 1]),
            http_port: 6333,
            grpc_port: 6334,
            max_request_size_mb: 32,
            max_connections: 4096,
            max_workers: 0,
            request_timeout_s: 60,
            drain_timeout_s: 30,
            enable_cors: false,
            api_key: None,
            alt_api_key: None,
            read_only_api_key: None,
            enable_snapshot_url_recovery: false,
        }
    }
}

impl Default for Storage {
    fn default() -> Storage {
        Storage {
            storage_path: "./storage".into(),
            snapshots_path: "./snapshots".into(),
            snapshots_config: Snapshots::default(),
            disk_reserve_mb: 512,
            block_cache_mb: 128,
            memtable_mb: 64,
            checkpoint_interval_s: 60,
            performance: Performance::default(),
        }
    }
}

impl Default for Snapshots {
    fn default() -> Snapshots {
        Snapshots {
            snapshots_storage: SnapshotsStorage::Local,
            s3_config: S3::default(),
            url_recovery: UrlRecovery::default(),
        }
    }
}

impl Default for UrlRecovery {
    fn default() -> UrlRecovery {
        UrlRecovery { allowed_hosts: Vec::new(), max_size_mb: 100 << 10, timeout_s: 3600 }
    }
}

impl Default for Performance {
    fn default() -> Performance {
        Performance {
            max_search_threads: 0,
            max_search_queue: 1024,
            max_indexing_threads: 0,
            max_unindexed_vectors: 100_000,
        }
    }
}

/// Keys are secrets: they stay out of logs.
impl std::fmt::Debug for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listen")
            .field("host", &self.host)
            .field("http_port", &self.http_port)
            .field("grpc_port", &self.grpc_port)
            .field("max_request_size_mb", &self.max_request_size_mb)
            .field("max_connections", &self.max_connections)
            .field("max_workers", &self.max_workers)
            .field("request_timeout_s", &self.request_timeout_s)
            .field("drain_timeout_s", &self.drain_timeout_s)
            .field("enable_cors", &self.enable_cors)
            .field("has_keys", &self.has_keys())
            .field("enable_snapshot_url_recovery", &self.enable_snapshot_url_recovery)
            .finish_non_exhaustive()
    }
}

/// As with [`Listen`].
impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3")
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("endpoint_url", &self.endpoint_url)
            .field("has_keys", &self.secret_key.is_some())
            .finish_non_exhaustive()
    }
}

impl Listen {
    /// Whether callers must show a key.
    pub fn has_keys(&self) -> bool {
        self.api_key.is_some() || self.alt_api_key.is_some() || self.read_only_api_key.is_some()
    }

    /// Largest request body, in bytes.
    pub fn request_bytes_max(&self) -> usize {
        self.max_request_size_mb << 20
    }
}

/// `quiver serve`: the settings one sets by hand. All others come from the file or the environment.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// YAML file with settings (config/config.yaml shows all of them)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1]
    #[arg(long)]
    pub host: Option<IpAddr>,
    /// REST port, 0 for a free one [default: 6333]
    #[arg(long, value_name = "PORT")]
    pub http_port: Option<u16>,
    /// gRPC port, 0 for a free one [default: 6334]
    #[arg(long, value_name = "PORT")]
    pub grpc_port: Option<u16>,
    /// Data folder [default: ./storage]
    #[arg(long, value_name = "FOLDER")]
    pub storage_path: Option<PathBuf>,
    /// Folder of snapshots [default: ./snapshots]
    #[arg(long, value_name = "FOLDER")]
    pub snapshots_path: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or directives [default: info,openraft=warn]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How to log [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Be a node of a cluster: listen for other nodes
    #[arg(long)]
    pub cluster: bool,
    /// Port for the other nodes, 0 for a free one [default: 6335]
    #[arg(long, value_name = "PORT")]
    pub peer_port: Option<u16>,
    /// Where the other nodes find this one, as http://host:port
    #[arg(long, value_name = "URI")]
    pub uri: Option<String>,
    /// The nodes that found the cluster together, by their URIs, or some that are in it; read by a node without data
    #[arg(long, value_name = "URI,...", value_delimiter = ',')]
    pub bootstrap: Vec<String>,
    /// Nodes of one zone fail together
    #[arg(long)]
    pub zone: Option<String>,
    /// Recover a collection from its snapshot before serving; may be given several times
    #[arg(long, value_name = "FILE:NAME", alias = "collection-snapshot", value_parser = collection_snapshot)]
    pub snapshot: Vec<(PathBuf, CollectionName)>,
    /// Recover all collections from a full snapshot before serving
    #[arg(long, value_name = "FILE", conflicts_with = "snapshot")]
    pub storage_snapshot: Option<PathBuf>,
    /// Let snapshots replace the collections that are there; without this the server does not start then
    #[arg(short, long)]
    pub force_snapshot: bool,
}

impl Flags {
    /// What is to be recovered before the server serves.
    pub fn recovery(&self) -> StartupRecovery {
        StartupRecovery {
            node: self.storage_snapshot.clone(),
            collections: self.snapshot.clone(),
            replaces: self.force_snapshot,
        }
    }
}

/// `FILE:NAME`; a name has no colon.
fn collection_snapshot(text: &str) -> Result<(PathBuf, CollectionName), String> {
    let (path, name) = text.rsplit_once(':').ok_or("FILE:NAME is needed")?;
    let name = CollectionName::new(name).map_err(|error| error.to_string())?;
    Ok((PathBuf::from(path), name))
}

/// Why the settings were refused. `from` says where the value came from.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    /// The file is not YAML.
    #[error("{from} is not valid YAML: {why}")]
    Syntax { from: String, why: String },
    /// Nothing reads this key.
    #[error("unknown setting `{key}` in {from}; known here: {known}")]
    UnknownKey { key: String, from: String, known: String },
    /// The value is of another type or out of its range.
    #[error("setting `{key}` in {from} is invalid: {why}")]
    Invalid { key: String, from: String, why: String },
}

/// Reads and checks all settings. `environment` is `std::env::vars()` but for tests.
pub fn load(flags: &Flags, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    if let Some(path) = &flags.config {
        figment = figment.merge(file(path)?);
    }
    let environment = environment_values(environment, &figment);
    figment = figment
        .merge(Settings { from: "the environment", values: environment })
        .merge(Settings { from: "the command line", values: flag_values(flags) });
    let config = figment.extract::<Config>().map_err(|error| config_error(error, &figment))?;
    check(&config).map_err(|(key, why)| {
        let from = origin(&figment, key);
        ConfigError::Invalid { key: key.into(), from, why }
    })?;
    Ok(config)
}

/// A file without settings counts as an empty one; YAML itself would call it a null.
fn file(path: &Path) -> Result<figment::providers::Data<Yaml>, ConfigError> {
    let unreadable = |why: std::io::Error| ConfigError::Unreadable { path: path.into(), why: why.to_string() };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let is_empty = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    Ok(if is_empty { Yaml::string("{}") } else { Yaml::file_exact(path) })
}

/// The ranges that a type alone does not hold: the key, and what is wrong with it.
fn check(config: &Config) -> Result<(), (&'static str, String)> {
    let (service, storage) = (&config.service, &config.storage);
    let (performance, url_recovery) = (&storage.performance, &storage.snapshots_config.url_recovery);
    let (threads_max, mb_max, seconds_max) = (4096, 1 << 20, 86_400);
    for (key, value, range) in [
        ("service.max_request_size_mb", service.max_request_size_mb as u64, 1..=4096),
        ("service.max_connections", service.max_connections as u64, 1..=1_000_000),
        ("service.max_workers", service.max_workers as u64, 0..=threads_max),
        ("service.request_timeout_s", service.request_timeout_s, 1..=seconds_max),
        ("service.drain_timeout_s", service.drain_timeout_s, 0..=seconds_max),
        ("cluster.replace_after_s", config.cluster.replace_after_s, 1..=30 * seconds_max),
        ("storage.disk_reserve_mb", storage.disk_reserve_mb, 0..=mb_max),
        ("storage.block_cache_mb", storage.block_cache_mb as u64, 1..=mb_max),
        ("storage.memtable_mb", storage.memtable_mb as u64, 1..=mb_max),
        ("storage.checkpoint_interval_s", storage.checkpoint_interval_s, 1..=seconds_max),
        ("storage.snapshots_config.url_recovery.max_size_mb", url_recovery.max_size_mb, 1..=1 << 30),
        ("storage.snapshots_config.url_recovery.timeout_s", url_recovery.timeout_s, 1..=seconds_max),
        ("storage.performance.max_search_threads", performance.max_search_threads as u64, 0..=threads_max),
        ("storage.performance.max_search_queue", performance.max_search_queue as u64, 1..=1_000_000),
        ("storage.performance.max_indexing_threads", performance.max_indexing_threads as u64, 0..=threads_max),
        ("storage.performance.max_unindexed_vectors", performance.max_unindexed_vectors, 1..=u64::from(u32::MAX)),
    ] {
        if !range.contains(&value) {
            return Err((key, format!("{value} is not between {} and {}", range.start(), range.end())));
        }
    }
    for (key, value) in [
        ("service.api_key", &service.api_key),
        ("service.alt_api_key", &service.alt_api_key),
        ("service.read_only_api_key", &service.read_only_api_key),
    ] {
        if value.as_deref().is_some_and(str::is_empty) {
            return Err((key, "a key must not be empty; leave it out to have none".into()));
        }
    }
    if service.http_port != 0 && service.http_port == service.grpc_port {
        return Err(("service.grpc_port", format!("port {} is service.http_port already", service.grpc_port)));
    }
    check_cluster(config)?;
    for (key, path) in
        [("storage.storage_path", &storage.storage_path), ("storage.snapshots_path", &storage.snapshots_path)]
    {
        if path.as_os_str().is_empty() {
            return Err((key, "a path must not be empty".into()));
        }
    }
    check_snapshots(config)?;
    if let Err(error) = EnvFilter::try_new(&config.log_level) {
        return Err(("log_level", error.to_string()));
    }
    Ok(())
}

fn check_cluster(config: &Config) -> Result<(), (&'static str, String)> {
    let (service, cluster) = (&config.service, &config.cluster);
    let no_uri = |uri: &str| format!("`{uri}` is not of the form http://host:port");
    if let Some(uri) = cluster.uri.as_deref().filter(|uri| peer_address(uri).is_none()) {
        return Err(("cluster.uri", no_uri(uri)));
    }
    if let Some(uri) = cluster.bootstrap.iter().find(|uri| peer_address(uri).is_none()) {
        return Err(("cluster.bootstrap", no_uri(uri)));
    }
    if !cluster.enabled {
        return match cluster.bootstrap.is_empty() && cluster.uri.is_none() {
            true => Ok(()),
            false => Err(("cluster.enabled", "it is not set, but a uri or nodes to join are given".to_owned())),
        };
    }
    if cluster.uri.is_none() && service.host.is_unspecified() {
        let why = "it is needed: service.host does not say at which address the others find this node";
        return Err(("cluster.uri", why.to_owned()));
    }
    if service.has_keys() && service.api_key.is_none() {
        let why = "it is needed: nodes show it to each other, and without it anyone could join them";
        return Err(("service.api_key", why.to_owned()));
    }
    let port = cluster.p2p.port;
    if port != 0 && (port == service.http_port || port == service.grpc_port) {
        return Err(("cluster.p2p.port", format!("port {port} is that of REST or gRPC already")));
    }
    Ok(())
}

fn check_snapshots(config: &Config) -> Result<(), (&'static str, String)> {
    let snapshots = &config.storage.snapshots_config;
    let s3 = &snapshots.s3_config;
    let is_empty = |text: &Option<String>| text.as_deref().is_none_or(str::is_empty);
    if snapshots.snapshots_storage == SnapshotsStorage::S3 && is_empty(&s3.bucket) {
        return Err((
            "storage.snapshots_config.s3_config.bucket",
            "snapshots_storage is s3: a bucket is needed".into(),
        ));
    }
    if is_empty(&s3.access_key) != is_empty(&s3.secret_key) {
        let why = "access_key and secret_key come together, or not at all";
        return Err(("storage.snapshots_config.s3_config.access_key", why.into()));
    }
    if s3.endpoint_url.as_deref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        let why = "it begins with neither http:// nor https://";
        return Err(("storage.snapshots_config.s3_config.endpoint_url", why.into()));
    }
    let hosts = &snapshots.url_recovery.allowed_hosts;
    let key = "storage.snapshots_config.url_recovery.allowed_hosts";
    for host in hosts {
        host.parse::<AllowedHost>().map_err(|error| (key, error.to_string()))?;
    }
    if config.service.enable_snapshot_url_recovery && hosts.is_empty() {
        return Err((key, "service.enable_snapshot_url_recovery is set: hosts are needed".into()));
    }
    Ok(())
}

/// The flags that were given, by the key each one sets.
fn flag_values(flags: &Flags) -> Vec<(String, Value)> {
    let path = |path: &PathBuf| Value::from(path.display().to_string());
    [
        ("service.host", flags.host.map(|host| Value::from(host.to_string()))),
        ("service.http_port", flags.http_port.map(Value::from)),
        ("service.grpc_port", flags.grpc_port.map(Value::from)),
        ("storage.storage_path", flags.storage_path.as_ref().map(path)),
        ("storage.snapshots_path", flags.snapshots_path.as_ref().map(path)),
        ("cluster.enabled", flags.cluster.then(|| Value::from(true))),
        ("cluster.p2p.port", flags.peer_port.map(Value::from)),
        ("cluster.uri", flags.uri.clone().map(Value::from)),
        ("cluster.bootstrap", (!flags.bootstrap.is_empty()).then(|| Value::from(flags.bootstrap.clone()))),
        ("cluster.zone", flags.zone.clone().map(Value::from)),
        ("log_level", flags.log_level.clone().map(Value::from)),
        (
            "logger.format",
            flags.log_format.map(|format| {
                Value::from(match format {
                    LogFormat::Text => "text",
                    LogFormat::Json => "json",
                })
            }),
        ),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_string(), value?)))
    .collect()
}

/// Settings that came as (key, value), from the environment or the command line.
struct Settings {
    from: &'static str,
    values: Vec<(String, Value)>,
}

impl Provider for Settings {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.from)
    }
    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let mut root = Dict::new();
        for (key, value) in &self.values {
            insert(&mut root, key, value.clone());
        }
        Ok(Profile::Default.collect(root))
    }
}

/// `a.b = value` in nested form.
fn insert(dict: &mut Dict, key: &str, value: Value) {
    let Some((first, rest)) = key.split_once('.') else {
        dict.insert(key.into(), value);
        return;
    };
    let inner = dict.entry(first.into()).or_insert_with(|| Value::Dict(Tag::Default, Dict::new()));
    // A text where a level should be stays, for the type check to refuse.
    if let Value::Dict(_, inner) = inner {
        insert(inner, rest, value);
    }
}

/// The environment's settings. A value gets the type of the setting's default, never a guessed one: a key `0123` stays
/// what it is.
fn environment_values(
    variables: impl IntoIterator<Item = (String, String)>,
    defaults: &Figment,
) -> Vec<(String, Value)> {
    let values = variables.into_iter().filter_map(|(name, text)| {
        let key = name.strip_prefix(ENV_PREFIX)?.to_lowercase().replace("__", ".");
        let value = typed(&text, defaults.find_value(&key).ok().as_ref());
        Some((key, value))
    });
    values.collect()
}

/// Text that does not fit the type stays text, for the type check to refuse with the setting's name.
fn typed(text: &str, like: Option<&Value>) -> Value {
    match like {
        Some(Value::Num(..)) => text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from),
        Some(Value::Array(..)) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(Value::from).collect::<Vec<Value>>().into()
        }
        Some(Value::Bool(..)) => text.to_lowercase().parse::<bool>().map_or_else(|_| Value::from(text), Value::from),
        _ => Value::from(text),
    }
}

/// Where the value of `key` came from.
fn origin(figment: &Figment, key: &str) -> String {
    figment.find_metadata(key).map_or_else(|| "the configuration".into(), metadata_name)
}

fn metadata_name(metadata: &Metadata) -> String {
    match metadata.source.as_ref().and_then(|source| source.file_path()) {
        Some(path) => path.display().to_string(),
        None => metadata.name.to_string(),
    }
}

/// The first of figment's errors in our words.
fn config_error(error: figment::Error, figment: &Figment) -> ConfigError {
    let path = error.path.join(".");
    let from = match &error.metadata {
        Some(metadata) => metadata_name(metadata),
        None => origin(figment, &path),
    };
    match error.kind {
        Kind::UnknownField(field, known) => {
            let key = if path.is_empty() || path.ends_with(&field) { path } else { format!("{path}.{field}") };
            let key = if key.is_empty() { field } else { key };
            ConfigError::UnknownKey { key, from, known: known.join(", ") }
        }
        Kind::Message(why) if path.is_empty() => ConfigError::Syntax { from, why },
        kind => ConfigError::Invalid { key: path, from, why: kind.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads `yaml` (when not empty), `env` (`NAME=value` words) and `flags`.
    fn load_from(yaml: &str, env: &str, flags: Flags) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, yaml).unwrap();
        let environment = env.split_whitespace().map(|word| {
            let (name, value) = word.split_once('=').unwrap();
            (name.to_string(), value.to_string())
        });
        let flags = Flags { config: (!yaml.is_empty()).then_some(path.clone()), ..flags };
        load(&flags, environment).map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    fn check_error(yaml: &str, env: &str, want: &str) {
        let got = load_from(yaml, env, Flags::default()).expect_err("refused");
        assert!(got.starts_with(want), "\n got: {got}\nwant: {want}");
    }

    #[test]
    fn no_source_gives_the_defaults() {
        assert_eq!(load_from("", "", Flags::default()), Ok(Config::default()));
        assert_eq!(
            load_from("# nothing but a comment\n", "HOME=/x QUIVER_CACHE=/y", Flags::default()),
            Ok(Config::default())
        );
    }

    #[test]
    fn later_sources_win() {
        let yaml = "service: {http_port: 1, grpc_port: 2, max_request_size_mb: 3}\nlog_level: debug\n";
        let env = "QUIVER__SERVICE__GRPC_PORT=20 QUIVER__SERVICE__MAX_REQUEST_SIZE_MB=30";
        let config = load_from(yaml, env, Flags { grpc_port: Some(200), ..Flags::default() }).unwrap();
        let service = &config.service;
        assert_eq!((service.http_port, service.grpc_port, service.max_request_size_mb), (1, 200, 30));
        assert_eq!(config.log_level, "debug");
        assert_eq!(service.request_bytes_max(), 30 * 1024 * 1024);
    }

    #[test]
    fn environment_values_take_the_settings_type() {
        let env = "QUIVER__SERVICE__API_KEY=0123 QUIVER__SERVICE__ENABLE_CORS=True QUIVER__LOGGER__FORMAT=json \
                   QUIVER__STORAGE__PERFORMANCE__MAX_SEARCH_THREADS=7 QUIVER__SERVICE__HOST=::";
        let config = load_from("", env, Flags::default()).unwrap();
        assert_eq!(config.service.api_key.as_deref(), Some("0123"));
        assert!(config.service.enable_cors && config.service.has_keys());
        assert_eq!(config.logger.format, LogFormat::Json);
        assert_eq!(config.storage.performance.max_search_threads, 7);
        assert_eq!(config.service.host.to_string(), "::");
    }

    #[test]
    fn all_flags_arrive() {
        let flags = Flags {
            config: None,
            host: Some(IpAddr::from([0, 0, 0, 0])),
            http_port: Some(0),
            grpc_port: Some(0),
            storage_path: Some("s".into()),
            snapshots_path: Some("n".into()),
            log_level: Some("warn".into()),
            log_format: Some(LogFormat::Json),
            cluster: true,
            peer_port: Some(0),
            uri: Some("http://a:1".into()),
            bootstrap: vec!["http://b:2".into(), "http://c:3".into()],
            zone: Some("z".into()),
            ..Flags::default()
        };
        let mut want = Config::default();
        want.service.host = IpAddr::from([0, 0, 0, 0]);
        (want.service.http_port, want.service.grpc_port) = (0, 0);
        want.storage.storage_path = "s".into();
        want.storage.snapshots_path = "n".into();
        want.log_level = "warn".into();
        want.logger.format = LogFormat::Json;
        want.cluster = Cluster {
            enabled: true,
            p2p: PeerToPeer { port: 0 },
            uri: Some("http://a:1".into()),
            bootstrap: vec!["http://b:2".into(), "http://c:3".into()],
            zone: Some("z".into()),
            ..Cluster::default()
        };
        assert_eq!(want.cluster.bootstrap_addresses(), ["b:2", "c:3"]);
        assert_eq!(load_from("", "", flags), Ok(want));
    }

    #[test]
    fn an_unknown_key_is_named() {
        check_error("service: {http_prot: 1}", "", "unknown setting `service.http_prot` in FILE; known here: host,");
        check_error("servcie: {}", "", "unknown setting `servcie` in FILE; known here: log_level,");
        check_error("", "QUIVER__SERVICE__HTTP_PROT=1", "unknown setting `service.http_prot` in the environment;");
        check_error(
            "",
            "QUIVER__STORAGE__PERFORMANCE__X=1",
            "unknown setting `storage.performance.x` in the environment;",
        );
        check_error("", "QUIVER__TELEMETRY_DISABLED=true", "unknown setting `telemetry_disabled` in the environment;");
    }

    #[test]
    fn a_bad_value_is_named() {
        check_error("service: {http_port: high}", "", "setting `service.http_port` in FILE is invalid:");
        check_error("service: {http_port: 65536}", "", "setting `service.http_port` in FILE is invalid:");
        check_error("service: {host: nowhere}", "", "setting `service.host` in FILE is invalid:");
        check_error("service: 5", "", "setting `service` in FILE is invalid:");
        check_error(
            "service: {max_request_size_mb: 0}",
            "",
            "setting `service.max_request_size_mb` in FILE is invalid: 0 is not between 1 and 4096",
        );
        check_error("logger: {format: xml}", "", "setting `logger.format` in FILE is invalid:");
        check_error("log_level: 'a=b=c'", "", "setting `log_level` in FILE is invalid:");
        check_error("storage: {storage_path: ''}", "", "setting `storage.storage_path` in FILE is invalid: a path");
        check_error("", "QUIVER__SERVICE__HTTP_PORT=-1", "setting `service.http_port` in the environment is invalid:");
        check_error(
            "",
            "QUIVER__SERVICE__GRPC_PORT=6333",
            "setting `service.grpc_port` in the environment is invalid: port 6333 is",
        );
        check_error(
            "",
            "QUIVER__SERVICE__API_KEY=",
            "setting `service.api_key` in the environment is invalid: a key must not be empty",
        );
        check_error(
            "",
            "QUIVER__SERVICE__ENABLE_CORS=perhaps",
            "setting `service.enable_cors` in the environment is invalid:",
        );
        check_error("service: {http_port: 1", "", "FILE is not valid YAML:");
    }

    #[test]
    fn a_node_that_others_cannot_find_is_refused() {
        let refused = |inner: &str, key: &str| {
            check_error(&format!("cluster: {{{inner}}}"), "", &format!("setting `cluster.{key}` in "));
        };
        refused("enabled: true, uri: 'a:6335'", "uri");
        refused("enabled: true, uri: 'http://a'", "uri");
        refused("enabled: true, uri: 'http://a/b:1'", "uri");
        refused("enabled: true, bootstrap: ['http://a:1', b]", "bootstrap");
        refused("uri: 'http://a:1'", "enabled");
        refused("enabled: true, p2p: {port: 6333}", "p2p.port");
        check_error(
            "",
            "QUIVER__CLUSTER__ENABLED=true QUIVER__SERVICE__READ_ONLY_API_KEY=x",
            "setting `service.api_key` in ",
        );
        check_error("", "QUIVER__CLUSTER__ENABLED=true QUIVER__SERVICE__HOST=0.0.0.0", "setting `cluster.uri` in ");
        let env = "QUIVER__CLUSTER__ENABLED=true QUIVER__CLUSTER__BOOTSTRAP=http://[::1]:1,http://b:2/";
        let config = load_from("", env, Flags::default()).unwrap();
        assert_eq!(config.cluster.bootstrap_addresses(), ["[::1]:1", "b:2"]);
    }

    #[test]
    fn snapshots_are_kept_and_fetched_as_set() {
        let prefix = "storage.snapshots_config";
        let refused = |yaml: &str, key: &str| {
            check_error(yaml, "", &format!("setting `{prefix}.{key}` in "));
        };
        let of = |inner: &str| format!("storage: {{snapshots_config: {{{inner}}}}}");
        refused(&of("snapshots_storage: s3"), "s3_config.bucket");
        refused(&of("snapshots_storage: tape"), "snapshots_storage");
        refused(&of("s3_config: {access_key: a}"), "s3_config.access_key");
        refused(&of("s3_config: {endpoint_url: minio}"), "s3_config.endpoint_url");
        refused(&of("url_recovery: {allowed_hosts: ['http://a']}"), "url_recovery.allowed_hosts");
        refused(&of("url_recovery: {max_size_mb: 0}"), "url_recovery.max_size_mb");
        refused("service: {enable_snapshot_url_recovery: true}", "url_recovery.allowed_hosts");
        let env = "QUIVER__SERVICE__ENABLE_SNAPSHOT_URL_RECOVERY=true \
                   QUIVER__STORAGE__SNAPSHOTS_CONFIG__URL_RECOVERY__ALLOWED_HOSTS=a.example,10.0.0.0/8 \
                   QUIVER__STORAGE__SNAPSHOTS_CONFIG__SNAPSHOTS_STORAGE=s3 \
                   QUIVER__STORAGE__SNAPSHOTS_CONFIG__S3_CONFIG__BUCKET=b \
                   QUIVER__STORAGE__SNAPSHOTS_CONFIG__S3_CONFIG__ACCESS_KEY=k \
                   QUIVER__STORAGE__SNAPSHOTS_CONFIG__S3_CONFIG__SECRET_KEY=hush";
        let config = load_from("", env, Flags::default()).unwrap();
        let snapshots = &config.storage.snapshots_config;
        assert_eq!(snapshots.url_recovery.allowed_hosts, ["a.example", "10.0.0.0/8"]);
        assert_eq!(snapshots.snapshots_storage, SnapshotsStorage::S3);
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn snapshots_of_the_command_line() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            flags: Flags,
        }
        let parse = |line: &str| {
            let words = std::iter::once("quiver").chain(line.split_whitespace());
            <Line as clap::Parser>::try_parse_from(words).map(|line| line.flags.recovery())
        };
        let name = |text: &str| CollectionName::new(text).unwrap();
        assert_eq!(parse("").unwrap(), StartupRecovery::default());
        let recovery = parse("--snapshot a:b/c.snapshot:d --snapshot e:f --force-snapshot").unwrap();
        assert_eq!(recovery.collections, [("a:b/c.snapshot".into(), name("d")), ("e".into(), name("f"))]);
        assert!(recovery.replaces);
        assert_eq!(parse("--storage-snapshot a -f").unwrap().node, Some("a".into()));
        for wrong in ["--snapshot a", "--snapshot a:", "--snapshot a:b*", "--snapshot a:b --storage-snapshot c"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let flags = Flags { config: Some("no/such.yaml".into()), ..Flags::default() };
        let error = load(&flags, []).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the configuration file no/such.yaml: "), "{error}");
    }

    #[test]
    fn keys_stay_out_of_debug_text() {
        let config = load_from("", "QUIVER__SERVICE__API_KEY=hush", Flags::default()).unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn the_sample_file_shows_every_setting_at_its_default() {
        let sample = include_str!("../../config/config.yaml");
        assert_eq!(load_from(sample, "", Flags::default()), Ok(Config::default()));
        let uncommented: String = sample
            .lines()
            .filter(|line| !line.trim_start().starts_with("# "))
            .map(|line| line.replacen("#", "", 1) + "\n")
            .collect();
        let keys = |figment: Figment| {
            fn walk(dict: &Dict, prefix: &str, keys: &mut Vec<String>) {
                for (key, value) in dict {
                    match value.as_dict() {
                        Some(inner) => walk(inner, &format!("{prefix}{key}."), keys),
                        None => keys.push(format!("{prefix}{key}")),
                    }
                }
            }
            let mut keys = Vec::new();
            walk(figment.extract::<Value>().unwrap().as_dict().unwrap(), "", &mut keys);
            keys
        };
        let defaults = keys(Figment::from(Serialized::defaults(Config::default())));
        assert_eq!(keys(Figment::from(Yaml::string(&uncommented))), defaults);
    }
}
