//! Random trees of levels over random points, beside a naive reading of PROTOCOL sections 3, 7.15 and 10 to 15.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::*;
use crate::model::formula::{Expression, Formula, Variable};
use crate::model::query::SearchOptions;
use crate::model::query::{ContextPair, Direction, Fusion, Mmr, OrderBy, RecommendStrategy, RelevanceFeedback};

const POINTS: u64 = 60;
const TREES: usize = 400;

/// Between -2 and 2 in steps of 1/512: sums of products are exact in f32, and hardly ever equal. Which of several equally
/// near points a search with a limit finds is left open, so they would make the comparison ambiguous.
fn number(rng: &mut Rng) -> f32 {
    f32::from(rng.i16(-1_024..=1_024)) / 512.0
}

/// For what is not compared with other vectors.
fn small(rng: &mut Rng) -> f32 {
    rng.i8(-2..=2).into()
}

fn random_vector(rng: &mut Rng, using: &str) -> Vector {
    if using == "s" {
        let indices: BTreeSet<u32> = (0..rng.usize(1..4)).map(|_| rng.u32(0..5)).collect();
        return sparse(&indices.into_iter().map(|index| (index, number(rng))).collect::<Vec<_>>());
    }
    let row = [number(rng), number(rng)];
    if using == "m" { multi(&[row, [number(rng), number(rng)]][..rng.usize(1..=2)]) } else { dense(row) }
}

fn random_points(rng: &mut Rng) -> Vec<Point> {
    let random = |id| {
        let names = ["", "e", "man", "m", "s"].into_iter().filter(|_| rng.u8(0..5) > 0).collect::<Vec<_>>();
        let vectors: Vec<(&str, Vector)> = names.into_iter().map(|name| (name, random_vector(rng, name))).collect();
        point(id, &vectors, if rng.u8(0..4) > 0 { json!({"n": rng.i64(0..6)}) } else { json!({}) })
    };
    (1..=POINTS).map(random).collect()
}

fn random_filter(rng: &mut Rng) -> Filter {
    let condition = |rng: &mut Rng| match rng.u8(0..3) {
        0 => is("n", rng.i64(0..6)),
        1 => has_id((0..POINTS).map(|_| rng.u64(1..=POINTS)).collect::<Vec<_>>()),
        _ => Condition::HasVector("e".to_owned()),
    };
    match rng.u8(0..4) {
        0 => must(condition(rng)),
        1 => Filter { must_not: vec![condition(rng)], ..Filter::default() },
        2 => Filter { should: vec![condition(rng), condition(rng)], ..Filter::default() },
        _ => should(condition(rng)),
    }
}

fn random_target(rng: &mut Rng, using: &str, points: &BTreeMap<u64, Point>) -> Target {
    let id = rng.u64(1..=POINTS);
    // Seldom a point, else little is left once all of a tree are excluded.
    if rng.u8(0..4) == 0 && points[&id].vectors.contains_key(using) {
        return by_id(id);
    }
    vector(random_vector(rng, using))
}

fn random_ranking(rng: &mut Rng, using: &str, points: &BTreeMap<u64, Point>, source_count: usize) -> Ranking {
    let targets = |rng: &mut Rng, least: usize| -> Vec<Target> {
        (0..rng.usize(least..3)).map(|_| random_target(rng, using, points)).collect()
    };
    let pairs = |rng: &mut Rng, least: usize| -> Vec<ContextPair> {
        let pair = |rng: &mut Rng| ContextPair {
            positive: random_target(rng, using, points),
            negative: random_target(rng, using, points),
        };
        (0..rng.usize(least..3)).map(|_| pair(rng)).collect()
    };
    let variable = |number| Expression::Variable(Variable::Score(number));
    match rng.u8(0..if source_count == 0 { 10 } else { 14 }) {
        0 if source_count == 0 => Ranking::ById,
        0..=2 => Ranking::Nearest(random_target(rng, using, points)),
        3 => Ranking::Recommend {
            positive: targets(rng, 1),
            negative: targets(rng, 0),
            strategy: RecommendStrategy::BestScore,
        },
        4 => Ranking::Recommend {
            positive: targets(rng, 0),
            negative: targets(rng, 1),
            strategy: RecommendStrategy::SumScores,
        },
        5 => Ranking::Discover { target: random_target(rng, using, points), context: pairs(rng, 0) },
        6 => Ranking::Context(pairs(rng, 1)),
        7 => Ranking::RelevanceFeedback(RelevanceFeedback {
            target: random_target(rng, using, points),
            feedback: targets(rng, 1).into_iter().map(|target| (target, small(rng))).collect(),
            a: 2.0,
            b: 1.0,
            c: 0.5,
        }),
        8 => {
            let direction = if rng.bool() { Direction::Asc } else { Direction::Desc };
            Ranking::OrderBy(OrderBy { key: "n".parse().unwrap(), direction, start_from: None })
        }
        9 => Ranking::Mmr {
            target: random_target(rng, using, points),
            mmr: Mmr { diversity: 0.25, candidates_limit: rng.bool().then(|| rng.usize(1..15)) },
        },
        10 => Ranking::Fusion(Fusion::Dbsf),
        11 | 12 => {
            let weights = rng.bool().then(|| (0..source_count).map(|_| small(rng)).collect());
            Ranking::Fusion(Fusion::Rrf { k: rng.usize(1..4), weights })
        }
        _ => Ranking::Formula(Formula {
            expression: Expression::Sum(vec![
                variable(0),
                Expression::Mult(vec![Expression::Constant(2.0), variable(1)]),
                Expression::Variable(Variable::Payload("n".parse().unwrap())),
            ]),
            defaults: vec![(Variable::Payload("n".parse().unwrap()), json!(-3)), (Variable::Score(1), json!(0.5))],
        }),
    }
}

