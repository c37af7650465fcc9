//! A shard with field indexes against the obvious implementation: every filter, order and facet is worked out from the
//! payloads, while indexes come, are built, change their parameters, go, and survive restarts.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::filter::{CompiledFilter, PointView};
use super::tests::{DB, Rng, hurt_checkpoint};
use super::*;
use crate::index::payload::FieldSpec;
use crate::index::{CodeUse, IndexParams, Stop, VectorStorage};
use crate::model::datetime::Timestamp;
use crate::model::field_index::{IntegerParams, KeywordParams, Stopwords, TextParams, TokenizerKind};
use crate::model::filter::{FieldCondition, Match, MinShould, Predicate, Range, ValuesCount};
use crate::model::geo::{GeoBox, GeoPoint, GeoRadius};
use crate::model::ids::ShardId;
use crate::model::query::{Direction, FacetValue, OrderBy, OrderValue, StartFrom};
use crate::model::write::{PointVectors, UpsertMode};
use crate::model::{
    Condition, Filter, Metric, NamedVectors, Payload, PayloadSelector, Point, PointOp, PointSelector, Vector,
    VectorSelector,
};
use crate::storage::PointDb;

const IDS: u64 = 80;
const WORDS: [&str; 6] = ["red", "Fox", "the", "lazy dog", "a-b", "foxes"];
const UUIDS: [&str; 2] = ["67e55044-10b1-426f-9247-bb680e5fe0c8", "67E55044-10B1-426F-9247-BB680E5FE0C8"];
const DATES: [&str; 4] = ["2024-02-29", "2024-02-29T00:00:00Z", "2023-01-01 10:00", "soon"];
/// Those of the points, those inside `o`, and one that never has an index.
const KEYS: [&str; 9] = ["k", "n", "f", "b", "d", "u", "g", "t", "x"];

fn text_of(rng: &mut Rng) -> String {
    (0..rng.below(4)).map(|_| WORDS[rng.below(6) as usize]).collect::<Vec<_>>().join(" ")
}

fn scalar(rng: &mut Rng, key: &str) -> Value {
    // Now and then a value of another kind.
    let key = if rng.below(10) == 0 { KEYS[rng.below(9) as usize] } else { key };
    match key {
        "k" | "x" => json!(WORDS[rng.below(4) as usize]),
        "n" => json!(rng.below(7) as i64 - 3),
        "f" => json!(rng.below(9) as f64 / 2.0),
        "b" => json!(rng.below(2) == 0),
        "d" => json!(DATES[rng.below(4) as usize]),
        "u" => json!(UUIDS[rng.below(2) as usize]),
        "g" => json!({"lon": rng.below(5) as f64 * 10.0, "lat": rng.below(5) as f64 * 10.0}),
        _ => json!(text_of(rng)),
    }
}

fn value(rng: &mut Rng, key: &str) -> Value {
    match rng.below(12) {
        0 => Value::Null,
        1 => (0..rng.below(3)).map(|_| scalar(rng, key)).collect(),
        2 => json!([scalar(rng, key), null]),
        _ => scalar(rng, key),
    }
}

fn object(rng: &mut Rng) -> serde_json::Map<String, Value> {
    let mut object = serde_json::Map::new();
    for key in KEYS {
        if rng.below(5) > 0 {
            object.insert(key.to_owned(), value(rng, key));
        }
    }
    object
}

fn payload(rng: &mut Rng) -> Payload {
    let mut payload = object(rng);
    if rng.below(3) > 0 {
        let elements = (0..rng.below(4)).map(|_| Value::Object(object(rng)));
        payload.insert("o".to_owned(), elements.collect());
    }
    Payload(payload)
}

fn range<T: Copy>(rng: &mut Rng, bounds: &[T]) -> Range<T> {
    let mut bound = || (rng.below(2) == 0).then(|| bounds[rng.below(bounds.len() as u64) as usize]);
    Range { lt: bound(), lte: None, gt: None, gte: bound() }
}

