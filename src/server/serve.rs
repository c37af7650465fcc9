//! One run of the server, from settings to exit.

use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use uuid::Uuid;

use crate::api::auth::Keys;
use crate::api::grpc::{self, GrpcSettings};
use crate::api::rest::{self, RestSettings};
use crate::service::{
    AllowedHost, ClusterSettings, OpenError, S3Settings, Service, ServiceSettings, SnapshotPlace, StartupRecovery,
    UrlRules,
};

use super::config::{Config, Listen, SnapshotsStorage};
use super::listen::{Listener, serve_rest};
use super::metrics::Exporter;
use super::{Failure, logs, node_id};

/// Calls of each transport handled at once; more are told to come back. Each may hold a request of `service.max_request_size_mb`.
const CALLS_IN_FLIGHT_MAX: usize = 1024;

/// How often histograms are folded.
const METRICS_UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Recovers what was asked for, serves until SIGTERM or SIGINT, then drains, flushes and returns.
pub fn run(config: Config, recovery: StartupRecovery) -> Result<(), Failure> {
    logs::install(&config);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if config.service.max_workers > 0 {
        runtime.worker_threads(config.service.max_workers);
    }
    let runtime = runtime
        .thread_name("serve")
        .enable_all()
        .build()
        .map_err(|source| Failure::System { what: "no threads", source })?;
    let outcome = runtime.block_on(serve(config, recovery));
    // Work that outlived the drain must not hold the process.
    runtime.shutdown_background();
    outcome
}

async fn serve(config: Config, recovery: StartupRecovery) -> Result<(), Failure> {
    let mut signals = Signals::install()?;
    let exporter = Exporter::install()?;
    warn_of_risks(&config.service);
    let rest = bind("REST", config.service.http_port, &config.service).await?;
    let grpc = bind("gRPC", config.service.grpc_port, &config.service).await?;
    let (rest_address, grpc_address) = (rest.address(), grpc.address());
    let cluster = cluster_settings(&config).await?;

    // REST answers from here on: an orchestrator sees a live process while the data are recovered.
    let (stop, stopped) = watch::channel(false);
    let router = Arc::new(ArcSwap::from_pointee(starting()));
    let rest = tokio::spawn(serve_rest(rest, router.clone(), until(stopped.clone())));
    let service = tokio::select! {
        opened = open(service_settings(&config), cluster) => opened?,
        () = signals.next() => {
            tracing::info!("stopped before the data were recovered");
            return Ok(());
        }
    };
    tokio::select! {
        recovered = service.recover_at_start(&recovery) => {
            if let Err(source) = recovered {
                service.shutdown().await.map_err(Failure::Close)?;
                return Err(Failure::Recover { source });
            }
        }
        () = signals.next() => {
            tracing::info!("stopped before the snapshots were recovered");
            return service.shutdown().await.map_err(Failure::Close);
        }
    };
    let is_ready = Arc::new(AtomicBool::new(true));
    let node_id = node_id::read_or_make(&config.storage.storage_path)
        .map_err(|source| Failure::System { what: "the node's id cannot be kept", source })?;
    let settings = rest_settings(&config.service, node_id, &exporter, &is_ready, &service);
    router.store(Arc::new(rest::router(service.clone(), settings)));
    let grpc_settings = GrpcSettings {
        keys: keys(&config.service),
        message_bytes_max: config.service.request_bytes_max(),
        in_flight_max: CALLS_IN_FLIGHT_MAX,
        request_timeout: Duration::from_secs(config.service.request_timeout_s),
    };
    let mut grpc = tokio::spawn(grpc::serve(grpc.into_stream(), service.clone(), grpc_settings, until(stopped)));
    tracing::info!(rest = %rest_address, grpc = %grpc_address, "ready");

    let broken = tokio::select! {
        () = signals.next() => None,
        ended = &mut grpc => Some(ended),
        () = keep_up(&exporter) => None,
    };
    is_ready.store(false, Ordering::Release);
    tracing::info!("stopping: requests under way end first");
    let drain = async {
        // Fails when both listeners have ended already.
        let _ = stop.send(true);
        let listeners = async {
            let _ = rest.await;
            if broken.is_none() {
                let _ = grpc.await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(config.service.drain_timeout_s), listeners).await.is_err() {
            tracing::warn!("requests are still under way and will be cut off");
        }
        service.shutdown().await.map_err(Failure::Close)
    };
    tokio::select! {
        closed = drain => closed?,
        () = signals.next() => return Err(Failure::SecondSignal),
    }
    tracing::info!("stopped");
    match broken {
        Some(Ok(Err(error))) => Err(error.into()),
        _ => Ok(()),
    }
}

async fn open(settings: ServiceSettings, cluster: Option<ClusterSettings>) -> Result<Service, OpenError> {
    match cluster {
        None => Service::open(settings).await,
        Some(cluster) => Service::open_in_cluster(settings, cluster).await,
    }
}

/// How this node belongs to a cluster, if it does.
async fn cluster_settings(config: &Config) -> Result<Option<ClusterSettings>, Failure> {
    let (service, cluster) = (&config.service, &config.cluster);
    if !cluster.enabled {
        return Ok(None);
    }
    let address = SocketAddr::new(service.host, cluster.p2p.port);
    let failure = |source| Failure::Bind { transport: "peers", address, source };
    let listener = TcpListener::bind(address).await.map_err(failure)?;
    let bound = listener.local_addr().map_err(failure)?;
    let address = cluster.own_address().unwrap_or_else(|| bound.to_string());
    tracing::info!(listener = %bound, %address, "listening for other nodes");
    Ok(Some(ClusterSettings {
        listener: Arc::new(listener),
        address,
        zone: cluster.zone.clone().filter(|zone| !zone.is_empty()),
        bootstrap: cluster.bootstrap_addresses(),
        key: service.api_key.clone(),
        alt_key: service.alt_api_key.clone(),
        replace_after: Duration::from_secs(cluster.replace_after_s),
    }))
}

async fn bind(transport: &'static str, port: u16, settings: &Listen) -> Result<Listener, Failure> {
    Listener::bind(transport, SocketAddr::new(settings.host, port), settings.max_connections).await
}

/// What REST answers while the data are recovered.
fn starting() -> Router {
    let recovering = (StatusCode::SERVICE_UNAVAILABLE, "not ready: recovering");
    Router::new()
        .route("/healthz", get("healthz check passed"))
        .route("/livez", get("livez check passed"))
        .fallback(async move || recovering)
}

fn warn_of_risks(settings: &Listen) {
    if !settings.host.is_loopback() && !settings.has_keys() {
        tracing::warn!(
            host = %settings.host,
            "ANYONE WHO REACHES THIS MACHINE CAN READ AND DELETE ALL DATA: no key is set and the server does not listen \
             on loopback only; set service.api_key (QUIVER__SERVICE__API_KEY)",
        );
    }
}

/// Never ends.
async fn keep_up(exporter: &Exporter) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP_INTERVAL).await;
        exporter.upkeep();
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn keys(settings: &Listen) -> Keys {
    Keys::new(settings.api_key.clone(), settings.alt_api_key.clone(), settings.read_only_api_key.clone())
}

