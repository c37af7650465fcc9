//! CPU time and resident memory of a process: from `/proc` if it is of this machine, else from a server's `/metrics`.
//!
//! A figure that cannot be had is missing, never zero.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::flags::{Target, Transport};
use super::wire::rest;
use super::{Failure, call};

/// The unit of times in `/proc`: 100 per second on every Linux this is built for.
const TICKS_PER_S: f64 = 100.0;
/// Between two looks at the memory while something else goes on. Seldom enough for `/metrics` to cost the server nothing.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) cpu_s: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
}

impl Usage {
    /// CPU seconds since `before`.
    pub(super) fn cpu_s_since(self, before: Usage) -> Option<f64> {
        Some(self.cpu_s? - before.cpu_s?)
    }
}

/// Where a process's figures come from.
#[derive(Clone)]
pub(super) enum Watch {
    /// A folder of `/proc`, of a process or of one of its threads.
    Process(PathBuf),
    /// Prometheus' text format.
    Metrics { http: reqwest::Client, url: String },
    /// Nowhere.
    Nothing,
}

impl Watch {
    /// The server's figures.
    pub(super) fn server(target: &Target) -> Result<Watch, Failure> {
        if let Some(pid) = target.pid {
            let folder = PathBuf::from(format!("/proc/{pid}"));
            return if folder.exists() { Ok(Watch::Process(folder)) } else { Err(Failure::NoProcess(pid)) };
        }
        let root = match (&target.http_url, target.transport) {
            (Some(url), _) => url.clone(),
            (None, Transport::Rest) => target.url(),
            (None, Transport::Grpc) => return Ok(Watch::Nothing),
        };
        let http = rest::http(target.api_key.as_deref(), Duration::from_secs(target.timeout));
        let http = http.map_err(call("reading /metrics"))?;
        Ok(Watch::Metrics { http, url: format!("{}/metrics", root.trim_end_matches('/')) })
    }

    /// This process's own figures.
    pub(super) fn own() -> Watch {
        Watch::Process(PathBuf::from("/proc/self"))
    }

    pub(super) async fn read(&self) -> Usage {
        match self {
            Watch::Process(folder) => Usage {
                cpu_s: fs::read_to_string(folder.join("stat")).ok().as_deref().and_then(cpu_s_of_stat),
                resident_bytes: fs::read_to_string(folder.join("status")).ok().as_deref().and_then(resident_of_status),
            },
            Watch::Metrics { http, url } => {
                metrics(http, url).await.map_or_else(Usage::default, |text| usage_of_metrics(&text))
            }
            Watch::Nothing => Usage::default(),
        }
    }

    /// Runs `work` and says, in bytes, the largest resident memory that was seen meanwhile.
    ///
    /// Cancel safe as far as `work` is.
    pub(super) async fn peak_during<T>(&self, work: impl Future<Output = T>) -> (T, Option<u64>) {
        tokio::pin!(work);
        let mut peak = None;
        loop {
            let done = tokio::select! {
                done = &mut work => Some(done),
                () = tokio::time::sleep(SAMPLE_INTERVAL) => None,
            };
            peak = peak.max(self.read().await.resident_bytes);
            if let Some(done) = done {
                return (done, peak);
            }
        }
    }
}

async fn metrics(http: &reqwest::Client, url: &str) -> Option<String> {
    let response = http.get(url).send().await.ok()?.error_for_status().ok()?;
    response.text().await.ok()
}

/// The name of the program, in parentheses, may hold anything; the numbers stand behind it.
fn cpu_s_of_stat(stat: &str) -> Option<f64> {
    let (_, numbers) = stat.rsplit_once(')')?;
    // Fields 14 and 15, user and system time; the first one behind the name is the third.
    let mut ticks = numbers.split_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some((user + system) as f64 / TICKS_PER_S)
}

fn resident_of_status(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn usage_of_metrics(text: &str) -> Usage {
    let value = |name: &str| -> Option<f64> {
        let line =
            text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    let resident = value("process_resident_memory_bytes").or_else(|| value("memory_resident_bytes"));
    Usage { cpu_s: value("process_cpu_seconds_total"), resident_bytes: resident.map(|bytes| bytes as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(cpu_s_of_stat(stat), Some(3.0));
        assert_eq!(cpu_s_of_stat("7 (a) S 1"), None);
        assert_eq!(resident_of_status("Name:\ta\nVmRSS:\t  12 kB\n"), Some(12 << 10));
        let text = "# HELP process_cpu_seconds_total x\nprocess_cpu_seconds_total_x 9\nprocess_cpu_seconds_total 1.5\n\
                    process_resident_memory_bytes{a=\"b c\"} 2048\n";
        assert_eq!(usage_of_metrics(text), Usage { cpu_s: Some(1.5), resident_bytes: Some(2048) });
        assert_eq!(usage_of_metrics("memory_resident_bytes 7\n").resident_bytes, Some(7));
        assert_eq!(usage_of_metrics(""), Usage::default());
    }

    #[tokio::test]
    async fn this_process_has_memory() {
        let usage = Watch::own().read().await;
        assert!(usage.cpu_s.is_some() && usage.resident_bytes > Some(0), "{usage:?}");
        let (done, peak) = Watch::own().peak_during(async { 7 }).await;
        assert!(done == 7 && peak > Some(0));
    }
}
