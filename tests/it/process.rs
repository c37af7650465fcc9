//! Process life, on the real binary: health, drain, restart, and each way in which a start fails.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};

/// Longer than anything here takes on a slow machine; reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. Its log lines are JSON; all are kept.
pub(crate) struct Server {
    process: Child,
    pub(crate) rest: SocketAddr,
    pub(crate) grpc: SocketAddr,
    log: mpsc::Receiver<Value>,
    seen: Vec<Value>,
}

/// `quiver serve` on free ports; `settings` in their environment form, without the prefix.
fn command(folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quiver"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUIVER__") {
            command.env_remove(name);
        }
    }
    command
        .args(["serve", "--log-format", "json", "--storage-path"])
        .arg(folder)
        .envs([("QUIVER__SERVICE__HTTP_PORT", "0"), ("QUIVER__SERVICE__GRPC_PORT", "0")])
        .envs(settings.iter().map(|(key, value)| (format!("QUIVER__{key}"), value)))
        .stdin(Stdio::null());
    command
}

impl Server {
    /// Starts and waits until it is ready.
    pub(crate) fn start(folder: &Path, settings: &[(&str, &str)]) -> Server {
        Server::spawn(command(folder, settings))
    }

    fn spawn(mut command: Command) -> Server {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in log line {line}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let nowhere = ([127, 0, 0, 1], 0).into();
        let mut server = Server { process, rest: nowhere, grpc: nowhere, log, seen: Vec::new() };
        let ready = server.wait_for_event("ready");
        server.rest = ready["rest"].as_str().unwrap().parse().unwrap();
        server.grpc = ready["grpc"].as_str().unwrap().parse().unwrap();
        server
    }

    /// The next event with this message.
    fn wait_for_event(&mut self, message: &str) -> Value {
        loop {
            let event =
                self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no event {message} in {:?}", self.seen));
            self.seen.push(event.clone());
            if event["message"] == message {
                return event;
            }
        }
    }

    /// The last event seen with this message.
    pub(crate) fn event(&self, message: &str) -> Option<&Value> {
        self.seen.iter().rfind(|event| event["message"] == message)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.rest)
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        client().get(self.url(path)).send().unwrap()
    }

    fn put(&self, path: &str, body: &Value) -> Value {
        let response = client().put(self.url(path)).json(body).send().unwrap();
        assert_eq!(response.status(), 200, "PUT {path}");
        response.json().unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// The exit code; `None` when a signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A new one each time: connections that idle in a pool would be drained, too.
pub(crate) fn client() -> Client {
    crate::install_cryptography();
    Client::builder().timeout(PATIENCE).build().unwrap()
}

/// A start that must fail: its exit code and its stderr.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while process.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = process.kill();
        }
        std::thread::yield_now();
    }
    let Output { status, stderr, .. } = process.wait_with_output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn check_refused(command: &mut Command, want_code: i32, want: &[&str]) {
    let (code, stderr) = refused(command);
    assert_eq!(code, Some(want_code), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "one line: {stderr}");
    for part in want {
        assert!(stderr.contains(part), "{part:?} is not in {stderr}");
    }
}

fn three_points() -> Value {
    json!({"points": [
        {"id": 1, "vector": [1.0, 0.0], "payload": {"word": "one"}},
        {"id": 2, "vector": [0.0, 1.0]},
        {"id": 3, "vector": [0.5, 0.5]},
    ]})
}

/// The first half of an upsert, on a connection of its own; the server is in the middle of the request.
fn half_a_request(server: &Server) -> (TcpStream, String) {
    let body = three_points().to_string();
    let head = format!(
        "PUT /collections/c/points?wait=true HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let (first, second) = body.split_at(body.len() / 2);
    let mut stream = TcpStream::connect(server.rest).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server has read the head once it asks for the body.
    let head = head.replace("Connection: close", "Connection: close\r\nExpect: 100-continue");
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(first.as_bytes()).unwrap();
    (stream, second.to_string())
}

#[test]
fn health_metrics_and_banner_answer() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(server.get(path).status(), 200, "{path}");
    }
    assert_eq!(server.get("/").json::<Value>().unwrap()["title"], "qdrant - vector search engine");
    let metrics = server.get("/metrics").text().unwrap();
    for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "open_connections"] {
        let value =
            metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
        assert!(value.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 0.0, "{name}{value}");
    }
}