fn predicate(rng: &mut Rng) -> Predicate {
    let words = |rng: &mut Rng| (0..rng.below(3)).map(|_| WORDS[rng.below(4) as usize].to_owned()).collect::<Vec<_>>();
    let integers = |rng: &mut Rng| (0..rng.below(3)).map(|_| rng.below(7) as i64 - 3).collect::<Vec<_>>();
    let place =
        |rng: &mut Rng| GeoPoint { lon: rng.below(5) as f64 * 10.0 - 0.5, lat: rng.below(5) as f64 * 10.0 + 0.5 };
    match rng.below(18) {
        0 => Predicate::Match(Match::Bool(rng.below(2) == 0)),
        1 | 2 => Predicate::Match(Match::Integer(rng.below(7) as i64 - 3)),
        3 | 4 => Predicate::Match(Match::Keyword(WORDS[rng.below(4) as usize].to_owned())),
        5 => Predicate::Match(Match::Keyword(UUIDS[rng.below(2) as usize].to_owned())),
        6 => Predicate::Match(Match::AnyKeyword(words(rng))),
        7 => Predicate::Match(Match::AnyInteger(integers(rng))),
        8 => Predicate::Match(Match::ExceptKeyword(words(rng))),
        9 => Predicate::Match(Match::ExceptInteger(integers(rng))),
        10 => Predicate::Match(Match::Text(text_of(rng))),
        11 => Predicate::Match(Match::TextAny(text_of(rng))),
        12 => Predicate::Match(Match::Phrase(text_of(rng))),
        13 => Predicate::Match(Match::Prefix("re".to_owned())),
        14 => Predicate::Range(range(rng, &[-1.0, 0.0, 1.5, 3.0])),
        15 => Predicate::DatetimeRange(range(
            rng,
            &DATES[..3].iter().filter_map(|d| Timestamp::parse(d)).collect::<Vec<_>>(),
        )),
        16 => Predicate::GeoRadius(GeoRadius { center: place(rng), radius_m: 1_200_000.0 }),
        _ => Predicate::GeoBox(GeoBox { top_left: place(rng), bottom_right: place(rng) }),
    }
}

fn field(rng: &mut Rng, is_element: bool) -> Condition {
    let key = KEYS[rng.below(9) as usize];
    let key: Path = if is_element || rng.below(4) > 0 { key.to_owned() } else { format!("o[].{key}") }.parse().unwrap();
    match rng.below(8) {
        0 => Condition::IsEmpty(key),
        1 => Condition::IsNull(key),
        2 => {
            let count = ValuesCount { lt: Some(rng.below(3)), lte: None, gt: None, gte: None };
            Condition::Field(FieldCondition { key, predicates: vec![Predicate::ValuesCount(count)] })
        }
        3 => Condition::Field(FieldCondition { key, predicates: vec![Predicate::IsNull(rng.below(2) == 0)] }),
        _ => {
            let predicates = (0..1 + rng.below(5) / 4).map(|_| predicate(rng)).collect();
            Condition::Field(FieldCondition { key, predicates })
        }
    }
}

fn condition(rng: &mut Rng, depth: u64, is_element: bool) -> Condition {
    match rng.below(12) {
        0 => Condition::HasId((0..rng.below(20)).map(|_| id(rng)).collect()),
        1 => Condition::HasVector(["", "other", "none"][rng.below(3) as usize].to_owned()),
        2 => Condition::Slice { total: 3, index: rng.below(3) },
        3 | 4 if depth > 0 => Condition::Filter(Box::new(filter(rng, depth - 1, is_element))),
        5 | 6 if depth > 0 && !is_element => {
            let key = ["o", "o[]"][rng.below(2) as usize].parse().unwrap();
            Condition::Nested { key, filter: Box::new(filter(rng, depth - 1, true)) }
        }
        _ => field(rng, is_element),
    }
}

fn filter(rng: &mut Rng, depth: u64, is_element: bool) -> Filter {
    let mut list =
        |most: u64| -> Vec<Condition> { (0..rng.below(most + 1)).map(|_| condition(rng, depth, is_element)).collect() };
    let (must, should, must_not, enough) = (list(2), list(2), list(1), list(3));
    let min_should = (!enough.is_empty() && rng.below(3) == 0)
        .then(|| MinShould { min_count: 1 + rng.below(enough.len() as u64) as usize, conditions: enough });
    Filter { must, should, must_not, min_should }
}

fn id(rng: &mut Rng) -> PointId {
    let number = rng.below(IDS);
    if number.is_multiple_of(4) {
        PointId::Uuid(uuid::Uuid::from_u128(u128::from(number)))
    } else {
        PointId::Num(number)
    }
}