fn random_level(rng: &mut Rng, points: &BTreeMap<u64, Point>, depth: usize) -> QueryLevel {
    let source_count = if depth == 0 { 0 } else { rng.usize(0..4) };
    let using = *rng.choice(&["", "e", "man", "m", "s"]).unwrap();
    let prefetch: Vec<QueryLevel> = (0..source_count).map(|_| random_level(rng, points, depth - 1)).collect();
    let ranking = random_ranking(rng, using, points, source_count);
    let has_scores = !matches!(ranking, Ranking::ById | Ranking::OrderBy(_));
    QueryLevel {
        prefetch,
        using: using.to_owned(),
        filter: (rng.u8(0..3) == 0).then(|| random_filter(rng)),
        options: SearchOptions { exact: true, ..SearchOptions::default() },
        score_threshold: (has_scores && rng.u8(0..4) == 0).then(|| small(rng)),
        ..QueryLevel::new(ranking, rng.usize(1..25))
    }
}

/// What the sections say, point by point.
struct Naive<'a> {
    points: &'a BTreeMap<u64, Point>,
    excluded: BTreeSet<u64>,
}

type List = Vec<(u64, f32)>;

fn larger_is_better(using: &str) -> bool {
    !matches!(using, "e" | "man")
}

fn of_rows(using: &str, a: &[f32], b: &[f32]) -> f32 {
    let terms = a.iter().zip(b);
    match using {
        "e" => -terms.map(|(a, b)| (a - b) * (a - b)).sum::<f32>(),
        "man" => -terms.map(|(a, b)| (a - b).abs()).sum::<f32>(),
        _ => terms.map(|(a, b)| a * b).sum(),
    }
}

/// The similarity of section 3.1, and whether the vectors share an index if they are sparse.
fn sim(using: &str, query: &Vector, of: &Vector) -> (f32, bool) {
    match (query, of) {
        (Vector::Dense(a), Vector::Dense(b)) => (of_rows(using, a, b), true),
        (Vector::Sparse(a), Vector::Sparse(b)) => {
            let shared: Vec<f32> = a
                .iter()
                .flat_map(|(at, x)| b.iter().filter(move |(other, _)| *other == at).map(move |(_, y)| x * y))
                .collect();
            (shared.iter().sum::<f32>() + 0.0, !shared.is_empty())
        }
        (Vector::Multi(a), Vector::Multi(b)) => {
            let best = |row: &[f32]| b.rows().map(|of| of_rows(using, row, of)).fold(f32::NEG_INFINITY, f32::max);
            (a.rows().map(best).sum(), true)
        }
        _ => unreachable!("of one kind"),
    }
}

fn fsig(x: f32) -> f32 {
    x / (1.0 + x.abs())
}

fn ssig(x: f32) -> f32 {
    0.5 * (fsig(x) + 1.0)
}

