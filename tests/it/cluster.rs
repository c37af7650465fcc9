//! Several nodes as an operator meets them, on the real binary over loopback: what the API and `quiver cluster` say and do.
//! Faults are `tests/cluster`'s affair.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{PATIENCE, Server, client};

struct Nodes {
    servers: Vec<Server>,
    _folders: Vec<TempDir>,
}

impl Nodes {
    /// The first founds a cluster, the others join it.
    fn start(count: usize) -> Nodes {
        let mut nodes = Nodes { servers: Vec::new(), _folders: Vec::new() };
        (0..count).for_each(|_| nodes.add());
        nodes
    }

    fn add(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = vec![("CLUSTER__ENABLED", "true".to_owned()), ("CLUSTER__P2P__PORT", "0".to_owned())];
        if let Some(first) = self.servers.first() {
            let listening = first.event("listening for other nodes").unwrap();
            settings.push(("CLUSTER__BOOTSTRAP", format!("http://{}", listening["address"].as_str().unwrap())));
        }
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = Server::start(folder.path(), &settings);
        until("it has caught up", || server.get("/readyz").status() == 200);
        self.servers.push(server);
        self._folders.push(folder);
    }

    /// Status and answer.
    fn call(&self, node: usize, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let response = client().request(method, self.servers[node].url(path)).json(body).send().unwrap();
        (response.status().as_u16(), response.json().unwrap())
    }