fn vectors(rng: &mut Rng) -> NamedVectors {
    let names = ["", "other"].into_iter().filter(|_| rng.below(3) > 0).collect::<Vec<_>>();
    names
        .into_iter()
        .map(|name| (name.to_owned(), Vector::Dense(vec![rng.below(50) as f32, rng.below(50) as f32])))
        .collect()
}

fn select(rng: &mut Rng) -> PointSelector {
    match rng.below(3) {
        0 => PointSelector::Filter(filter(rng, 1, false)),
        _ => PointSelector::Ids((0..=rng.below(3)).map(|_| id(rng)).collect()),
    }
}

fn op(rng: &mut Rng) -> PointOp {
    match rng.below(12) {
        0..=5 => {
            let points: BTreeMap<PointId, Point> = (0..=rng.below(8))
                .map(|_| {
                    let id = id(rng);
                    (id, Point { id, vectors: vectors(rng), payload: payload(rng) })
                })
                .collect();
            let update_filter = (rng.below(4) == 0).then(|| filter(rng, 1, false));
            PointOp::Upsert { points: points.into_values().collect(), mode: UpsertMode::Upsert, update_filter }
        }
        6 => PointOp::Delete { select: PointSelector::Ids(vec![id(rng), id(rng)]) },
        7 if rng.below(4) == 0 => PointOp::Delete { select: select(rng) },
        7 | 8 => PointOp::UpdateVectors {
            points: vec![PointVectors { id: id(rng), vectors: vectors(rng) }],
            update_filter: None,
        },
        9 => PointOp::SetPayload { select: select(rng), payload: payload(rng), key: None },
        10 => PointOp::OverwritePayload { select: select(rng), payload: payload(rng), key: None },
        _ => PointOp::DeletePayload { select: select(rng), keys: vec!["o[].k".parse().unwrap(), "t".parse().unwrap()] },
    }
}

/// Some of the fields, with some of their parameters.
fn field_indexes(rng: &mut Rng) -> BTreeMap<Path, FieldIndexKind> {
    let text = TextParams {
        phrase_matching: Some(rng.below(2) == 0),
        scoring: Some(rng.below(2) == 0),
        tokenizer: Some([TokenizerKind::Word, TokenizerKind::Prefix][rng.below(2) as usize]),
        stopwords: (rng.below(2) == 0).then(|| Stopwords { custom: ["the".to_owned()].into(), ..Stopwords::default() }),
        ..TextParams::default()
    };
    let kind = |key: &str| match key {
        "k" => FieldIndexKind::Keyword(KeywordParams::default()),
        "n" => FieldIndexKind::Integer(IntegerParams { lookup: Some(text.scoring == Some(true)), range: None }),
        "f" => FieldIndexKind::Float,
        "b" => FieldIndexKind::Bool,
        "d" => FieldIndexKind::Datetime,
        "u" => FieldIndexKind::Uuid,
        "g" => FieldIndexKind::Geo,
        _ => FieldIndexKind::Text(text.clone()),
    };
    let paths = KEYS[..8].iter().flat_map(|key| [(key.to_string(), *key), (format!("o[].{key}"), *key)]);
    paths.filter(|_| rng.below(4) > 0).map(|(path, key)| (path.parse().unwrap(), kind(key))).collect()
}

/// The points, and what the shard must answer about them.
#[derive(Default)]
struct Reference {
    points: BTreeMap<PointId, Point>,
    texts: Arc<filter::TextFields>,
}

impl Reference {
    fn matching(&self, filter: &Filter) -> Vec<PointId> {
        let condition = CompiledFilter::with_texts(filter, &self.texts);
        self.points.values().filter(|point| passes(&condition, point)).map(|point| point.id).collect()
    }

    fn selected(&self, select: &PointSelector) -> Vec<PointId> {
        match select {
            PointSelector::Ids(ids) => ids.iter().filter(|id| self.points.contains_key(id)).copied().collect(),
            PointSelector::Filter(filter) => self.matching(filter),
        }
    }

    fn edit(&mut self, select: &PointSelector, edit: impl Fn(&mut Payload)) {
        for id in self.selected(select).into_iter().collect::<BTreeSet<_>>() {
            edit(&mut self.points.get_mut(&id).unwrap().payload);
        }
    }