#[test]
fn a_stopped_server_has_everything_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    server.put("/collections/c", &json!({"vectors": {"size": 2, "distance": "Dot"}}));
    server.put("/collections/c/points?wait=true", &three_points());
    let before = server.get("/collections/c/points/1").json::<Value>().unwrap()["result"].clone();
    assert_eq!(before["payload"], json!({"word": "one"}));
    let node = server.get("/telemetry").json::<Value>().unwrap()["result"]["id"].clone();
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    assert_eq!(server.wait_for_event("stopped")["level"], "INFO");

    let mut server = Server::start(folder.path(), &[]);
    assert_eq!(server.get("/collections/c/points/1").json::<Value>().unwrap()["result"], before);
    let info = server.get("/collections/c").json::<Value>().unwrap();
    assert_eq!(info["result"]["points_count"], 3);
    assert_eq!(server.get("/telemetry").json::<Value>().unwrap()["result"]["id"], node);
    server.signal("INT");
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_request_under_way_ends_before_the_process_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    server.put("/collections/c", &json!({"vectors": {"size": 2, "distance": "Dot"}}));
    let (mut stream, rest_of_body) = half_a_request(&server);
    server.signal("TERM");
    server.wait_for_event("stopping: requests under way end first");
    while TcpStream::connect(server.rest).is_ok() {
        std::thread::yield_now();
    }
    stream.write_all(rest_of_body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("\"completed\""), "{answer}");
    assert_eq!(server.wait(), Some(0));

    let server = Server::start(folder.path(), &[]);
    assert_eq!(server.get("/collections/c").json::<Value>().unwrap()["result"]["points_count"], 3);
}

#[test]
fn the_drain_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[("SERVICE__DRAIN_TIMEOUT_S", "0")]);
    server.put("/collections/c", &json!({"vectors": {"size": 2, "distance": "Dot"}}));
    let _never_ends = half_a_request(&server);
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    server.wait_for_event("requests are still under way and will be cut off");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[("SERVICE__DRAIN_TIMEOUT_S", "3600")]);
    server.put("/collections/c", &json!({"vectors": {"size": 2, "distance": "Dot"}}));
    let _never_ends = half_a_request(&server);
    server.signal("TERM");
    server.wait_for_event("stopping: requests under way end first");
    server.signal("TERM");
    assert_eq!(server.wait(), Some(130));
    Server::start(folder.path(), &[]);
}

#[test]
fn connections_beyond_the_limit_wait() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[("SERVICE__MAX_CONNECTIONS", "1")]);
    let ask = |stream: &mut TcpStream| stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = TcpStream::connect(server.rest).unwrap();
    ask(&mut first);
    let mut byte = [0];
    first.read_exact(&mut byte).unwrap();
    let mut second = TcpStream::connect(server.rest).unwrap();
    ask(&mut second);
    second.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let early = second.read(&mut byte).unwrap_err().kind();
    assert!(matches!(early, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{early}");
    drop(first);
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(second.read(&mut byte).unwrap(), 1);
}

#[test]
fn keys_guard_and_their_absence_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let warning = |server: &Server| {
        server.seen.iter().any(|event| event["level"] == "WARN" && event.to_string().contains("no key is set"))
    };
    let open = [("SERVICE__HOST", "0.0.0.0")];
    let mut server = Server::start(folder.path(), &open);
    assert!(warning(&server));
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));

    let server = Server::start(folder.path(), &[("SERVICE__API_KEY", "0123"), open[0]]);
    assert!(!warning(&server));
    assert_eq!(server.get("/readyz").status(), 200);
    assert_eq!(server.get("/collections").status(), 401);
    let with_key = client().get(server.url("/collections")).header("api-key", "0123").send().unwrap();
    assert_eq!(with_key.status(), 200);
}