impl Naive<'_> {
    fn holds(&self, condition: &Condition, point: &Point) -> bool {
        match condition {
            Condition::HasId(ids) => ids.contains(&point.id),
            Condition::HasVector(name) => point.vectors.contains_key(name),
            Condition::Field(field) => {
                let [Predicate::Match(Match::Integer(value))] = &field.predicates[..] else { unreachable!("not made") };
                point.payload.0.get("n") == Some(&json!(value))
            }
            _ => unreachable!("not made"),
        }
    }

    fn passes(&self, filters: &[&Filter], point: &Point) -> bool {
        let holds = |condition: &Condition| self.holds(condition, point);
        let mut alternatives = filters.iter().flat_map(|filter| &filter.should).peekable();
        !self.excluded.contains(&num(point.id))
            && filters.iter().flat_map(|filter| &filter.must).all(holds)
            && !filters.iter().flat_map(|filter| &filter.must_not).any(holds)
            && (alternatives.peek().is_none() || alternatives.any(holds))
    }

    fn target(&self, target: &Target, using: &str) -> Vector {
        match target {
            Target::Vector(vector) => vector.clone(),
            Target::Point(id) => self.points[&num(*id)].vectors[using].clone(),
        }
    }

    /// The score of section 11; larger is better.
    fn custom(&self, ranking: &Ranking, using: &str, of: &Vector) -> f32 {
        let sim = |target: &Target| sim(using, &self.target(target, using), of).0;
        let best = |targets: &[Target]| targets.iter().map(sim).fold(f32::NEG_INFINITY, f32::max);
        match ranking {
            Ranking::Recommend { positive, negative, strategy: RecommendStrategy::BestScore } => {
                let (p, n) = (best(positive), best(negative));
                if p > n { ssig(p) } else { -ssig(n) }
            }
            Ranking::Recommend { positive, negative, .. } => {
                positive.iter().map(sim).sum::<f32>() - negative.iter().map(sim).sum::<f32>()
            }
            Ranking::Discover { target, context } => {
                let side = |pair: &ContextPair| match sim(&pair.positive) - sim(&pair.negative) {
                    difference if difference > 0.0 => 1.0,
                    difference if difference < 0.0 => -1.0,
                    _ => 0.0,
                };
                context.iter().map(side).sum::<f32>() + ssig(sim(target))
            }
            Ranking::Context(context) => {
                let loss =
                    |pair: &ContextPair| fsig((sim(&pair.positive) - sim(&pair.negative) - f32::EPSILON).min(0.0));
                context.iter().map(loss).sum()
            }
            Ranking::RelevanceFeedback(of) => {
                let mut score = of.a * sim(&of.target);
                for (better, high) in &of.feedback {
                    for (worse, low) in &of.feedback {
                        if high > low {
                            score += (high - low).powf(of.b) * of.c * (sim(better) - sim(worse));
                        }
                    }
                }
                score
            }
            _ => unreachable!("not of this kind"),
        }
    }

    /// Of candidates; `None`: the point is not found.
    fn scored(&self, ranking: &Ranking, using: &str, point: &Point) -> Option<f32> {
        let of = point.vectors.get(using)?;
        match ranking {
            Ranking::Nearest(target) | Ranking::Mmr { target, .. } => {
                let (sim, is_found) = sim(using, &self.target(target, using), of);
                let shown = match using {
                    "e" => sim.abs().sqrt(),
                    "man" => sim.abs(),
                    _ => sim,
                };
                is_found.then_some(shown)
            }
            ranking => Some(self.custom(ranking, using, of)),
        }
    }

    fn ranked(&self, level: &QueryLevel, candidates: &[&Point]) -> List {
        let using = level.using.as_str();
        let is_shown = matches!(level.ranking, Ranking::Nearest(_) | Ranking::Mmr { .. });
        let larger_first = larger_is_better(using) || !is_shown;
        let mut list: List = candidates
            .iter()
            .filter_map(|point| Some((num(point.id), self.scored(&level.ranking, using, point)?)))
            .collect();
        list.sort_by(|a, b| {
            let ascending = a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
            if larger_first { ascending.reverse() } else { ascending }
        });
        let threshold = level.score_threshold;
        let passes = |score: f32| threshold.is_none_or(|t| if larger_is_better(using) { score > t } else { score < t });
        let end = list.iter().position(|(_, score)| !passes(*score)).unwrap_or(list.len());
        list.truncate(end);
        list
    }

    fn diversified(&self, level: &QueryLevel, (target, mmr): (&Target, Mmr), mut pending: List, wanted: usize) -> List {
        if pending.len() < 2 {
            return pending;
        }
        let using = level.using.as_str();
        let vector = |id: u64| &self.points[&id].vectors[using];
        let target = self.target(target, using);
        let lambda = 1.0 - mmr.diversity;
        let mut picked: List = Vec::new();
        while picked.len() < wanted && !pending.is_empty() {
            let value = |id: u64| {
                let relevance = sim(using, &target, vector(id)).0;
                let nearest = picked.iter().map(|(other, _)| sim(using, vector(id), vector(*other)).0);
                let nearest = nearest.fold(f32::NEG_INFINITY, f32::max);
                if picked.is_empty() { relevance } else { lambda * relevance - (1.0 - lambda) * nearest }
            };
            let mut best = 0;
            for at in 1..pending.len() {
                if value(pending[at].0) >= value(pending[best].0) {
                    best = at;
                }
            }
            picked.push(pending.swap_remove(best));
        }
        picked
    }

    fn fused(&self, fusion: &Fusion, lists: &[List]) -> List {
        let mut sums: List = Vec::new();
        for (number, list) in lists.iter().enumerate() {
            let mean = list.iter().map(|(_, score)| score).sum::<f32>() / list.len() as f32;
            let squares: f32 = list.iter().map(|(_, score)| (score - mean) * (score - mean)).sum();
            let deviation = (squares / (list.len() as f32 - 1.0)).sqrt();
            for (position, (id, score)) in list.iter().enumerate() {
                let gain = match fusion {
                    Fusion::Dbsf if list.len() == 1 || deviation == 0.0 => 0.5,
                    Fusion::Dbsf => (score - (mean - 3.0 * deviation)) / (6.0 * deviation),
                    Fusion::Rrf { k, weights } => match weights.as_ref().map_or(1.0, |weights| weights[number]) {
                        weight if weight <= 0.0 => 0.0,
                        weight => 1.0 / ((position as f32 + 1.0) / weight + *k as f32 - 1.0),
                    },
                };
                match sums.iter_mut().find(|(known, _)| known == id) {
                    Some((_, sum)) => *sum += gain,
                    None => sums.push((*id, gain)),
                }
            }
        }
        sums.sort_by(|a, b| b.1.total_cmp(&a.1));
        sums
    }

    /// The first `wanted` of a level under `above`, the filters of the levels over it.
    fn run(&self, level: &QueryLevel, above: &[&Filter], wanted: usize) -> List {
        let mut filters = above.to_vec();
        filters.extend(&level.filter);
        let lists: Vec<List> = level.prefetch.iter().map(|source| self.run(source, &filters, source.limit)).collect();
        let candidates: Vec<&Point> = if lists.is_empty() {
            self.points.values().filter(|point| self.passes(&filters, point)).collect()
        } else {
            let ids: BTreeSet<u64> = lists.iter().flatten().map(|(id, _)| *id).collect();
            ids.iter().map(|id| &self.points[id]).collect()
        };
        let at_least = |list: List| -> List {
            list.into_iter().filter(|(_, score)| level.score_threshold.is_none_or(|t| *score >= t)).collect()
        };
        let mut list = match &level.ranking {
            Ranking::ById => candidates.iter().map(|point| (num(point.id), 1.0)).collect(),
            Ranking::OrderBy(order) => {
                let mut list: Vec<(i64, u64)> = candidates
                    .iter()
                    .filter_map(|point| Some((point.payload.0.get("n")?.as_i64()?, num(point.id))))
                    .collect();
                list.sort_unstable();
                if order.direction == Direction::Desc {
                    list.reverse();
                }
                list.into_iter().map(|(_, id)| (id, 1.0)).collect()
            }
            Ranking::Fusion(fusion) => at_least(self.fused(fusion, &lists)),
            Ranking::Formula(_) => {
                let of = |point: &&Point| {
                    let id = num(point.id);
                    let score = |number: usize| -> Option<f64> {
                        let found = lists.get(number)?.iter().find(|(of, _)| *of == id)?;
                        Some(f64::from(found.1))
                    };
                    let n = point.payload.0.get("n").map_or(-3.0, |n| n.as_f64().unwrap());
                    (id, (score(0).unwrap_or(0.0) + 2.0 * score(1).unwrap_or(0.5) + n) as f32)
                };
                let mut list: List = candidates.iter().map(of).collect();
                list.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
                at_least(list)
            }
            Ranking::Mmr { target, mmr } => {
                let mut list = self.ranked(level, &candidates);
                list.truncate(mmr.candidates_limit.unwrap_or(level.limit));
                self.diversified(level, (target, *mmr), list, wanted)
            }
            _ => self.ranked(level, &candidates),
        };
        list.truncate(wanted);
        list
    }
}