    fn apply(&mut self, op: &PointOp) {
        match op {
            PointOp::Upsert { points, update_filter, .. } => {
                for point in points {
                    let condition =
                        update_filter.as_ref().map(|filter| CompiledFilter::with_texts(filter, &self.texts));
                    let is_kept = match (self.points.get(&point.id), &condition) {
                        (Some(old), Some(condition)) => !passes(condition, old),
                        _ => false,
                    };
                    if !is_kept {
                        self.points.insert(point.id, point.clone());
                    }
                }
            }
            PointOp::Delete { select } => self.selected(select).iter().for_each(|id| drop(self.points.remove(id))),
            PointOp::UpdateVectors { points, .. } => {
                for change in points {
                    if let Some(point) = self.points.get_mut(&change.id) {
                        point.vectors.extend(change.vectors.clone());
                    }
                }
            }
            PointOp::SetPayload { select, payload, .. } => self.edit(select, |old| old.merge(payload)),
            PointOp::OverwritePayload { select, payload, .. } => self.edit(select, |old| old.clone_from(payload)),
            PointOp::DeletePayload { select, keys } => {
                self.edit(select, |old| keys.iter().for_each(|key| old.remove_at(key)));
            }
            other => unreachable!("not generated: {other:?}"),
        }
    }

    /// Elements of each selected value, arrays unwrapped one level.
    fn elements(point: &Point, key: &Path) -> Vec<Value> {
        let mut elements = Vec::new();
        key.any(&point.payload.0, &mut |value| {
            match value {
                Value::Array(array) => elements.extend(array.iter().cloned()),
                other => elements.push(other.clone()),
            }
            false
        });
        elements
    }

    fn facet(&self, key: &Path, kind: &FieldIndexKind, filter: &Filter) -> Vec<(FacetValue, u64)> {
        let mut counts = BTreeMap::new();
        for id in self.matching(filter) {
            let elements = Reference::elements(&self.points[&id], key);
            let values = elements.iter().filter_map(|element| match kind {
                FieldIndexKind::Keyword(_) => element.as_str().map(|text| FacetValue::Text(text.to_owned())),
                FieldIndexKind::Uuid => {
                    let uuid = uuid::Uuid::parse_str(element.as_str()?).ok()?;
                    Some(FacetValue::Text(uuid.to_string()))
                }
                FieldIndexKind::Integer(_) => element.as_i64().map(FacetValue::Integer),
                _ => element.as_bool().map(FacetValue::Bool),
            });
            for value in values.collect::<BTreeSet<_>>() {
                *counts.entry(value).or_default() += 1;
            }
        }
        counts.into_iter().collect()
    }

    fn ordered(&self, order: &OrderBy, kind: &FieldIndexKind, ids: &[PointId]) -> Vec<(f64, PointId)> {
        let mut pairs = Vec::new();
        for id in ids {
            for element in Reference::elements(&self.points[id], &order.key) {
                let number = match kind {
                    FieldIndexKind::Integer(_) => element.as_i64().map(|value| value as f64),
                    FieldIndexKind::Datetime => element.as_str().and_then(Timestamp::parse).map(|at| at.0 as f64),
                    _ => element.as_f64(),
                };
                let start = match order.start_from {
                    Some(StartFrom::Float(start)) => Some(start),
                    _ => None,
                };
                let is_from = |value: &f64| match order.direction {
                    Direction::Asc => start.is_none_or(|start| *value >= start),
                    Direction::Desc => start.is_none_or(|start| *value <= start),
                };
                pairs.extend(number.filter(is_from).map(|value| (value, *id)));
            }
        }
        pairs.sort_by(|a, b| a.partial_cmp(b).unwrap());
        pairs.dedup();
        if order.direction == Direction::Desc {
            pairs.reverse();
        }
        pairs
    }
}

fn passes(condition: &CompiledFilter<'_>, point: &Point) -> bool {
    let has_vector = |name: &str| point.vectors.contains_key(name);
    condition.matches(&PointView { id: point.id, payload: &point.payload, has_vector: &has_vector })
}