fn rest_settings(
    settings: &Listen,
    node_id: Uuid,
    exporter: &Exporter,
    is_ready: &Arc<AtomicBool>,
    service: &Service,
) -> RestSettings {
    let (exporter, is_ready, service) = (exporter.clone(), is_ready.clone(), service.clone());
    RestSettings {
        request_bytes_max: settings.request_bytes_max(),
        request_timeout: Duration::from_secs(settings.request_timeout_s),
        in_flight_max: CALLS_IN_FLIGHT_MAX,
        keys: keys(settings),
        is_cors_enabled: settings.enable_cors,
        metrics: Arc::new(move || exporter.render()),
        is_ready: Arc::new(move || is_ready.load(Ordering::Acquire) && service.is_ready()),
        node_id: node_id.to_string(),
        started_at: SystemTime::now(),
    }
}

fn service_settings(config: &Config) -> ServiceSettings {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = |wanted: usize| if wanted == 0 { cores } else { wanted };
    let storage = &config.storage;
    ServiceSettings {
        storage_path: storage.storage_path.clone(),
        snapshots_path: storage.snapshots_path.clone(),
        snapshots_place: snapshots_place(config),
        url_recovery: url_recovery(config),
        search_threads: threads(storage.performance.max_search_threads),
        search_queue_max: storage.performance.max_search_queue,
        index_threads: threads(storage.performance.max_indexing_threads),
        tail_vectors_max: storage.performance.max_unindexed_vectors,
        checkpoint_interval: Duration::from_secs(storage.checkpoint_interval_s),
        disk_reserve_bytes: storage.disk_reserve_mb << 20,
        block_cache_bytes: storage.block_cache_mb << 20,
        memtable_bytes: storage.memtable_mb << 20,
    }
}

fn snapshots_place(config: &Config) -> SnapshotPlace {
    let snapshots = &config.storage.snapshots_config;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (snapshots.snapshots_storage, given(&snapshots.s3_config.bucket)) {
        (SnapshotsStorage::S3, Some(bucket)) => SnapshotPlace::S3(S3Settings {
            bucket,
            region: given(&snapshots.s3_config.region),
            access_key: given(&snapshots.s3_config.access_key),
            secret_key: given(&snapshots.s3_config.secret_key),
            endpoint_url: given(&snapshots.s3_config.endpoint_url),
        }),
        _ => SnapshotPlace::Local,
    }
}

fn url_recovery(config: &Config) -> Option<UrlRules> {
    let rules = &config.storage.snapshots_config.url_recovery;
    config.service.enable_snapshot_url_recovery.then(|| UrlRules {
        // All of them parse: the configuration was checked.
        allowed_hosts: rules.allowed_hosts.iter().filter_map(|host| host.parse::<AllowedHost>().ok()).collect(),
        size_bytes_max: rules.max_size_mb << 20,
        time_max: Duration::from_secs(rules.timeout_s),
    })
}

/// The signals that ask the process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn install() -> Result<Signals, Failure> {
        let install = |kind| signal(kind).map_err(|source| Failure::System { what: "no signals", source });
        Ok(Signals { terminate: install(SignalKind::terminate())?, interrupt: install(SignalKind::interrupt())? })
    }

    /// Cancel safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
