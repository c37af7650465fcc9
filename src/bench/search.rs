//! `bench search`: recall once per setting, then the pace of each number of callers.

use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};

use super::failure::CallError;
use super::files::Matrix;
use super::flags::SearchFlags;
use super::progress::{bar, spinner};
use super::record::{Cell, Pace, SearchRecord, Setting, Truth};
use super::truth::{Sample, recall};
use super::usage::{Usage, Watch};
use super::wire::{Question, Wire};
use super::{Failure, call, print, table, with_connections, write_json, write_plot};

pub(super) async fn run(flags: &SearchFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let sample = Sample::read(flags)?;
    let watch = Watch::server(&flags.target)?;
    let record = with_connections!(&flags.target, connections => measure(connections, flags, sample, &watch).await?);
    print(out, &table::of_search(&record))?;
    write_json(flags.json.as_deref(), &record)?;
    flags.plot.as_deref().map_or(Ok(()), |path| write_plot(path, std::slice::from_ref(&record), None))
}

async fn measure<W: Wire>(
    connections: Vec<W>,
    flags: &SearchFlags,
    sample: Sample,
    watch: &Watch,
) -> Result<SearchRecord, Failure> {
    let setting = Setting::new(flags);
    // `--connections` is not zero.
    let server = connections[0].title().await.map_err(call("asking for the server's name"))?;
    let recall_against = if sample.truth.is_some() { Truth::File } else { Truth::ExactSearch };
    let queries = sample.queries.row_count();
    let cells = cells(connections, flags, sample, watch).await?;
    let label = flags.label.clone().unwrap_or_else(|| flags.target.collection.clone());
    let (limit, batch) = (flags.limit.get(), flags.batch.get());
    Ok(SearchRecord { label, setting, server, queries, limit, batch, recall_against, cells })
}

async fn cells<W: Wire>(
    connections: Vec<W>,
    flags: &SearchFlags,
    Sample { queries, truth }: Sample,
    watch: &Watch,
) -> Result<Vec<Cell>, Failure> {
    let in_flight_max = flags.in_flight.iter().max().map_or(1, |in_flight| in_flight.get());
    let prepare = |question: &Question| Searches::prepare(&connections, question, &queries, flags.batch);
    let truth = match truth {
        Some(truth) => truth,
        None => {
            let exact = Question { is_exact: true, ..question(flags, None) };
            prepare(&exact)?.answers("exact search", in_flight_max).await?
        }
    };
    let mut cells = Vec::new();
    for ef in settings(flags) {
        let searches = prepare(&question(flags, ef))?;
        let name = name(ef, flags.exact);
        let recall = recall(&searches.answers(&format!("recall, {name}"), in_flight_max).await?, &truth);
        for in_flight in &flags.in_flight {
            let spinner = spinner(format!("{name}, {in_flight} in flight"));
            let (pace, before, after) = timed(&searches, in_flight.get(), flags, watch).await?;
            spinner.finish_and_clear();
            let server_cpu_s = after.cpu_s_since(before);
            let server_cpu_us_per_query = server_cpu_s.map(|cpu_s| cpu_s * 1e6 / pace.queries as f64);
            let server_resident_bytes = after.resident_bytes;
            let exact = flags.exact;
            cells.push(Cell { ef, exact, recall, pace, server_cpu_s, server_cpu_us_per_query, server_resident_bytes });
        }
    }
    Ok(cells)
}

/// The pace of so many callers after a warm-up, and what the server had used before and after.
async fn timed<W: Wire>(
    searches: &Searches<W>,
    in_flight: usize,
    flags: &SearchFlags,
    watch: &Watch,
) -> Result<(Pace, Usage, Usage), Failure> {
    searches.run(in_flight, Duration::from_secs_f64(flags.warm_up)).await?;
    let before = watch.read().await;
    let pace = searches.run(in_flight, Duration::from_secs_f64(flags.seconds)).await?;
    Ok((pace, before, watch.read().await))
}

/// The sizes of the candidate list; `None` is the server's own choice.
fn settings(flags: &SearchFlags) -> Vec<Option<u64>> {
    if flags.ef.is_empty() { vec![None] } else { flags.ef.iter().copied().map(Some).collect() }
}

fn question(flags: &SearchFlags, ef: Option<u64>) -> Question {
    Question { limit: flags.limit.get(), ef, is_exact: flags.exact, filter: flags.filter.clone() }
}

fn name(ef: Option<u64>, is_exact: bool) -> String {
    match ef {
        _ if is_exact => "exact".to_owned(),
        Some(ef) => format!("ef {ef}"),
        None => "the server's ef".to_owned(),
    }
}

/// Requests that are ready, and over which connections they go.
pub(super) struct Searches<W: Wire> {
    connections: Vec<W>,
    requests: Arc<[W::Search]>,
    query_count: usize,
}

