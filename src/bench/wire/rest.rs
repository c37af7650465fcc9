//! The requests over REST.

use std::time::Duration;

use axum::body::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Url};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::filter::FilterError;
use super::{Light, Point, Question, Shape, State, Title, Wire};
use crate::bench::failure::CallError;
use crate::bench::flags::{FieldIndex, Metric, Quantization, Target};

#[derive(Clone)]
pub(in crate::bench) struct Client {
    http: reqwest::Client,
    /// The server's.
    root: Url,
    /// The collection's.
    collection: Url,
}

/// One search or a batch of them, as bytes.
pub(in crate::bench) struct Search {
    url: Url,
    body: Vec<u8>,
    is_batch: bool,
}

impl Client {
    /// Sends nothing yet.
    pub(in crate::bench) fn new(url: &str, target: &Target) -> Result<Client, CallError> {
        let http = http(target.api_key.as_deref(), Duration::from_secs(target.timeout))?;
        // Building a request is how reqwest parses a URL with its own error.
        let request = http.get(url).build().map_err(CallError::Http)?;
        let root = request.url().clone();
        let collection = below(&root, &["collections", &target.collection]);
        Ok(Client { http, root, collection })
    }

    fn url(&self, parts: &[&str]) -> Url {
        below(&self.collection, parts)
    }
}

/// A client that sends the key with every request. reqwest comes without a provider of cryptography, so one is installed.
pub(in crate::bench) fn http(api_key: Option<&str>, timeout: Duration) -> Result<reqwest::Client, CallError> {
    // A second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = HeaderMap::new();
    if let Some(key) = api_key {
        let mut key = HeaderValue::from_str(key).map_err(|_| CallError::Key)?;
        key.set_sensitive(true);
        headers.insert("api-key", key);
    }
    // The measured server is the one that is named, not a proxy's choice.
    let client = reqwest::Client::builder().default_headers(headers).timeout(timeout).no_proxy().build();
    client.map_err(CallError::Http)
}

/// `parts` behind a URL's path, each as one segment.
fn below(url: &Url, parts: &[&str]) -> Url {
    let mut url = url.clone();
    // Only URLs without a host have no segments, and those never get here.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(parts);
    }
    url
}

fn waiting(mut url: Url, wait: bool) -> Url {
    url.set_query(Some(if wait { "wait=true" } else { "wait=false" }));
    url
}

#[derive(Deserialize)]
struct Answer<T> {
    result: T,
}

#[derive(Deserialize)]
struct Exists {
    exists: bool,
}

#[derive(Deserialize)]
struct Info {
    status: String,
    points_count: Option<u64>,
    indexed_vectors_count: Option<u64>,
}

#[derive(Deserialize)]
struct Found {
    points: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    id: HitId,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum HitId {
    Number(u64),
    Other(IgnoredAny),
}

#[derive(Serialize)]
struct Upsert<'a> {
    points: &'a [Point<'a>],
}

#[derive(Serialize)]
struct Query<'a> {
    query: &'a [f32],
    limit: usize,
    params: Params,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter: Option<&'a Value>,
}

#[derive(Serialize)]
struct Params {
    #[serde(skip_serializing_if = "Option::is_none")]
    hnsw_ef: Option<u64>,
    exact: bool,
}

#[derive(Serialize)]
struct Batch<'a> {
    searches: Vec<Query<'a>>,
}

impl Wire for Client {
    type Search = Search;

    async fn title(&self) -> Result<Title, CallError> {
        let body = body(self.http.get(self.root.clone())).await?;
        serde_json::from_slice(&body).map_err(CallError::Answer)
    }

    async fn exists(&self) -> Result<bool, CallError> {
        let exists: Exists = result(self.http.get(self.url(&["exists"]))).await?;
        Ok(exists.exists)
    }

    async fn delete(&self) -> Result<(), CallError> {
        let _: bool = result(self.http.delete(self.collection.clone())).await?;
        Ok(())
    }

    async fn create(&self, shape: &Shape) -> Result<(), CallError> {
        let _: bool = result(self.http.put(self.collection.clone()).json(&json_from_shape(shape))).await?;
        Ok(())
    }

    async fn create_index(&self, index: &FieldIndex) -> Result<(), CallError> {
        let wire = json!({"field_name": index.field, "field_schema": index.kind});
        let _: IgnoredAny = result(self.http.put(waiting(self.url(&["index"]), true)).json(&wire)).await?;
        Ok(())
    }

