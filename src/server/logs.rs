//! Log lines, to stdout, as text or JSON. Panics are log lines too.

use std::backtrace::Backtrace;
use std::panic;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use super::config::{Config, LogFormat};

/// Installs the process's log. `config` has been checked, so its directives parse.
pub(super) fn install(config: &Config) {
    // openraft warns of what a start with a lone voter always does. The configuration may ask for more of it.
    let filter = EnvFilter::new(format!("openraft=error,{}", config.log_level));
    // A second installation in one process (tests) keeps the first.
    let _ = match config.logger.format {
        LogFormat::Text => fmt().with_env_filter(filter).with_ansi(false).try_init(),
        LogFormat::Json => fmt().with_env_filter(filter).json().flatten_event(true).try_init(),
    };
    panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        metrics::counter!("panics_total").increment(1);
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            place,
            backtrace = %Backtrace::force_capture(),
            "panic: {message}",
        );
    }));
}