fn check_reads(shard: &Shard, reference: &Reference, rng: &mut Rng) {
    let stop = Stop::new();
    for _ in 0..12 {
        let filter = filter(rng, 2, false);
        let want = reference.matching(&filter);
        assert_eq!(shard.count(Some(&filter), &stop).unwrap(), want.len() as u64, "{filter:?}");
        assert_eq!(shard.matching_ids(Some(&filter), &stop).unwrap(), want, "{filter:?}");
        let (from, limit) = (id(rng), 1 + rng.below(4) as usize);
        let page: Vec<PointId> = want.iter().copied().filter(|id| *id >= from).take(limit).collect();
        assert_eq!(shard.scroll(Some(from), limit, Some(&filter), &stop).unwrap(), page, "{filter:?}");
        let query = Vector::Dense(vec![rng.below(50) as f32, rng.below(50) as f32]);
        let nearest = Nearest {
            using: "",
            vector: &query,
            filter: Some(&filter),
            k: usize::MAX,
            ef: Some(64),
            exact: rng.below(2) == 0,
            indexed_only: false,
            codes: CodeUse::default(),
        };
        let found: BTreeSet<PointId> = shard.search(&nearest, &stop).unwrap().hits.iter().map(|hit| hit.id).collect();
        let with_vector = want.iter().filter(|id| reference.points[id].vectors.contains_key(""));
        assert_eq!(found, with_vector.copied().collect(), "{filter:?}");
        check_orders(shard, reference, &filter, rng);
    }
}

fn check_orders(shard: &Shard, reference: &Reference, filter: &Filter, rng: &mut Rng) {
    let stop = Stop::new();
    let matching = reference.matching(filter);
    for (path, status) in shard.fields() {
        let of_kind = reference.points.values().filter(|point| {
            let elements = Reference::elements(point, &path);
            elements.iter().any(|element| match &status.kind {
                FieldIndexKind::Keyword(_) | FieldIndexKind::Text(_) => element.is_string(),
                FieldIndexKind::Integer(_) => element.is_i64(),
                FieldIndexKind::Float => element.is_number(),
                FieldIndexKind::Bool => element.is_boolean(),
                FieldIndexKind::Datetime => element.as_str().is_some_and(|text| Timestamp::parse(text).is_some()),
                FieldIndexKind::Uuid => element.as_str().is_some_and(|text| uuid::Uuid::parse_str(text).is_ok()),
                FieldIndexKind::Geo => element.is_object(),
            })
        });
        assert_eq!(status.point_count, of_kind.count() as u64, "{path}");
        let facet = shard.facet(&path, Some(filter), usize::MAX, &stop);
        match &status.kind {
            kind @ (FieldIndexKind::Keyword(_) | FieldIndexKind::Bool | FieldIndexKind::Uuid) => {
                let got: Vec<_> = facet.unwrap().into_iter().map(|hit| (hit.value, hit.count)).collect();
                assert_eq!(got, reference.facet(&path, kind, filter), "{path} {filter:?}");
            }
            kind @ FieldIndexKind::Integer(params) if params.lookup == Some(true) => {
                let got: Vec<_> = facet.unwrap().into_iter().map(|hit| (hit.value, hit.count)).collect();
                assert_eq!(got, reference.facet(&path, kind, filter), "{path} {filter:?}");
            }
            _ => assert!(matches!(facet, Err(ReadError::NoFacetIndex { .. })), "{path}"),
        }
        let order = OrderBy {
            key: path.clone(),
            direction: if rng.below(2) == 0 { Direction::Asc } else { Direction::Desc },
            start_from: (rng.below(2) == 0).then(|| StartFrom::Float(rng.below(6) as f64 - 2.5)),
        };
        let among: Option<Vec<PointId>> = (rng.below(3) == 0).then(|| (0..rng.below(20)).map(|_| id(rng)).collect());
        let limit = 1 + rng.below(30) as usize;
        let got = shard.order_by(&order, Some(filter), among.as_deref(), limit, &stop);
        if !matches!(status.kind, FieldIndexKind::Integer(_) | FieldIndexKind::Float | FieldIndexKind::Datetime) {
            assert!(matches!(got, Err(ReadError::NoRangeIndex { .. })), "{path}");
            continue;
        }
        let ids: Vec<PointId> =
            matching.iter().filter(|id| among.as_ref().is_none_or(|among| among.contains(id))).copied().collect();
        let mut want = reference.ordered(&order, &status.kind, &ids);
        want.truncate(limit);
        let number = |value| match value {
            OrderValue::Integer(value) => value as f64,
            OrderValue::Float(value) => value,
        };
        let got: Vec<_> = got.unwrap().into_iter().map(|(value, id)| (number(value), id)).collect();
        assert_eq!(got, want, "{order:?} {filter:?}");
    }
}