    fn done(&self, node: usize, method: Method, path: &str, body: &Value) -> Value {
        let (status, mut answer) = self.call(node, method.clone(), path, body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer["result"].take()
    }

    fn get(&self, node: usize, path: &str) -> Value {
        self.done(node, Method::GET, path, &json!(null))
    }

    fn id(&self, node: usize) -> u64 {
        self.get(node, "/cluster")["peer_id"].as_u64().unwrap()
    }

    fn count(&self, node: usize) -> Value {
        self.done(node, Method::POST, "/collections/c/points/count", &json!({"exact": true}))["count"].take()
    }

    /// `quiver cluster` against a node.
    fn command(&self, node: usize, words: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quiver"));
        command.arg("cluster").args(words.split(' ')).args(["--url", &self.servers[node].url("")]).output().unwrap()
    }

    /// The nodes that hold a replica that counts, by shard number.
    fn holders(&self, node: usize) -> Vec<Vec<u64>> {
        let cluster = self.get(node, "/collections/c/cluster");
        let own = cluster["peer_id"].as_u64().unwrap();
        let mut holders = vec![Vec::new(); cluster["shard_count"].as_u64().unwrap() as usize];
        let (local, remote) =
            (cluster["local_shards"].as_array().unwrap(), cluster["remote_shards"].as_array().unwrap());
        for shard in local.iter().chain(remote) {
            if shard["state"] == "Active" {
                holders[shard["shard_id"].as_u64().unwrap() as usize].push(shard["peer_id"].as_u64().unwrap_or(own));
            }
        }
        holders.iter_mut().for_each(|nodes| nodes.sort_unstable());
        holders
    }
}

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn points(ids: std::ops::Range<u64>) -> Value {
    let point = |id| json!({"id": id, "vector": [1.0, id as f64]});
    json!({"points": ids.map(point).collect::<Vec<Value>>()})
}

fn text(output: &[u8]) -> &str {
    std::str::from_utf8(output).unwrap()
}

const WRITE: &str = "/collections/c/points?wait=true";
const CLUSTER: &str = "/collections/c/cluster";

#[test]
fn three_nodes_tell_where_everything_is_and_move_it() {
    let nodes = Nodes::start(3);
    let ids: Vec<u64> = (0..3).map(|node| nodes.id(node)).collect();
    let cluster = nodes.get(1, "/cluster");
    assert_eq!(cluster["status"], "enabled");
    assert_eq!(cluster["peers"].as_object().unwrap().len(), 3, "{cluster}");
    assert_eq!(cluster["raft_info"]["leader"], ids[0]);
    until("the others have a vote", || {
        let raft = nodes.get(1, "/cluster")["raft_info"].take();
        raft["role"] == "Follower" && raft["is_voter"] == true
    });
    assert_eq!(cluster["consensus_thread_status"]["consensus_thread_status"], "working");

    let config = json!({"vectors": {"size": 2, "distance": "Dot"}, "shard_number": 2, "replication_factor": 2});
    nodes.done(0, Method::PUT, "/collections/c", &config);
    for node in 0..3 {
        nodes.done(node, Method::PUT, WRITE, &points(node as u64 * 10..node as u64 * 10 + 10));
        assert_eq!(nodes.count((node + 1) % 3), (node + 1) * 10);
    }
    until("two replicas of both shards", || nodes.holders(2).iter().all(|holders| holders.len() == 2));

    // A read says up to where the log of each shard was applied.
    let response = client().post(nodes.servers[2].url("/collections/c/points/count")).json(&json!({})).send().unwrap();
    let seen = response.headers()["quiver-applied-index"].to_str().unwrap().to_owned();
    let indexes: Vec<(&str, u64)> =
        seen.split(',').map(|part| part.split_once('=').unwrap()).map(|(n, i)| (n, i.parse().unwrap())).collect();
    assert_eq!(indexes.iter().map(|(number, _)| *number).collect::<Vec<_>>(), ["0", "1"]);
    assert!(indexes.iter().all(|(_, index)| *index >= 3), "{seen}");

    // A replica moves to the node that has none of the shard.
    let holders = nodes.holders(0)[0].clone();
    let to = *ids.iter().find(|id| !holders.contains(id)).unwrap();
    let from = holders[0];
    let body = |op: &str, from, to| json!({op: {"shard_id": 0, "from_peer_id": from, "to_peer_id": to}});
    nodes.done(1, Method::POST, CLUSTER, &body("move_shard", from, to));
    let mut moved = vec![holders[1], to];
    moved.sort_unstable();
    until("the replica has moved", || {
        nodes.holders(0)[0] == moved && nodes.get(0, CLUSTER)["shard_transfers"] == json!([])
    });
    // One more, and one less again.
    nodes.done(2, Method::POST, CLUSTER, &body("replicate_shard", to, from));
    until("three replicas", || nodes.holders(1)[0].len() == 3);
    nodes.done(0, Method::POST, CLUSTER, &json!({"drop_replica": {"shard_id": 0, "peer_id": to}}));
    until("two replicas", || nodes.holders(1)[0] == holders);
    assert_eq!(nodes.count(0), 30);

    let refused = |op: &Value, status: u16, why: &str| {
        let (got, answer) = nodes.call(0, Method::POST, CLUSTER, op);
        let told = answer["status"]["error"].as_str().unwrap();
        assert!(got == status && told.contains(why), "{op}: {got} {told}");
    };
    refused(&body("move_shard", to, from), 400, &format!("Shard 0 has no replica on peer {to}"));
    refused(&body("move_shard", holders[0], holders[1]), 400, "has a replica on peer");
    refused(&body("move_shard", from, 5), 404, "Peer 5 not found");
    refused(&body("abort_transfer", from, to), 404, "is not being transferred");
    refused(&json!({"move_shard": {"shard_id": 7, "from_peer_id": from, "to_peer_id": to}}), 404, "Shard 7 not found");
    refused(&json!({"replicate_points": {}}), 501, "replicate_points");
    let (status, answer) = nodes.call(0, Method::DELETE, &format!("/cluster/peer/{from}"), &json!(null));
    assert!(status == 400 && answer["status"]["error"].as_str().unwrap().contains("peer"), "{answer}");
}

#[test]
fn a_collection_gets_more_shards_and_fewer() {
    let nodes = Nodes::start(2);
    let config = json!({"vectors": {"size": 2, "distance": "Dot"}, "shard_number": 1});
    nodes.done(0, Method::PUT, "/collections/c", &config);
    nodes.done(0, Method::PUT, WRITE, &points(0..500));
    let shards = |node: usize| nodes.get(node, CLUSTER)["shard_count"].as_u64().unwrap();
    let split = nodes.command(1, "split c --shards 4");
    assert!(split.status.success() && text(&split.stdout).contains("has the shards"), "{}", text(&split.stderr));
    assert_eq!((shards(1), nodes.count(1)), (4, json!(500)));
    until("the other node knows", || shards(0) == 4);
    assert_eq!(nodes.count(0), 500);
    // As the protocol has it: one at a time.
    for (direction, want) in [("up", 5), ("down", 4), ("down", 3)] {
        nodes.done(0, Method::POST, CLUSTER, &json!({"start_resharding": {"direction": direction}}));
        until("it is over", || nodes.get(0, CLUSTER)["resharding_operations"] == json!([]));
        assert_eq!(shards(0), want);
    }
    nodes.done(1, Method::PUT, WRITE, &points(500..600));
    assert_eq!((nodes.count(0), nodes.count(1)), (json!(600), json!(600)));
    assert_eq!(nodes.get(0, "/collections/c")["config"]["params"]["shard_number"], 3);

    let refused = |op: Value, status: u16, why: &str| {
        let (got, answer) = nodes.call(0, Method::POST, CLUSTER, &op);
        let told = answer["status"]["error"].as_str().unwrap();
        assert!(got == status && told.contains(why), "{op}: {got} {told}");
    };
    refused(json!({"finish_resharding": {}}), 400, "No resharding is in progress");
    refused(json!({"abort_resharding": {}}), 400, "No resharding is in progress");
    refused(json!({"start_resharding": {"shard_number": 3}}), 400, "There are 3 shards already");
    refused(json!({"start_resharding": {"shard_number": 0}}), 400, "The last shard cannot be removed");
    refused(json!({"start_resharding": {}}), 400, "either direction or shard_number");
    refused(json!({"start_resharding": {"direction": "up", "peer_id": 1}}), 501, "peer_id");
    refused(json!({"start_resharding": {"direction": "up", "shard_key": "k"}}), 400, "Shard key must not");
    let failed = nodes.command(0, "split c --shards 3");
    assert_eq!(failed.status.code(), Some(2));
    assert!(text(&failed.stderr).contains("There are 3 shards already"), "{}", text(&failed.stderr));
}

#[test]
fn a_node_comes_is_given_its_share_is_drained_and_goes() {
    let mut nodes = Nodes::start(1);
    let config = json!({"vectors": {"size": 2, "distance": "Dot"}, "shard_number": 4});
    nodes.done(0, Method::PUT, "/collections/c", &config);
    nodes.done(0, Method::PUT, WRITE, &points(0..100));
    nodes.add();
    let second = nodes.id(1);
    let held = |nodes: &Nodes| nodes.get(0, "/cluster")["peers"][second.to_string()]["replicas"].as_u64().unwrap();
    until("it has its share", || held(&nodes) == 2);
    assert_eq!(nodes.count(1), 100);

    let status = nodes.command(1, "status");
    let table = text(&status.stdout);
    assert!(
        status.status.success() && table.contains(&second.to_string()) && table.contains("leads the cluster"),
        "{table}"
    );

    let refused = nodes.command(0, &format!("remove {second}"));
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("drain it first"), "{}", text(&refused.stderr));
    let drained = nodes.command(0, &format!("drain {second}"));
    assert!(drained.status.success(), "{}", text(&drained.stderr));
    assert_eq!(held(&nodes), 0);
    assert_eq!((nodes.count(0), nodes.count(1)), (json!(100), json!(100)), "nothing is lost on the way");
    let removed = nodes.command(0, &format!("remove {second}"));
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    assert_eq!(nodes.get(0, "/cluster")["peers"].as_object().unwrap().len(), 1);
    nodes.done(0, Method::PUT, WRITE, &points(100..120));
    assert_eq!(nodes.count(0), 120);

