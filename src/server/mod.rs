//! Process life: settings, logs, metrics, listeners, readiness, drain.
//!
//! - A start that fails leaves one line on stderr and an exit code of its own per kind ([`Failure`]).
//! - Ports are bound before the data folder is touched; requests are served once the data are recovered.
//! - A stop lets the requests under way end, within `service.drain_timeout_s`; then the database is flushed and closed.
//!
//! Not here: what a request does (`api`), or what is stored how.

pub mod config;
mod exit;
mod failure;
mod listen;
mod logs;
mod metrics;
mod node_id;
mod serve;

pub use exit::exit;
pub use failure::Failure;
pub use serve::run;
