//! Snapshots over REST and gRPC (PROTOCOL section 19, CLIENTS sections 1.1 and 3.4): what the routes answer, and what
//! is written for whom.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use quiver::api::auth::Keys;
use serde_json::{Value, json};

use crate::rest::{Answer, Api};

/// With collection `c` of two shards and 40 points.
async fn with_points() -> Api {
    let api = Api::new().await;
    fill(&api).await;
    api
}

async fn fill(api: &Api) {
    api.put("/collections/c", json!({"vectors": {"size": 2, "distance": "Dot"}, "shard_number": 2})).await.result();
    upsert(api).await;
}

async fn upsert(api: &Api) {
    let points: Vec<Value> = (0..40).map(|id| json!({"id": id, "vector": [id, 1]})).collect();
    api.put("/collections/c/points?wait=true", json!({"points": points})).await.result();
}

async fn delete_all(api: &Api) {
    let ids: Vec<u64> = (0..40).collect();
    api.post("/collections/c/points/delete?wait=true", json!({"points": ids})).await.result();
}

async fn count(api: &Api) -> u64 {
    api.post("/collections/c/points/count", json!({})).await.result()["count"].as_u64().unwrap()
}

/// A form with the file as its field `snapshot`.
fn upload(path: &str, file: &[u8]) -> Request<Body> {
    let start = "--edge\r\ncontent-disposition: form-data; name=\"snapshot\"; filename=\"s\"\r\n\r\n";
    let body = [start.as_bytes(), file, b"\r\n--edge--\r\n"].concat();
    let form = "multipart/form-data; boundary=edge";
    Request::post(path).header(header::CONTENT_TYPE, form).body(Body::from(body)).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_snapshots_are_made_listed_fetched_deleted_and_recovered() {
    let api = with_points().await;
    for of in ["/collections/c", "/collections/c/shards/1", ""] {
        let route = format!("{of}/snapshots");
        assert_eq!(api.get(&route).await.result(), json!([]));
        let made = api.post(&route, json!({})).await.result();
        let name = made["name"].as_str().unwrap();
        assert!(made["size"].as_u64().unwrap() > 100, "{made}");
        assert_eq!(made["checksum"].as_str().unwrap().len(), 64);
        let time = made["creation_time"].as_str().unwrap();
        assert!(time.len() >= 19 && !time.ends_with('Z') && !time.contains('+'), "{time}");
        assert_eq!(api.get(&route).await.result(), json!([made]));
        let file = api.get(&format!("{route}/{name}")).await;
        assert_eq!(file.headers["content-length"], made["size"].to_string());
        assert_eq!(file.headers["content-disposition"], format!("attachment; filename=\"{name}\""));
        assert!(file.bytes.starts_with(b"QVRSNAP"));
        if !of.is_empty() {
            let checksum = made["checksum"].as_str().unwrap();
            let sent = api.send(upload(&format!("{route}/upload?priority=snapshot&checksum={checksum}"), &file.bytes));
            assert_eq!(sent.await.result(), json!(true));
            let wrong = api.send(upload(&format!("{route}/upload?checksum=00"), &file.bytes)).await.failure();
            assert_eq!(wrong.0, 400);
            assert!(wrong.1.contains("checksum mismatch"), "{}", wrong.1);
            let path = api.folder.path().join("snapshots").join(match of {
                "/collections/c" => format!("c/{name}"),
                _ => format!("c/shards/1/{name}"),
            });
            let body = json!({"location": format!("file://{}", path.display()), "checksum": checksum});
            assert_eq!(api.put(&format!("{route}/recover"), body.clone()).await.result(), json!(true));
            delete_all(&api).await;
            let accepted = api.put(&format!("{route}/recover?wait=false"), body).await;
            assert_eq!((accepted.status.as_u16(), &accepted.json()["status"]), (202, &json!("accepted")));
            wait_until(async || count(&api).await > 0).await;
            upsert(&api).await;
            for location in ["file:///etc/passwd", "nowhere", "ftp://a/b"] {
                let (status, _) = api.put(&format!("{route}/recover"), json!({"location": location})).await.failure();
                assert_eq!(status, 400, "{location}");
            }
            let url = json!({"location": "http://127.0.0.1:1/s.snapshot", "api_key": "k"});
            let (status, text) = api.put(&format!("{route}/recover"), url).await.failure();
            assert_eq!(status, 403);
            assert!(text.contains("service.enable_snapshot_url_recovery"), "{text}");
        }
        let name = format!("{route}/{name}");
        assert_eq!(api.delete(&name).await.result(), json!(true));
        assert_eq!(api.delete(&name).await.failure().0, 404);
        assert_eq!(api.get(&name).await.failure().0, 404);
        assert_eq!(api.get(&route).await.result(), json!([]));
        let accepted = api.post(&format!("{route}?wait=false"), json!({})).await;
        assert_eq!((accepted.status.as_u16(), &accepted.json()["status"]), (202, &json!("accepted")));
        wait_until(async || api.get(&route).await.result().as_array().unwrap().len() == 1).await;
    }
    assert_eq!(count(&api).await, 40);
}

async fn wait_until(is_so: impl AsyncFn() -> bool) {
    for _ in 0..1_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to be so");
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_shard_is_streamed_as_it_is_made() {
    let api = with_points().await;
    let file = api.get("/collections/c/shards/0/snapshot").await;
    assert_eq!(file.status, 200);
    assert!(!file.headers.contains_key("content-length") && file.bytes.starts_with(b"QVRSNAP"));
    assert!(file.headers["content-disposition"].to_str().unwrap().contains("c-shard-0-"));
    assert_eq!(files(&api.folder.path().join("snapshots")), Vec::<PathBuf>::new());
    delete_all(&api).await;
    api.send(upload("/collections/c/shards/0/snapshots/upload", &file.bytes)).await.result();
    let held = count(&api).await;
    assert!(held > 5 && held < 35, "{held} points of one shard");
    let cluster = api.get("/collections/c/cluster").await.result();
    let shards: Vec<_> = cluster["local_shards"].as_array().unwrap().iter().map(|one| &one["shard_id"]).collect();
    assert_eq!(shards, [&json!(0), &json!(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_what_is_not_there_is_not_found() {
    let api = with_points().await;
    for (method, path) in [
        ("GET", "/collections/d/snapshots"),
        ("POST", "/collections/d/snapshots?wait=false"),
        ("GET", "/collections/c/shards/2/snapshots"),
        ("POST", "/collections/c/shards/2/snapshots"),
        ("GET", "/collections/c/shards/2/snapshot"),
        ("GET", "/collections/d/shards/0/snapshot"),
        ("GET", "/collections/c/snapshots/x.snapshot"),
        ("DELETE", "/collections/c/snapshots/..%2f..%2fx.snapshot"),
        ("GET", "/collections/c/shards/0/snapshots/%2e%2e%2fx.snapshot"),
        ("GET", "/snapshots/..%2fx.snapshot"),
        ("DELETE", "/snapshots/x%00.snapshot"),
    ] {
        let (status, text) = api.raw(method, path, Body::empty()).await.failure();
        assert_eq!(status, 404, "{method} {path}: {text}");
        assert!(text.starts_with("Not found: "), "{text}");
    }
    let body = json!({"location": "file:///x"});
    assert_eq!(api.put("/collections/c/shards/2/snapshots/recover", body).await.failure().0, 404);
    assert_eq!(api.send(upload("/collections/c/shards/2/snapshots/upload", b"x")).await.failure().0, 404);
    let (status, text) = api.get("/collections/c/shards/one/snapshots").await.failure();
    assert_eq!(status, 400);
    assert!(text.starts_with("Deserialize error in path parameters"), "{text}");
    for (what, request) in [
        ("no snapshot", upload("/collections/c/snapshots/upload", b"not one")),
        ("of a shard", upload("/collections/c/snapshots/upload", &shard(&api).await.bytes)),
    ] {
        let (status, text) = api.send(request).await.failure();
        assert_eq!(status, 400, "{what}: {text}");
        assert!(text.starts_with("Bad request: "), "{what}: {text}");
    }
    let form =
        Request::post("/collections/c/snapshots/upload").header("content-type", "multipart/form-data; boundary=e");
    let empty = api.send(form.body(Body::from("--e--\r\n")).unwrap()).await.failure();
    assert_eq!(empty.0, 400);
    assert_eq!(count(&api).await, 40);
}

async fn shard(api: &Api) -> Answer {
    api.get("/collections/c/shards/0/snapshot").await
}

#[tokio::test(flavor = "multi_thread")]
async fn reliability_5_3_nothing_is_written_for_a_caller_who_may_not() {
    let keys = Keys::new(Some("full".into()), None, Some("look".into()));
    let api = Api::with(|settings| settings.keys = keys).await;
    let with = |mut request: Request<Body>, key: &str| {
        request.headers_mut().insert("api-key", key.parse().unwrap());
        request
    };
    for route in ["/collections/c/snapshots/upload", "/collections/c/shards/0/snapshots/upload"] {
        for (key, status) in [(Some("look"), 403), (Some("no"), 401), (None, 401)] {
            // The body is an error: reading any of it would end the request otherwise.
            let unread = futures::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("it was read")) });
            let mut request = upload(route, b"");
            *request.body_mut() = Body::from_stream(unread);
            let request = if let Some(key) = key { with(request, key) } else { request };
            assert_eq!(api.send(request).await.status, status, "{route} {key:?}");
        }
    }
    let recover = || Request::put("/collections/c/snapshots/recover").body(Body::empty()).unwrap();
    assert_eq!(api.send(with(recover(), "look")).await.status, 403);
    assert_eq!(api.send(with(Request::post("/snapshots").body(Body::empty()).unwrap(), "look")).await.status, 403);
    let list = Request::get("/snapshots").body(Body::empty()).unwrap();
    assert_eq!(api.send(with(list, "look")).await.result(), json!([]));
    assert!(!api.folder.path().join("snapshots").exists(), "0 bytes were written");
}