    let alone = tempfile::tempdir().unwrap();
    let alone = Server::start(alone.path(), &[]);
    let nodes = Nodes { servers: vec![alone], _folders: Vec::new() };
    assert_eq!(nodes.get(0, "/cluster"), json!({"status": "disabled"}));
    assert_eq!(nodes.command(0, "status").status.code(), Some(2));
}

#[test]
fn a_node_that_is_stopped_hands_over_what_it_leads() {
    let mut nodes = Nodes::start(3);
    let config = json!({"vectors": {"size": 2, "distance": "Dot"}, "shard_number": 3, "replication_factor": 3});
    nodes.done(0, Method::PUT, "/collections/c", &config);
    until("three replicas of every shard", || nodes.holders(0).iter().all(|holders| holders.len() == 3));
    nodes.done(0, Method::PUT, WRITE, &points(0..10));
    let first = nodes.id(0);
    // What `preStop` runs.
    let handed = nodes.command(0, "handover");
    assert!(handed.status.success() && text(&handed.stdout).contains("leads nothing"), "{}", text(&handed.stdout));
    let leads = |node: usize| {
        let local = nodes.get(node, CLUSTER)["local_shards"].take();
        local.as_array().unwrap().iter().filter(|shard| shard["leader"] == first).count()
    };
    until("others lead", || leads(1) == 0 && nodes.get(1, "/cluster")["raft_info"]["leader"] != first);
    let mut stopped = nodes.servers.remove(0);
    stopped.signal("TERM");
    assert_eq!(stopped.wait(), Some(0));
    nodes.done(0, Method::PUT, WRITE, &points(10..20));
    assert_eq!(nodes.count(1), 20);
    until("a node that is gone leads nothing", || nodes.get(1, "/cluster")["raft_info"]["leader"].is_u64());
}