impl<W: Wire> Searches<W> {
    /// One request per `batch` queries; the last may have fewer.
    pub(super) fn prepare(
        connections: &[W],
        question: &Question,
        queries: &Matrix<f32>,
        batch: NonZeroUsize,
    ) -> Result<Searches<W>, Failure> {
        let rows: Vec<&[f32]> = queries.rows().collect();
        let requests = rows.chunks(batch.get()).map(|vectors| connections[0].prepare(question, vectors));
        let requests = requests.collect::<Result<_, _>>()?;
        Ok(Searches { connections: connections.to_vec(), requests, query_count: rows.len() })
    }

    /// What every query finds, in order.
    pub(super) async fn answers(&self, what: &str, in_flight: usize) -> Result<Vec<Vec<u64>>, Failure> {
        let bar = bar(what.to_owned(), self.query_count as u64);
        let mut answers = stream::iter((0..self.requests.len()).zip(self.connections.iter().cycle().cloned()))
            .map(|(request, wire)| {
                let requests = Arc::clone(&self.requests);
                tokio::spawn(async move { wire.search(&requests[request]).await })
            })
            .buffered(in_flight);
        let mut found = Vec::new();
        while let Some(answer) = answers.next().await {
            found.extend(answer?.map_err(call("a search"))?);
            bar.set_position(found.len() as u64);
        }
        bar.finish_and_clear();
        if found.len() == self.query_count {
            Ok(found)
        } else {
            Err(call("a search")(CallError::Incomplete("one result per query")))
        }
    }

    /// Closed loop: each of `in_flight` callers asks again as soon as it has its answer, until `duration` is over.
    pub(super) async fn run(&self, in_flight: usize, duration: Duration) -> Result<Pace, Failure> {
        let own = Watch::own();
        let before = own.read().await;
        let next = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        let callers: Vec<_> = self
            .connections
            .iter()
            .cycle()
            .take(in_flight)
            .map(|wire| {
                tokio::spawn(ask(wire.clone(), Arc::clone(&self.requests), Arc::clone(&next), started + duration))
            })
            .collect();
        let mut asked = Asked::default();
        for caller in callers {
            asked.add(caller.await?.map_err(call("a search"))?);
        }
        let elapsed_s = started.elapsed().as_secs_f64();
        let cpu_s = own.read().await.cpu_s_since(before);
        Ok(asked.pace(in_flight, elapsed_s, cpu_s))
    }
}

/// One caller: always asks at least once.
async fn ask<W: Wire>(
    wire: W,
    requests: Arc<[W::Search]>,
    next: Arc<AtomicUsize>,
    until: Instant,
) -> Result<Asked, CallError> {
    let mut asked = Asked::default();
    loop {
        let request = &requests[next.fetch_add(1, Ordering::Relaxed) % requests.len()];
        let sent = Instant::now();
        asked.queries += wire.search(request).await?.len() as u64;
        asked.latencies_ms.push(sent.elapsed().as_secs_f64() * 1e3);
        if Instant::now() >= until {
            return Ok(asked);
        }
    }
}

/// What callers saw.
#[derive(Default)]
struct Asked {
    queries: u64,
    /// One per request.
    latencies_ms: Vec<f64>,
}

impl Asked {
    fn add(&mut self, other: Asked) {
        self.queries += other.queries;
        self.latencies_ms.extend(other.latencies_ms);
    }

    fn pace(mut self, in_flight: usize, elapsed_s: f64, generator_cpu_s: Option<f64>) -> Pace {
        self.latencies_ms.sort_by(f64::total_cmp);
        let percentile = |share| percentile(&self.latencies_ms, share);
        Pace {
            in_flight,
            requests: self.latencies_ms.len() as u64,
            queries: self.queries,
            elapsed_s,
            queries_per_s: self.queries as f64 / elapsed_s,
            p50_ms: percentile(0.50),
            p95_ms: percentile(0.95),
            p99_ms: percentile(0.99),
            max_ms: percentile(1.0),
            generator_cpu_us_per_query: generator_cpu_s.map(|cpu_s| cpu_s * 1e6 / self.queries as f64),
        }
    }
}

/// The smallest of `sorted` that is no smaller than this share of them (nearest rank); 0 of none.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        let check = |sorted: &[f64], share: f64, want: f64| assert_eq!(percentile(sorted, share), want, "{share}");
        check(&hundred, 0.50, 50.0);
        check(&hundred, 0.95, 95.0);
        check(&hundred, 0.99, 99.0);
        check(&hundred, 1.0, 100.0);
        check(&[7.0], 0.5, 7.0);
        check(&[1.0, 2.0, 3.0], 0.5, 2.0);
        check(&[], 0.5, 0.0);
    }

    #[test]
    fn a_pace_counts_queries_and_requests() {
        let mut asked = Asked { queries: 4, latencies_ms: vec![3.0, 1.0] };
        asked.add(Asked { queries: 6, latencies_ms: vec![2.0] });
        let pace = asked.pace(2, 5.0, Some(0.001));
        assert_eq!((pace.in_flight, pace.requests, pace.queries, pace.queries_per_s), (2, 3, 10, 2.0));
        assert_eq!((pace.p50_ms, pace.max_ms, pace.generator_cpu_us_per_query), (2.0, 3.0, Some(100.0)));
    }
}
