//! `quiver bench` on the real binary: what it measures, what it writes, and what it says when it cannot measure.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::process::Server;

const POINTS: u64 = 2_000;
const QUERIES: u64 = 40;
const DIM: usize = 8;
const NEIGHBORS: usize = 20;

/// Vectors of small integers: their distances are exact, so that every order is the same on every machine.
fn vectors(count: u64, seed: u64) -> Vec<Vec<f32>> {
    let mut state = seed;
    let mut number = move || {
        // Knuth's generator; the upper bits are the random ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % 1_000) as f32
    };
    (0..count).map(|_| (0..DIM).map(|_| number()).collect()).collect()
}

/// Ids of the nearest points; those at equal distance by id, as the server cuts them.
fn nearest(base: &[Vec<f32>], query: &[f32]) -> Vec<i64> {
    let distance = |vector: &[f32]| vector.iter().zip(query).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    let mut ids: Vec<usize> = (0..base.len()).collect();
    ids.sort_by(|&a, &b| distance(&base[a]).total_cmp(&distance(&base[b])).then(a.cmp(&b)));
    ids.into_iter().take(NEIGHBORS).map(|id| i64::try_from(id).unwrap()).collect()
}

fn npy(path: &Path, descr: &str, width: usize, numbers: &[u8], size_bytes: usize) {
    let rows = numbers.len() / size_bytes / width;
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {width}), }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    fs::write(path, [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), numbers].concat()).unwrap();
}

fn write_vectors(path: &Path, rows: &[Vec<f32>]) {
    let numbers: Vec<u8> = rows.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
    npy(path, "<f4", rows[0].len(), &numbers, 4);
}

fn write_neighbors(path: &Path, rows: &[Vec<i64>]) {
    let numbers: Vec<u8> = rows.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
    npy(path, "<i8", rows[0].len(), &numbers, 8);
}

/// The files of a measurement, and a server to measure.
struct Bench {
    folder: tempfile::TempDir,
    server: Server,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let (base, queries) = (vectors(POINTS, 1), vectors(QUERIES, 2));
        write_vectors(&folder.path().join("base.npy"), &base);
        write_vectors(&folder.path().join("query.npy"), &queries);
        let truth: Vec<Vec<i64>> = queries.iter().map(|query| nearest(&base, query)).collect();
        write_neighbors(&folder.path().join("truth.npy"), &truth);
        let payloads = (0..POINTS).map(|n| json!({"n": n, "tag": if n % 2 == 0 { "even" } else { "odd" }}).to_string());
        fs::write(folder.path().join("payload.jsonl"), payloads.collect::<Vec<_>>().join("\n")).unwrap();
        let server = Server::start(&folder.path().join("data"), &[]);
        Bench { folder, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// `quiver bench` against the server, in the folder of the files; words are parted by spaces.
    fn run(&self, transport: &str, words: &str) -> Output {
        let address = if transport == "grpc" { self.server.grpc } else { self.server.rest };
        let (step, rest) = words.split_once(' ').unwrap_or((words, ""));
        let url = format!("http://{address}");
        let http_url = format!("http://{}", self.server.rest);
        let target = ["--url", &url, "--http-url", &http_url, "--transport", transport];
        quiver(self.folder.path(), [step].into_iter().chain(target).chain(rest.split_whitespace()))
    }
}

fn quiver<'a>(folder: &Path, words: impl IntoIterator<Item = &'a str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quiver"));
    command.current_dir(folder).arg("bench").args(words).output().unwrap()
}

/// What it printed.
fn done(output: Output) -> String {
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert_eq!(stderr, "", "progress bars are for terminals");
    stdout
}

fn check_refused(output: Output, code: i32, want: &str) {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains(want), "{want:?} is not in {stderr}");
    assert_eq!(stderr.lines().count(), 1, "one line: {stderr}");
}