fn settings(dir: &std::path::Path, fields: &BTreeMap<Path, FieldIndexKind>) -> ShardSettings {
    let graph = VectorSettings::Dense(IndexParams {
        dim: 2,
        metric: Metric::Euclid,
        m: 4,
        ef_construction: 16,
        storage: VectorStorage::default(),
    });
    let vectors = [(String::new(), graph), ("other".to_owned(), graph)].into();
    ShardSettings { vectors, fields: fields.clone(), index_dir: dir.join("index") }
}

fn text_indexes(fields: &BTreeMap<Path, FieldIndexKind>) -> TextIndexes {
    let text = |(path, kind): (&Path, &FieldIndexKind)| match kind {
        FieldIndexKind::Text(params) => Some((path.clone(), params.clone())),
        _ => None,
    };
    fields.iter().filter_map(text).collect()
}

fn text_fields(texts: &TextIndexes) -> Arc<filter::TextFields> {
    let spec = |(path, params): &(Path, TextParams)| {
        Arc::new(FieldSpec::new(path.clone(), FieldIndexKind::Text(params.clone())))
    };
    Arc::new(filter::TextFields::new(texts.iter().map(spec)))
}

/// Applies the log behind its first `applied` entries.
fn apply_from(shard: &Shard, log: &[Vec<u8>], applied: usize) {
    let indexed = (applied as u64 + 1..).zip(log.get(applied..).unwrap());
    let entries: Vec<Entry<'_>> =
        indexed.map(|(index, command)| Entry { index, command: Some(command.as_slice()) }).collect();
    shard.apply(&entries, &(log.len() as u64).to_be_bytes()).unwrap();
}

fn check_against_reference(seed: u64, steps: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng(seed | 1);
    let mut reference = Reference::default();
    let mut log: Vec<Vec<u8>> = Vec::new();
    let mut db = PointDb::open(&dir.path().join("kvdb"), &DB).unwrap();
    let mut wanted = field_indexes(&mut rng);
    let mut shard = Shard::open(db.shard(ShardId(3)), settings(dir.path(), &wanted)).unwrap();
    for step in 0..steps {
        // Changes follow the text indexes that are wanted when they are proposed, however far the shard is with them.
        let texts = text_indexes(&wanted);
        reference.texts = text_fields(&texts);
        let applied = log.len();
        let ops: Vec<PointOp> = (0..=rng.below(3)).map(|_| op(&mut rng)).collect();
        ops.iter().for_each(|op| reference.apply(op));
        log.extend(ops.iter().map(|op| encode_command_with_texts(op, &texts)));
        apply_from(&shard, &log, applied);
        match rng.below(10) {
            0 | 1 => {
                wanted = field_indexes(&mut rng);
                shard.reconfigure_fields(&wanted);
            }
            2..=4 => drop(shard.index_work(1 + rng.below(100) as usize)),
            5 => shard.checkpoint().unwrap(),
            7 => shard.flush().unwrap(),
            6 => {
                // What was not flushed is gone, and applied again where there may be other text indexes by now.
                drop(shard);
                drop(db);
                hurt_checkpoint(dir.path(), &mut rng);
                if rng.below(4) == 0 {
                    // Changed while the shard was closed.
                    wanted = field_indexes(&mut rng);
                }
                db = PointDb::open(&dir.path().join("kvdb"), &DB).unwrap();
                shard = Shard::open(db.shard(ShardId(3)), settings(dir.path(), &wanted)).unwrap();
                assert!(shard.fields().keys().eq(wanted.keys()), "an open shard has all its indexes");
                let position = shard.position().unwrap();
                let kept = position.map_or(0, |position| u64::from_be_bytes(position.try_into().unwrap()));
                apply_from(&shard, &log, kept as usize);
            }
            _ => {}
        }
        shard.validate().unwrap_or_else(|broken| panic!("seed {seed} step {step}: {broken}"));
        if step % 5 == 0 {
            reference.texts = shard.text_fields();
            check_reads(&shard, &reference, &mut rng);
        }
    }
    while shard.index_work(1_000) > 0 {}
    assert!(wanted.iter().all(|(path, kind)| shard.has_field_index(path, kind)), "every index gets built");
    assert_eq!(shard.fields().len(), wanted.len());
    shard.validate().unwrap();
    reference.texts = shard.text_fields();
    check_reads(&shard, &reference, &mut rng);
    let ids: Vec<PointId> = reference.points.keys().copied().collect();
    let records = shard.get(&ids, &PayloadSelector::All, &VectorSelector::All).unwrap();
    for (record, point) in records.iter().zip(reference.points.values()) {
        assert_eq!((record.payload.as_ref(), record.vectors.as_ref()), (Some(&point.payload), Some(&point.vectors)));
    }
}