fn searched_by(level: &QueryLevel, ids: &mut BTreeSet<u64>) {
    let targets: Vec<&Target> = match &level.ranking {
        Ranking::Nearest(target) | Ranking::Mmr { target, .. } => vec![target],
        Ranking::Recommend { positive, negative, .. } => positive.iter().chain(negative).collect(),
        Ranking::Discover { target, context } => {
            context.iter().flat_map(|pair| [&pair.positive, &pair.negative]).chain([target]).collect()
        }
        Ranking::Context(context) => context.iter().flat_map(|pair| [&pair.positive, &pair.negative]).collect(),
        Ranking::RelevanceFeedback(of) => of.feedback.iter().map(|(target, _)| target).chain([&of.target]).collect(),
        _ => vec![],
    };
    ids.extend(targets.into_iter().filter_map(|target| match target {
        Target::Point(id) => Some(num(*id)),
        Target::Vector(_) => None,
    }));
    level.prefetch.iter().for_each(|source| searched_by(source, ids));
}

/// Whether the fixture answers as the sections say; else both answers.
async fn compared(
    fixture: &Fixture,
    naive: &Naive<'_>,
    root: &QueryLevel,
    offset: usize,
) -> Result<usize, (List, List)> {
    let want: List = naive.run(root, &[], root.limit + offset).into_iter().skip(offset).collect();
    let got = fixture.page(root.clone(), offset).await;
    let is_close = |(got, want): (&(u64, f32), &(u64, f32))| got.0 == want.0 && (got.1 - want.1).abs() < 1e-4;
    let is_right = got.len() == want.len() && got.iter().zip(&want).all(is_close);
    if is_right { Ok(want.len()) } else { Err((got, want)) }
}