fn check_load(bench: &Bench, transport: &str) {
    let table = done(bench.run(
        transport,
        "load --base base.npy --metric euclid --m 16 --ef-construct 100 --shards 2 --on-existing replace --batch 300 \
         --connections 2 --payload payload.jsonl --index tag:keyword --index n:integer --json load.json",
    ));
    assert!(table.starts_with("2000 points of 8 numbers\n") && !table.contains("not indexed"), "{table}");
    let record = bench.json("load.json");
    assert_eq!(
        (&record["points"], &record["indexed_vectors"], &record["dim"]),
        (&json!(2000), &json!(2000), &json!(8))
    );
    for field in ["upload_s", "points_per_s", "indexed_s", "server_cpu_s", "server_peak_bytes", "server_resident_bytes"]
    {
        assert!(record[field].as_f64().unwrap() > 0.0, "{field}: {record}");
    }
    assert_eq!(record["setting"]["parameters"]["target"]["transport"], transport);
    assert_eq!(record["server"]["title"], "qdrant - vector search engine");
}

/// The recall of every cell, and the record.
fn search(bench: &Bench, transport: &str, words: &str) -> (Vec<f64>, Value) {
    let words = format!("search --query query.npy --seconds 0.1 --warm-up 0 --json search.json {words}");
    let table = done(bench.run(transport, &words));
    assert!(table.contains("queries/s") && table.contains("40 queries"), "{table}");
    let record = bench.json("search.json");
    let recall = record["cells"].as_array().unwrap().iter().map(|cell| cell["recall"].as_f64().unwrap()).collect();
    (recall, record)
}