    async fn upsert(&self, points: &[Point<'_>], wait: bool) -> Result<(), CallError> {
        let request = self.http.put(waiting(self.url(&["points"]), wait)).json(&Upsert { points });
        let _: IgnoredAny = result(request).await?;
        Ok(())
    }

    async fn state(&self) -> Result<State, CallError> {
        let info: Info = result(self.http.get(self.collection.clone())).await?;
        let light = match info.status.as_str() {
            "green" => Light::Green,
            "red" => Light::Red,
            _ => Light::Other,
        };
        Ok(State {
            light,
            point_count: info.points_count.unwrap_or(0),
            indexed_vector_count: info.indexed_vectors_count.unwrap_or(0),
        })
    }

    fn prepare(&self, question: &Question, vectors: &[&[f32]]) -> Result<Search, FilterError> {
        let query = |vector| Query {
            query: vector,
            limit: question.limit,
            params: Params { hnsw_ef: question.ef, exact: question.is_exact },
            filter: question.filter.as_ref(),
        };
        let (body, is_batch) = match *vectors {
            [vector] => (bytes(&query(vector)), false),
            _ => (bytes(&Batch { searches: vectors.iter().map(|vector| query(vector)).collect() }), true),
        };
        let url = if is_batch { self.url(&["points", "query", "batch"]) } else { self.url(&["points", "query"]) };
        Ok(Search { url, body, is_batch })
    }

    async fn search(&self, search: &Search) -> Result<Vec<Vec<u64>>, CallError> {
        let request = self.http.post(search.url.clone()).header(CONTENT_TYPE, "application/json");
        let request = request.body(search.body.clone());
        if search.is_batch {
            let found: Vec<Found> = result(request).await?;
            Ok(found.into_iter().map(ids).collect())
        } else {
            Ok(vec![ids(result(request).await?)])
        }
    }
}

/// JSON of values that are always JSON: texts, finite or not, and lists.
fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn ids(found: Found) -> Vec<u64> {
    let id = |hit: Hit| match hit.id {
        HitId::Number(id) => Some(id),
        HitId::Other(_) => None,
    };
    found.points.into_iter().filter_map(id).collect()
}

/// What stands under `result` in the answer.
async fn result<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, CallError> {
    let answer: Answer<T> = serde_json::from_slice(&body(request).await?).map_err(CallError::Answer)?;
    Ok(answer.result)
}

/// The answer's body, if the answer is a success.
async fn body(request: RequestBuilder) -> Result<Bytes, CallError> {
    let response = request.send().await.map_err(CallError::Http)?;
    let status = response.status();
    let body = response.bytes().await.map_err(CallError::Http)?;
    if status.is_success() {
        return Ok(body);
    }
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = match answer["status"]["error"].as_str() {
        Some(error) => error.to_owned(),
        None => String::from_utf8_lossy(&body).lines().next().unwrap_or_default().to_owned(),
    };
    Err(CallError::Refused { code: status.to_string(), message })
}

fn json_from_shape(shape: &Shape) -> Value {
    let distance = match shape.metric {
        Metric::Cosine => "Cosine",
        Metric::Dot => "Dot",
        Metric::Euclid => "Euclid",
        Metric::Manhattan => "Manhattan",
    };
    let quantization = shape.quantization.map(|quantization| match quantization {
        Quantization::Scalar => json!({"scalar": {"type": "int8"}}),
        Quantization::Binary => json!({"binary": {}}),
    });
    json!({
        "vectors": {"size": shape.dim, "distance": distance, "datatype": shape.datatype},
        "hnsw_config": {"m": shape.m, "ef_construct": shape.ef_construct},
        "shard_number": shape.shards,
        "quantization_config": quantization,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment() {
        let root = Url::parse("http://localhost:6333/below/").unwrap();
        let url = below(&root, &["collections", "a/b c", "points"]);
        assert_eq!(url.as_str(), "http://localhost:6333/below/collections/a%2Fb%20c/points");
    }

    #[test]
    fn ids_that_are_no_numbers_are_left_out() {
        let answer = r#"{"result": {"points": [{"id": 3, "version": 1, "score": 0.5}, {"id": "a"}, {"id": 1}]}}"#;
        let answer: Answer<Found> = serde_json::from_str(answer).unwrap();
        assert_eq!(ids(answer.result), [3, 1]);
    }
}
