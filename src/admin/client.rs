//! The calls.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use reqwest::blocking;
use reqwest::header::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::Failure;

/// A node that is asked.
pub(super) struct Client {
    http: blocking::Client,
    url: String,
}

#[derive(Deserialize)]
struct Answer<T> {
    result: T,
}

#[derive(Deserialize)]
struct Refusal {
    status: RefusalStatus,
}

#[derive(Deserialize)]
struct RefusalStatus {
    error: String,
}

/// `GET /cluster`.
#[derive(Debug, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(super) enum ClusterStatus {
    Disabled,
    Enabled(Enabled),
}

#[derive(Debug, Deserialize)]
pub(super) struct Enabled {
    pub(super) peer_id: u64,
    pub(super) peers: BTreeMap<String, Peer>,
    pub(super) raft_info: RaftInfo,
}

#[derive(Debug, Deserialize)]
pub(super) struct Peer {
    pub(super) uri: String,
    pub(super) zone: Option<String>,
    pub(super) state: String,
    pub(super) replicas: u64,
    pub(super) leads: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct RaftInfo {
    pub(super) leader: Option<u64>,
}

#[derive(Deserialize)]
struct Collections {
    collections: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct CollectionCluster {
    shard_transfers: Vec<Transfer>,
    #[serde(default)]
    resharding_operations: Vec<Resharding>,
}

/// How far a collection is on its way to another number of shards.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Resharding {
    pub(super) from_shards: u64,
    pub(super) to_shards: u64,
    pub(super) copied_shards: u64,
    pub(super) closed_shards: u64,
}

#[derive(Deserialize)]
struct Transfer {
    shard_id: u64,
    from: u64,
    to: u64,
}

#[derive(Deserialize)]
struct HandedOver {
    still_led: u64,
}

impl Client {
    pub(super) fn new(url: &str, api_key: Option<&str>, timeout: Duration) -> Result<Client, Failure> {
        // A second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = url.trim_end_matches('/').to_owned();
        let unusable = |why: String| Failure::Unreachable { url: url.clone(), why };
        let mut headers = HeaderMap::new();
        if let Some(key) = api_key {
            let mut key = HeaderValue::from_str(key).map_err(|_| unusable("the key is no header value".to_owned()))?;
            key.set_sensitive(true);
            headers.insert("api-key", key);
        }
        let http = blocking::Client::builder().default_headers(headers).timeout(timeout).no_proxy().build();
        Ok(Client { http: http.map_err(|error| unusable(with_causes(&error)))?, url })
    }

    pub(super) fn status(&self) -> Result<ClusterStatus, Failure> {
        self.answer(self.http.get(self.at("cluster")))
    }

    /// What is on its way, a line each.
    pub(super) fn transfers(&self) -> Result<Vec<String>, Failure> {
        let Collections { collections } = self.answer(self.http.get(self.at("collections")))?;
        let mut lines = Vec::new();
        for Named { name } in collections {
            let at = self.at(&format!("collections/{name}/cluster"));
            let CollectionCluster { shard_transfers, resharding_operations } = match self.answer(self.http.get(at)) {
                // Deleted meanwhile.
                Err(Failure::Refused(_)) => continue,
                answer => answer?,
            };
            let line = |one: Transfer| format!("shard {} of {name}: from {} to {}", one.shard_id, one.from, one.to);
            lines.extend(shard_transfers.into_iter().map(line));
            let line = |one: Resharding| format!("{name}: from {} to {} shards", one.from_shards, one.to_shards);
            lines.extend(resharding_operations.into_iter().map(line));
        }
        Ok(lines)
    }

    /// Lets a collection come to have so many shards.
    pub(super) fn split(&self, collection: &str, shards: u32, key: Option<&str>) -> Result<(), Failure> {
        let mut start = json!({ "shard_number": shards });
        if let Some(key) = key {
            start["shard_key"] = key.parse::<u64>().map_or_else(|_| Value::from(key), Value::from);
        }
        let at = self.at(&format!("collections/{collection}/cluster"));
        self.answer::<IgnoredAny>(self.http.post(at).json(&json!({ "start_resharding": start }))).map(|_| ())
    }

    /// The collection's resharding that is under way.
    pub(super) fn resharding(&self, collection: &str) -> Result<Option<Resharding>, Failure> {
        let at = self.at(&format!("collections/{collection}/cluster"));
        let info: CollectionCluster = self.answer(self.http.get(at))?;
        Ok(info.resharding_operations.into_iter().next())
    }

    pub(super) fn hand_over(&self) -> Result<u64, Failure> {
        let handed: HandedOver = self.answer(self.http.post(self.at("cluster/handover")))?;
        Ok(handed.still_led)
    }

    pub(super) fn post(&self, path: &str) -> Result<(), Failure> {
        self.answer::<IgnoredAny>(self.http.post(self.at(path))).map(|_| ())
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), Failure> {
        self.answer::<IgnoredAny>(self.http.delete(self.at(path))).map(|_| ())
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    fn answer<T: DeserializeOwned>(&self, request: blocking::RequestBuilder) -> Result<T, Failure> {
        let unreachable = |error: reqwest::Error| {
            let why = with_causes(&error.without_url());
            Failure::Unreachable { url: self.url.clone(), why }
        };
        let response = request.send().map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().map_err(unreachable)?;
        if !status.is_success() {
            let told = serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.status.error);
            let text = || format!("{status}: {}", String::from_utf8_lossy(&body));
            return Err(Failure::Refused(told.unwrap_or_else(|_| text())));
        }
        let answer: Result<Answer<T>, _> = serde_json::from_slice(&body);
        let other =
            |error| Failure::Unreachable { url: self.url.clone(), why: format!("not its kind of answer: {error}") };
        answer.map(|answer| answer.result).map_err(other)
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