fn check_search(bench: &Bench, transport: &str) {
    let (recall, record) = search(bench, transport, "--truth truth.npy --exact --in-flight 1,4");
    assert_eq!(recall, [1.0, 1.0]);
    assert_eq!(record["recall_against"], "file");
    let (recall, _) = search(bench, transport, "--truth truth.npy --exact --batch 7 --in-flight 2 --limit 20");
    assert_eq!(recall, [1.0]);

    let plotted = "--truth truth.npy --ef 32,256 --in-flight 1,4 --connections 2 --plot search.svg --label tried";
    let (recall, record) = search(bench, transport, plotted);
    assert!(recall.len() == 4 && recall.iter().all(|&recall| recall > 0.8) && recall[3] >= recall[0], "{recall:?}");
    assert_eq!((recall[0], &record["cells"][3]["ef"], &record["label"]), (recall[1], &json!(256), &json!("tried")));
    for cell in record["cells"].as_array().unwrap() {
        let pace = &cell["pace"];
        for field in ["requests", "queries", "elapsed_s", "queries_per_s", "p50_ms", "p95_ms", "p99_ms", "max_ms"] {
            assert!(pace[field].as_f64().unwrap() > 0.0, "{field}: {record}");
        }
        assert!(pace["generator_cpu_us_per_query"].is_number() && cell["server_cpu_us_per_query"].is_number());
        assert!(cell["server_resident_bytes"].as_u64().unwrap() > 0, "{record}");
    }
    let picture = fs::read_to_string(bench.path("search.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.contains(">tried: recall and speed<"), "{picture}");
    assert!(picture.contains(">4 in flight<") && picture.contains(">ef 256<"), "{picture}");

    let filter = r#"--filter {"must":[{"key":"tag","match":{"value":"odd"}},{"key":"n","range":{"lt":500}}]} --exact"#;
    let (recall, record) = search(bench, transport, filter);
    assert_eq!((recall, &record["recall_against"]), (vec![1.0, 1.0], &json!("exact_search")));
}

#[test]
fn a_server_is_loaded_and_searched_over_both_transports() {
    let bench = Bench::new();
    for transport in ["grpc", "rest"] {
        check_load(&bench, transport);
        check_search(&bench, transport);
        fs::rename(bench.path("search.json"), bench.path(&format!("{transport}.json"))).unwrap();
    }
    let words = ["plot", "grpc.json", "rest.json", "--labels", "over gRPC,over REST", "--out", "both.svg"];
    done(quiver(bench.folder.path(), words));
    let picture = fs::read_to_string(bench.path("both.svg")).unwrap();
    assert!(picture.contains(">over gRPC, 1 in flight<") && picture.contains(">over REST, 8 in flight<"), "{picture}");
}

#[test]
fn the_generator_states_what_it_costs_itself() {
    let folder = tempfile::tempdir().unwrap();
    let words = "null --seconds 0.1 --in-flight 1,4 --dim 16 --json null.json";
    let table = done(quiver(folder.path(), words.split(' ')));
    assert!(table.contains("generator µs/query") && table.contains("gRPC") && table.contains("REST"), "{table}");
    let record: Value = serde_json::from_slice(&fs::read(folder.path().join("null.json")).unwrap()).unwrap();
    let cells = record["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 4);
    for cell in cells {
        assert!(cell["pace"]["queries_per_s"].as_f64().unwrap() > 0.0, "{record}");
        assert!(cell["pace"]["generator_cpu_us_per_query"].is_number(), "{record}");
    }
    let words = "null --seconds 0.1 --in-flight 2 --transport rest --batch 5 --json null.json";
    done(quiver(folder.path(), words.split(' ')));
    let record: Value = serde_json::from_slice(&fs::read(folder.path().join("null.json")).unwrap()).unwrap();
    let pace = &record["cells"][0]["pace"];
    assert_eq!(pace["queries"].as_u64().unwrap(), pace["requests"].as_u64().unwrap() * 5);
}

#[test]
fn what_cannot_be_measured_is_said_in_one_line() {
    let bench = Bench::new();
    write_vectors(&bench.path("wide.npy"), &[vec![1.0; DIM + 1]]);
    write_neighbors(&bench.path("short.npy"), &[vec![1; NEIGHBORS]]);
    for transport in ["grpc", "rest"] {
        done(bench.run(transport, "load --base base.npy --metric dot --on-existing replace"));
        let check = |words: &str, code, want: &str| check_refused(bench.run(transport, words), code, want);
        check("load --base base.npy --metric dot", 1, "collection `bench` exists");
        check("load --base base.npy", 2, "--metric is needed");
        check("load --base nowhere.npy --metric dot", 1, "nowhere.npy: cannot be read");
        check("load --base payload.jsonl --metric dot", 1, "payload.jsonl: its name ends in none of .npy");
        check(
            "load --base base.npy --metric dot --payload base.npy --on-existing replace",
            1,
            "base.npy: cannot be read",
        );
        check("load --base base.npy --metric dot --pid 4294967295", 2, "--pid 4294967295: no such process");
        check("search --query query.npy --collection nowhere", 1, "`nowhere` doesn't exist!");
        check("search --query wide.npy", 1, "expected dim: 8, got 9");
        check("search --query query.npy --truth short.npy", 2, "--truth has 1 rows, 40 are needed");
        check(
            "search --query query.npy --truth truth.npy --limit 21",
            2,
            "--limit 21 is more than the 20 true neighbors",
        );
        check("search --query query.npy --truth query.npy", 1, "query.npy: neighbors are integers");
    }
    let filter = r#"search --query query.npy --filter {"must":[{"has_id":[1]}]}"#;
    check_refused(bench.run("grpc", filter), 2, "--filter: `has_id` cannot be sent over gRPC");
    done(bench.run("rest", &format!("{filter} --seconds 0 --warm-up 0")));

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for transport in ["grpc", "rest"] {
        let url = format!("http://{free}");
        let search = ["search", "--query", "query.npy", "--transport", transport, "--url"];
        let asked = |url| quiver(bench.folder.path(), search.into_iter().chain([url]));
        check_refused(asked(&url), 1, "onnection refused");
        check_refused(asked("localhost:6334"), 2, "--url localhost:6334: ");
    }
    check_refused(quiver(bench.folder.path(), ["plot", "truth.npy", "--out", "x.svg"]), 1, "not a record of a search");
}