#[test]
fn an_unknown_setting_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.yaml");
    std::fs::write(&file, "service:\n  http_prot: 1\n").unwrap();
    check_refused(
        command(folder.path(), &[]).arg("--config").arg(&file),
        2,
        &["error: unknown setting `service.http_prot` in ", "settings.yaml"],
    );
    check_refused(
        &mut command(folder.path(), &[("STORAGE__PATH", "x")]),
        2,
        &["error: unknown setting `storage.path` in the environment"],
    );
}

#[test]
fn a_taken_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (flag, transport) in [("--http-port", "REST"), ("--grpc-port", "gRPC")] {
        check_refused(
            command(folder.path(), &[]).args([flag, &address.port().to_string()]),
            3,
            &[&format!("error: cannot listen on {address} for {transport}: ")],
        );
    }
}

#[test]
fn a_folder_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let name = folder.path().display().to_string();
    check_refused(&mut command(folder.path(), &[]), 4, &[&name, "in use by another process"]);
    assert_eq!(server.get("/readyz").status(), 200);
}

#[test]
fn an_unusable_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    check_refused(&mut command(&file, &[]), 6, &[&file.display().to_string()]);
}

#[test]
fn a_damaged_log_database_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let raftdb = folder.path().join("raftdb");
    std::fs::write(raftdb.join("db/CURRENT"), "MANIFEST-999999\n").unwrap();
    check_refused(&mut command(folder.path(), &[]), 5, &[&raftdb.display().to_string(), "is damaged: "]);
}

#[test]
fn s19_snapshots_are_recovered_before_the_server_is_ready() {
    let (folder, snapshots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = [("STORAGE__SNAPSHOTS_PATH", snapshots.path().to_str().unwrap())];
    let mut server = Server::start(folder.path(), &settings);
    server.put("/collections/c", &json!({"vectors": {"size": 2, "distance": "Dot"}}));
    server.put("/collections/c/points?wait=true", &json!({"points": [{"id": 1, "vector": [1, 2]}]}));
    let alias = json!({"actions": [{"create_alias": {"collection_name": "c", "alias_name": "x"}}]});
    let answer = client().post(server.url("/collections/aliases")).json(&alias).send().unwrap();
    assert_eq!(answer.status(), 200);
    let make = |path: &str| {
        let made: Value = client().post(server.url(path)).send().unwrap().json().unwrap();
        made["result"]["name"].as_str().unwrap().to_owned()
    };
    let full = snapshots.path().join(make("/snapshots"));
    let single = snapshots.path().join("c").join(make("/collections/c/snapshots"));
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));

    let count = |server: &Server, name: &str| {
        let answer = client().post(server.url(&format!("/collections/{name}/points/count"))).json(&json!({})).send();
        answer.unwrap().json::<Value>().unwrap()["result"]["count"].as_u64()
    };
    let fresh = tempfile::tempdir().unwrap();
    let with = |arguments: &[&str]| {
        let mut command = command(fresh.path(), &settings);
        command.args(arguments);
        command
    };
    let full = full.to_str().unwrap();
    let mut server = Server::spawn(with(&["--storage-snapshot", full]));
    assert_eq!((count(&server, "c"), count(&server, "x")), (Some(1), Some(1)));
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    // What is there is not overwritten by mistake: with these flags the server does not start again.
    check_refused(&mut with(&["--storage-snapshot", full]), 7, &["collection c exists", "--force-snapshot"]);
    check_refused(&mut with(&["--snapshot", "/no/such.snapshot:d"]), 7, &["cannot recover from the snapshot"]);
    let named = format!("{}:d", single.display());
    let mut server = Server::spawn(with(&["--snapshot", &named]));
    assert_eq!((count(&server, "c"), count(&server, "d")), (Some(1), Some(1)));
    server.signal("TERM");
    assert_eq!(server.wait(), Some(0));
    let server = Server::spawn(with(&["--storage-snapshot", full, "--force-snapshot"]));
    assert_eq!((count(&server, "c"), count(&server, "d")), (Some(1), Some(1)));
}
