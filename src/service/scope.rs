//! Where a call works: a collection, and with custom sharding the shards of some keys (PROTOCOL section 18, CLIENTS 3.5).

use std::sync::Arc;

use super::Error;
use super::seat::{Seat, View};
use crate::model::collection::{ShardKey, ShardKeySelector};

/// A collection's name or alias, and for each request of the call the shard keys it is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub(super) collection: String,
    /// By the request's place in its batch; beyond the end as `None`: no key was named.
    selectors: Vec<Option<ShardKeySelector>>,
}

impl Scope {
    /// One request, for the shards of these keys.
    pub fn keyed(collection: impl Into<String>, selector: Option<ShardKeySelector>) -> Scope {
        Scope { collection: collection.into(), selectors: vec![selector] }
    }

    /// A batch, each of whose requests has its own keys.
    pub fn each(collection: impl Into<String>, selectors: Vec<Option<ShardKeySelector>>) -> Scope {
        Scope { collection: collection.into(), selectors }
    }

    /// What the request at `place` of the batch is meant for.
    pub(super) fn selector(&self, place: usize) -> Option<&ShardKeySelector> {
        self.selectors.get(place).and_then(Option::as_ref)
    }

    /// The places of `count` requests, those of one selector together; in order of first mention.
    pub(super) fn by_selector(&self, count: usize) -> Vec<(Option<&ShardKeySelector>, Vec<usize>)> {
        let mut groups: Vec<(Option<&ShardKeySelector>, Vec<usize>)> = Vec::new();
        for place in 0..count {
            let selector = self.selector(place);
            match groups.iter_mut().find(|(of, _)| *of == selector) {
                Some((_, places)) => places.push(place),
                None => groups.push((selector, vec![place])),
            }
        }
        groups
    }
}

impl From<&str> for Scope {
    fn from(collection: &str) -> Scope {
        Scope { collection: collection.to_owned(), selectors: Vec::new() }
    }
}

impl From<&String> for Scope {
    fn from(collection: &String) -> Scope {
        Scope::from(collection.as_str())
    }
}

impl View {
    /// The shards a read goes to: those of the keys it names, or all.
    pub(super) fn read_by(&self, selector: Option<&ShardKeySelector>) -> Result<View, Error> {
        let Some(selector) = selector else { return Ok(self.clone()) };
        let keys = self.keys_of(selector)?;
        Ok(self.only(|seat| seat.place().key.as_ref().is_some_and(|key| keys.contains(&key))))
    }

    /// The shards a write goes to, key by key: it is applied to the shards of each alone. Without custom sharding they
    /// are all shards at once.
    pub(super) fn written_by(&self, selector: Option<&ShardKeySelector>) -> Result<Vec<View>, Error> {
        match selector {
            Some(selector) => {
                let keys = self.keys_of(selector)?;
                Ok(keys.into_iter().map(|key| self.only(|seat| seat.place().key.as_ref() == Some(key))).collect())
            }
            None if self.collection.is_custom_sharded() => Err(Error::ShardKeyNeeded),
            None => Ok(vec![self.clone()]),
        }
    }

    /// Each once; all exist.
    fn keys_of<'a>(&self, selector: &'a ShardKeySelector) -> Result<Vec<&'a ShardKey>, Error> {
        let exists = |key: &ShardKey| self.collection.shard_keys.contains_key(key);
        let named = match selector {
            ShardKeySelector::Keys(keys) => keys.iter().collect(),
            ShardKeySelector::WithFallback { target, fallback } => {
                vec![if exists(target) { target } else { fallback }]
            }
        };
        let mut keys: Vec<&ShardKey> = Vec::with_capacity(named.len());
        for key in named {
            if !exists(key) {
                return Err(Error::ShardKeyNotFound { key: key.clone() });
            }
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    fn only(&self, is_meant: impl Fn(&Seat) -> bool) -> View {
        let shards = self.shards.iter().filter(|seat| is_meant(seat)).cloned().collect();
        View { collection: Arc::clone(&self.collection), shards }
    }
}
