//! The process's metrics: the recorder behind `/metrics`, and what the operating system says of this process.

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// Upper bounds of the latency histograms, in seconds: three per decade from 0.1 ms, where a cached search ends, to
/// 10 s, past every client's patience.
const LATENCY_BUCKETS_S: [f64; 16] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Renders `/metrics`. Cheap to clone.
#[derive(Clone)]
pub(super) struct Exporter {
    recorded: PrometheusHandle,
    process: Collector,
}

impl Exporter {
    /// Installs the process's recorder. Called once per process.
    pub(super) fn install() -> Result<Exporter, BuildError> {
        let recorded = PrometheusBuilder::new().set_buckets(&LATENCY_BUCKETS_S)?.install_recorder()?;
        let process = Collector::default();
        process.describe();
        Ok(Exporter { recorded, process })
    }

    /// Everything in Prometheus' text format, the process's figures fresh.
    pub(super) fn render(&self) -> String {
        self.process.collect();
        self.recorded.render()
    }

    /// Folds the histograms' raw samples together, which otherwise pile up between two scrapes.
    pub(super) fn upkeep(&self) {
        self.recorded.run_upkeep();
    }
}