#[test]
fn s7_16_indexes_change_no_answer() {
    for seed in [1, 2, 3, 5] {
        check_against_reference(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed), 50);
    }
}

/// A hundred points with a word and their own number each.
fn numbered(dir: &std::path::Path, fields: &[(&str, FieldIndexKind)]) -> (PointDb, Shard) {
    let db = PointDb::open(&dir.join("kvdb"), &DB).unwrap();
    let fields = fields.iter().map(|(path, kind)| (path.parse().unwrap(), kind.clone())).collect();
    let shard = Shard::open(db.shard(ShardId(3)), settings(dir, &fields)).unwrap();
    let point = |number: u64| {
        let word = ["red fox", "lazy dog", "red dog dog"][number as usize % 3];
        let Value::Object(payload) = json!({"n": number / 2, "t": word, "d": "2024-02-29T00:00:00Z"}) else {
            unreachable!()
        };
        Point { id: PointId::Num(number), vectors: NamedVectors::new(), payload: Payload(payload) }
    };
    let points = (0..100).map(point).collect();
    let upsert = PointOp::Upsert { points, mode: UpsertMode::Upsert, update_filter: None };
    shard.apply(&[Entry { index: 1, command: Some(&encode_command(&upsert)) }], b"1").unwrap();
    (db, shard)
}

#[test]
fn s9_2_start_from_is_inclusive_and_of_any_kind() {
    let dir = tempfile::tempdir().unwrap();
    let integer = FieldIndexKind::Integer(IntegerParams::default());
    let (_db, shard) = numbered(dir.path(), &[("n", integer), ("d", FieldIndexKind::Datetime)]);
    let first = |key: &str, direction, start_from| {
        let order = OrderBy { key: key.parse().unwrap(), direction, start_from: Some(start_from) };
        let found = shard.order_by(&order, None, None, 3, &Stop::new()).unwrap();
        found.into_iter().map(|(value, id)| (value, id.to_string())).collect::<Vec<_>>()
    };
    let pairs =
        |expected: [(i64, &str); 3]| expected.map(|(value, id)| (OrderValue::Integer(value), id.to_owned())).to_vec();
    assert_eq!(first("n", Direction::Asc, StartFrom::Integer(7)), pairs([(7, "14"), (7, "15"), (8, "16")]));
    assert_eq!(first("n", Direction::Desc, StartFrom::Float(7.5)), pairs([(7, "15"), (7, "14"), (6, "13")]));
    assert_eq!(first("n", Direction::Asc, StartFrom::Float(7.5)), pairs([(8, "16"), (8, "17"), (9, "18")]));
    let at = Timestamp::parse("2024-02-29").unwrap();
    let of_day = pairs([(at.0, "0"), (at.0, "1"), (at.0, "2")]);
    assert_eq!(first("d", Direction::Asc, StartFrom::Datetime(at)), of_day);
    assert_eq!(first("d", Direction::Asc, StartFrom::Datetime(Timestamp(at.0 + 1))), []);
}