/// The part of a tree that goes wrong by itself, as a root of its own.
async fn smallest(fixture: &Fixture, naive: &Naive<'_>, root: QueryLevel) -> QueryLevel {
    for source in &root.prefetch {
        let filter = match (source.filter.clone(), root.filter.clone()) {
            (Some(own), Some(above)) => Some(own.merged(above)),
            (own, above) => own.or(above),
        };
        let source = QueryLevel { filter, ..source.clone() };
        if compared(fixture, naive, &source, 0).await.is_err() {
            return Box::pin(smallest(fixture, naive, source)).await;
        }
    }
    root
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_to_s15_random_trees_answer_as_the_sections_say_on_any_number_of_shards() {
    let seed = 0x5eed_0010;
    let mut rng = Rng::with_seed(seed);
    let points = random_points(&mut rng);
    let mut fixtures = Vec::new();
    for shard_number in SHARD_NUMBERS {
        fixtures.push(Fixture::new(shard_number, points.clone()).await);
    }
    let points: BTreeMap<u64, Point> = points.into_iter().map(|point| (num(point.id), point)).collect();
    let mut hits = 0;
    for tree in 0..TREES {
        let root = random_level(&mut rng, &points, 3);
        let offset = if rng.bool() { 0 } else { rng.usize(0..5) };
        let mut excluded = BTreeSet::new();
        searched_by(&root, &mut excluded);
        let naive = Naive { points: &points, excluded };
        for (fixture, shard_number) in fixtures.iter().zip(SHARD_NUMBERS) {
            match compared(fixture, &naive, &root, offset).await {
                Ok(count) => hits += count,
                Err((got, want)) => {
                    // Points that were searched by at other levels stay excluded.
                    let excluded = Filter::default().excluding(naive.excluded.iter().copied().map(PointId::Num));
                    let filter = Some(root.filter.clone().unwrap_or_default().merged(excluded));
                    let part = smallest(fixture, &naive, QueryLevel { filter, ..root }).await;
                    let of_part = compared(fixture, &naive, &part, 0).await;
                    panic!(
                        "seed {seed:#x}, tree {tree}, {shard_number} shards, offset {offset}:\n{got:?} instead of \
                         {want:?}\nof which:\n{of_part:?}\n{part:?}"
                    );
                }
            }
        }
    }
    // Trees that find nothing would show nothing.
    assert!(hits > 8 * TREES, "{hits} hits of {TREES} trees");
}
