//! Why a measurement ended without a result: one line for stderr, one exit code per kind.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use super::files::FileError;
use super::wire::filter::FilterError;

/// A measurement that was asked for wrongly, or failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The operating system refused threads or sockets.
    #[error("cannot run: {0}")]
    System(io::Error),
    /// A file cannot be read, or does not hold what it should.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: FileError,
    },
    /// A line of the payload file is no JSON object.
    #[error("{}, line {line}: {source}", .path.display())]
    Payload {
        /// The payload file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A record cannot be written as JSON or read from it.
    #[error("{}: not a record of a search: {source}", .path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The terminal, or whatever stands in its place, is gone.
    #[error("cannot write the table: {0}")]
    Output(io::Error),
    /// `--url` cannot be an address.
    #[error("--url {url}: {why}")]
    Url {
        /// As given.
        url: String,
        /// What it should be.
        why: &'static str,
    },
    /// The transport cannot say this filter.
    #[error("--filter: {0}")]
    Filter(#[from] FilterError),
    /// Neither `--metric` nor the file says how vectors are compared.
    #[error("--metric is needed: the file does not say how its vectors are compared")]
    MetricMissing,
    /// The file has fewer rows than it needs.
    #[error("{what} has {got} rows, {want} are needed")]
    TooFewRows {
        /// The flag whose file it is.
        what: &'static str,
        /// Rows there are.
        got: usize,
        /// Rows there should be.
        want: usize,
    },
    /// `--limit` asks for more neighbors than the truth holds.
    #[error("--limit {limit} is more than the {width} true neighbors per query")]
    LimitAboveTruth {
        /// As given.
        limit: usize,
        /// Neighbors per query in the file.
        width: usize,
    },
    /// `--pid` is no process of this machine.
    #[error("--pid {0}: no such process")]
    NoProcess(u32),
    /// There is a collection of this name already.
    #[error("collection `{0}` exists; --on-existing replace deletes it first")]
    CollectionExists(String),
    /// The server says it cannot go on with the collection.
    #[error("the collection's status is red")]
    CollectionRed,
    /// The server holds another number of points than were uploaded.
    #[error("{uploaded} points were uploaded and {stored} are there")]
    PointsLost {
        /// By this generator.
        uploaded: u64,
        /// In the server's words.
        stored: u64,
    },
    /// A request failed.
    #[error("{what} failed: {source}")]
    Call {
        /// What was asked for.
        what: &'static str,
        /// The server's answer, or why there is none.
        source: CallError,
    },
    /// A task of this generator broke.
    #[error("a caller broke: {0}")]
    Caller(#[from] tokio::task::JoinError),
    /// No measured combination has a recall.
    #[error("nothing to plot: no recall was measured")]
    NothingToPlot,
}

impl Failure {
    /// The process's exit code: 2 when the command line has to change, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Url { .. }
            | Failure::Filter(_)
            | Failure::MetricMissing
            | Failure::TooFewRows { .. }
            | Failure::LimitAboveTruth { .. }
            | Failure::NoProcess(_) => 2,
            _ => 1,
        }
    }
}

/// A request without a useful answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server refused it.
    #[error("{message} ({code})")]
    Refused {
        /// gRPC's code or HTTP's status.
        code: String,
        /// The server's words.
        message: String,
    },
    /// No connection over gRPC.
    #[error("{}", chain(.0))]
    Connection(tonic::transport::Error),
    /// No connection, or no answer, over REST.
    #[error("{}", chain(.0))]
    Http(reqwest::Error),
    /// The key cannot stand in a header.
    #[error("the API key holds a character that no header can carry")]
    Key,
    /// The answer is not what the protocol says.
    #[error("an answer that is not of the protocol: {0}")]
    Answer(serde_json::Error),
    /// The answer lacks something.
    #[error("an answer without {0}")]
    Incomplete(&'static str),
}

/// An error and its causes in one line: transports hide the telling one at the end.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

impl From<tonic::Status> for CallError {
    fn from(status: tonic::Status) -> CallError {
        let message = status.source().map_or_else(|| status.message().to_owned(), chain);
        CallError::Refused { code: format!("{:?}", status.code()), message }
    }
}