#[test]
fn s13_4_text_is_ranked_by_bm25_within_a_filter() {
    let dir = tempfile::tempdir().unwrap();
    let scoring = FieldIndexKind::Text(TextParams { scoring: Some(true), ..TextParams::default() });
    let (_db, shard) = numbered(dir.path(), &[("t", scoring)]);
    let key: Path = "t".parse().unwrap();
    let stats = shard.text_stats(&key, "DOG dog").unwrap();
    // 34 of `red fox`, 33 of `lazy dog`, 33 of `red dog dog`.
    assert_eq!((stats.document_count, stats.token_count), (100, 34 * 2 + 33 * 2 + 33 * 3));
    assert_eq!(stats.frequencies, [("dog".to_owned(), 66)].into());
    let few = Filter { must: vec![Condition::HasId((0..6).map(PointId::Num).collect())], ..Filter::default() };
    let search = TextSearch { key: &key, stats: &stats, k: 1.2, b: 0.75, filter: Some(&few), among: None, limit: 3 };
    let found = shard.text_search(&search, &Stop::new()).unwrap();
    assert_eq!(found.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>(), ["2", "5", "1"]);
    let average = f64::from(34 * 2 + 33 * 2 + 33 * 3) / 100.0;
    let want = (34.5_f64 / 66.5 + 1.0).ln() * 2.0 * 2.2 / (2.0 + 1.2 * (0.25 + 0.75 * 3.0 / average));
    assert!((f64::from(found[0].1) - want).abs() < 1e-6, "{} instead of {want}", found[0].1);
    let among = [PointId::Num(1), PointId::Num(3)];
    let search = TextSearch { filter: None, among: Some(&among), ..search };
    assert_eq!(shard.text_search(&search, &Stop::new()).unwrap().len(), 1, "only 1 has a dog");
    let other = "n".parse().unwrap();
    assert!(matches!(shard.text_stats(&other, "dog"), Err(ReadError::NoScoringIndex { .. })));
}

#[test]
fn an_index_is_used_when_it_is_complete_and_gets_every_change_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (_db, shard) = numbered(dir.path(), &[]);
    let integer = FieldIndexKind::Integer(IntegerParams::default());
    let wanted = [("n".parse().unwrap(), integer)].into();
    shard.reconfigure_fields(&wanted);
    assert_eq!(shard.fields().len(), 0, "a hundred points wait");
    let op = |index: u64, op: &PointOp| {
        shard.apply(&[Entry { index, command: Some(&encode_command(op)) }], b"2").unwrap();
    };
    // Before the builder comes by: changed, moved to another slot, deleted.
    let ids = |ids: &[u64]| PointSelector::Ids(ids.iter().copied().map(PointId::Num).collect());
    let Value::Object(payload) = json!({"n": 1_000}) else { unreachable!() };
    op(2, &PointOp::SetPayload { select: ids(&[1]), payload: Payload(payload), key: None });
    let moved = PointVectors { id: PointId::Num(2), vectors: [(String::new(), Vector::Dense(vec![1.0, 2.0]))].into() };
    op(3, &PointOp::UpdateVectors { points: vec![moved], update_filter: None });
    op(4, &PointOp::Delete { select: ids(&[3]) });
    assert!(shard.index_work(1) > 0);
    op(5, &PointOp::Delete { select: ids(&[4]) });
    while shard.index_work(1) > 0 {}
    shard.validate().unwrap();
    assert_eq!(shard.fields().values().map(|status| status.point_count).collect::<Vec<_>>(), [98]);
}

#[test]
fn an_index_with_other_parameters_replaces_the_old_one_when_it_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let key: Path = "t".parse().unwrap();
    let text = |lowercase| FieldIndexKind::Text(TextParams { lowercase: Some(lowercase), ..TextParams::default() });
    let (_db, shard) = numbered(dir.path(), &[("t", text(true))]);
    let upper = FieldCondition { key: key.clone(), predicates: vec![Predicate::Match(Match::Text("RED".into()))] };
    let upper = Filter { must: vec![Condition::Field(upper)], ..Filter::default() };
    let count = || shard.count(Some(&upper), &Stop::new()).unwrap();
    assert_eq!(count(), 67);
    shard.reconfigure_fields(&[(key.clone(), text(false))].into());
    assert_eq!(count(), 67, "the old one answers");
    while shard.index_work(64) > 0 {}
    assert_eq!(count(), 0);
    shard.reconfigure_fields(&BTreeMap::new());
    assert_eq!((count(), shard.fields().len()), (67, 0), "whole words in any case, without an index");
}
