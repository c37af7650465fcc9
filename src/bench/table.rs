//! What was measured, for people.

use super::flags::Transport;
use super::record::{LoadRecord, NullRecord, Pace, SearchRecord, Truth};

/// What stands where nothing was measured.
const MISSING: &str = "-";

pub(super) fn of_load(record: &LoadRecord) -> String {
    let mut rows = vec![
        row("upload", format!("{:.2} s", record.upload_s)),
        row("", format!("{:.0} points/s", record.points_per_s)),
        row("indexed after", format!("{:.2} s", record.indexed_s)),
        row("server CPU", shown(record.server_cpu_s, |cpu_s| format!("{cpu_s:.2} s"))),
        row("server memory", shown(record.server_resident_bytes, |bytes| format!("{} MiB", bytes >> 20))),
        row("  at its peak", shown(record.server_peak_bytes, |bytes| format!("{} MiB", bytes >> 20))),
    ];
    if record.indexed_vectors < record.points {
        rows.push(row("not indexed", format!("{} vectors", record.points - record.indexed_vectors)));
    }
    format!("{} points of {} numbers\n{}", record.points, record.dim, aligned(&rows))
}

pub(super) fn of_search(record: &SearchRecord) -> String {
    let recall = format!("recall@{}", record.limit);
    let mut header = vec!["ef".to_owned(), recall];
    header.extend(pace_header());
    header.extend(["server µs/query", "server CPU s", "server MiB"].map(str::to_owned));
    let rows = record.cells.iter().map(|cell| {
        let ef = if cell.exact { "exact".to_owned() } else { shown(cell.ef, |ef| ef.to_string()) };
        let mut row = vec![ef, shown(cell.recall, |recall| format!("{recall:.4}"))];
        row.extend(pace(&cell.pace));
        row.push(shown(cell.server_cpu_us_per_query, |us| format!("{us:.0}")));
        row.push(shown(cell.server_cpu_s, |cpu_s| format!("{cpu_s:.2}")));
        row.push(shown(cell.server_resident_bytes, |bytes| (bytes >> 20).to_string()));
        row
    });
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let truth = match record.recall_against {
        Truth::File => "the file's neighbors",
        Truth::ExactSearch => "the server's own exact search",
    };
    let batch = if record.batch > 1 { format!(", {} queries per request", record.batch) } else { String::new() };
    format!("{}{} queries{batch}; recall is against {truth}\n", aligned(&rows), record.queries)
}

pub(super) fn of_null(record: &NullRecord) -> String {
    let mut rows = vec![std::iter::once("transport".to_owned()).chain(pace_header()).collect::<Vec<_>>()];
    rows.extend(record.cells.iter().map(|cell| {
        let transport = match cell.transport {
            Transport::Grpc => "gRPC",
            Transport::Rest => "REST",
        };
        std::iter::once(transport.to_owned()).chain(pace(&cell.pace)).collect()
    }));
    format!(
        "{}against a server that answers every search at once, with nothing, on one thread of this machine\n",
        aligned(&rows)
    )
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

fn pace_header() -> impl Iterator<Item = String> {
    ["in flight", "queries/s", "p50 ms", "p95 ms", "p99 ms", "generator µs/query"].into_iter().map(str::to_owned)
}

fn pace(pace: &Pace) -> impl Iterator<Item = String> {
    let ms = |ms: f64| format!("{ms:.2}");
    [
        pace.in_flight.to_string(),
        format!("{:.0}", pace.queries_per_s),
        ms(pace.p50_ms),
        ms(pace.p95_ms),
        ms(pace.p99_ms),
        shown(pace.generator_cpu_us_per_query, |us| format!("{us:.0}")),
    ]
    .into_iter()
}

fn shown<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| MISSING.to_owned(), show)
}

/// Columns to the right, two spaces apart.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        format!("{}\n", cells.join("  "))
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "µs/x"], ["100", "-"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows), "  a  µs/x\n100     -\n");
        assert_eq!(aligned(&[]), "");
    }
}
