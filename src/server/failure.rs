//! Why the process ends other than well: one line for stderr, one exit code per kind.

use std::io;
use std::net::SocketAddr;

use crate::api::grpc;
use crate::raft::StartError;
use crate::service::{self, OpenError};
use crate::storage::StorageError;

use super::config::ConfigError;

/// A start that failed, a run that broke, or a stop that could not keep its promise.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A setting is unknown or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operating system refused threads, signals or sockets.
    #[error("cannot run: {what}: {source}")]
    System {
        /// What was refused.
        what: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// The port is taken, or the address is not of this machine.
    #[error("cannot listen on {address} for {transport}: {source}")]
    Bind {
        /// REST or gRPC.
        transport: &'static str,
        /// What was asked for.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// Another recorder of metrics is installed.
    #[error("cannot run: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// The data folder is in use, unusable or damaged.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A snapshot named on the command line cannot be recovered. Nothing was changed.
    #[error("cannot recover from the snapshot: {source}{}", hint(.source))]
    Recover {
        /// What went wrong.
        source: service::Error,
    },
    /// The gRPC listener broke.
    #[error(transparent)]
    Grpc(#[from] grpc::ServeError),
    /// Not everything could be written at the end. What was acknowledged is in the log.
    #[error("the stop was not clean: {0}; what was acknowledged is recovered at the next start")]
    Close(service::Error),
    /// A second signal came while the first one was being obeyed.
    #[error("stopped at once by a second signal; what was acknowledged is recovered at the next start")]
    SecondSignal,
}

fn hint(error: &service::Error) -> &'static str {
    match error {
        service::Error::CollectionExists { .. } | service::Error::NameTaken { .. } => {
            "; --force-snapshot replaces what is there"
        }
        _ => "",
    }
}

impl Failure {
    /// The process's exit code; README.md lists them. 2 is also what a wrong command line gives.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::System { .. } | Failure::Metrics(_) | Failure::Grpc(_) | Failure::Close(_) => 1,
            Failure::Config(_) => 2,
            Failure::Bind { .. } => 3,
            Failure::Open(error) => match error {
                OpenError::Thread(_) | OpenError::Join(_) => 1,
                OpenError::OwnData | OpenError::NobodyFounds => 2,
                OpenError::InUse { .. } => 4,
                OpenError::Storage(error) | OpenError::Group(StartError::Storage(error)) if is_damage(error) => 5,
                OpenError::Folder { .. } | OpenError::Storage(_) | OpenError::Group(_) => 6,
            },
            Failure::Recover { .. } => 7,
            Failure::SecondSignal => 130,
        }
    }
}

/// No restart helps: an operator has to act.
fn is_damage(error: &StorageError) -> bool {
    matches!(error, StorageError::Damaged { .. } | StorageError::FormatVersion { .. })
}
